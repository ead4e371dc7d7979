"""Several items in any order, each named once: `red, blue`, `blue and red`, `{red, blue}`, one a line."""

from __future__ import annotations

import re
from collections.abc import Sequence

from stepladder.verifiers.exact import LONGEST, normalised
from stepladder.verifiers.numeric import read_number

_BRACKETS = (("{", "}"), ("\\{", "\\}"), ("[", "]"), ("(", ")"))
_SEPARATOR = re.compile(r"\s*(?:,\s*and\s|,|;|\n|\sand\s)\s*", re.I)
_BULLET = re.compile(r"\s*(?:[-*•]|[0-9]{1,2}[.)])\s+")


def read_items(text: str) -> list[str] | None:
    """The items of a list, each as it is compared; None where one is empty. One pair of brackets around all of them is no part of
    them, and neither are bullets in a list of one item a line."""
    text = text.strip()
    if len(text) > LONGEST:
        return None
    for opening, closing in _BRACKETS:
        if text.startswith(opening) and text.endswith(closing) and len(text) > len(opening) + len(closing):
            text = text[len(opening) : -len(closing)].strip()
            break
    if "\n" in text:
        text = "\n".join(
            _BULLET.sub("", line, count=1) if _BULLET.match(line) else line for line in text.splitlines() if line.strip()
        )
    items = [_compared(item) for item in _SEPARATOR.split(text)]
    return items if all(items) else None


def _compared(item: str) -> str:
    """A number by its value, anything else by its text."""
    number = read_number(item)
    return normalised(item) if number is None else f"\0{number}"


class SetCheck:
    """`answer` are the right items: texts or numbers, all different, none with a comma, semicolon or "and" in it.

    Raises ValueError for items that are none."""

    def __init__(self, answer: Sequence[str | float]) -> None:
        if isinstance(answer, str) or not answer:
            raise ValueError(f"answer is {answer!r}; it must be a list of at least one item")
        right: list[str] = []
        for item in answer:
            found = read_items(str(item))
            if found is None or len(found) != 1 or found[0] != _compared(str(item)):
                raise ValueError(f"the item {item!r} cannot be told from several, or from none")
            right += found
        if len(set(right)) < len(right):
            raise ValueError(f"answer is {list(answer)!r}; every item may be there once")
        self.right = sorted(right)

    def __call__(self, text: str) -> bool:
        """Whether `text` names the right items, each once, and no other."""
        items = read_items(text)
        return items is not None and sorted(items) == self.right
