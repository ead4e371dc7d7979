"""OSWorld's task files, as they are, and the tasks in them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stepladder.errors import TaskError
from stepladder.types import Task

#: Steps that OSWorld's runners allow by default.
MAX_STEPS = 15
#: Fields that every task file has.
_NEEDED = ("id", "instruction", "evaluator")


def load_tasks(path: Path) -> list[Task]:
    """The tasks of a file, or of all files below a folder (`<folder>/<domain>/<id>.json`). Raises TaskError that names the file."""
    if path.is_file():
        return [read_task(path)]
    if not path.is_dir():
        raise TaskError(f"there is no file or folder {path} with OSWorld's tasks")
    tasks = [read_task(file) for file in _task_files(path)]
    if not tasks:
        raise TaskError(f"{path} has no task file of OSWorld")
    return tasks


def read_task(path: Path) -> Task:
    """The task of one file. Raises TaskError that names the file and what is wrong with it."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise TaskError(f"{path}: {error}") from error
    if not isinstance(found, dict):
        raise TaskError(f"{path}: a task is a JSON object")
    return make_task(found, path.parent.name, str(path))


def make_task(found: Mapping[str, Any], domain: str, where: str) -> Task:
    """A task from the content of its file. Raises TaskError."""
    for name in _NEEDED:
        if name not in found:
            raise TaskError(f"{where}: the field {name!r} is missing")
    evaluator, config = found["evaluator"], found.get("config") or []
    if not isinstance(evaluator, dict) or "func" not in evaluator:
        raise TaskError(f"{where}: evaluator must be an object with the field 'func'")
    for place, step in enumerate([*config, *(evaluator.get("postconfig") or [])]):
        if not isinstance(step, dict) or not isinstance(step.get("type"), str):
            raise TaskError(f"{where}: step {place} of config or postconfig must be an object with the field 'type'")
    _check_lists(evaluator, where)
    tags = [domain, *(str(one) for one in found.get("related_apps") or [])]
    if infeasible(evaluator):
        tags.append("infeasible")
    setup = {"domain": domain, **{name: found[name] for name in found if name not in ("instruction", "evaluator")}}
    identifier = f"osworld/{domain}/{found['id']}"
    return Task(
        identifier, str(found["instruction"]), "osworld", setup, dict(evaluator), MAX_STEPS, tags=tuple(dict.fromkeys(tags))
    )


def infeasible(evaluator: Mapping[str, Any]) -> bool:
    """Whether the task cannot be done, and is solved by saying so."""
    return bool(evaluator["func"] == "infeasible")


def _check_lists(evaluator: Mapping[str, Any], where: str) -> None:
    """Where several functions grade, each has its result, and its expected value and options or none."""
    functions = evaluator["func"]
    if not isinstance(functions, list):
        return
    for name in ("result", "expected", "options"):
        values = evaluator.get(name)
        if values is not None and not (isinstance(values, list) and len(values) == len(functions)):
            raise TaskError(f"{where}: evaluator.{name} must be a list of {len(functions)}, as evaluator.func is")


def _task_files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*.json")):
        try:
            found = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise TaskError(f"{path}: {error}") from error
        if isinstance(found, dict) and "evaluator" in found:  # lists of ids stand beside the tasks
            yield path
