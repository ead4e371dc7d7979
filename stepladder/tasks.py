"""Task sets by name, and their hash: a score without the hash of its task set is no score (law 8).

miniwob                        all MiniWoB++ tasks
miniwob:click-test,click-tab   some of them
miniwob@demo                   a named set (also a category or a tag: miniwob@reading)
forms, forms:login,wizard      the in-process forms
reasoning@arithmetic           questions with answers that a program checks; reasoning:divide,expression for some of them
desk, desk:editor-write        everyday work on pocket desktops
bridge, bridge:ID,ID           what the servers at OSWORLD_SERVER_URL have
osworld:FOLDER                 OSWorld's task files, in a folder or one by one
page:FILE.jsonl                your own pages, one task a line
proposed:FILE.jsonl            what `stepladder propose` came up with; a judge grades it
env:package.module:Class       the tasks of your own environment, as its class method `tasks` lists them
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from stepladder.codec import to_json
from stepladder.envs import environment_class
from stepladder.envs.browser import catalogue
from stepladder.envs.browser.pages import load_page_tasks
from stepladder.envs.reasoning import tasks as reasoning
from stepladder.errors import TaskError, UserError
from stepladder.judges.judged_task import is_judged
from stepladder.judges.proposals import proposed_tasks
from stepladder.types import Task

SOURCES = ("miniwob", "forms", "reasoning", "desk", "osworld", "bridge", "page", "proposed", "env")
#: Those whose tasks have sets with names of their own.
NAMED_SETS = ("miniwob", "reasoning")


def load_tasks(spec: str, split: str = "all", judged: bool = False) -> list[Task]:
    """The tasks of `spec` that are for `split` ("train", "heldout" or, for everything, "all"), marked so. A task that its author
    marked for one split is never given for the other. `judged` says that tasks without a check, which a judge grades, are welcome.

    Raises TaskError that names the nearest valid name, PluginError for an environment that is not there.
    """
    try:
        found = _find(spec)
    except UserError:
        raise
    except ValueError as error:  # the environments' own word for a task that they do not have
        raise TaskError(f"{spec!r}: {error}") from error
    usable = [task for task in found if split == "all" or task.split in ("all", split)]
    if not usable:
        raise TaskError(f"{spec!r} holds no task for {split!r}")
    if not judged and any(map(is_judged, usable)):
        raise TaskError(
            f"{spec!r} holds tasks that a judge grades; `stepladder rl`, `flywheel` and `eval` play them with judge.policy"
        )
    twice = [identifier for identifier, count in Counter(task.id for task in usable).items() if count > 1]
    if twice:
        raise TaskError(f"{spec!r} holds the task {twice[0]!r} twice; ids must differ")
    return [replace(task, split=task.split if split == "all" else split) for task in usable]


def check_demonstrators(tasks: Sequence[Task]) -> None:
    """Raises TaskError that names the environment when one cannot demonstrate its tasks."""
    for name in dict.fromkeys(task.env for task in tasks):
        if not hasattr(environment_class(name), "solve"):
            raise TaskError(f"environment {name!r} cannot demonstrate its tasks: it has no method solve()")


def _find(spec: str) -> list[Task]:
    source, _, names = spec.partition(":")
    source, at, named = source.partition("@")
    if at and names:
        raise TaskError(f"{spec!r} asks for a named set and for single tasks; write {source}@{named} or {source}:{names}")
    chosen = [name.strip() for name in names.split(",") if name.strip()]
    if source not in SOURCES:
        near = difflib.get_close_matches(source, SOURCES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(SOURCES)}"
        raise TaskError(f"unknown task set {spec!r}: no source {source!r}; {hint}")
    if at and source not in NAMED_SETS:
        raise TaskError(f"{spec!r}: only {' and '.join(NAMED_SETS)} have named sets; write {source} or {source}:name,name")
    if source == "page":
        if not names:
            raise TaskError("write page:FILE.jsonl with the file that lists your tasks")
        return load_page_tasks(Path(names))
    if source == "proposed":
        if not names:
            raise TaskError("write proposed:FILE.jsonl with the file that `stepladder propose` wrote")
        return proposed_tasks(Path(names))
    if source == "env":
        kind = environment_class(names)
        if not hasattr(kind, "tasks"):
            raise TaskError(f"{names} has no class method tasks(), which lists its tasks")
        return list(kind.tasks())
    if source == "osworld" and not chosen:
        raise TaskError("write osworld:FOLDER with the folder that holds OSWorld's task files")
    if source in ("forms", "desk", "osworld", "bridge"):
        return list(environment_class(source).tasks(chosen or None))
    if source == "reasoning":
        return reasoning.tasks(chosen or (reasoning.named_set(named) if at else None))
    return catalogue.tasks(chosen or (catalogue.named_set(named) if at else None))


def task_set_hash(tasks: list[Task]) -> str:
    """Twelve hex digits over everything that makes the tasks what they are; order and split do not count, and of a file its
    contents count and not its place."""
    lines = []
    for task in tasks:
        setup = {key: value for key, value in task.setup.items() if key != "file" or "sha256" not in task.setup}
        lines.append(json.dumps(to_json(replace(task, split="all", setup=setup)), sort_keys=True))
    lines.sort()
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]
