"""What self-distillation told of steps, and how far each token was from its teacher: the `distillation-<rank>.jsonl` that a trainer
writes beside its stores, a line for each step:

    {"update": 7, "trajectory": ID, "step": 0, "told": [text or {"image": sha256}, ...], "divergence": [nats, one for each token]}

In memory is only where the lines stand: they hold a number for every token, and a run may write a million of them.
"""

from __future__ import annotations

import json
import os
import re
import stat
import threading
import time
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stepladder.viewer.tails import batches, parsed, whole_lines

#: The files, by their names.
NAME = re.compile(r"distillation-\d+\.jsonl")
#: How a line begins as a rule: then nothing else of it is parsed.
_START = re.compile(rb'\{"update": -?\d{1,18}, "trajectory": ("(?:[^"\\]|\\.)*"), "step": (\d{1,18}),')
#: Lines that are taken up between two looks at the clock.
_BATCH = 256


class Lessons:
    """The lessons of one directory, all ranks together. Safe for many threads."""

    def __init__(self) -> None:
        self._files: dict[Path, _File] = {}
        self._lock = threading.Lock()
        self.complete = True

    def refresh(self, paths: Sequence[Path], until: float) -> bool:
        """Take up what is new in these files, until that time (`time.monotonic`) or a little later; whether all of it was."""
        with self._lock:
            self._files = {path: self._files.get(path) or _File(path) for path in paths}
            behind = [path for path, file in self._files.items() if not file.take_up(until)]
            self.complete = not behind
            return self.complete

    def of(self, trajectory: str, steps: int) -> dict[int, dict[str, Any]]:
        """Number of the step -> what its line holds, for the taught ones among the first `steps` of a trajectory.

        Of several lines of a step in a file the last counts: a run that goes on repeats what came after its checkpoint. Of several
        files that of the latest update does, or else the last file."""
        found: dict[int, dict[str, Any]] = {}
        with self._lock:
            files = list(self._files.values())
            places = [file.places(trajectory, steps) for file in files]
        for file, those in zip(files, places, strict=True):
            for number, record in file.records(trajectory, those).items():
                if number not in found or update_of(found[number]) <= update_of(record):
                    found[number] = record
        return found


class _File:
    """Where the lines of one file stand, by trajectory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._inode = -1
        self._forget()

    def _forget(self) -> None:
        self._end = 0
        #: Trajectory -> the number of its last line.
        self._last: dict[str, int] = {}
        #: Of every line: its place in the file, its length, its step, the number of the line before of the same trajectory or -1.
        self._offsets, self._lengths, self._steps, self._before = array("q"), array("q"), array("q"), array("q")

    def take_up(self, until: float) -> bool:
        """Whether all whole lines are known. A file that was replaced or cut off is read anew, one that is gone is forgotten."""
        handle = _opened(self.path)
        if handle is None:
            self._forget()
            return True
        try:
            state = os.fstat(handle)
            if state.st_ino != self._inode or state.st_size < self._end:
                self._forget()
                self._inode = state.st_ino
            for lines in batches(whole_lines(handle, self._end, state.st_size), _BATCH):
                for line in lines:
                    self._add(line)
                    self._end += len(line)
                if time.monotonic() > until:
                    return self._end == state.st_size
            return True
        finally:
            os.close(handle)

    def _add(self, line: bytes) -> None:
        named = _named(line)
        if named is None:
            return
        trajectory, step = named
        self._before.append(self._last.get(trajectory, -1))
        self._last[trajectory] = len(self._offsets)
        self._offsets.append(self._end)
        self._lengths.append(len(line))
        self._steps.append(step)

    def places(self, trajectory: str, steps: int) -> dict[int, tuple[int, int]]:
        """Number of the step -> (place, length) of its last line."""
        found: dict[int, tuple[int, int]] = {}
        line = self._last.get(trajectory, -1)
        while line >= 0:
            if self._steps[line] < steps:
                found.setdefault(self._steps[line], (self._offsets[line], self._lengths[line]))
            line = self._before[line]
        return found

    def records(self, trajectory: str, places: Mapping[int, tuple[int, int]]) -> dict[int, dict[str, Any]]:
        """What stands at these places, apart from what is of something else by now."""
        handle = _opened(self.path) if places else None
        if handle is None:
            return {}
        try:
            read = {number: parsed(os.pread(handle, length, offset)) for number, (offset, length) in sorted(places.items())}
        finally:
            os.close(handle)
        return {
            number: record
            for number, record in read.items()
            if record is not None and record.get("trajectory") == trajectory and record.get("step") == number
        }


def update_of(record: Mapping[str, Any]) -> int:
    """The update that a lesson belongs to, -1 where its line does not say."""
    update = record.get("update")
    return update if type(update) is int else -1


def _named(line: bytes) -> tuple[str, int] | None:
    """(trajectory, number of the step) of a line, None for one that tells of no step."""
    start = _START.match(line)
    if start is not None:
        try:
            return json.loads(start[1]), int(start[2])
        except ValueError:
            return None
    record = parsed(line) or {}
    trajectory, step = record.get("trajectory"), record.get("step")
    return (trajectory, step) if isinstance(trajectory, str) and type(step) is int and 0 <= step < 1 << 62 else None


def _opened(path: Path) -> int | None:
    """A descriptor of a file; None where there is none, and for a link or anything that is no file."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return handle
    os.close(handle)
    return None
