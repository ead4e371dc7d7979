"""The directory of a desktop without a sandbox. What a program that was killed has left, the next one that starts removes.

A directory holds a file that is locked for as long as the program that made it runs; the kernel lets go of it however that ends.
The X server's socket lies elsewhere and is written down beside it.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from stepladder.locks import ExclusiveLock, Locked

#: How the directories are called; one that is not locked yet has a dot before it.
PREFIX = "stepladder-desktop-"
_OWNER, _SOCKETS = "owner", "sockets.json"
_logger = logging.getLogger(__name__)


class BareRoot:
    """A new directory at `path`, this program's until `remove`. Directories that nobody owns any more are removed first."""

    def __init__(self) -> None:
        sweep(Path(tempfile.gettempdir()))
        made = Path(tempfile.mkdtemp(prefix=f".{PREFIX}"))
        self._lock = ExclusiveLock(made / _OWNER, "this desktop")
        self.path = made.rename(made.with_name(made.name.removeprefix(".")))

    def remember(self, socket: Path) -> None:
        """Write down a socket elsewhere that belongs to this desktop."""
        (self.path / _SOCKETS).write_text(json.dumps({str(socket): socket.stat().st_ino}))

    def remove(self) -> None:
        """Remove the directory and the socket. May be called twice."""
        _remove(self.path)
        self._lock.release()


def sweep(folder: Path) -> list[Path]:
    """Remove what is left in `folder` of desktops of this user whose program has ended; the directories that were removed."""
    removed = []
    for path in sorted(folder.glob(f"{PREFIX}*")):
        with suppress(OSError, Locked):
            about = path.lstat()
            if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.geteuid() or not (path / _OWNER).exists():
                continue
            lock = ExclusiveLock(path / _OWNER, "this desktop")
            try:
                _remove(path)
            finally:
                lock.release()
            _logger.info("removed %s, whose program has ended", path)
            removed.append(path)
    return removed


def _remove(path: Path) -> None:
    """The sockets first: where removing is cut short, the directory still tells of them."""
    with suppress(OSError, ValueError, AttributeError):
        for name, inode in json.loads((path / _SOCKETS).read_text()).items():
            with suppress(OSError):  # another server may have taken the name since
                if Path(name).stat().st_ino == inode:
                    Path(name).unlink()
    shutil.rmtree(path, ignore_errors=True)
