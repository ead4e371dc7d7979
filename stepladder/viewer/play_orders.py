"""What a page sends during a play, read with suspicion: actions, and the events of mouse and keyboard."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from stepladder.codec import from_json
from stepladder.envs.acting import MAX_WAIT
from stepladder.keys import canonical_key
from stepladder.recorder.merge import EventKind, InputEvent
from stepladder.types import Action, ImageRef
from stepladder.viewer.play_actor import Deed

LONGEST_TEXT, LONGEST_INSTRUCTION = 20_000, 4_000
MOST_ACTIONS, MOST_EVENTS, MOST_KEYS = 16, 512, 8
#: The farthest that one action scrolls, in notches.
FARTHEST = 100.0
_EVENT_KINDS = ("key_down", "key_up", "button_down", "button_up")
_BUTTONS = range(1, 8)


class BadOrder(ValueError):
    """What was sent is no order; the message names the field."""


def text_of(order: Mapping[str, Any], name: str, longest: int = LONGEST_TEXT) -> str:
    """The text of a field, empty where it is left out. Raises BadOrder."""
    value = order.get(name, "")
    if not isinstance(value, str):
        raise BadOrder(f"{name}: must be a text")
    if len(value) > longest:
        raise BadOrder(f"{name}: has {len(value)} characters; at most {longest} are taken")
    return value


def whole_number(order: Mapping[str, Any], name: str, most: int = 2**31) -> int:
    """A field that is 0 to `most`. Raises BadOrder."""
    value = order.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise BadOrder(f"{name}: must be a whole number of 0 to {most}")
    return value


def yes_or_no(order: Mapping[str, Any], name: str) -> bool:
    """Raises BadOrder."""
    value = order.get(name)
    if not isinstance(value, bool):
        raise BadOrder(f"{name}: must be true or false")
    return value


def read_deed(order: Mapping[str, Any], screen: ImageRef | None) -> Deed:
    """`thought` and `actions` of an order; places must be on `screen`. Raises BadOrder."""
    given = order.get("actions")
    if not isinstance(given, list) or not 1 <= len(given) <= MOST_ACTIONS:
        raise BadOrder(f"actions: must be a list of 1 to {MOST_ACTIONS} actions")
    actions = tuple(_action(one, screen, f"actions[{number}]") for number, one in enumerate(given))
    return Deed(text_of(order, "thought"), actions)


def read_events(order: Mapping[str, Any], screen: ImageRef | None) -> list[InputEvent]:
    """`events` of an order, in the order of their time. Keys that have no name here (dead keys, media keys) are left out. Raises
    BadOrder."""
    given = order.get("events")
    if not isinstance(given, list) or len(given) > MOST_EVENTS:
        raise BadOrder(f"events: must be a list of at most {MOST_EVENTS} events")
    found = [_event(one, screen, f"events[{number}]") for number, one in enumerate(given)]
    return sorted((event for event in found if event is not None), key=lambda event: event.time)


def _action(record: Any, screen: ImageRef | None, where: str) -> Action:
    try:
        action = from_json(Action, record, where)
    except ValueError as error:
        raise BadOrder(str(error)) from error
    for name, longest in (("text", LONGEST_TEXT), ("name", 200)):
        if len(getattr(action, name)) > longest:
            raise BadOrder(f"{where}.{name}: at most {longest} characters are taken")
    for name, most in (("amount", FARTHEST), ("seconds", MAX_WAIT)):
        value = getattr(action, name)
        if not math.isfinite(value) or abs(value) > most or (name == "seconds" and value < 0):
            raise BadOrder(f"{where}.{name} is {value:g}; it must be a number up to {most:g}")
    for x, y in ((action.x, action.y), (action.x2, action.y2)):
        _check_place(x, y, screen, where)
    if action.kind == "drag" and (action.x2 is None or action.y2 is None):
        raise BadOrder(f"{where}: a drag needs an end, x2 and y2")
    return replace(action, keys=_keys(action, where))


def _keys(action: Action, where: str) -> tuple[str, ...]:
    if len(action.keys) > MOST_KEYS:
        raise BadOrder(f"{where}.keys: at most {MOST_KEYS} keys are taken")
    if not action.keys and action.kind in ("key", "key_down", "key_up"):
        raise BadOrder(f"{where}.keys: there is no key")
    try:
        return tuple(canonical_key(key) for key in action.keys)
    except ValueError as error:
        raise BadOrder(f"{where}.keys: {error}") from error


def _check_place(x: float | None, y: float | None, screen: ImageRef | None, where: str) -> None:
    if (x is None) != (y is None):
        raise BadOrder(f"{where}: a place has both numbers or none")
    if x is None or y is None:
        return
    if screen is None:
        raise BadOrder(f"{where}: there is no screen yet on which a place could be")
    if not (0 <= x < screen.width and 0 <= y < screen.height):  # also refuses what is no number
        raise BadOrder(f"{where}: ({x:g}, {y:g}) is not on the screen of {screen.width} x {screen.height} pixels")


def _event(record: Any, screen: ImageRef | None, where: str) -> InputEvent | None:
    if not isinstance(record, dict) or record.get("kind") not in _EVENT_KINDS:
        raise BadOrder(f"{where}.kind: must be one of {', '.join(_EVENT_KINDS)}")
    kind, time = cast(EventKind, record["kind"]), _number(record, "time", where)
    if kind in ("key_down", "key_up"):
        name, text = text_of(record, "key", 40), text_of(record, "text", 8)
        try:
            return InputEvent(kind, time, key=canonical_key(name), text=text)
        except ValueError:
            return InputEvent(kind, time, key="", text=text) if text else None
    x, y, button = _number(record, "x", where), _number(record, "y", where), whole_number(record, "button", _BUTTONS[-1])
    _check_place(x, y, screen, where)
    if button not in _BUTTONS:
        raise BadOrder(f"{where}.button is {button}; it must be 1 to 7")
    return InputEvent(kind, time, int(x), int(y), button=button)


def _number(record: Mapping[str, Any], name: str, where: str) -> float:
    value = record.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise BadOrder(f"{where}.{name}: must be a number")
    return float(value)


def known_fields(order: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raises BadOrder for a field that an order does not have."""
    for name in order:
        if name not in ("command", *known):
            raise BadOrder(f"there is no field {name[:64]!r} here")
