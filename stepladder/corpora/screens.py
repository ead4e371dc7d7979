"""Synthetic screens with text about them: captions that say what is where, and questions with their answers.

Places are centres in thousandths of the screen, [x, y], rounded as in `stepladder.data.perception`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from random import Random

from stepladder.config import ConfigError
from stepladder.corpora.document import Document
from stepladder.corpora.numbered import random_of
from stepladder.data.perception import items
from stepladder.data.screen_pool import Screen, ScreenPool
from stepladder.images import ImageStore
from stepladder.seeds import HELDOUT
from stepladder.types import ImageRef, Region, Trajectory

#: How the kinds of regions are called.
KIND_NAMES = {
    "word": "text",
    "textbox": "text field",
    "password": "password field",
    "textarea": "text area",
    "checkbox": "checkbox",
    "radio": "radio button",
    "select": "menu",
    "close": "close button",
}
#: Drawn screens that stay in memory.
_KEPT = 1024


def captioned_screen(
    seed: int, number: int, *, images: ImageStore, screens: int = 2000, width: int = 160, height: int = 210, grid: int = 10
) -> Document:
    """Document `number`: a screen and what stands on it, from top to bottom, one element a line.

    Training shows `screens` different screens of so many pixels, whose pictures are kept in the memory of `images`. A screen has
    several captions: everything, the elements of one kind, or how many of which kind there are. Raises ConfigError for sizes that
    cannot be.
    """
    random = random_of("captions", seed, number)
    shown = _screen(images, _screen_number(random, number, screens), width, height)
    elements = _elements(shown)
    text = random.choices((_everything, _one_kind, _counts), (0.6, 0.25, 0.15))[0](shown.image, elements, grid, random)
    return Document(text, (shown.image,), "captions")


def questioned_screen(
    seed: int,
    number: int,
    *,
    images: ImageStore,
    screens: int = 2000,
    questions: int = 4,
    width: int = 160,
    height: int = 210,
    grid: int = 10,
) -> Document:
    """Document `number`: a screen and up to `questions` questions about it with their answers (`stepladder.data.perception`); where
    to click is answered with the place. `screens` and sizes as in `captioned_screen`. Raises ConfigError for sizes that cannot
    be."""
    random = random_of("screen-questions", seed, number)
    shown = _screen(images, _screen_number(random, number, screens), width, height)
    asked = items(shown.image, shown.regions, random, questions, grid=grid)
    lines = [f"{one.task.instruction}\n{answer_text(one, grid)}\n" for one in asked]
    return Document("\n".join(lines) or "An empty screen.\n", (shown.image,), "screen_questions")


def answer_text(asked: Trajectory, grid: int = 10) -> str:
    """The answer of a perception item in words: what is to be said, or the place to be clicked as [x, y]."""
    step = asked.steps[0]
    action, image = step.action, step.observation.screenshot
    assert action is not None
    assert image is not None
    if action.x is None or action.y is None:
        return action.text
    return place_text(image, action.x, action.y, grid)


def place_text(image: ImageRef, x: float, y: float, grid: int = 10) -> str:
    """A point in pixels as "[x, y]" in thousandths of the picture, rounded to `grid`."""
    return f"[{round(x * 1000 / image.width / grid) * grid}, {round(y * 1000 / image.height / grid) * grid}]"


def _screen_number(random: Random, number: int, screens: int) -> int:
    if screens < 1:
        raise ConfigError(f"screens is {screens}; it must be 1 or more")
    return number if number >= HELDOUT else random.randrange(min(screens, HELDOUT))


@functools.lru_cache(maxsize=_KEPT)
def _screen(images: ImageStore, number: int, width: int, height: int) -> Screen:
    if width < 32 or height < 32:
        raise ConfigError(f"a screen of {width} x {height} pixels; each side must be 32 or more")
    return ScreenPool(images, "train", number + 1, width, height)[number]


def _elements(shown: Screen) -> list[Region]:
    """What can be used, and the words that belong to nothing else; from top to bottom, then from left to right."""
    found = [region for region in shown.regions if region.kind != "word" or region.target is None]
    return sorted(found, key=lambda region: (region.box[1] + region.box[3] / 2, region.box[0]))


def element_text(image: ImageRef, region: Region, grid: int = 10) -> str:
    """`button "Save" at [500, 320]`, with what can be said of its state: `checkbox "News" at [120, 400], checked`."""
    box = region.target or region.box
    name = KIND_NAMES.get(region.kind, region.kind)
    label = f' "{region.text}"' if region.text and region.kind != "close" else ""
    states = [state for state in region.states if state != "password"]
    if region.kind in ("checkbox", "radio") and not {"checked", "selected"} & set(states):
        states.append("not checked" if region.kind == "checkbox" else "not selected")
    elif region.kind == "radio":
        states = ["selected" if state == "checked" else state for state in states]
    place = place_text(image, box[0] + box[2] / 2, box[1] + box[3] / 2, grid)
    return ", ".join((f"{name}{label} at {place}", *states))


def _everything(image: ImageRef, elements: Sequence[Region], grid: int, random: Random) -> str:
    lines = [element_text(image, element, grid) for element in elements]
    return "\n".join(("What is on this screen?", *lines)) + "\n"


def _one_kind(image: ImageRef, elements: Sequence[Region], grid: int, random: Random) -> str:
    kinds = sorted({element.kind for element in elements})
    if not kinds:
        return _everything(image, elements, grid, random)
    kind = random.choice(kinds)
    lines = [element_text(image, element, grid) for element in elements if element.kind == kind]
    return "\n".join((f"Where are elements of the kind {KIND_NAMES.get(kind, kind)}?", *lines)) + "\n"


def _counts(image: ImageRef, elements: Sequence[Region], grid: int, random: Random) -> str:
    kinds = sorted({element.kind for element in elements})
    lines = [f"{KIND_NAMES.get(kind, kind)}: {sum(element.kind == kind for element in elements)}" for kind in kinds]
    return "\n".join(("How many elements of each kind are there?", *lines)) + "\n"
