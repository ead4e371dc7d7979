"""Task sets by name, and their hash: a score without the hash of its task set is no score (law 8).

miniwob                        all MiniWoB++ tasks
miniwob:click-test,click-tab   some of them
miniwob@demo                   a named set (also a category or a tag: miniwob@reading)
forms, forms:login,wizard      the in-process forms
page:FILE.jsonl                your own pages, one task a line
env:package.module:Class       the tasks of your own environment, as its class method `tasks` lists them
"""

from __future__ import annotations

import difflib
import hashlib
import json
from dataclasses import replace
from pathlib import Path

from stepladder.codec import to_json
from stepladder.envs import environment_class
from stepladder.envs.browser import catalogue
from stepladder.envs.browser.pages import load_page_tasks
from stepladder.types import Task

SOURCES = ("miniwob", "forms", "page", "env")


def load_tasks(spec: str, split: str = "all") -> list[Task]:
    """The tasks of `spec` with their `split` set. Raises ValueError that names the nearest valid name, FileNotFoundError."""
    source, _, names = spec.partition(":")
    source, at, named = source.partition("@")
    chosen = [name.strip() for name in names.split(",") if name.strip()]
    if source not in SOURCES:
        near = difflib.get_close_matches(source, SOURCES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(SOURCES)}"
        raise ValueError(f"unknown task set {spec!r}: no source {source!r}; {hint}")
    if at and source != "miniwob":
        raise ValueError(f"{spec!r}: only miniwob has named sets; write {source} or {source}:name,name")
    if source == "page":
        if not names:
            raise ValueError("write page:FILE.jsonl with the file that lists your tasks")
        found = [task for task in load_page_tasks(Path(names)) if split == "all" or task.split in ("all", split)]
        if not found:
            raise ValueError(f"{names} holds no task for {split!r}")
    elif source == "env":
        kind = environment_class(names)
        if not hasattr(kind, "tasks"):
            raise ValueError(f"{names} has no class method tasks(), which lists its tasks")
        found = list(kind.tasks())
    elif source == "forms":
        found = environment_class("forms").tasks(chosen or None)
    else:
        found = catalogue.tasks(chosen or (catalogue.named_set(named) if at else None))
    return [replace(task, split=split) for task in found]


def task_set_hash(tasks: list[Task]) -> str:
    """Twelve hex digits over everything that makes the tasks what they are; order and split do not count, and of a file its
    contents count and not its place."""
    lines = []
    for task in tasks:
        setup = {key: value for key, value in task.setup.items() if key != "file" or "sha256" not in task.setup}
        lines.append(json.dumps(to_json(replace(task, split="all", setup=setup)), sort_keys=True))
    lines.sort()
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]
