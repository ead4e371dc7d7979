"""Set of marks: the elements on the screen get numbers, and an agent points at one by its number (`tag_3`).

The numbers depend on the accessibility tree alone, so the environment that draws them (`stepladder.rollout.marked`), the list in
the prompt and the reading of a reply agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stepladder.agents.tree_text import one_line, shown_elements, tag
from stepladder.types import Box, Element

#: More marks than this hide the screen.
MOST_MARKS = 300
HEADER = "index\ttag\tname\ttext"


@dataclass(frozen=True, slots=True)
class Mark:
    """Element `number`, counted from 1, and its box in screenshot pixels."""

    number: int
    element: Element
    box: Box

    @property
    def name(self) -> str:
        """What a reply calls its place."""
        return f"tag_{self.number}"

    @property
    def center(self) -> tuple[float, float]:
        left, top, width, height = self.box
        return left + width / 2, top + height / 2


def marks(tree: Sequence[Element] | None) -> list[Mark]:
    """The marks of a tree, at most `MOST_MARKS`; none where there is no tree."""
    elements = [element for element in shown_elements(tree or ()) if element.box is not None][:MOST_MARKS]
    return [Mark(number, element, element.box) for number, element in enumerate(elements, start=1) if element.box is not None]


def marked_places(tree: Sequence[Element] | None) -> dict[str, tuple[float, float]]:
    """The centres of the marked elements in pixels, by the names that a reply uses."""
    return {mark.name: mark.center for mark in marks(tree)}


def marks_text(tree: Sequence[Element] | None) -> str:
    """The list of the marks as a table: number, kind, name and content."""
    lines = [
        f"{mark.number}\t{tag(mark.element)}\t{one_line(mark.element.name)}\t{one_line(mark.element.value)}" for mark in marks(tree)
    ]
    return "\n".join([HEADER, *lines])
