"""Blocks between fences (```), as chat models wrap code and JSON."""

from __future__ import annotations

import re
from dataclasses import dataclass

_LANGUAGE = re.compile(r"[ \t]*(?:python|py|json|code|text|plaintext|bash|sh)(?=\s)[ \t]*\n?", re.I)
_THINK = re.compile(r"\s*<think(?:ing)?>(.*?)(?:</think(?:ing)?>|\Z)", re.DOTALL)
MARKUP = ("```", "<think", "</think")


@dataclass(frozen=True, slots=True)
class Block:
    """`text` begins at `offset` of the reply; `start` is the offset of the fence before it."""

    text: str
    offset: int
    start: int


def blocks(text: str) -> list[Block]:
    """Every block that is not empty, in order. The last one need not be closed."""
    found: list[Block] = []
    place = text.find("```")
    while place >= 0:
        begin = place + 3
        language = _LANGUAGE.match(text, begin)
        begin = language.end() if language else begin
        end = text.find("```", begin)
        inner = text[begin : len(text) if end < 0 else end]
        if inner.strip():
            found.append(Block(inner, begin, place))
        place = text.find("```", end + 3) if end >= 0 else -1
    return found


def lead(text: str, end: int) -> str:
    """The thought that stands before `end`, without the tags of a <think> block."""
    opened = _THINK.match(text[:end])
    if opened is None:
        return text[:end].replace("</think>", "").strip()
    return "\n".join(part for part in (opened[1].strip(), text[opened.end() : end].strip()) if part)


def check_lead(thought: str) -> str:
    """The thought as it is written before a block. Raises ValueError for one that would be read back as another."""
    for markup in MARKUP:
        if markup in thought:
            raise ValueError(f"a thought cannot contain {markup!r}")
    return thought.strip()
