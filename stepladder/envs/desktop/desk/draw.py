"""What cases are drawn from: names, words, numbers. Held-out seeds use words that training seeds never do."""

from __future__ import annotations

from random import Random

from stepladder.words import PLAIN_WORDS, WordPart, vocabulary


def words(random: Random, part: WordPart, count: int) -> list[str]:
    """Different plain lower-case words."""
    return random.sample(vocabulary(part, PLAIN_WORDS), count)


def word(random: Random, part: WordPart) -> str:
    return words(random, part, 1)[0]


def sentence(random: Random, part: WordPart, count: int = 4) -> str:
    """Words with a capital at the beginning, without a full stop."""
    return " ".join(words(random, part, count)).capitalize()


def file_name(random: Random, part: WordPart, ending: str = "txt") -> str:
    return f"{'-'.join(words(random, part, 2))}.{ending}"


def lines(random: Random, part: WordPart, count: int, length: int = 3) -> list[str]:
    """Different lines."""
    drawn = words(random, part, count)
    return [f"{first} {' '.join(words(random, part, length - 1))}" for first in drawn]
