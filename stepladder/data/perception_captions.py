"""Dense captions: all elements of a part of the screen in reading order, one a line, and how good such a list is.

    button "Save" [500, 120, 620, 180]
    checkbox "News" [40, 300, 210, 350] checked
    text "Terms and \\"conditions\\"" [40, 400, 480, 440]

A line is kind, text as a JSON string, (left, top, right, bottom) in thousandths of the screen, and states, each after a space.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stepladder.data.boxes import Thousandths, common, contains, in_thousandths, of_thousandths, overlap
from stepladder.data.perception_question import Asked, Question, told
from stepladder.data.shown_elements import Shown, shown
from stepladder.types import Box, ImageRef

#: A part with more elements is not asked for.
MOST_ELEMENTS = 12
#: A listed element is one of the screen if kind and text are equal and their boxes overlap so much (intersection over union).
MATCHING_OVERLAP = 0.5
#: States that a list tells; others (a focus) come and go.
TOLD_STATES = ("checked", "selected", "disabled", "expanded")
_KIND = re.compile(r"([a-z][a-z0-9-]*) (?=\")")
_PLACE = re.compile(r" \[(\d{1,4}), (\d{1,4}), (\d{1,4}), (\d{1,4})\]((?: [a-z]+)*)")
_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Listed:
    """One line of a caption."""

    kind: str
    text: str
    box: Thousandths
    states: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Caption:
    """What could be read of an answer: its elements in order, and how many further lines are none."""

    elements: tuple[Listed, ...]
    unreadable: int = 0


def write_caption(elements: Sequence[Listed]) -> str:
    """The lines of the grammar. Raises ValueError for a kind or a state that it cannot say."""
    return "\n".join(map(_line, elements))


def _line(element: Listed) -> str:
    for word in (element.kind, *element.states):
        if not re.fullmatch("[a-z][a-z0-9-]*" if word == element.kind else "[a-z]+", word):
            raise ValueError(f"{word!r} cannot stand in a caption: kinds and states are words of small letters")
    if not all(0 <= place <= 9999 for place in element.box):
        raise ValueError(f"the box {list(element.box)} cannot stand in a caption: its places are thousandths of the screen")
    words = [element.kind, json.dumps(element.text, ensure_ascii=False), str(list(element.box)), *element.states]
    return " ".join(words)


def read_caption(text: str) -> Caption:
    """What a list says. Empty lines are nothing; a line that is no element counts as unreadable. Never raises."""
    lines = [line.strip() for line in text.split("\n")]
    read = [_read_line(line) for line in lines if line]
    return Caption(tuple(one for one in read if one is not None), sum(one is None for one in read))


def _read_line(line: str) -> Listed | None:
    kind = _KIND.match(line)
    if kind is None:
        return None
    try:
        text, end = _DECODER.raw_decode(line, kind.end())
    except ValueError:
        return None
    place = _PLACE.fullmatch(line, end)
    if place is None:
        return None
    left, top, right, bottom = (int(place[i]) for i in range(1, 5))
    if right < left or bottom < top:
        return None
    return Listed(kind[1], text, (left, top, right, bottom), tuple(place[5].split()))


def captions(asked: Asked) -> Iterator[Question]:
    """The whole screen, its halves and quarters, as far as no element lies across their edges and they hold something, and not too
    much. A part reaches into no area of which the regions are not complete."""
    elements = shown(asked.image, asked.regions)
    seen: set[tuple[Shown, ...]] = set()
    for box in _parts(asked.image, asked.ignore_above):
        within = tuple(element for element in elements if contains(box, element.box))
        cut = any(all(common(box, element.box)) and element not in within for element in elements)
        if cut or not 1 <= len(within) <= MOST_ELEMENTS or not all(element.sayable for element in within) or within in seen:
            continue
        seen.add(within)
        place = list(in_thousandths(asked.image, box, 1))
        yield told("caption", f"List all that stands in {place}.", write_caption([_listed(asked, one) for one in within]))


def _listed(asked: Asked, element: Shown) -> Listed:
    states = tuple(state for state in TOLD_STATES if state in element.states)
    return Listed(element.kind, element.text, in_thousandths(asked.image, element.box, asked.grid), states)


def _parts(image: ImageRef, top: float) -> Iterator[Box]:
    """The whole below `top` pixels, its halves, its quarters, in pixels; edges lie at whole thousandths of the screen."""
    start = -(-1000 * top // image.height)
    middle = (start + 1000) // 2
    for left, right in ((0, 1000), (0, 500), (500, 1000)):
        for upper, lower in ((start, 1000.0), (start, middle), (middle, 1000.0)):
            x, y = left * image.width / 1000, upper * image.height / 1000
            yield x, y, (right - left) * image.width / 1000, (lower - upper) * image.height / 1000


def score_caption(true: str, said: str | None) -> dict[str, float]:
    """`said` against the right list `true`: "precision", "recall" and "f1" of elements by kind, text and box, "states", the share
    of the elements whose states are right too, and "correct": all of it, in the right order. None scores 0 throughout.

    A line that cannot be read counts as an element that is not there.
    """
    wanted = read_caption(true).elements
    read = read_caption(said or "")
    pairs = _matched(wanted, read.elements)
    lines = len(read.elements) + read.unreadable
    precision, recall = len(pairs) / max(1, lines), len(pairs) / max(1, len(wanted))
    f1 = 2 * precision * recall / (precision + recall) if pairs else 0.0
    states = sum(set(wanted[i].states) == set(read.elements[j].states) for i, j in pairs) / max(1, len(wanted))
    ordered = all(first[1] < second[1] for first, second in itertools.pairwise(pairs))
    correct = float(f1 == 1.0 and states == 1.0 and ordered)
    return {"correct": correct, "precision": precision, "recall": recall, "f1": f1, "states": states}


def _matched(wanted: Sequence[Listed], found: Sequence[Listed]) -> list[tuple[int, int]]:
    """Pairs of indices, each at most once, those that overlap most first; in the order of `wanted`.

    Elements that share kind and text stand apart on a screen, so that one found overlaps at most one of them by half and the greedy
    choice is the best one.
    """
    candidates = []
    for i, want in enumerate(wanted):
        for j, one in enumerate(found):
            if (want.kind, want.text) == (one.kind, one.text):
                shared = 1.0 if want.box == one.box else overlap(of_thousandths(want.box), of_thousandths(one.box))
                candidates.append((-shared, i, j))
    pairs: dict[int, int] = {}
    for shared, i, j in sorted(candidates):
        if -shared >= MATCHING_OVERLAP and i not in pairs and j not in pairs.values():
            pairs[i] = j
    return sorted(pairs.items())
