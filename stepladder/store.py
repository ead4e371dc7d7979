"""Trajectories on disk: one JSON line each, append-only, safe against a process that is killed at any moment.

    demonstrations.jsonl         one trajectory a line, `"schema"` in each; the only file that matters
    demonstrations.jsonl.index   one summary a line with byte offset and length; a cache, rebuilt from the data when stale
    demonstrations.jsonl.lock    the process that may append

A line is handed to the operating system in one piece before `append` returns. A kill can therefore cost only the line that was
being written: its torn remains have no newline, are cut off when the store is next opened for appending, and are skipped by
readers; both say so. Pictures are no part of a store (`stepladder.images`).
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from stepladder.appending import append_whole
from stepladder.codec import from_json, to_json
from stepladder.errors import UserError
from stepladder.locks import ExclusiveLock
from stepladder.types import TRAJECTORY_SCHEMA, Trajectory

INDEX_VERSION = 1
_INDEX_HEADER = {"stepladder_index": INDEX_VERSION}


class StoreError(UserError, ValueError):
    """A store that cannot be read or written as asked; the message names the file and, where there is one, the line."""


class NoStore(StoreError, FileNotFoundError):
    """There is no store where one was to be read."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What listing needs to know about a trajectory without reading it; `offset` and `length` are bytes, newline included."""

    id: str
    task: str
    status: str
    reward: float | None
    seed: int
    group: str
    index: int
    policy: str
    steps: int
    offset: int
    length: int

    @property
    def success(self) -> bool:
        return self.reward is not None and self.reward >= 0.5


class TrajectoryStore:
    """`mode` "a" opens for appending and reading (the file and its folder are made), "r" for reading what is there.

    `sync` says when written lines are forced onto the disk itself, which only a power failure can tell: at "close", or after
    each "append". `repaired` tells, after opening with "a", what was cut off; `skipped` tells a reader what it leaves out.
    Raises StoreError (NoStore where there is nothing to read), Locked when another process appends.
    """

    def __init__(self, path: Path | str, mode: Literal["r", "a"] = "r", sync: Literal["close", "append"] = "close") -> None:
        if mode not in ("r", "a"):
            raise ValueError(f"mode is {mode!r}; it must be 'r' to read or 'a' to append")
        self.path = Path(path)
        self.mode = mode
        self.repaired: str | None = None
        self.skipped: str | None = None
        self._sync = sync
        self._lock: ExclusiveLock | None = None
        self._index_handle: int | None = None
        if mode == "a":
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = ExclusiveLock(_beside(self.path, "lock"), f"the trajectory store {self.path}")
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
        elif self.path.is_file():
            flags = os.O_RDONLY
        else:
            raise NoStore(f"there is no trajectory store {self.path}")
        self._handle: int | None = None
        try:
            self._handle = os.open(self.path, flags | os.O_CLOEXEC, 0o644)
            self._open()
        except BaseException:
            self.close()
            raise

    def append(self, trajectory: Trajectory) -> None:
        """Add one. Raises StoreError for an id that is already here, and for a store opened to read."""
        handle = self._open_handle()
        if self.mode != "a":
            raise StoreError(f"{self.path} was opened to read; open it with mode 'a' to append")
        if trajectory.id in self._summaries:
            raise StoreError(f"{self.path} already holds a trajectory {trajectory.id!r}; ids must differ")
        line = json.dumps(to_json(trajectory), ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        try:
            append_whole(handle, line)
            if self._sync == "append":
                os.fsync(handle)
        except OSError:
            os.ftruncate(handle, self._end)  # a full disk must not leave half a line behind
            raise
        summary = Summary(
            id=trajectory.id,
            task=trajectory.task.id,
            status=trajectory.status,
            reward=trajectory.reward,
            seed=trajectory.seed,
            group=trajectory.group,
            index=trajectory.index,
            policy=trajectory.policy,
            steps=len(trajectory.steps),
            offset=self._end,
            length=len(line),
        )
        self._end += len(line)
        self._summaries[summary.id] = summary
        assert self._index_handle is not None
        append_whole(self._index_handle, _index_line(summary))

    def get(self, identifier: str) -> Trajectory:
        """Raises KeyError that names the id and the file when it is not here."""
        if identifier not in self._summaries:
            raise KeyError(f"{self.path} holds no trajectory {identifier!r}")
        return self._read(self._summaries[identifier])

    def __iter__(self) -> Iterator[Trajectory]:
        """Every trajectory in the order of writing, read one at a time."""
        for summary in tuple(self._summaries.values()):
            yield self._read(summary)

    def __len__(self) -> int:
        return len(self._summaries)

    def __contains__(self, identifier: str) -> bool:
        return identifier in self._summaries

    def ids(self) -> tuple[str, ...]:
        return tuple(self._summaries)

    def summaries(self) -> tuple[Summary, ...]:
        """In the order of writing; no trajectory is read for it."""
        return tuple(self._summaries.values())

    def sync(self) -> None:
        """Force everything that was appended onto the disk itself."""
        os.fsync(self._open_handle())

    def close(self) -> None:
        """Force everything onto the disk and let go of the lock. May be called twice."""
        if self._handle is not None:
            if self.mode == "a":
                os.fsync(self._handle)
            os.close(self._handle)
            self._handle = None
        if self._index_handle is not None:
            os.close(self._index_handle)
            self._index_handle = None
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> TrajectoryStore:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _open_handle(self) -> int:
        if self._handle is None:
            raise StoreError(f"{self.path} is closed")
        return self._handle

    def _open(self) -> None:
        handle = self._open_handle()
        size = os.fstat(handle).st_size
        indexed = _read_index(_beside(self.path, "index"), size)
        if indexed and not self._index_fits(indexed[-1]):
            indexed = []
        self._summaries = {summary.id: summary for summary in indexed}
        self._end = indexed[-1].offset + indexed[-1].length if indexed else 0
        complete = self._end == size
        self._scan(size)
        torn = size - self._end
        if torn:
            ending = f"{self.path} ends in the middle of a line, as after a kill: its last {torn} bytes"
            if self.mode == "a":
                os.ftruncate(handle, self._end)
                self.repaired = f"{ending} were cut off, {len(self)} trajectories are whole"
            else:
                self.skipped = f"{ending} are left out, {len(self)} trajectories are whole"
            warnings.warn(self.repaired or self.skipped or "", stacklevel=3)
        if self.mode == "a":
            path = _beside(self.path, "index")
            if not complete or not path.exists() or not indexed:
                _write_index(path, self._summaries.values())
            self._index_handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)

    def _index_fits(self, last: Summary) -> bool:
        """Whether the index belongs to this very file: its last entry must be a whole line with that id."""
        line = os.pread(self._open_handle(), last.length, last.offset)
        try:
            return line.endswith(b"\n") and json.loads(line)["id"] == last.id
        except (ValueError, KeyError, TypeError):
            return False

    def _scan(self, size: int) -> None:
        """Read every whole line from `_end` on into the summaries."""
        with self.path.open("rb") as file:
            file.seek(self._end)
            for line in file:
                if not line.endswith(b"\n") or self._end + len(line) > size:
                    return
                where = f"{self.path}, line {len(self._summaries) + 1} (byte {self._end})"
                summary = _summarise(_parse(line, where), where, self._end, len(line))
                if summary.id in self._summaries:
                    raise StoreError(f"{where} repeats the id {summary.id!r}")
                self._summaries[summary.id] = summary
                self._end += len(line)

    def _read(self, summary: Summary) -> Trajectory:
        line = os.pread(self._open_handle(), summary.length, summary.offset)
        where = f"{self.path}, trajectory {summary.id!r} (byte {summary.offset})"
        record = _parse(line, where)
        try:
            return from_json(Trajectory, record)
        except ValueError as error:
            raise StoreError(f"{where}: {error}") from error


def _parse(line: bytes, where: str) -> dict[str, Any]:
    """The record of one line, its schema checked."""
    try:
        record = json.loads(line)
    except ValueError as error:
        raise StoreError(f"{where} is no JSON: {error}") from error
    if not isinstance(record, dict):
        raise StoreError(f"{where} must be an object, not {type(record).__name__}")
    schema = record.get("schema")
    if not isinstance(schema, int):
        raise StoreError(f"{where} has no schema number; it is no trajectory")
    if schema > TRAJECTORY_SCHEMA:
        raise StoreError(
            f"{where} has trajectory schema {schema} and this Stepladder reads up to {TRAJECTORY_SCHEMA}; a newer one is needed"
        )
    return record


def _summarise(record: dict[str, Any], where: str, offset: int, length: int) -> Summary:
    try:
        return Summary(
            id=record["id"],
            task=record["task"]["id"],
            status=record["status"],
            reward=record["reward"],
            seed=record.get("seed", 0),
            group=record.get("group", ""),
            index=record.get("index", 0),
            policy=record.get("policy", ""),
            steps=len(record["steps"]),
            offset=offset,
            length=length,
        )
    except (KeyError, TypeError) as error:
        raise StoreError(f"{where} is no trajectory: {error!r}") from error


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(f"{path.name}.{suffix}")


def _index_line(summary: Summary) -> bytes:
    return json.dumps(to_json(summary), ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _write_index(path: Path, summaries: Any) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        file.write(json.dumps(_INDEX_HEADER).encode() + b"\n")
        file.writelines(map(_index_line, summaries))
    temporary.replace(path)


def _read_index(path: Path, size: int) -> list[Summary]:
    """The leading entries that are whole, without a gap and inside a data file of `size` bytes; none where it is no index."""
    if not path.is_file():
        return []
    lines = path.read_bytes().split(b"\n")[:-1]
    entries: list[Summary] = []
    try:
        if not lines or json.loads(lines[0]) != _INDEX_HEADER:
            return []
        end = 0
        for line in lines[1:]:
            entry = from_json(Summary, json.loads(line))
            if entry.offset != end or end + entry.length > size:
                break
            end += entry.length
            entries.append(entry)
    except ValueError:
        return entries
    return entries
