"""Pocket desktops: how long a clean reset takes, how quick a step is, what many at once take, and whether anything is left behind.

    stepladder bench desktop                       # all of it, about ten minutes
    stepladder bench desktop --desktops 1 4 --episodes 40

A reset is a new sandbox with a new home and the application truly ready: its window painted, its accessibility tree answering. A
step is a key, the screen settled, the screenshot encoded and stored. Before and after the episodes, processes, open files and
temporary files are counted.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from stepladder.envs.desktop.applications import APPLICATIONS, Application
from stepladder.envs.desktop.desktop import Desktop
from stepladder.envs.desktop.environment import DesktopEnvironment
from stepladder.envs.desktop.guest.processes import descendants
from stepladder.envs.desktop.launch import launch
from stepladder.images import ImageStore
from stepladder.types import Action, Task


class OneApplication(DesktopEnvironment):
    """An application, open and ready; any state is as good as another."""

    def _applications(self, task: Task) -> Sequence[Application]:
        return (APPLICATIONS[task.id],)

    async def _start(self, task: Task, seed: int) -> Task:
        await launch(self.desktop, APPLICATIONS[task.id])
        return task

    async def _score(self) -> float:
        return 1.0


def milliseconds(seconds: Sequence[float]) -> str:
    """Median and the middle half."""
    if len(seconds) < 3:
        return f"{statistics.median(seconds) * 1e3:.0f}"
    low, median, high = statistics.quantiles(seconds, n=4)
    return f"{median * 1e3:.0f} ({low * 1e3:.0f} to {high * 1e3:.0f})"


def memory(desktop: Desktop) -> float:
    """Proportional memory of everything inside, in MiB."""
    total = 0
    for pid in desktop.sandbox.processes():
        try:
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
        except OSError:
            continue
    return total / 1024


async def resets(name: str, count: int) -> list[float]:
    """Seconds of clean resets, one after another; the first one makes the home and does not count."""
    environment, task, found = OneApplication(ImageStore()), Task(name, "", "desk"), []
    try:
        for number in range(count + 1):
            started = time.perf_counter()
            await environment.reset(task, number)
            if number:
                found.append(time.perf_counter() - started)
    finally:
        await environment.close()
    return found


async def at_once(count: int, name: str, steps: int) -> tuple[list[float], list[float], list[float], float, float]:
    """`count` desktops at once: seconds of resets, steps and bare screenshots, MiB of one of them, steps a second of all."""
    images, task = ImageStore(), Task(name, "", "desk")
    environments = [OneApplication(images) for _ in range(count)]
    resets_, steps_, shots = [], [], []

    async def reset(environment: OneApplication) -> None:
        started = time.perf_counter()
        await environment.reset(task, 0)
        resets_.append(time.perf_counter() - started)

    async def play(environment: OneApplication) -> None:
        for number in range(steps):
            started = time.perf_counter()
            await environment.step(Action("type", text="abcdefghij"[number % 10]))
            steps_.append(time.perf_counter() - started)
            started = time.perf_counter()
            environment.desktop.pixels()
            shots.append(time.perf_counter() - started)

    try:
        await asyncio.gather(*map(reset, environments))
        started = time.perf_counter()
        await asyncio.gather(*map(play, environments))
        rate = count * steps / (time.perf_counter() - started)
        size = statistics.mean(memory(environment.desktop) for environment in environments)
    finally:
        for environment in environments:
            await environment.close()
    return resets_, steps_, shots, size, rate


def counted() -> dict[str, int]:
    """Processes below this one, its open files, and temporary files of desktops on this machine."""
    temporary = Path(tempfile.gettempdir())
    return {
        "processes": len(descendants(os.getpid())),
        "open files": len(os.listdir("/proc/self/fd")),
        "temporary files": len(list(temporary.glob("stepladder-*"))) + len(list(temporary.glob(".X*-lock"))),
        "X sockets": len(list(Path("/tmp/.X11-unix").glob("*"))),
    }


async def episodes(count: int, at_a_time: int, name: str) -> float:
    """Play short episodes on `at_a_time` desktops; the seconds that they took."""
    images, task, left = ImageStore(), Task(name, "", "desk"), list(range(count))

    async def work() -> None:
        environment = OneApplication(images)
        try:
            while left:
                await environment.reset(task, left.pop())
                await environment.step(Action("type", text="x"))
                await environment.step(Action("done"))
                await environment.evaluate()
        finally:
            await environment.close()

    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(at_a_time)))
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--applications", nargs="+", default=["mousepad", "calc"], choices=sorted(APPLICATIONS))
    parser.add_argument("--resets", type=int, default=15, help="clean resets of each application")
    parser.add_argument(
        "--desktops", type=int, nargs="+", default=[1, 2, 4, 8, 16], help="desktops at once, with the first application"
    )
    parser.add_argument("--steps", type=int, default=20, help="steps on each desktop")
    parser.add_argument("--episodes", type=int, default=500, help="episodes on the most desktops at once")
    arguments = parser.parse_args()
    console, first = Console(width=120), arguments.applications[0]
    table = Table("application", "clean reset until ready, ms: median (middle half)", "resets", title="one desktop at a time")
    for name in arguments.applications:
        found = asyncio.run(resets(name, arguments.resets))
        table.add_row(name, milliseconds(found), str(len(found)))
    console.print(table)
    table = Table(
        "desktops", "reset, ms", "step, ms", "screenshot, ms", "memory each, MiB", "steps/s, all", title=f"{first}, 1280 x 720"
    )
    for count in arguments.desktops:
        reset, step, shot, size, rate = asyncio.run(at_once(count, first, arguments.steps))
        screenshot = f"{statistics.median(shot) * 1e3:.2f}"
        table.add_row(str(count), milliseconds(reset), milliseconds(step), screenshot, f"{size:.0f}", f"{rate:.1f}")
    console.print(table)
    if arguments.episodes:
        before = counted()
        seconds = asyncio.run(episodes(arguments.episodes, max(arguments.desktops), first))
        after = counted()
        table = Table("", *before, title=f"{arguments.episodes} episodes on {max(arguments.desktops)} desktops, {seconds:.0f} s")
        table.add_row("before", *map(str, before.values()))
        table.add_row("after", *map(str, after.values()))
        console.print(table)
        if any(after[name] > before[name] for name in before):
            raise SystemExit("something was left behind")


if __name__ == "__main__":
    main()
