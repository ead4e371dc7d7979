"""Instructions that say the same, in nearly the same words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from itertools import pairwise

_WORD = re.compile(r"\w+")


def normal(instruction: str) -> str:
    """Equal for instructions that differ in case, punctuation and spacing alone."""
    return " ".join(_WORD.findall(unicodedata.normalize("NFKC", instruction).casefold()))


def similarity(one: str, other: str) -> float:
    """The share, 0 to 1, of words and pairs of neighbouring words that two instructions have in common (Dice's coefficient)."""
    first, second = _pieces(normal(one)), _pieces(normal(other))
    return 2 * len(first & second) / (len(first) + len(second)) if first or second else 1.0


class Known:
    """Instructions that are there already. `similar` is the similarity from which on one is near to another."""

    def __init__(self, instructions: Iterable[str], similar: float) -> None:
        self._similar = similar
        self._normal: dict[str, str] = {}
        for instruction in instructions:
            self._normal.setdefault(normal(instruction), instruction)

    def near(self, instruction: str) -> str | None:
        """The nearest known one that says the same, None if none does."""
        if normal(instruction) in self._normal:
            return self._normal[normal(instruction)]
        scored = [(similarity(instruction, one), one) for one in self._normal.values()]
        best = max(scored, default=(0.0, ""))
        return best[1] if best[0] >= self._similar else None

    def add(self, instruction: str) -> None:
        """Know it from now on."""
        self._normal.setdefault(normal(instruction), instruction)


def _pieces(text: str) -> set[str]:
    words = text.split()
    return {*words, *(f"{one} {other}" for one, other in pairwise(words))}
