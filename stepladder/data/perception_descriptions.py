"""Elements by description: by kind and order, by place, by neighbour, by state, by colour. Only what fits one element is said.

A description is true or false of every element of the screen, whatever it is looked for with; it is given to the one element of
which it is true, and not at all where another one comes near.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from stepladder.data.boxes import center, common, contains, reachable
from stepladder.data.colour_names import colour_name
from stepladder.data.perception_question import WIDGET_NAMES, Asked, Question
from stepladder.data.shown_elements import Shown, clearly_ordered, shown
from stepladder.images import Pixels
from stepladder.types import Action, Box

#: How an element of each kind is called; others are not described.
NOUNS = {
    **WIDGET_NAMES,
    "radio": "radio button",
    "select": "menu",
    "combobox": "menu",
    "close": "close button",
    "link": "link",
    "tab": "tab",
    "option": "option",
    "menuitem": "menu item",
    "treeitem": "tree item",
    "spinbutton": "number field",
    "switch": "switch",
    "icon": "icon",
}
ORDINALS = ("first", "second", "third", "fourth", "fifth")
#: Kinds whose face has a colour of its own.
COLOURED = ("button", "tab", "icon", "link")
#: An outermost element is named so when the next one lies so many pixels further in.
MARGIN = 6.0
#: A neighbour that is named is at most so far away, in pixels of the shorter side of the screen.
NEAR = 0.6
#: The states that are described, with the word for an element that is, and one that is not.
STATES = {"checked": ("checked", "unchecked"), "selected": ("selected", ""), "disabled": ("disabled", "")}


@dataclass(frozen=True, slots=True)
class Description:
    """`text` with its article ("the second checkbox"), and the element that it is true of."""

    text: str
    element: Shown


def described(asked: Asked) -> Iterator[Question]:
    """A click on an element that is described. Raises ValueError where colours cannot be seen."""
    for one in descriptions(asked):
        if reachable(asked.image, one.element.box, asked.regions):
            x, y = center(one.element.box)
            yield Question("description", f"Click on {one.text}.", Action("click", x, y), {"box": list(one.element.box)})


def descriptions(asked: Asked) -> list[Description]:
    """All that this file can say of the screen's elements, without repeating a text. Colours are named where there are pixels."""
    elements = shown(asked.image, asked.regions)
    by_kind: defaultdict[str, list[Shown]] = defaultdict(list)
    for element in elements:
        if element.kind in NOUNS:
            by_kind[NOUNS[element.kind]].append(element)
    pixels = asked.pixels("description") if asked.images is not None else None
    near = NEAR * min(asked.image.width, asked.image.height)
    found: list[Description] = []
    for noun, same in by_kind.items():
        found += _neighbours(noun, same, elements, near)
        if len(same) == 1:
            found.append(Description(f"the {noun}", same[0]))
        else:
            found += [*_ordinals(noun, same), *_outermost(noun, same), *_states(noun, same)]
            found += [] if pixels is None else _colours(noun, same, pixels)
    once = Counter(one.text for one in found)
    return [one for one in found if once[one.text] == 1]


def _ordinals(noun: str, same: Sequence[Shown]) -> Iterator[Description]:
    if len(same) <= len(ORDINALS) and clearly_ordered(same):
        for word, element in zip(ORDINALS, same, strict=False):
            yield Description(f"the {word} {noun}", element)


def _outermost(noun: str, same: Sequence[Shown]) -> Iterator[Description]:
    """By the centres, which must be clearly further out than all others; the boxes must not say something else."""
    sides: Mapping[str, Callable[[Box], float]] = {
        "leftmost": lambda box: box[0] + box[2] / 2,
        "rightmost": lambda box: -box[0] - box[2] / 2,
        "topmost": lambda box: box[1] + box[3] / 2,
        "lowest": lambda box: -box[1] - box[3] / 2,
    }
    edges: Mapping[str, Callable[[Box], float]] = {
        "leftmost": lambda box: box[0],
        "rightmost": lambda box: -box[0] - box[2],
        "topmost": lambda box: box[1],
        "lowest": lambda box: -box[1] - box[3],
    }
    for word, side in sides.items():
        first, second = sorted(same, key=lambda element: side(element.box))[:2]
        nearer = min(edges[word](element.box) for element in same if element is not first)
        if side(first.box) + MARGIN <= side(second.box) and edges[word](first.box) + MARGIN <= nearer:
            yield Description(f"the {word} {noun}", first)


def _states(noun: str, same: Sequence[Shown]) -> Iterator[Description]:
    for state, (is_so, is_not) in STATES.items():
        parts = ([e for e in same if state in e.states], [e for e in same if state not in e.states])
        if state == "checked" and noun not in (WIDGET_NAMES["checkbox"], NOUNS["radio"], NOUNS["switch"]):
            continue
        for word, part in zip((is_so, is_not), parts, strict=True):
            if word and len(part) == 1:
                yield Description(f"the {word} {noun}", part[0])
    empty = [element for element in same if not element.text]
    if len(empty) == 1 and empty[0].kind in ("textbox", "textarea"):
        yield Description(f"the empty {noun}", empty[0])


def _colours(noun: str, same: Sequence[Shown], pixels: Pixels) -> Iterator[Description]:
    if any(element.kind not in COLOURED for element in same):
        return
    names = [colour_name(pixels, element.box) for element in same]
    counted = Counter(names)
    if None in counted:  # one whose colour some call the same is on the screen too
        return
    for name, element in zip(names, same, strict=True):
        if counted[name] == 1:
            yield Description(f"the {name} {noun}", element)


def _neighbours(noun: str, same: Sequence[Shown], elements: Sequence[Shown], near: float) -> Iterator[Description]:
    """By an element whose text stands nowhere else, if only one of the kind lies on that side of it, however far away. That one is
    beside the text and not further away than `near` pixels."""
    texts = Counter(element.text for element in elements)
    for anchor in elements:
        if texts[anchor.text] > 1 or not anchor.text or not anchor.sayable or not any(c.isalnum() for c in anchor.text):
            continue
        others = [element for element in same if element is not anchor]
        for word in ("left of", "right of", "above", "below"):
            there = [element for element in others if _lies(word, anchor.box, element.box)]
            if len(there) == 1 and _gap(anchor.box, there[0].box) <= near and _beside(anchor.box, there[0].box, word):
                yield Description(f'the {noun} {word} "{anchor.text}"', there[0])


def _lies(word: str, anchor: Box, box: Box) -> bool:
    """Whether any of `box` lies on that side of the anchor, in the strip that the anchor's own edges bound."""
    across, down = _shared(anchor, box)
    if contains(anchor, box) or contains(box, anchor):
        return False
    if word in ("left of", "right of"):
        further = box[0] < anchor[0] if word == "left of" else box[0] + box[2] > anchor[0] + anchor[2]
        return down > 0 and further
    further = box[1] < anchor[1] if word == "above" else box[1] + box[3] > anchor[1] + anchor[3]
    return across > 0 and further


def _beside(anchor: Box, box: Box, word: str) -> bool:
    """Whether the two do not overlap and are level: they share half of the smaller one's height, or of its width."""
    across, down = _shared(anchor, box)
    if all(common(anchor, box)):
        return False
    if word in ("left of", "right of"):
        return down >= 0.5 * min(anchor[3], box[3])
    return across >= 0.5 * min(anchor[2], box[2])


def _shared(first: Box, second: Box) -> tuple[float, float]:
    """How much of the horizontal and of the vertical range two boxes share, in pixels; negative for a gap."""
    across = min(first[0] + first[2], second[0] + second[2]) - max(first[0], second[0])
    down = min(first[1] + first[3], second[1] + second[3]) - max(first[1], second[1])
    return across, down


def _gap(first: Box, second: Box) -> float:
    """Pixels between two boxes, 0 where they touch."""
    across, down = _shared(first, second)
    return max(0.0, -across, -down)
