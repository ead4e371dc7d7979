"""JSON Lines files that grow: what has been read once is not read again."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

#: Bytes that are read at a time.
_CHUNK = 1 << 22
#: Lines that are parsed at a time.
_TOGETHER = 1000


class Tail:
    """The lines of a file from where the last look ended. A file that was replaced or cut off is read anew from its beginning."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._inode = 0
        self._end = 0
        self._looked_at = (0, -1)

    def changed(self) -> bool:
        """Whether there may be lines that have not been read."""
        state = _stat(self.path)
        return state is not None and (state.st_ino, state.st_size) != self._looked_at

    def read(self) -> tuple[bool, list[dict[str, Any]]]:
        """(whether this begins anew, the objects of all whole lines since the last look). Other lines are passed over."""
        state = _stat(self.path)
        if state is None:
            return False, []
        self._looked_at = (state.st_ino, state.st_size)
        anew = state.st_ino != self._inode or state.st_size < self._end
        if anew:
            self._inode, self._end = state.st_ino, 0
        found: list[dict[str, Any]] = []
        if state.st_size > self._end:
            handle = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                for lines in batches(whole_lines(handle, self._end, state.st_size), _TOGETHER):
                    self._end += sum(map(len, lines))
                    found += [record for record in parsed_together(lines) if record is not None]
            finally:
                os.close(handle)
        return anew, found


def whole_lines(handle: int, start: int, end: int) -> Iterator[bytes]:
    """Lines with their newline, from byte `start` on; what stands between the last newline and byte `end` is left out."""
    rest = bytearray()
    while start < end:
        chunk = os.pread(handle, min(_CHUNK, end - start), start)
        if not chunk:
            return
        start += len(chunk)
        if b"\n" not in chunk:
            rest += chunk  # a line longer than a chunk; it is searched for its end once
            continue
        lines = (bytes(rest) + chunk).split(b"\n")
        rest = bytearray(lines.pop())
        for line in lines:
            yield line + b"\n"


def batches(lines: Iterator[bytes], most: int) -> Iterator[list[bytes]]:
    """The lines, so many at a time."""
    batch: list[bytes] = []
    for line in lines:
        batch.append(line)
        if len(batch) == most:
            yield batch
            batch = []
    if batch:
        yield batch


def parsed(line: bytes) -> dict[str, Any] | None:
    """The JSON object of a line, None where it is none."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def parsed_together(lines: Sequence[bytes]) -> list[dict[str, Any] | None]:
    """The objects of many short lines, as `parsed` has them; in one go, which is quicker."""
    try:
        found = json.loads(b"[" + b",".join(lines) + b"]")
    except (ValueError, RecursionError):
        found = []
    if len(found) != len(lines) or not all(type(one) is dict for one in found):
        return [parsed(line) for line in lines]
    return found


def read_object(path: Path, largest: int = 1 << 24) -> dict[str, Any]:
    """The JSON object in a file; empty where there is none, or one that cannot be read. Files are of other programs and may just be
    changing."""
    try:
        with path.open("rb") as file:
            return parsed(file.read(largest)) or {}
    except OSError:
        return {}


def _stat(path: Path) -> os.stat_result | None:
    """Of a file; a link counts as none, for it may lead anywhere."""
    try:
        state = path.lstat()
    except OSError:
        return None
    return state if stat.S_ISREG(state.st_mode) else None
