"""How often do members of a group pass through the same state? GiGPO compares steps from equal states; where none are, it is GRPO.

    python bench/anchors.py --tasks miniwob@multi_step --groups 20
    python bench/anchors.py --tasks desk --groups 30 --members 4 --options '{"tree": true, "state_key": "looks"}'
    python bench/anchors.py --runs runs/demo/rl

`--runs` reads the groups that RL runs have kept. Otherwise groups are played by the environment's own solution, disturbed: before
each of its actions comes, with probability `--noise`, a click anywhere. A step is anchored when another member of its group was in
the same state, by the environment's state key and, beside it, by the screenshot to the pixel. The first step of a group is always
anchored and is left out in "later".
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from stepladder.algos.gigpo import ANCHORS, anchor_shares
from stepladder.envs import environment_class
from stepladder.images import ImageStore
from stepladder.interfaces import EnvironmentFailure
from stepladder.seeds import train_seeds
from stepladder.store import TrajectoryStore
from stepladder.tasks import load_tasks
from stepladder.types import Action, Group, Observation, Step, Task, Trajectory


def later(group: Group) -> Group:
    """The group without everybody's first step."""
    return [replace(one, steps=one.steps[1:]) for one in group]


def of_runs(runs: Sequence[Path]) -> list[Group]:
    groups: dict[str, Group] = {}
    for run in runs:
        for path in sorted(run.glob("rollouts-*.jsonl")):
            with TrajectoryStore(path) as store:
                for one in store:
                    groups.setdefault(f"{run}/{one.group}", []).append(one)
    return list(groups.values())


async def played(
    tasks: Sequence[Task], groups: int, members: int, noise: float, options: Mapping[str, Any]
) -> tuple[list[Group], int]:
    """(groups, episodes in which the environment failed)."""
    found: list[Group] = []
    failed = 0
    with tempfile.TemporaryDirectory() as directory:
        images = ImageStore(Path(directory))
        drawn = [Random(number).choice(tasks) if number >= len(tasks) else tasks[number] for number in range(groups)]
        for number, task in enumerate(track(drawn, "groups")):
            environment = environment_class(task.env)(images, **options)
            seed = train_seeds(groups)[number]
            found.append([])
            try:
                for index in range(members):
                    try:
                        found[-1].append(await episode(environment, task, seed, index, noise))
                    except EnvironmentFailure:
                        failed += 1
            finally:
                await environment.close()
    return found, failed


async def episode(environment: object, task: Task, seed: int, index: int, noise: float) -> Trajectory:
    random = Random(f"{task.id} {seed} {index}")
    observation: Observation = await environment.reset(task, seed)  # type: ignore[attr-defined]
    steps: list[Step] = []
    solution = environment.solve()  # type: ignore[attr-defined]
    while not observation.done and len(steps) < task.max_steps:
        screen = observation.screenshot
        if screen is not None and random.random() < noise:
            action = Action("click", random.uniform(0, screen.width - 1), random.uniform(0, screen.height - 1))
        else:
            action = (await anext(solution, ("", Action("done"))))[1]
        steps.append(Step(observation, action))
        if action.kind in ("done", "fail"):
            break
        observation = await environment.step(action)  # type: ignore[attr-defined]
    await solution.aclose()
    return Trajectory(f"{task.id}-{seed}-{index}", task, tuple(steps), observation, "done", 0.0, group=str(seed), index=index)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default="miniwob@multi_step")
    parser.add_argument("--runs", type=Path, nargs="*", default=[], help="RL runs whose groups are read; nothing is played")
    parser.add_argument("--options", type=json.loads, default={}, help='of the environment, such as {"tree": true}')
    parser.add_argument("--groups", type=int, default=20)
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--noise", type=float, default=0.3, help="probability of a click anywhere before an action")
    arguments = parser.parse_args()
    if arguments.runs:
        groups, failed = of_runs(arguments.runs), 0
    else:
        tasks = [task for task in load_tasks(arguments.tasks) if hasattr(environment_class(task.env), "solve")]
        groups, failed = asyncio.run(played(tasks, arguments.groups, arguments.members, arguments.noise, arguments.options))
    table = Table("state", "groups", "steps", "anchored", "of them in a group of", "later steps", "anchored")
    for anchor in ANCHORS:
        shares, rest = anchor_shares(groups, anchor), anchor_shares([later(group) for group in groups], anchor)
        steps = sum(len(one.steps) for group in groups for one in group)
        left = sum(len(one.steps[1:]) for group in groups for one in group)
        found = [f"{shares.get('anchored', 0):.3f}", f"{shares.get('anchor_size', 0):.1f}"]
        table.add_row(anchor, str(len(groups)), str(steps), *found, str(left), f"{rest.get('anchored', 0):.3f}")
    Console(width=120).print(table)
    if failed:
        print(f"{failed} episodes are left out: their environment failed")


if __name__ == "__main__":
    main()
