"""What getters look at, and the files they give."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from stepladder.envs.osworld.cache import FileCache
from stepladder.envs.osworld.machine import Machine


@dataclass(frozen=True)
class Got:
    """A file of the machine or of the cache: metrics that compare files read its content. `name` is what the task calls it, and
    `beside` holds the files that the same getter fetched with it, by their names (a spreadsheet comes with its sheets as CSV)."""

    name: str
    content: bytes
    beside: Mapping[str, bytes] = field(default_factory=dict)

    def text(self) -> str:
        """With plain ends of lines, whatever system wrote them."""
        return self.content.decode(errors="replace").replace("\r\n", "\n")


@dataclass(frozen=True)
class State:
    """What getters look at."""

    machine: Machine
    cache: FileCache


Getter = Callable[[State, Mapping[str, Any]], Awaitable[Any]]


async def file(state: State, path: str, name: str) -> Got | None:
    """A file of the machine under the name that the task gives it; None where there is none."""
    content = await state.machine.read(path)
    return None if content is None else Got(name, content)
