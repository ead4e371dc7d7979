"""Do MiniWoB++ tasks start with the same pixels for the same seed?

Starts every task twice from fresh pages in two browsers and once on a page that has been played on, and compares the PNG files
byte by byte.

    python bench/determinism.py [--seeds 2] [task ...]
"""

from __future__ import annotations

import argparse
import asyncio
from random import Random

from stepladder.envs.browser import catalogue
from stepladder.envs.browser.miniwob import MiniWobEnvironment
from stepladder.envs.browser.oracles import ORACLES
from stepladder.images import ImageStore
from stepladder.types import Action, Task


async def play(environment: MiniWobEnvironment, task: Task, seed: int) -> None:
    """Leave traces: the demonstration where there is one, otherwise some clicks."""
    observation = await environment.reset(task, seed)
    if task.id in ORACLES:
        async for _, action in environment.solve():
            if observation.done or action.kind == "fail":
                return
            observation = await environment.step(action)
        return
    random = Random(seed)
    for _ in range(5):
        if not observation.done:
            x, y = random.randrange(environment.width), random.randrange(50, environment.height)
            observation = await environment.step(Action("click", x=x, y=y))


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", help="task names; all by default")
    parser.add_argument("--seeds", type=int, default=2)
    arguments = parser.parse_args()
    images = ImageStore()
    first, second = (MiniWobEnvironment(images, reuse_pages=False, deadline=120.0) for _ in range(2))
    played = MiniWobEnvironment(images, deadline=120.0)
    tasks = catalogue.tasks(arguments.tasks or None)
    unequal_fresh, unequal_played = [], []
    for task in tasks:
        fresh = reused = True
        for seed in range(arguments.seeds):
            one, two = await first.reset(task, seed), await second.reset(task, seed)
            await play(played, task, seed + 1000)
            three = await played.reset(task, seed)
            fresh &= one.screenshot == two.screenshot
            reused &= one.screenshot == three.screenshot
        if not fresh:
            unequal_fresh.append(task.id)
        if not reused:
            unequal_played.append(task.id)
        print(f"{task.id:30s} {'equal' if fresh else 'UNEQUAL':8s} {'equal' if reused else 'UNEQUAL on a played page'}", flush=True)
    for what, names in (("two fresh starts", unequal_fresh), ("a fresh start and one on a played page", unequal_played)):
        share = 1 - len(names) / len(tasks)
        print(f"{what}: {len(tasks) - len(names)} of {len(tasks)} tasks equal ({share:.1%}); unequal: {', '.join(names) or 'none'}")
    for environment in (first, second, played):
        await environment.close()


if __name__ == "__main__":
    asyncio.run(main())
