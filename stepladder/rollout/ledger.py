"""The groups of an asynchronous run: which have been begun, so that a restart loses and repeats none.

`groups.jsonl` has a line for every group, written before its first episode begins. What was taken is part of the saved state of the
training run, for it belongs to the weights: what those that a kill took away had learned is learned again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from stepladder.appending import append_whole
from stepladder.errors import UserError
from stepladder.locks import ExclusiveLock
from stepladder.rollout.group import EpisodeJob, group_jobs
from stepladder.types import Task


class LedgerError(UserError, ValueError):
    """A line of groups.jsonl that cannot be read; the message names it."""


@dataclass(frozen=True)
class BegunGroup:
    """A group of episodes from one start. It is the `number`-th of the run and was begun under the weights `version`; it is whole
    when `size` of its jobs are done."""

    number: int
    jobs: tuple[EpisodeJob, ...]
    size: int
    version: int


class Ledger:
    """The file at `path`, which this process alone may write. `tasks` are those of the run. A last line that a kill has torn is cut
    off. Raises Locked, LedgerError."""

    def __init__(self, path: Path, tasks: Iterable[Task]) -> None:
        self.path = path
        self._lock = ExclusiveLock(path.with_name(f"{path.name}.lock"), f"the groups of {path.parent}")
        self._handle: int | None = None
        try:
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            self.groups = self._read({task.id: task for task in tasks})
        except BaseException:
            self.close()
            raise

    def append(self, group: BegunGroup) -> None:
        """Note a group that is about to begin. Raises OSError, and nothing is half written."""
        assert self._handle is not None
        first = group.jobs[0]
        record = {
            "number": group.number,
            "group": first.group,
            "task": first.task.id,
            "seed": first.seed,
            "jobs": len(group.jobs),
            "size": group.size,
            "max_steps": first.max_steps,
            "version": group.version,
        }
        append_whole(self._handle, json.dumps(record).encode() + b"\n")
        self.groups[group.number] = group

    def sync(self) -> None:
        """Force it onto the disk itself."""
        assert self._handle is not None
        os.fsync(self._handle)

    def close(self) -> None:
        """Let go of the file. May be called twice."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
        self._lock.release()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _read(self, tasks: Mapping[str, Task]) -> dict[int, BegunGroup]:
        assert self._handle is not None
        data = self.path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        os.ftruncate(self._handle, len(whole))
        groups = {}
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                group = _group(json.loads(line), tasks)
            except (ValueError, KeyError, TypeError) as error:
                raise LedgerError(f"{self.path}, line {number} is no group of this run: {error!r}") from error
            groups[group.number] = group
        return groups


def _group(record: Mapping[str, Any], tasks: Mapping[str, Task]) -> BegunGroup:
    jobs: Sequence[EpisodeJob] = group_jobs([(tasks[record["task"]], int(record["seed"]))], int(record["jobs"]))
    named = tuple(replace(job, group=str(record["group"]), max_steps=record["max_steps"]) for job in jobs)
    return BegunGroup(int(record["number"]), named, int(record["size"]), int(record["version"]))
