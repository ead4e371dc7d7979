"""Tasks whose check is a judge: they begin like another task, and a model says afterwards whether they were done."""

from __future__ import annotations

from dataclasses import replace

from stepladder.codec import from_json, to_json
from stepladder.types import Task

KIND = "judge"


def judged_task(identifier: str, instruction: str, start: Task, seed: int) -> Task:
    """The task that asks for `instruction` in the very state in which `start` begins with `seed`, whatever seed it is played with:
    an instruction that was made up for one screen need not make sense on another."""
    check = {"kind": KIND, "start": to_json(replace(start, split="all")), "seed": seed}
    return replace(start, id=identifier, instruction=instruction, check=check, split="all")


def is_judged(task: Task) -> bool:
    """Whether a judge grades the task."""
    return task.check.get("kind") == KIND and "start" in task.check


def start_of_judged(task: Task) -> tuple[Task, int]:
    """The task and the seed that a judged task begins like. Raises ValueError for a check that is not whole."""
    start = from_json(Task, task.check["start"], f"check.start of task {task.id!r}")
    seed = task.check.get("seed")
    if not isinstance(seed, int):
        raise ValueError(f"check.seed of task {task.id!r} is {seed!r}; it must be a whole number")
    return start, seed
