"""How many observations a second of processor time the forms environment makes, with PNG, and how many synthetic screens.

Run: python bench/forms.py [episodes per task kind]
"""

from __future__ import annotations

import asyncio
import sys
import time
from random import Random

from stepladder.data.screens import screen
from stepladder.envs.forms.environment import FormsEnvironment
from stepladder.images import ImageStore


async def episodes(count: int) -> None:
    environment = FormsEnvironment(ImageStore())
    for name in ("first pass", "same seeds again"):
        steps, resets, in_reset, in_step = 0, 0, 0.0, 0.0
        for task in environment.tasks():
            for seed in range(count):
                begin = time.process_time()
                await environment.reset(task, seed)
                in_reset += time.process_time() - begin
                resets += 1
                async for _, action in environment.solve():
                    begin = time.process_time()
                    await environment.step(action)
                    in_step += time.process_time() - begin
                    steps += 1
        print(f"forms, {name}: {steps / in_step:.0f} steps/s, {resets / in_reset:.0f} resets/s")


def screens(count: int) -> None:
    random = Random(0)
    for name in ("first pass", "fonts and words known"):
        begin = time.process_time()
        regions = sum(len(screen(random)[1]) for _ in range(count))
        seconds = time.process_time() - begin
        print(f"screens, {name}: {count / seconds:.0f} screens/s, {regions / count:.1f} regions a screen")


if __name__ == "__main__":
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    asyncio.run(episodes(number))
    screens(50 * number)
