"""Whether this machine has memory and processor time left for one more environment."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_MEMORY = Path("/proc/meminfo")
_GROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Room:
    """What a machine has left: bytes of memory that can be had without swapping, and how many processes wanted to run during the
    last minute for each core. None where the system does not tell."""

    memory: int | None
    load: float | None


@dataclass(frozen=True)
class Pressure:
    """When a machine counts as full: less than `memory` GiB are free, or more than `load` processes a core want to run (the mean
    of a minute). 0 leaves a limit out."""

    memory: float = 0.5
    load: float = 32.0

    def __post_init__(self) -> None:
        if self.memory < 0 or self.load < 0:
            raise ValueError(f"memory is {self.memory} and load {self.load}; neither can be below 0")

    def short(self, look: Callable[[], Room] | None = None) -> str:
        """What is short, "memory" or "load"; empty when there is room, or where the system does not tell."""
        room = (look or room_left)()
        if self.memory and room.memory is not None and room.memory < self.memory * 2**30:
            return "memory"
        if self.load and room.load is not None and room.load > self.load:
            return "load"
        return ""


def room_left() -> Room:
    """The room on this machine, or in the container that this process is in."""
    try:
        load = os.getloadavg()[0] / (os.cpu_count() or 1)
    except OSError:
        load = None
    found = [size for size in (_free(_MEMORY), _free_in_group(_GROUP)) if size is not None]
    return Room(min(found, default=None), load)


def _free(path: Path) -> int | None:
    """Linux's own estimate."""
    try:
        for line in path.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def _free_in_group(directory: Path) -> int | None:
    """What is left of a container's limit (control groups, version 2); files that are only cached count as free."""
    try:
        limit = (directory / "memory.max").read_text().strip()
        if limit == "max":
            return None
        used = int((directory / "memory.current").read_text())
        counted = dict(line.split() for line in (directory / "memory.stat").read_text().splitlines())
        return int(limit) - used + int(counted.get("inactive_file", 0))
    except (OSError, ValueError):
        return None
