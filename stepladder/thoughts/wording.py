"""Actions and places in words: short fixed phrases that a small model can learn, with names as they stand on the screen."""

from __future__ import annotations

import json
from collections.abc import Sequence

from stepladder.agents.tool_call import split_thought
from stepladder.data.boxes import center, inside
from stepladder.data.shown_elements import LONGEST_TEXT, Shown, shown
from stepladder.types import Action, ImageRef, Observation, Region, Step

_CLICKS = {
    "click": "click",
    "double_click": "double-click",
    "triple_click": "triple-click",
    "right_click": "right-click",
    "middle_click": "middle-click",
    "move": "point at",
    "mouse_down": "press the mouse button on",
    "mouse_up": "release the mouse button on",
}
_ROWS, _COLUMNS = ("top", "middle", "bottom"), ("left", "center", "right")


def quoted(text: str) -> str:
    """On one line, between quotation marks; what is longer than LONGEST_TEXT characters is cut."""
    plain = " ".join(text.split())
    return f'"{plain if len(plain) <= LONGEST_TEXT else plain[: LONGEST_TEXT - 3] + "..."}"'


def named(element: Shown) -> str:
    """Its kind and text: button "Send"."""
    return f"{element.kind} {quoted(element.text)}" if element.text else element.kind


def part_of_screen(image: ImageRef, x: float, y: float) -> str:
    """In which of nine equal parts of the screen a place lies: "top left", "middle center"."""
    row, column = (min(max(int(3 * at / size), 0), 2) for at, size in ((y, image.height), (x, image.width)))
    return f"{_ROWS[row]} {_COLUMNS[column]}"


def elements(observation: Observation, regions: Sequence[Region]) -> list[Shown]:
    """The elements on a screen in reading order; none where there is no screenshot."""
    return [] if observation.screenshot is None else shown(observation.screenshot, regions)


def element_at(found: Sequence[Shown], x: float, y: float) -> Shown | None:
    """The smallest element at a place; None where nothing is."""
    there = [element for element in found if inside(x, y, element.box)]
    return min(there, key=lambda element: element.box[2] * element.box[3], default=None)


def element_of(action: Action | None, found: Sequence[Shown]) -> Shown | None:
    """The element at which an action begins; None for an action without a place, or beside everything."""
    return None if action is None or action.x is None or action.y is None else element_at(found, action.x, action.y)


def distance(element: Shown, x: float, y: float) -> float:
    """Pixels from the centre of an element."""
    across, down = center(element.box)
    return float(((across - x) ** 2 + (down - y) ** 2) ** 0.5)


def phrase(step: Step, found: Sequence[Shown]) -> str:
    """What a step does, as an imperative without a full stop: the "Action:" line of its thought, where there is one."""
    line = split_thought(step.thought)[1].removeprefix("Action:").strip().rstrip(".")
    if line:
        first, rest = line[0], line[1:]
        return (first.lower() if not rest[:1].isupper() else first) + rest
    if not step.actions:
        return "give a reply that is no action"
    return " and ".join(in_words(action, found) for action in step.actions)


def in_words(action: Action, found: Sequence[Shown]) -> str:
    """One action as an imperative, what it points at called by its name where that is known."""
    target = element_of(action, found)
    if action.kind in _CLICKS:
        where = "" if action.x is None else " an empty place" if target is None else f" the {named(target)}"
        return f"{_CLICKS[action.kind]}{where}"
    if action.kind == "drag":
        end = None if action.x2 is None or action.y2 is None else element_at(found, action.x2, action.y2)
        return f"drag{f' the {named(target)}' if target else ''}{f' to the {named(end)}' if end else ''}"
    if action.kind == "scroll":
        ways = ("right", "left") if action.name == "horizontal" else ("up", "down")
        return f"scroll {ways[action.amount < 0]}"
    if action.kind == "type":
        return f"type {quoted(action.text)}"
    if action.kind in ("key", "key_down", "key_up"):
        verb = {"key": "press", "key_down": "hold", "key_up": "release"}[action.kind]
        return f"{verb} {'+'.join(action.keys)}"
    if action.kind == "call":
        return f"call {action.name} with {quoted(json.dumps(dict(action.args), ensure_ascii=False))}"
    if action.kind == "done":
        return f"answer {quoted(action.text)}" if action.text else "say that the task is done"
    return "give up" if action.kind == "fail" else "wait"


def sentence(text: str) -> str:
    """With a capital letter and a full stop."""
    text = text.strip()
    return "" if not text else text[0].upper() + text[1:] + ("" if text[-1] in ".!?" else ".")
