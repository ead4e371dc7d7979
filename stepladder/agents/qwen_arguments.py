"""Between canonical actions and the arguments of Qwen's `computer_use` tool."""

from __future__ import annotations

import re
from typing import Any

from stepladder.agents.coordinates import Coordinates
from stepladder.agents.places import check_keys
from stepladder.keys import MODIFIERS, read_keys
from stepladder.types import Action, ActionKind, ImageRef
from stepladder.values import check_text, finite, show

#: Qwen scrolls in pixels, actions count wheel notches. A round figure: Chromium scrolls 53 pixels a notch on Linux, 100 on Windows.
PIXELS_PER_NOTCH = 100
#: Longer waits are shortened to this many seconds, so that a reply cannot stall an episode.
MAX_WAIT = 30.0

_POINTED: dict[str, ActionKind] = {
    "left_click": "click",
    "right_click": "right_click",
    "middle_click": "middle_click",
    "double_click": "double_click",
    "triple_click": "triple_click",
    "mouse_move": "move",
    "mouse_down": "mouse_down",
    "mouse_up": "mouse_up",
}
_KEYED: dict[str, ActionKind] = {"key": "key", "key_down": "key_down", "key_up": "key_up"}
_NAMES = {kind: name for name, kind in {**_POINTED, **_KEYED}.items()}
_ALIASES = {
    "click": "left_click",
    "left_single": "left_click",
    "right_single": "right_click",
    "left_double": "double_click",
    "left_double_click": "double_click",
    "doubleclick": "double_click",
    "left_triple_click": "triple_click",
    "move": "mouse_move",
    "hover": "mouse_move",
    "drag": "left_click_drag",
    "left_mouse_down": "mouse_down",
    "left_mouse_up": "mouse_up",
    "hotkey": "key",
    "press": "key",
    "keydown": "key_down",
    "keyup": "key_up",
    "input": "type",
    "write": "type",
    "finished": "answer",
}
_STATUS = {
    "success": "done",
    "succeeded": "done",
    "done": "done",
    "completed": "done",
    "failure": "fail",
    "failed": "fail",
    "fail": "fail",
    "infeasible": "fail",
}
_NUMBER_PAIR = re.compile(r"\s*[\[(]?\s*(-?\d+(?:\.\d+)?)\s*[,\s]\s*(-?\d+(?:\.\d+)?)\s*[\])]?\s*")


class ArgumentError(ValueError):
    """Arguments that say no action. `field` is the one at fault."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def to_arguments(
    action: Action, coordinates: Coordinates, screenshot: ImageRef | None, pixels_per_notch: int = PIXELS_PER_NOTCH
) -> dict[str, Any]:
    """Raises ValueError for an action that the tool cannot say."""
    if action.kind in _NAMES and action.kind not in _KEYED.values():
        written = {"action": _NAMES[action.kind], **_write_point("coordinate", action.x, action.y, coordinates, screenshot)}
        if action.kind == "move" and "coordinate" not in written:
            raise ValueError("a move needs x and y")
        return {**written, **_write_modifiers(action.keys)}
    if action.kind in _KEYED.values():
        return {"action": _NAMES[action.kind], "keys": list(check_keys(action.keys))}
    if action.kind == "drag":
        end = _write_point("coordinate", action.x2, action.y2, coordinates, screenshot)
        if not end:
            raise ValueError("a drag needs x2 and y2")
        start = _write_point("start_coordinate", action.x, action.y, coordinates, screenshot)
        return {"action": "left_click_drag", **start, **end, **_write_modifiers(action.keys)}
    if action.kind == "scroll":
        if action.name not in ("", "horizontal"):
            raise ValueError(f"a scroll's name is {action.name!r}; it must be empty or 'horizontal'")
        point = _write_point("coordinate", action.x, action.y, coordinates, screenshot)
        pixels = _write_pixels(finite(action.amount, "amount"), pixels_per_notch)
        return {"action": "hscroll" if action.name else "scroll", **point, "pixels": pixels, **_write_modifiers(action.keys)}
    if action.kind == "type":
        return {"action": "type", "text": check_text(action.text)}
    if action.kind == "wait":
        if not 0 <= action.seconds <= MAX_WAIT:
            raise ValueError(f"a wait of {action.seconds} seconds cannot be said; it must lie in 0..{MAX_WAIT:g}")
        return {"action": "wait", "time": int(action.seconds) if action.seconds == int(action.seconds) else action.seconds}
    if action.kind == "done":
        answer = {"action": "answer", "text": check_text(action.text)}
        return answer if action.text else {"action": "terminate", "status": "success"}
    if action.kind == "fail":
        reason = {"text": check_text(action.text)} if action.text else {}
        return {"action": "terminate", "status": "failure", **reason}
    raise ValueError(f"this dialect cannot say {action.kind!r}")


def from_arguments(
    arguments: dict[str, Any], coordinates: Coordinates, screenshot: ImageRef | None, pixels_per_notch: int = PIXELS_PER_NOTCH
) -> Action:
    """Raises ArgumentError, and nothing else, for arguments that say no action."""
    name = arguments.get("action")
    if not isinstance(name, str):
        raise ArgumentError("action", "'action' must be a string")
    name = name.strip().lower()
    name = _ALIASES.get(name, name)
    if name in _POINTED:
        point = _read_point("coordinate", arguments, coordinates, screenshot, required=name == "mouse_move")
        return Action(_POINTED[name], *point, keys=_read_modifiers(arguments))
    if name in _KEYED:
        return Action(_KEYED[name], keys=_read_keys(arguments))
    if name == "left_click_drag":
        start = _read_point("start_coordinate", arguments, coordinates, screenshot)
        end = _read_point("coordinate", arguments, coordinates, screenshot, required=True)
        return Action("drag", *start, *end, keys=_read_modifiers(arguments))
    if name in ("scroll", "hscroll"):
        point = _read_point("coordinate", arguments, coordinates, screenshot)
        amount = round(_read_number("pixels", arguments)) / pixels_per_notch
        sideways = "horizontal" if name == "hscroll" else ""
        return Action("scroll", *point, amount=amount, name=sideways, keys=_read_modifiers(arguments))
    if name == "type":
        return Action("type", text=_read_text(arguments))
    if name == "wait":
        return Action("wait", seconds=min(max(_read_number("time", arguments, default=1.0), 0.0), MAX_WAIT))
    if name == "answer":
        return Action("done", text=_read_text(arguments))
    if name == "terminate":
        status = arguments.get("status")
        kind = _STATUS.get(status.strip().lower()) if isinstance(status, str) else None
        if kind is None:
            raise ArgumentError("status", f"'status' is {show(status)}; it must be success or failure")
        return Action("done" if kind == "done" else "fail", text=_read_text(arguments, default=""))
    raise ArgumentError("action", f"unknown action {show(name)}")


def _write_point(
    field: str, x: float | None, y: float | None, coordinates: Coordinates, screenshot: ImageRef | None
) -> dict[str, list[float]]:
    if x is None or y is None:
        if x is not y:
            raise ValueError("an action needs both x and y, or neither")
        return {}
    if screenshot is None:
        raise ValueError("a place on the screen cannot be written without a screenshot")
    written = coordinates.encode(finite(x, "x"), finite(y, "y"), screenshot.width, screenshot.height)
    return {field: list(written)}


def _read_point(
    field: str,
    arguments: dict[str, Any],
    coordinates: Coordinates,
    screenshot: ImageRef | None,
    required: bool = False,
) -> tuple[float | None, float | None]:
    value = arguments.get(field)
    if value is None:
        if required:
            raise ArgumentError(field, f"{field!r} is missing")
        return None, None
    if screenshot is None:
        raise ArgumentError(field, f"{field!r} needs a screenshot, and none was shown")
    if isinstance(value, str):
        pair = _NUMBER_PAIR.fullmatch(value[:100])
        value = list(pair.groups()) if pair else value
    if not isinstance(value, list) or len(value) != 2:
        raise ArgumentError(field, f"{field!r} is {show(value)}; it must be [x, y]")
    x, y = (_number(field, part) for part in value)
    try:
        return coordinates.decode(x, y, screenshot.width, screenshot.height)
    except ValueError as error:  # a picture that the model cannot have been shown
        raise ArgumentError(field, str(error)) from None


def _write_pixels(notches: float, pixels_per_notch: int) -> int:
    pixels = round(notches * pixels_per_notch)
    if abs(pixels / pixels_per_notch - notches) > 0.5 / PIXELS_PER_NOTCH + 1e-9:
        raise ValueError(f"a scroll of {notches} notches cannot be said in whole steps of 1/{pixels_per_notch} notch")
    return pixels


def _write_modifiers(keys: tuple[str, ...]) -> dict[str, str]:
    for key in keys:
        if key not in MODIFIERS:
            raise ValueError(f"{key!r} is no modifier; it must be one of {', '.join(MODIFIERS)}")
    return {"text": "+".join(keys)} if keys else {}


def _read_modifiers(arguments: dict[str, Any]) -> tuple[str, ...]:
    """Modifiers stand in "text" or "keys". Other text beside a click (a label, say) has no meaning and is passed over."""
    if arguments.get("keys"):
        keys = _read_keys(arguments)
        for key in keys:
            if key not in MODIFIERS:
                raise ArgumentError("keys", f"{key!r} is no modifier; it must be one of {', '.join(MODIFIERS)}")
        return keys
    text = arguments.get("text")
    if not isinstance(text, str) or not text.strip():
        return ()
    try:
        keys = read_keys(text)
    except ValueError:
        return ()
    return keys if all(key in MODIFIERS for key in keys) else ()


def _read_keys(arguments: dict[str, Any]) -> tuple[str, ...]:
    field = "keys" if arguments.get("keys") is not None else next((name for name in ("key", "text") if name in arguments), "keys")
    try:
        return read_keys(arguments.get(field))
    except ValueError as error:
        raise ArgumentError(field, f"{field!r}: {error}") from None


def _read_text(arguments: dict[str, Any], default: str | None = None) -> str:
    value = arguments.get("text", default)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise ArgumentError("text", f"'text' is {show(value)}; it must be a string")
    try:
        return check_text(value)
    except ValueError as error:
        raise ArgumentError("text", str(error)) from None


def _read_number(field: str, arguments: dict[str, Any], default: float | None = None) -> float:
    value = arguments.get(field, default)
    if value is None:
        raise ArgumentError(field, f"{field!r} is missing")
    return _number(field, value)


def _number(field: str, value: object) -> float:
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            return finite(float(value), field)
        except (ValueError, OverflowError):
            pass
    raise ArgumentError(field, f"{field!r} is {show(value)}; a finite number is needed")
