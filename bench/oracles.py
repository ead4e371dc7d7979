"""How often the MiniWoB++ demonstrators succeed: ten seeds each by default, and the table of docs/miniwob.md.

    python bench/oracles.py [--seeds 10] [--start 0] [--mistakes] [--markdown] [task ...]

`--mistakes` starts every episode with one harmless wrong step, so that recoveries are measured.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from dataclasses import dataclass, field
from random import Random

from stepladder.envs.browser import catalogue
from stepladder.envs.browser.miniwob import MiniWobEnvironment
from stepladder.envs.browser.oracles import ORACLES
from stepladder.images import ImageStore
from stepladder.interfaces import EnvironmentFailure


@dataclass
class Count:
    task: str
    solved: int = 0
    steps: list[int] = field(default_factory=list)
    mistakes: int = 0
    seconds: float = 0.0
    note: str = ""


async def episode(environment: MiniWobEnvironment, task: str, seed: int, mistakes: bool, count: Count) -> None:
    entry = catalogue.entry(task)
    observation = await environment.reset(catalogue.task(task), seed)
    steps = 0
    if mistakes:
        wrong = await environment.mistake(Random(seed))
        if wrong is not None:
            count.mistakes += 1
            observation = await environment.step(wrong[1])
    async for _, action in environment.solve():
        if action.kind == "fail":
            count.note = count.note or f"seed {seed}: {action.text}"
            break
        steps += 1
        observation = await environment.step(action)
        if observation.done or steps >= entry.max_steps:
            break
    solved = await environment.evaluate() > 0
    count.solved += solved
    count.steps.append(steps)
    if not solved and not count.note:
        count.note = f"seed {seed}: page's reward {environment.raw_reward:g} after {steps} steps; {environment.task.instruction}"


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", help="task names; all that have a demonstrator by default")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--start", type=int, default=0, help="first seed")
    parser.add_argument("--mistakes", action="store_true")
    parser.add_argument("--markdown", action="store_true", help="a Markdown table")
    arguments = parser.parse_args()
    environment = MiniWobEnvironment(ImageStore(), deadline=60.0)
    counts = []
    if arguments.markdown:
        print("| task | category | solved | steps | most |\n|---|---|---|---|---|")
    for task in sorted(arguments.tasks or ORACLES):
        count = Count(task)
        begin = time.perf_counter()
        for seed in range(arguments.start, arguments.start + arguments.seeds):
            try:
                await episode(environment, task, seed, arguments.mistakes, count)
            except EnvironmentFailure as failure:
                count.note = f"seed {seed}: {failure}"
        count.seconds = time.perf_counter() - begin
        counts.append(count)
        report(count, arguments.seeds, arguments.mistakes, arguments.markdown)
    full = sum(count.solved == arguments.seeds for count in counts)
    print(
        f"\n{full} of {len(counts)} tasks solved on all of {arguments.seeds} seeds ({len(catalogue.entries())} tasks in the wheel)"
    )
    await environment.close()


def report(count: Count, seeds: int, mistakes: bool, markdown: bool) -> None:
    mean = sum(count.steps) / max(1, len(count.steps))
    most, limit = max(count.steps, default=0), catalogue.entry(count.task).max_steps
    if markdown:
        print(
            f"| {count.task} | {catalogue.entry(count.task).category} | {count.solved}/{seeds} | {mean:.1f} | {most} |", flush=True
        )
        return
    wrong = f" mistakes {count.mistakes}/{seeds}" if mistakes else ""
    speed = f"{1000 * count.seconds / seeds:.0f} ms an episode"
    print(
        f"{count.task:30s} {count.solved}/{seeds}{wrong} steps {mean:.1f} (most {most} of {limit}) {speed} {count.note}", flush=True
    )


if __name__ == "__main__":
    asyncio.run(main())
