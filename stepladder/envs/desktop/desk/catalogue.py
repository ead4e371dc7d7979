"""All tasks of the set `desk`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from stepladder.envs.desktop.desk import across, calculator, documents, editor, files, sheets, slides, terminal, web
from stepladder.envs.desktop.desk.case import DeskTask
from stepladder.envs.desktop.desk.functions import FUNCTIONS
from stepladder.types import Task

PREFIX = "desk/"
TASKS: dict[str, DeskTask] = {
    task.name: task
    for task in (
        *editor.TASKS,
        *files.TASKS,
        *calculator.TASKS,
        *terminal.TASKS,
        *sheets.TASKS,
        *documents.TASKS,
        *slides.TASKS,
        *web.TASKS,
        *across.TASKS,
    )
}


def tasks(names: Iterable[str] | None = None) -> list[Task]:
    """These tasks, or all; their instructions are filled in by a reset. Raises ValueError that names the nearest one there is."""
    return [_task(desk_task(name)) for name in (TASKS if names is None else names)]


def desk_task(name: str) -> DeskTask:
    """By name, with "desk/" or without it. Raises ValueError that names the nearest one there is."""
    name = name.removeprefix(PREFIX)
    if name not in TASKS:
        near = difflib.get_close_matches(name, TASKS, n=1)
        known = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(TASKS)}"
        raise ValueError(f"desk has no task {name!r}; {known}")
    return TASKS[name]


def _task(task: DeskTask) -> Task:
    tags = tuple(dict.fromkeys((*task.tags, *task.applications, *(("tools",) if task.tools else ()))))
    setup = {"applications": list(task.applications), "functions": [FUNCTIONS[name].schema() for name in task.tools]}
    return Task(PREFIX + task.name, "", "desk", setup, max_steps=task.max_steps, tags=tags)
