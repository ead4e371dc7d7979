"""One writer at a time: an advisory lock on a file that names the process which holds it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from stepladder.errors import UserError


class Locked(UserError, ValueError):
    """Another process holds the lock; the message names what is locked and that process."""


class ExclusiveLock:
    """Held from construction until `release`, or until the process ends in whatever way: the kernel lets go of it.

    Raises Locked at once when another process, or another lock of this process, holds it. The file at `path` stays on disk and
    holds the process id of its last holder; it means nothing while no process holds the lock.
    """

    def __init__(self, path: Path, what: str) -> None:
        self.path = path
        self._handle: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._handle, 32, 0).decode("ascii", "replace").strip()
            os.close(self._handle)
            self._handle = None
            raise Locked(
                f"{what} is in use by {f'process {holder}' if holder else 'another process'}; wait for it or end it first"
            ) from None
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, f"{os.getpid()}\n".encode("ascii"), 0)

    def release(self) -> None:
        """Let go. May be called twice."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
