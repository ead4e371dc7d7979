"""Text that comes from elsewhere, as Markdown that shows just that text: task ids, instructions, thoughts, errors."""

from __future__ import annotations

import re

_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
#: What would begin emphasis, code, a link, a picture or struck text. An underscore within a word begins nothing.
_MARKS = re.compile(r"[\\`*\[\]~]|(?<!\w)_|_(?!\w)")
#: What would make a heading, a list or a rule of a line that begins with it.
_AT_THE_START = re.compile(r"^(\d*)([#+=.)-])")


def inline(text: str) -> str:
    """On one line, within a line or in a cell of a table, which must still escape `|`."""
    folded = "".join(_ENTITIES.get(character, character) for character in " ".join(text.split()))
    return _MARKS.sub(r"\\\g<0>", folded)


def plain(text: str) -> str:
    """On one line, of which it is the beginning."""
    return _AT_THE_START.sub(r"\1\\\2", inline(text))


def code(text: str) -> str:
    """On one line, as code; of backticks become apostrophes."""
    return f"`{' '.join(text.replace('`', chr(39)).split())}`"
