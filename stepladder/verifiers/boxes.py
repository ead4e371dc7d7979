r"""Final answers in a box, as reasoning models give them.

    <|begin_of_box|>42<|end_of_box|>     GLM-4.1V-Thinking (arXiv 2507.01006, section 4)
    \boxed{42}                           mathematics in LaTeX, braces nested

A reply has one final answer. Two boxes, even with the same in them, a box that is not closed, or words behind the box are no final
answer: what cannot be told from a hedge is one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

BEGIN, END = "<|begin_of_box|>", "<|end_of_box|>"
_OPENING = re.compile(r"<\|begin_of_box\|>|\\boxed\s*\{")
_MARKUP = re.compile(r"<\|(?:begin|end)_of_box\|>|\\boxed(?![a-zA-Z])")
#: What may follow the box of a final answer: the end of a sentence, of a formula, of a block.
_REST = re.compile(r"(?:[\s.$*]|\\[)\]]|</answer>)*")
#: A box within a box within a box is no answer any more.
_DEEPEST = 4


@dataclass(frozen=True, slots=True)
class Box:
    """`content` without the spaces around it; the box goes from `start` to `end` in the text."""

    content: str
    start: int
    end: int


def has_box(text: str) -> bool:
    """Whether there is any mark of a box, be it whole or not."""
    return _MARKUP.search(text) is not None


def boxes(text: str) -> list[Box] | None:
    """Every outermost box in order; None where one is not closed, or closed and never opened."""
    found: list[Box] = []
    place = 0
    while (opening := _OPENING.search(text, place)) is not None:
        if END in text[place : opening.start()]:
            return None
        end = text.find(END, opening.end()) if opening[0] == BEGIN else _closing_brace(text, opening.end())
        if end < 0:
            return None
        place = end + (len(END) if opening[0] == BEGIN else 1)
        found.append(Box(text[opening.end() : end].strip(), opening.start(), place))
    left = text[place:]
    return None if has_box(left) else found


def final_box(text: str) -> Box | None:
    """The one box of a text, with the answer in it and nothing but punctuation behind it; None where there is no such box."""
    found = boxes(text)
    if found is None or len(found) != 1 or _REST.fullmatch(text, found[0].end) is None:
        return None
    content = found[0].content
    for _ in range(_DEEPEST):
        if not has_box(content):
            return Box(content, found[0].start, found[0].end) if content else None
        inner = boxes(content)
        if inner is None or len(inner) != 1 or (inner[0].start, inner[0].end) != (0, len(content)):
            return None  # one box that fills another is the same answer written twice; anything else is two answers
        content = inner[0].content
    return None


def final_answer(text: str) -> str | None:
    """The content of the final box; a text without any mark of a box is the answer itself. None where there is no final answer."""
    if not has_box(text):
        return text.strip() or None
    box = final_box(text)
    return None if box is None else box.content


def balanced(text: str) -> bool:
    r"""Whether every brace of `text` is closed within it, so that it can stand in \boxed{...}."""
    return _closing_brace(text + "}", 0) == len(text)


def _closing_brace(text: str, begin: int) -> int:
    r"""The place of the brace that closes what was opened before `begin`, -1 for none. "\{" and "\}" are signs and no braces."""
    depth, place = 1, begin
    while place < len(text):
        letter = text[place]
        if letter == "\\":
            place += 2
            continue
        depth += (letter == "{") - (letter == "}")
        if depth == 0:
            return place
        place += 1
    return -1
