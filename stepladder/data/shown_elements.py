"""What a person would list on a screen: its widgets, and the text that belongs to none, each once and in reading order."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from stepladder.data.boxes import center, contains, on_screen
from stepladder.types import Box, ImageRef, Region

#: Longest text of an element that is asked for or listed.
LONGEST_TEXT = 40
#: Kinds that only hold others together when there is something in them.
HOLDERS = ("clickable", "icon", "color")
#: Kinds whose text is known to the page and stands nowhere on the screen.
UNWRITTEN = ("slider", "icon", "close", "password")
#: Words of one line stand at most so far apart, in heights of the line.
WORD_GAP = 0.6


@dataclass(frozen=True, slots=True)
class Shown:
    """`kind` as of regions, "text" for a line of words that belongs to no widget; `text` its label or content as it is written on
    the screen; `box` what a click may hit, in pixels."""

    kind: str
    text: str
    box: Box
    states: tuple[str, ...] = ()

    @property
    def sayable(self) -> bool:
        """Whether the text can be quoted in a question or an answer."""
        return len(self.text) <= LONGEST_TEXT and self.text.isprintable() and self.text == " ".join(self.text.split())


def shown(image: ImageRef, regions: Sequence[Region]) -> list[Shown]:
    """The elements of a screen in reading order. A widget that repeats the text of one around it (a link in a tab) is left out, and
    so is one that only holds others."""
    widgets = [region for region in regions if region.kind != "word" and on_screen(image, region.target or region.box)]
    boxes = [region.target or region.box for region in widgets]
    found = [
        Shown(region.kind, "" if region.kind in UNWRITTEN else " ".join(region.text.split()), box, region.states)
        for i, (region, box) in enumerate(zip(widgets, boxes, strict=True))
        if not _left_out(i, widgets, boxes)
    ]
    held = [element.box for element in found]
    words = [
        region
        for region in regions
        if region.kind == "word" and on_screen(image, region.box) and not any(contains(box, region.box, 2.0) for box in held)
    ]
    return reading_order([*found, *lines(words)])


def _left_out(index: int, widgets: Sequence[Region], boxes: Sequence[Box]) -> bool:
    region, box = widgets[index], boxes[index]
    for i, (other, around) in enumerate(zip(widgets, boxes, strict=True)):
        if i == index:
            continue
        same = contains(box, around) and contains(around, box)
        if contains(around, box) and other.text == region.text and (not same or i < index):
            return True
        if region.kind in HOLDERS and contains(box, around) and (not same or other.kind not in HOLDERS):
            return True
    return False


def lines(words: Sequence[Region]) -> Iterator[Shown]:
    """Words that stand side by side in one line, and belong to the same widget or to none, as one element of kind "text"."""
    left = sorted(words, key=lambda region: (region.box[0], region.box[1]))
    while left:
        line = [left.pop(0)]
        while (following := _next_word(line[-1], left)) is not None:
            left.remove(following)
            line.append(following)
        right = max(word.box[0] + word.box[2] for word in line)
        top = min(word.box[1] for word in line)
        bottom = max(word.box[1] + word.box[3] for word in line)
        box = (line[0].box[0], top, right - line[0].box[0], bottom - top)
        yield Shown("text", " ".join(word.text for word in line), box)


def _next_word(word: Region, words: Sequence[Region]) -> Region | None:
    left, top, width, height = word.box
    for other in words:
        gap = other.box[0] - (left + width)
        level = abs(other.box[1] - top) <= 1 and abs(other.box[3] - height) <= 1
        if level and -1 <= gap <= WORD_GAP * height and other.target == word.target:
            return other
    return None


def reading_order(elements: Iterable[Shown]) -> list[Shown]:
    """Row by row from the top, each from the left. A row begins with the highest element that is left, and takes in those whose
    middle lies above its lower edge."""
    left = sorted(elements, key=lambda element: (element.box[1], element.box[0], element.kind, element.text))
    ordered: list[Shown] = []
    while left:
        bottom = left[0].box[1] + left[0].box[3]
        row = [element for element in left if center(element.box)[1] < bottom] or left[:1]
        left = [element for element in left if not any(element is one for one in row)]
        ordered += sorted(row, key=lambda element: (element.box[0], element.box[1], element.kind, element.text))
    return ordered


def clearly_ordered(elements: Sequence[Shown]) -> bool:
    """Whether nobody could read these, which are in reading order, in another: each lies below the one before, or in its row and
    to the right of it."""
    for first, second in itertools.pairwise(elements):
        below = second.box[1] >= first.box[1] + first.box[3] - 1
        right = second.box[0] >= first.box[0] + first.box[2] - 1
        if not below and not (right and _level(first.box, second.box)):
            return False
    return True


def _level(first: Box, second: Box) -> bool:
    """Whether two boxes share at least half of the lower one's height, wherever they stand across."""
    down = min(first[1] + first[3], second[1] + second[3]) - max(first[1], second[1])
    return down >= 0.5 * min(first[3], second[3])
