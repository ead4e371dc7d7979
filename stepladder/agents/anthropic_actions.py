"""Between canonical actions and the input of Anthropic's computer tool."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stepladder.agents.places import Places, check_action
from stepladder.keys import MODIFIERS, canonical_key, read_keys
from stepladder.pyautogui.parts import moving
from stepladder.types import Action, ActionKind
from stepladder.values import check_text, number, show, whole

#: The longest wait and the longest hold of a key, in seconds.
LONGEST = 100.0
_CLICKS: dict[str, ActionKind] = {
    "left_click": "click",
    "right_click": "right_click",
    "middle_click": "middle_click",
    "double_click": "double_click",
    "triple_click": "triple_click",
}
_POINTED: dict[str, ActionKind] = {
    **_CLICKS,
    "mouse_move": "move",
    "left_mouse_down": "mouse_down",
    "left_mouse_up": "mouse_up",
}
_NAMES = {kind: name for name, kind in _POINTED.items()}
#: What the first version of the tool lacks.
_LATER = ("triple_click", "mouse_down", "mouse_up", "scroll")
#: Requests to look, after which the screen is shown anyway.
_LOOKS = ("screenshot", "cursor_position")
_ENDS: dict[str, ActionKind] = {"done": "done", "fail": "fail", "call_user": "fail"}
_DIRECTIONS = {"up": ("", 1), "down": ("", -1), "right": ("horizontal", 1), "left": ("horizontal", -1)}
_PAIR = re.compile(r"\s*[\[(]?\s*(-?\d+(?:\.\d+)?)\s*[,\s]\s*(-?\d+(?:\.\d+)?)\s*[\])]?\s*")
#: Names of X11's keysyms, which xdotool takes.
_KEYSYMS = {
    **{"enter": "Return", "backspace": "BackSpace", "pageup": "Page_Up", "pagedown": "Page_Down", "capslock": "Caps_Lock"},
    **{"numlock": "Num_Lock", "scrolllock": "Scroll_Lock", "printscreen": "Print"},
    **{name: name.capitalize() for name in ("tab", "escape", "delete", "insert", "up", "down", "left", "right", "home", "end")},
    **{name: name.capitalize() for name in ("pause", "menu", *(f"f{count}" for count in range(1, 13)))},
    **{"!": "exclam", '"': "quotedbl", "#": "numbersign", "$": "dollar", "%": "percent", "&": "ampersand", "'": "apostrophe"},
    **{"(": "parenleft", ")": "parenright", "*": "asterisk", "+": "plus", ",": "comma", "-": "minus", ".": "period", "/": "slash"},
    **{":": "colon", ";": "semicolon", "<": "less", "=": "equal", ">": "greater", "?": "question", "@": "at", "[": "bracketleft"},
    **{"\\": "backslash", "]": "bracketright", "^": "asciicircum", "_": "underscore", "`": "grave", "{": "braceleft", "|": "bar"},
    **{"}": "braceright", "~": "asciitilde"},
}
_FROM_KEYSYM = {name.lower(): key for key, name in _KEYSYMS.items()}


def write_inputs(actions: Sequence[Action], places: Places, first_version: bool) -> Iterator[dict[str, Any]]:
    """The inputs of the calls that say the actions; `first_version` is that of 2024-10-22. Raises ValueError."""
    index = 0
    while index < len(actions):
        action = actions[index]
        check_action(action)
        held = actions[index : index + 3]
        if not first_version and _is_hold(held):
            yield {"action": "hold_key", "text": _write_keys(action.keys), "duration": whole(_seconds(held[1]))}
            index += 3
            continue
        parts = moving(action) if first_version or action.kind in ("mouse_down", "mouse_up") else [action]
        for part in parts:
            yield _write(part, places, first_version)
        index += 1


def read_input(given: Mapping[str, Any], places: Places) -> list[Action]:
    """The actions of one call. Raises ValueError that names the field at fault in quotes."""
    name = given.get("action")
    if not isinstance(name, str):
        raise ValueError(f"'action' is {show(name)}; it must be a text")
    name = name.strip().lower().replace(" ", "_")
    if name in _POINTED:
        place = _read_place("coordinate", given, places, needed=name == "mouse_move")
        return [Action(_POINTED[name], *place, keys=_read_modifiers(given))]
    if name == "left_click_drag":
        start = _read_place("start_coordinate", given, places)
        return [Action("drag", *start, *_read_place("coordinate", given, places, needed=True), keys=_read_modifiers(given))]
    if name == "key":
        return [Action("key", keys=keys) for keys in _read_presses("text" if "text" in given else "key", given)]
    if name == "hold_key":
        keys = _read_combination("text" if "text" in given else "key", given)
        return [Action("key_down", keys=keys), _wait(given, 1.0), Action("key_up", keys=keys[::-1])]
    if name == "type":
        if not isinstance(given.get("text"), str):
            raise ValueError(f"'text' is {show(given.get('text'))}; it must be a text")
        return [Action("type", text=check_text(given["text"]))]
    if name == "scroll":
        return [_read_scroll(given, places)]
    if name == "wait":
        return [_wait(given, 1.0)]
    if name in _LOOKS:
        return [Action("wait")]
    if name == "zoom":
        return [Action("wait", name="zoom", args={"region": _read_region(given, places)})]
    if name in _ENDS:
        return [Action(_ENDS[name])]
    raise ValueError(f"'action' is {show(name)}, which is unknown")


def _is_hold(actions: Sequence[Action]) -> bool:
    return (
        [action.kind for action in actions] == ["key_down", "wait", "key_up"]
        and actions[2].keys == actions[0].keys[::-1]
        and not actions[1].name
    )


def _write(action: Action, places: Places, first_version: bool) -> dict[str, Any]:
    if first_version and action.kind in _LATER:
        raise ValueError(f"the tool of 2024-10-22 has no {action.kind!r}")
    if action.kind in ("key_down", "key_up"):
        raise ValueError("a key can only be held for a time in this dialect: key_down, wait and key_up, one after another")
    if action.keys and action.kind != "key" and (first_version or action.kind not in (*_CLICKS.values(), "scroll")):
        raise ValueError(f"a {action.kind} cannot be said with held keys in this dialect")
    if action.kind in _NAMES:
        return {"action": _NAMES[action.kind], **_write_place("coordinate", action.x, action.y, places), **_held(action)}
    if action.kind == "drag":
        start = _write_place("start_coordinate", action.x, action.y, places)
        return {"action": "left_click_drag", **start, **_write_place("coordinate", action.x2, action.y2, places)}
    if action.kind == "scroll":
        return _write_scroll(action, places)
    if action.kind == "key":
        return {"action": "key", "text": _write_keys(action.keys)}
    if action.kind == "type":
        return {"action": "type", "text": action.text}
    if action.kind == "wait":
        return _write_wait(action, places, first_version)
    raise ValueError(f"this dialect cannot say {action.kind!r} beside other actions")


def _write_wait(action: Action, places: Places, first_version: bool) -> dict[str, Any]:
    if action.name == "zoom" and action.seconds == 0:
        region = action.args.get("region")
        if not isinstance(region, (list, tuple)) or len(region) != 4:
            raise ValueError(f"the region of a zoom is {show(region)}; it must be [left, top, right, bottom]")
        left, top, right, bottom = (number(value, "region") for value in region)
        corners = (*places.write_needed(left, top, "a zoom"), *places.write_needed(right, bottom, "a zoom"))
        return {"action": "zoom", "region": list(corners)}
    if action.seconds == 0:
        return {"action": "screenshot"}
    if first_version:
        raise ValueError("the tool of 2024-10-22 has no 'wait'; a wait of 0 seconds is its screenshot")
    return {"action": "wait", "duration": whole(_seconds(action))}


def _write_scroll(action: Action, places: Places) -> dict[str, Any]:
    if action.amount != int(action.amount):
        raise ValueError(f"a scroll of {action.amount} notches cannot be said; scroll_amount is a whole number")
    sign = -1 if action.amount < 0 else 1
    direction = next(name for name, meant in _DIRECTIONS.items() if meant == (action.name, sign))
    place = _write_place("coordinate", action.x, action.y, places)
    return {"action": "scroll", **place, "scroll_direction": direction, "scroll_amount": abs(int(action.amount)), **_held(action)}


def _write_place(field: str, x: float | None, y: float | None, places: Places) -> dict[str, Any]:
    written = places.write(x, y)
    return {} if written is None else {field: list(written)}


def _held(action: Action) -> dict[str, str]:
    return {"text": _write_keys(action.keys)} if action.keys else {}


def _write_keys(keys: Sequence[str]) -> str:
    return "+".join(_KEYSYMS.get(key, key) for key in keys)


def _seconds(action: Action) -> float:
    if action.seconds > LONGEST:
        raise ValueError(f"a wait of {action.seconds} seconds cannot be said; it must lie in 0..{LONGEST:g}")
    return action.seconds


def _wait(given: Mapping[str, Any], default: float) -> Action:
    seconds = number(given["duration"], "duration") if given.get("duration") is not None else default
    return Action("wait", seconds=min(max(seconds, 0.0), LONGEST))


def _read_place(field: str, given: Mapping[str, Any], places: Places, needed: bool = False) -> tuple[float | None, float | None]:
    value = given.get(field)
    if value is None and not needed:
        return None, None
    if isinstance(value, str) and (pair := _PAIR.fullmatch(value[:100])):
        value = list(pair.groups())
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError(f"'{field}' is {show(value)}; it must be [x, y]")
    try:
        return places.read(*value)
    except ValueError as error:
        raise ValueError(f"'{field}': {error}") from None


def _read_region(given: Mapping[str, Any], places: Places) -> list[float]:
    """The corners [left, top, right, bottom] in pixels of the screenshot."""
    value = given.get("region")
    if not isinstance(value, list) or len(value) != 4:
        raise ValueError(f"'region' is {show(value)}; it must be [left, top, right, bottom]")
    try:
        (left, top), (right, bottom) = places.read(*value[:2]), places.read(*value[2:])
    except ValueError as error:
        raise ValueError(f"'region': {error}") from None
    return [left, top, right, bottom]


def _read_scroll(given: Mapping[str, Any], places: Places) -> Action:
    direction = given.get("scroll_direction")
    if not isinstance(direction, str) or direction.lower() not in _DIRECTIONS:
        raise ValueError(f"'scroll_direction' is {show(direction)}; it must be up, down, left or right")
    amount = number(given.get("scroll_amount"), "scroll_amount")
    if amount < 0:
        raise ValueError(f"'scroll_amount' is {amount:g}; it must be 0 or more")
    sideways, sign = _DIRECTIONS[direction.lower()]
    place = _read_place("coordinate", given, places)
    return Action("scroll", *place, amount=sign * amount, name=sideways, keys=_read_modifiers(given))


def _read_modifiers(given: Mapping[str, Any]) -> tuple[str, ...]:
    """Keys to hold, in "text" or, as the reference implementation has it, in "key"."""
    field = "text" if given.get("text") else "key"
    if not given.get(field):
        return ()
    keys = _read_combination(field, given)
    for key in keys:
        if key not in MODIFIERS:
            raise ValueError(f"'{field}': {key!r} is no modifier; it must be one of {', '.join(MODIFIERS)}")
    return tuple(dict.fromkeys(keys))


def _read_presses(field: str, given: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """What xdotool would press for "ctrl+a", and one after another for "Tab Tab"."""
    value = given.get(field)
    if not isinstance(value, str):
        return [_read_combination(field, given)]
    try:
        return [(_read_key(value),)]
    except ValueError:
        pieces = re.sub(r"\s*\+\s*", "+", value).split()
        return [_read_combination(field, {field: piece}) for piece in pieces] or [_read_combination(field, given)]


def _read_combination(field: str, given: Mapping[str, Any]) -> tuple[str, ...]:
    value = given.get(field)
    try:
        if not isinstance(value, str):
            return read_keys(value)
        if value.endswith("++"):
            value = f"{value[:-1]}plus"
        pieces = [value] if value.strip() in ("", "+") else value.split("+")
        return tuple(_read_key(piece) for piece in pieces)
    except ValueError as error:
        raise ValueError(f"'{field}': {error}") from None


def _read_key(name: str) -> str:
    if len(name) == 1:
        return canonical_key(name)
    name = name.strip()
    if not name:
        raise ValueError("there is no key")
    return _FROM_KEYSYM.get(name.lower()) or canonical_key(name)
