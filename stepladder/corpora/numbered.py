"""Documents by number, each item of them for good either for training or held out."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TypeVar

from stepladder.seeds import HELDOUT
from stepladder.words import share_of

T = TypeVar("T")
#: One item in this many is held out: a problem, a program, a text. Which one is decided by what it says, not by its number.
HELD_OUT_SHARE = 8
_TRIES = 1000


def random_of(corpus: str, seed: int, number: int) -> Random:
    """The source of chance of one document."""
    return Random(f"{corpus}-{seed}-{number}")


def is_held_out(key: str) -> bool:
    """Whether the item that says `key` is for evaluation alone."""
    return share_of(f"corpus:{key}", HELD_OUT_SHARE)


def item(make: Callable[[], T], number: int, key: Callable[[T], str] = str) -> T:
    """The first item that `make` gives and that belongs to the part of document `number`, so that no held-out document has a
    problem that training has seen. Raises RuntimeError where `make` gives none."""
    for _ in range(_TRIES):
        made = make()
        if is_held_out(key(made)) == (number >= HELDOUT):
            return made
    raise RuntimeError(f"{_TRIES} tries gave no item for document {number}")


def article(noun: str) -> str:
    """The noun after "a" or "an"."""
    return f"{'an' if noun[0].lower() in 'aeiou' else 'a'} {noun}"
