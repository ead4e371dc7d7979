"""The file of proposed tasks: one JSON line each, with the task, where it came from and what was found out about it.

{"task": {...}, "origin": {"method": "evolve", "task": "...", "seed": 3, ...}, "feasible": true, "value": 0.4, "left_out": ""}
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stepladder.codec import from_json, to_json
from stepladder.errors import TaskError
from stepladder.judges.judged_task import is_judged, start_of_judged
from stepladder.types import Task


@dataclass(frozen=True)
class Proposal:
    """`origin` says which method made it, from which task and seed, who was asked and what was shown. `feasible` is None where
    nobody was asked, `value` where no critic was: what it expects before the first action. `left_out` says why the task is not to
    be played; empty where it is."""

    task: Task
    origin: Mapping[str, Any] = field(default_factory=dict)
    feasible: bool | None = None
    value: float | None = None
    left_out: str = ""


def write_proposals(path: Path, proposals: Sequence[Proposal]) -> None:
    """Replace the file in one step."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text("".join(f"{json.dumps(to_json(one), ensure_ascii=False)}\n" for one in proposals), encoding="utf-8")
    partial.replace(path)


def read_proposals(path: Path) -> list[Proposal]:
    """Raises TaskError that names the file and its line."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise TaskError(f"proposed tasks: {path} cannot be read: {error}") from error
    found: list[Proposal] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            one = from_json(Proposal, json.loads(line), "proposal")
            if not is_judged(one.task):
                raise ValueError(f"the check of task {one.task.id!r} is not that of a judge")
            start_of_judged(one.task)
        except ValueError as error:
            raise TaskError(f"{path}, line {number}: {error}") from error
        found.append(one)
    return found


def proposed_tasks(path: Path) -> list[Task]:
    """The tasks of the file that were not left out. Raises TaskError."""
    return [one.task for one in read_proposals(path) if not one.left_out]
