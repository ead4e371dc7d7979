"""What episodes that are being played show at this moment, from the files that `stepladder.rollout.live` writes."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stepladder.viewer.run_view import RunView, joined
from stepladder.viewer.tails import read_object

#: Files of one directory that are shown, and the largest that is read, in bytes.
_MOST, _LARGEST = 256, 1 << 20
#: A file that has not changed for so many seconds is of an episode that was killed.
_OLDEST = 1800.0
#: The locks that are held on this machine, and by whom.
_LOCKS = Path("/proc/locks")


def live_screens(run: RunView, address: Callable[[str], str]) -> list[dict[str, Any]]:
    """The episodes that are being played, by slot."""
    found = []
    parts = {run.directory, *run.contents.parts.values(), *(path.parent for path in run.contents.stores.values())}
    for parent in sorted(parts):
        directory, part = parent / "live", parent.relative_to(run.directory).as_posix()
        if directory.is_symlink():
            continue
        try:
            files = sorted(path for path in directory.iterdir() if path.suffix == ".json" and not path.is_symlink())
        except OSError:
            continue
        for path in files[:_MOST]:
            record = read_object(path, _LARGEST)
            if record and _is_played(record):
                found.append(_screen(record, "" if part == "." else part, path.stem, address))
    return found


def is_running(run: RunView) -> bool:
    """Whether a process of this machine has the run open, as far as its lock tells."""
    return any(_holds(part / "run.lock") for part in run.contents.parts.values())


def _holds(lock: Path) -> bool:
    """Whether the process that a lock file names lives and holds its lock. The lock itself is left alone: to try it would stop a
    run that begins just now."""
    try:
        process, inode = int(lock.read_text()[:32]), lock.stat().st_ino
    except (OSError, ValueError):
        return False
    if not _lives(process):
        return False
    try:
        held = _LOCKS.read_text().splitlines()
    except OSError:
        return True  # no Linux
    wanted = (str(process), str(inode))  # the device is left out: some file systems show another one there
    return any(
        fields[1] == "FLOCK" and (fields[4], fields[5].rpartition(":")[2]) == wanted
        for fields in map(str.split, held)
        if len(fields) > 5 and fields[1] != "->"
    )


def _lives(process: int) -> bool:
    if process <= 0:
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


def _is_played(record: dict[str, Any]) -> bool:
    updated = record.get("updated")
    if not isinstance(updated, (int, float)) or time.time() - updated > _OLDEST:
        return False
    process = record.get("process")
    if record.get("machine") != platform.node() or not isinstance(process, int):
        return True  # of another machine: nothing tells whether it still runs
    return _lives(process)


def _screen(record: dict[str, Any], part: str, slot: str, address: Callable[[str], str]) -> dict[str, Any]:
    shown = record.get("screenshot")
    picture = None
    if isinstance(shown, dict) and isinstance(shown.get("sha256"), str):
        picture = {"url": address(shown["sha256"]), "width": shown.get("width"), "height": shown.get("height")}
    action = record.get("action")
    return {
        "slot": joined(part, slot),
        "store": joined(part, str(record.get("store", ""))),
        **{name: record.get(name) for name in ("id", "task", "seed", "instruction", "policy", "step", "status", "updated")},
        "screenshot": picture,
        "action": action if isinstance(action, dict) else None,
        "thought": str(record.get("thought", "")),
    }
