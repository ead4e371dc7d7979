"""What a run directory holds: stores of trajectories, measurements, pictures, in itself and in its parts below it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stepladder.viewer.lessons import NAME
from stepladder.viewer.tails import parsed

#: Files that make a directory a run or a part of one.
RUN_FILES = ("config.json", "phases.json", "metrics.jsonl")
#: Files that end like a store and are none.
_OTHER = ("metrics.jsonl", "alarms.jsonl", "regions.jsonl")
#: Directories that hold neither stores nor measurements, and may hold very many files.
_PASSED_OVER = ("images", "live", "checkpoint", "report_files", "__pycache__")
#: A run is so deep at most.
_DEEPEST = 6
#: How long a first line may be for a file to be taken for a store, in bytes; it holds a whole episode.
_LONGEST_LINE = 1 << 26
_INDEX_START = b'{"stepladder_index"'


@dataclass
class Contents:
    """Of a run: `stores` maps the name of a store (its path below the run, without ".jsonl") to its file, `parts` the path of every
    directory with a run's files to it ("" is the run itself), `images` are the directories of pictures, `lessons` maps the path of
    a directory to what self-distillation has written there."""

    stores: dict[str, Path] = field(default_factory=dict)
    parts: dict[str, Path] = field(default_factory=dict)
    images: list[Path] = field(default_factory=list)
    lessons: dict[str, list[Path]] = field(default_factory=dict)


def contents(run: Path, known: dict[Path, bool] | None = None) -> Contents:
    """Look through a run. `known` keeps, for files with lines in them, whether they are stores: that does not change.

    Links are not followed: what they lead to may lie outside the run.
    """
    found = Contents()
    known = {} if known is None else known
    for folder, directories, files in os.walk(run):
        here = Path(folder)
        name = "" if here == run else here.relative_to(run).as_posix()
        if "images" in directories and not (here / "images").is_symlink():
            found.images.append(here / "images")
        deepest = name.count("/") + 1 >= _DEEPEST
        directories[:] = (
            [] if deepest else sorted(one for one in directories if one not in _PASSED_OVER and not one.startswith("."))
        )
        for file in sorted(files):
            path = here / file
            if NAME.fullmatch(file):
                found.lessons.setdefault(name, []).append(path)
            elif file.endswith(".jsonl") and file not in _OTHER and not path.is_symlink() and _is_store(path, known):
                found.stores[f"{name}/{path.stem}".removeprefix("/")] = path
        if any(file in RUN_FILES or file == "alarms.jsonl" for file in files):
            found.parts[name] = here
    return found


def is_run(directory: Path) -> bool:
    """Whether a directory is a run itself, and not only a folder of runs."""
    try:
        files = [entry for entry in os.scandir(directory) if entry.is_file(follow_symlinks=False)]
    except OSError:
        return False
    return any(
        entry.name in RUN_FILES or (entry.name.endswith(".jsonl") and _is_store(Path(entry.path), {}))
        for entry in files
        if entry.name not in _OTHER[1:]
    )


def has_run_below(directory: Path) -> bool:
    """Whether a directory is a run, or holds something that belongs to one."""
    if is_run(directory):
        return True
    found = contents(directory)
    return bool(found.stores or found.parts)


def inside(path: Path, directories: list[Path]) -> bool:
    """Whether a file, all links followed, lies below one of these resolved directories."""
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError, ValueError):
        return False
    return any(real.is_relative_to(directory) for directory in directories)


def _is_store(path: Path, known: dict[Path, bool]) -> bool:
    """Whether the first line is a trajectory, or an index beside it says so. An empty file may become anything."""
    if path in known:
        return known[path]
    try:
        with path.open("rb") as file:
            line = file.readline(_LONGEST_LINE)
        index = path.with_name(f"{path.name}.index")
        if index.is_file() and not index.is_symlink():
            with index.open("rb") as file:
                if file.readline(64).startswith(_INDEX_START):
                    known[path] = True
                    return True
    except OSError:
        return False
    if not line.endswith(b"\n"):
        return False
    record: dict[str, Any] = parsed(line) or {}
    known[path] = isinstance(record.get("schema"), int) and isinstance(record.get("task"), dict) and "steps" in record
    return known[path]
