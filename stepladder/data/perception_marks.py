"""Questions about what is drawn on a screenshot: numbers on its elements (set of marks), a frame around a text to be read.

Marks are those that agents are shown with `--observe som`: a red frame and a number. Source of the method: "Set-of-Mark Prompting
Unleashes Extraordinary Visual Grounding in GPT-4V", arXiv 2310.11441.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator

from stepladder.data.boxes import center, inside, on_screen, reachable
from stepladder.data.perception_descriptions import NOUNS, descriptions
from stepladder.data.perception_question import Asked, Question, told
from stepladder.data.shown_elements import Shown, lines, shown
from stepladder.data.text_distance import edit_distance
from stepladder.drawing import DEFAULT_FONT, frame_box, number_boxes
from stepladder.types import Box, ImageRef

#: More marks than this hide the screen; fewer than two need not be told apart.
MOST_MARKS, FEWEST_MARKS = 40, 2
#: On a screen that is not higher than this, in pixels, numbers are written small.
SMALL_SCREEN, SMALL_FONT = 400, 9.0


def marks(asked: Asked) -> Iterator[Question]:
    """Which number stands on an element that is named by its label or described. All questions about a screen share one picture, on
    which everything that can be clicked has a number, in reading order. Raises ValueError without a store of pictures."""
    elements = [
        element
        for element in shown(asked.image, asked.regions)
        if element.kind in NOUNS and reachable(asked.image, element.box, asked.regions)
    ]
    if not FEWEST_MARKS <= len(elements) <= MOST_MARKS:
        return
    size = SMALL_FONT if asked.image.height <= SMALL_SCREEN else DEFAULT_FONT.size
    numbered = [(number, element.box) for number, element in enumerate(elements, start=1)]

    @functools.cache
    def draw() -> ImageRef:
        return asked.draw("marks", number_boxes(asked.pixels("marks"), numbered, size))

    asked.store("marks")
    for text, element in _named(asked, elements):
        number = next(n for n, one in enumerate(elements, start=1) if one is element or one == element)
        question = told("marks", f"Which number marks {text}?", str(number), marks=len(elements))
        question.draw = draw
        yield question


def _named(asked: Asked, elements: list[Shown]) -> Iterator[tuple[str, Shown]]:
    """Labels that stand on one element only, whatever its kind, and descriptions."""
    texts = Counter(element.text.casefold() for element in elements)
    for element in elements:
        if element.text and element.sayable and texts[element.text.casefold()] == 1:
            yield f'the {NOUNS[element.kind]} "{element.text}"', element
    for one in descriptions(asked):
        if one.element in elements:
            yield one.text, one.element


def recognition(asked: Asked) -> Iterator[Question]:
    """What a framed line of text says; every question has a picture of its own. Raises ValueError without a store of pictures."""
    words = [region for region in asked.regions if region.kind == "word" and on_screen(asked.image, region.box)]
    found = list(lines(words))
    asked.store("recognition")
    for line in found:
        x, y = center(line.box)
        covered = any(other is not line and inside(x, y, other.box) for other in found)
        if not covered and line.sayable and any(letter.isalnum() for letter in line.text):
            question = told("recognition", "What does the text in the red frame say?", line.text, box=list(line.box))
            question.draw = functools.partial(_framed, asked, line.box)
            yield question


def _framed(asked: Asked, box: Box) -> ImageRef:
    return asked.draw("recognition", frame_box(asked.pixels("recognition"), box))


def score_recognition(true: str, said: str | None) -> dict[str, float]:
    """Of what was read, "correct" and "exact": every character is right; "character_error_rate": edit distance over the length of
    the right text, which is above 1 for an answer much too long, and 1 for None. Spaces between words count as one each, those
    around the text not."""
    read = " ".join((said or "").split())
    exact = float(said is not None and read == true)
    return {"correct": exact, "exact": exact, "character_error_rate": edit_distance(read, true) / len(true)}
