"""Random actions (any kind, place, text, keys) in all MiniWoB++ tasks: what leaves the environment, how episodes end, what is left.

    python bench/fuzz.py [--actions 10000] [--browsers 2] [--seed 0] [--json FILE] [task ...]

Every second environment also gives the accessibility tree. An exception other than EnvironmentFailure is a bug of ours and is
printed; so is a browser context, a process or a folder that stays behind, of browsers that were killed and replaced too. Then the
exit code is 1.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

from rich.console import Console
from rich.table import Table

from stepladder.envs.browser import catalogue
from stepladder.envs.browser.host import BrowserHost
from stepladder.envs.browser.miniwob import MiniWobEnvironment
from stepladder.images import ImageStore
from stepladder.interfaces import EnvironmentFailure, EnvironmentTimeout
from stepladder.types import ACTION_KINDS, Action, Task

TEXTS = ("a", "hello world", "ß中文😀", "\n\t\r\b\x00\x1b", "<b onclick=alert(1)>", "x" * 3000, "\ud800", "e\u0301\u202e", "")
KEYS = (
    "ctrl",
    "alt",
    "shift",
    "super",
    "enter",
    "tab",
    "escape",
    "f5",
    "w",
    "t",
    "r",
    "left",
    "v",
    "c",
    "space",
    "é",
    "no such key",
    "",
)
NUMBERS = (0.0, -1.0, 1e9, float("nan"), float("inf"), 159.999, 209.999, 210.0)


def random_action(random: Random, width: int, height: int) -> Action:
    """Most places are on the screen, so that the pages are really used."""

    def place(size: int) -> float | None:
        roll = random.random()
        return None if roll < 0.05 else random.choice(NUMBERS) if roll < 0.1 else random.uniform(0, size)

    kind = random.choice([kind for kind in ACTION_KINDS if kind != "wait" or random.random() < 0.1])
    return Action(
        kind,  # type: ignore[arg-type]
        x=place(width),
        y=place(height),
        x2=place(width),
        y2=place(height),
        text=random.choice(TEXTS),
        keys=tuple(random.choice(KEYS) for _ in range(random.randrange(4))),
        amount=random.choice((*NUMBERS, -3.0, 3.0)),
        seconds=random.choice((0.01, -1.0, float("nan"), 0.05)),
        name=random.choice(("", "horizontal", "nonsense")),
        args={"x": 1},
    )


class Tally:
    """What came of it."""

    def __init__(self) -> None:
        self.statuses: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.escaped: list[str] = []
        self.groups: set[int] = set()  # process groups of all browsers, of those that were replaced too
        self.actions = 0


async def episode(environment: MiniWobEnvironment, task: Task, seed: int, random: Random, steps: int, tally: Tally) -> None:
    status = "max_steps"
    action: Action | None = None
    try:
        observation = await environment.reset(task, seed)
        if environment._host.pid is not None:
            tally.groups.add(environment._host.pid)
        for _ in range(steps):
            action = random_action(random, environment.width, environment.height)
            tally.actions += 1
            tally.kinds[action.kind] += 1
            observation = await environment.step(action)
            if observation.screenshot is None or (observation.tree is None) is environment.tree:
                tally.escaped.append(f"{task.id}: no screenshot, or not the tree that was asked for, after {action}")
            if observation.done:
                status = "done"
                break
        reward = await environment.evaluate()
        if not 0 <= reward <= 1:
            tally.escaped.append(f"{task.id}: reward {reward}")
    except EnvironmentTimeout as error:
        status = "timeout"
        tally.failures[f"{task.id}: {error} (last: {action.kind if action else 'reset'})"] += 1
    except EnvironmentFailure as error:
        status = "env_error"
        tally.failures[f"{task.id}: {error} (last: {action.kind if action else 'reset'})"] += 1
    except Exception:
        status = "ESCAPED"
        tally.escaped.append(f"{task.id} seed {seed}, {action}: {traceback.format_exc()}")
    tally.statuses[status] += 1


async def run(
    actions: int = 10_000, browsers: int = 2, seed: int = 0, names: list[str] | None = None, steps: int = 20
) -> dict[str, Any]:
    """`actions` random actions spread over the tasks; returns the figures that are printed."""
    tasks = catalogue.tasks(names or None)
    tally, images, started = Tally(), ImageStore(), time.perf_counter()
    jobs = iter(range(10**9))
    environments = await MiniWobEnvironment.create_many(images, browsers, deadline=10.0)
    for environment in environments[1::2]:
        environment.tree = True

    async def work(environment: MiniWobEnvironment) -> None:
        while tally.actions < actions:
            number = next(jobs)
            task = tasks[number % len(tasks)]
            images._memory.clear()  # ten thousand pictures are not needed again
            await episode(environment, task, number, Random(f"{seed}-{number}"), steps, tally)

    await asyncio.gather(*(work(environment) for environment in environments))
    seconds = time.perf_counter() - started
    hosts = {environment._host for environment in environments}
    contexts = [await open_contexts(host) for host in hosts]
    launches = sum(host.launches for host in hosts)
    for environment in environments:
        await environment.close()
    deadline = time.monotonic() + 5.0  # processes that were killed need a moment
    while processes(tally.groups) and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    return {
        "actions": tally.actions,
        "episodes": sum(tally.statuses.values()),
        "tasks": len(tasks),
        "seconds": round(seconds, 1),
        "escaped": tally.escaped,
        "statuses": dict(tally.statuses),
        "failures": dict(tally.failures),
        "kinds": dict(tally.kinds),
        "launches": launches,
        "leaked_contexts": sum(max(0, open - allowed) for open, allowed in contexts),
        "leaked_processes": len(processes(tally.groups)),
        "leaked_folders": len(list(Path(tempfile.gettempdir()).glob(f"{prefix()}*"))),
    }


async def open_contexts(host: BrowserHost) -> tuple[int, int]:
    """Contexts that the browser itself counts, and those that it may have: one for each environment, one for the clipboard."""
    if not host.alive:
        return 0, 0
    connection = await host.start()
    found = (await connection.call("Target.getBrowserContexts", timeout=10.0))["browserContextIds"]
    return len(found), len(host.users) + 1


def prefix() -> str:
    """How the names of the folders begin that browsers of this process have their files in."""
    return f"stepladder-chromium-{os.getpid()}-"


def processes(groups: set[int]) -> list[int]:
    """Processes of the browsers that this process has started and that have not ended: those whose command line names a folder of
    ours, and (most children do not name it) those of these process groups."""
    own = prefix().encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
                state, _, group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
            except OSError:
                continue  # it ended meanwhile
            if state not in "ZX" and (own in command or int(group) in groups):
                found.append(int(entry.name))
    return found


LEAKS = ("leaked_contexts", "leaked_processes", "leaked_folders")


def show(figures: dict[str, Any], console: Console) -> None:
    table = Table("figure", "value")
    for key in ("actions", "episodes", "tasks", "seconds", "launches", *LEAKS):
        table.add_row(key, str(figures[key]))
    table.add_row("exceptions that left the environment", str(len(figures["escaped"])))
    for status, count in sorted(figures["statuses"].items()):
        table.add_row(f"status {status}", str(count))
    console.print(table)
    for line in figures["escaped"][:20]:
        console.print(line, markup=False)
    for line, count in figures["failures"].items():
        console.print(f"{count} x {line}", markup=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", help="task names; all by default")
    parser.add_argument("--actions", type=int, default=10_000)
    parser.add_argument("--browsers", type=int, default=2, help="episodes at the same time, each in its own Chromium")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    figures = asyncio.run(run(arguments.actions, arguments.browsers, arguments.seed, arguments.tasks))
    show(figures, Console())
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    sys.exit(1 if figures["escaped"] or any(figures[key] for key in LEAKS) else 0)


if __name__ == "__main__":
    main()
