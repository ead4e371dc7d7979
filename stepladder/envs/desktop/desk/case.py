"""What a task of the set `desk` is made of."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from random import Random

from stepladder.envs.desktop.actions import Move
from stepladder.envs.desktop.look import Look
from stepladder.words import WordPart

Check = Callable[[Look], Awaitable[bool]]
Solve = Callable[[Look], AsyncIterator[Move]]


@dataclass(frozen=True)
class Opened:
    """An application that is open when the task starts, with files named below the home."""

    application: str
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Case:
    """A task for one seed. `files` are below the home; `check` looks at what is truly there; `solve` yields (thought, action) as a
    person would act, or is None for a task that cannot be done, which is to be given up."""

    instruction: str
    check: Check
    solve: Solve | None
    files: Mapping[str, bytes] = field(default_factory=dict)
    opened: tuple[Opened, ...] = ()


@dataclass(frozen=True)
class DeskTask:
    """A kind of task. `make` draws a case; the words it uses are those of `part` ("train" or "heldout").
    `applications` are those that may be needed, `tools` the functions that may be called."""

    name: str
    make: Callable[[Random, WordPart], Case]
    applications: tuple[str, ...]
    max_steps: int = 15
    tags: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
