"""Wrong arguments: what an action of a solution becomes when one thing about it is not right, and what harms a screen."""

from __future__ import annotations

import math
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from stepladder.types import Action, Box, Element, ImageRef, Region

#: Actions at one place of the screen.
POINTED = ("click", "double_click", "triple_click", "right_click", "middle_click", "move", "mouse_down", "mouse_up")
#: Every way in which an argument is made wrong; `wrong_actions` says what each does.
WAYS = ("neighbour", "displaced", "end", "reversed", "text_changed", "text_longer", "key", "argument")
#: Regions that hold a value which a click changes.
VALUES = frozenset({"checkbox", "radio", "slider"})
#: Roles of an accessibility tree whose elements can be clicked.
ROLES = frozenset(
    {
        *("button", "push button", "toggle button", "checkbox", "check box", "radio", "radio button", "menu", "menu item", "link"),
        *("check menu item", "radio menu item", "textbox", "entry", "combobox", "combo box", "option", "list item", "listitem"),
        *("tab", "page tab", "slider", "spin button", "spinbutton", "tree item", "treeitem", "table cell", "cell"),
    }
)
#: How far a displaced click lies from the right place: this share of the screen's shorter side, at least so many pixels.
SHARE, LEAST = 0.1, 12.0
_KEYS = {
    **{"enter": "escape", "escape": "enter", "tab": "escape", "space": "escape", "delete": "end", "backspace": "end"},
    **{"up": "down", "down": "up", "left": "right", "right": "left", "home": "end", "end": "home"},
    **{"pageup": "pagedown", "pagedown": "pageup", "f2": "f3"},
}


def wrong_actions(action: Action, screen: ImageRef | None, boxes: Sequence[Box], random: Random) -> Iterator[tuple[str, Action]]:
    """(way, action) for every way in which an argument of `action` can be wrong.

    neighbour     at one of the three nearest other `boxes`, (left, top, width, height) of what can be clicked on `screen`
    displaced     a tenth of the screen away, and not in the box that was meant
    end           of a drag: displaced
    reversed      scrolled the other way
    text_changed  one letter or digit is another one
    text_longer   one word more
    key           another key
    argument      of a function: one is changed
    """
    if action.kind in POINTED and action.x is not None and action.y is not None and screen is not None:
        near = neighbour(action.x, action.y, boxes, random)
        if near is not None:
            yield "neighbour", replace(action, x=near[0], y=near[1])
        away = displaced(action.x, action.y, screen, boxes, random)
        if away is not None:
            yield "displaced", replace(action, x=away[0], y=away[1])
    elif action.kind == "drag" and action.x2 is not None and action.y2 is not None and screen is not None:
        away = displaced(action.x2, action.y2, screen, boxes, random)
        if away is not None:
            yield "end", replace(action, x2=away[0], y2=away[1])
    elif action.kind == "scroll" and action.amount:
        yield "reversed", replace(action, amount=-action.amount)
    elif action.kind in ("type", "done") and action.text:
        changed = other_text(action.text, random)
        if changed is not None:
            yield "text_changed", replace(action, text=changed)
        yield "text_longer", replace(action, text=longer_text(action.text))
    elif action.kind == "key" and action.keys:
        yield "key", replace(action, keys=(*action.keys[:-1], other_key(action.keys[-1])))
    elif action.kind == "call" and (changed_arguments := other_arguments(action.args, random)) is not None:
        yield "argument", replace(action, args=changed_arguments)


def clickable(regions: Sequence[Region], tree: Sequence[Element] | None = None) -> tuple[Box, ...]:
    """The boxes of what can be clicked, each once: of regions, and where there are none of an accessibility tree."""
    if regions or tree is None:
        return tuple(dict.fromkeys(region.target for region in regions if region.target is not None))
    found = (element for element in tree if element.role in ROLES and "disabled" not in element.states)
    return tuple(dict.fromkeys(element.box for element in found if element.box is not None and element.box[2] * element.box[3] > 0))


def neighbour(x: float, y: float, boxes: Sequence[Box], random: Random) -> tuple[float, float] | None:
    """The centre of one of the three boxes nearest to (x, y) that do not hold this point; None where there is none."""
    others = [box for box in boxes if not _holds(box, x, y)]
    centres = sorted({_centre(box) for box in others}, key=lambda centre: (math.dist(centre, (x, y)), centre))
    return random.choice(centres[:3]) if centres else None


def displaced(x: float, y: float, screen: ImageRef, boxes: Sequence[Box], random: Random) -> tuple[float, float] | None:
    """A point on the screen at some distance from (x, y), outside the smallest box that holds this; None when none is found."""
    meant = min((box for box in boxes if _holds(box, x, y)), key=lambda box: box[2] * box[3], default=None)
    distance = max(LEAST, SHARE * min(screen.width, screen.height))
    for number in range(40):
        angle, reach = random.uniform(0, 2 * math.pi), distance * (1 + number / 10)
        place = x + reach * math.cos(angle), y + reach * math.sin(angle)
        inside = 0 <= place[0] <= screen.width - 1 and 0 <= place[1] <= screen.height - 1
        if inside and (meant is None or not _holds(meant, *place)):
            return place
    return None


def other_text(text: str, random: Random) -> str | None:
    """`text` with one letter or digit replaced by another of its kind; None where it has neither."""
    places = [number for number, character in enumerate(text) if character.isalnum()]
    if not places:
        return None
    place = random.choice(places)
    old = text[place]
    alphabet = string.digits if old.isdigit() else string.ascii_uppercase if old.isupper() else string.ascii_lowercase
    return text[:place] + random.choice([one for one in alphabet if one != old]) + text[place + 1 :]


def longer_text(text: str) -> str:
    """`text` and one word more, before the ends of line at its end."""
    body = text.rstrip("\n")
    return f"{body} more{text[len(body) :]}"


def other_key(key: str) -> str:
    """A key that does something else: the opposite one, or for a letter or digit the next one."""
    if key.lower() in _KEYS:
        return _KEYS[key.lower()]
    for alphabet in (string.ascii_lowercase, string.ascii_uppercase, string.digits):
        if key in alphabet:
            return alphabet[(alphabet.index(key) + 1) % len(alphabet)]
    return "escape"


def other_arguments(arguments: Mapping[str, Any], random: Random) -> dict[str, Any] | None:
    """The arguments of a function with one of them changed; None when none of them can be."""
    for name in random.sample(list(arguments), len(arguments)):
        value = arguments[name]
        changed: Any = None
        if isinstance(value, bool):
            changed = not value
        elif isinstance(value, (int, float)):
            changed = value + 1
        elif isinstance(value, str):
            changed = other_text(value, random)
        if changed is not None:
            return {**arguments, name: changed}
    return None


def _holds(box: Box, x: float, y: float) -> bool:
    left, top, width, height = box
    return left <= x <= left + width and top <= y <= top + height


def _centre(box: Box) -> tuple[float, float]:
    return box[0] + box[2] / 2, box[1] + box[3] / 2
