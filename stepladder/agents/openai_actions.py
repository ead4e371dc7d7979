"""Between canonical actions and those of OpenAI's computer tool."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stepladder.agents.places import Places, check_action
from stepladder.keys import MODIFIERS, read_keys
from stepladder.pyautogui.parts import MOST_ACTIONS
from stepladder.types import Action, ActionKind
from stepladder.values import check_text, number, show

#: The tool scrolls in pixels, actions count turns of the wheel.
PIXELS_PER_NOTCH = 100
#: What its wait means, which says no time, in seconds.
WAIT_SECONDS = 1.0
#: The longest wait that is read, in seconds.
LONGEST_WAIT = 30.0
_BUTTONS: dict[object, ActionKind] = {"left": "click", "right": "right_click", "wheel": "middle_click", "middle": "middle_click"}
_NAMES = {"click": "left", "right_click": "right", "middle_click": "wheel"}
#: What browsers and file managers do at the side buttons of a mouse.
_SIDE_BUTTONS = {"back": ("alt", "left"), "forward": ("alt", "right")}
_KEYS = {"escape": "ESC", "up": "ARROWUP", "down": "ARROWDOWN", "left": "ARROWLEFT", "right": "ARROWRIGHT"}


def write_actions(actions: Sequence[Action], places: Places) -> Iterator[dict[str, Any]]:
    """The actions of the tool, in order. Raises ValueError for what it has no action for."""
    index = 0
    while index < len(actions):
        length = _path_length(actions[index:])
        if length:
            path = [_point(action, places) for action in actions[index : index + length]]
            yield {"type": "drag", "path": path}
        else:
            yield _write(actions[index], places)
        index += length or 1


def read_action(given: Mapping[str, Any], places: Places) -> list[Action]:
    """The actions of one action of the tool. Raises ValueError that names the field at fault in quotes."""
    kind = given.get("type")
    if kind in ("screenshot", "wait"):
        return [Action("wait", seconds=0.0 if kind == "screenshot" else _read_wait(given))]
    if kind == "type":
        if not isinstance(given.get("text"), str):
            raise ValueError(f"'text' is {show(given.get('text'))}; it must be a text")
        return [Action("type", text=check_text(given["text"]))]
    if kind == "keypress":
        return [Action("key", keys=_read_keys(given))]
    if kind == "drag":
        return _read_drag(given, places)
    if kind in ("click", "double_click", "move", "scroll"):
        held = _read_modifiers(given)
        x, y = _read_place(given, places, needed=kind == "move")
        if kind == "scroll":
            return _read_scroll(given, x, y, held)
        if kind != "click":
            return [Action("double_click" if kind == "double_click" else "move", x, y, keys=held)]
        return _read_click(given, x, y, held)
    raise ValueError(f"'type' is {show(kind)}, which is no action of the tool")


def _path_length(actions: Sequence[Action]) -> int:
    """How many actions make a drag along a path of more than two places: the button goes down, moves, and comes up."""
    if not actions or actions[0].kind != "mouse_down":
        return 0
    length = 1
    while length < len(actions) and actions[length].kind == "move":
        length += 1
    whole = length < len(actions) and actions[length].kind == "mouse_up" and length > 1
    path = actions[: length + 1]
    return length + 1 if whole and all(action.x is not None and not action.keys for action in path) else 0


def _write(action: Action, places: Places) -> dict[str, Any]:
    check_action(action)
    kind = action.kind
    held = {"keys": _write_keys(action.keys)} if action.keys and kind != "key" else {}
    if kind in _NAMES:
        return {"type": "click", "button": _NAMES[kind], **_point(action, places), **held}
    if kind in ("double_click", "move"):
        return {"type": kind, **_point(action, places), **held}
    if kind == "drag":
        end = Action("move", action.x2, action.y2)
        return {"type": "drag", "path": [_point(action, places), _point(end, places)], **held}
    if kind == "scroll":
        pixels = round(action.amount * PIXELS_PER_NOTCH)
        scrolled = {"scroll_x": pixels if action.name else 0, "scroll_y": 0 if action.name else -pixels}
        if action.name and not pixels:
            raise ValueError("a scroll sideways by nothing cannot be said")
        return {"type": "scroll", **_point(action, places), **scrolled, **held}
    if kind == "key":
        return {"type": "keypress", "keys": _write_keys(action.keys)}
    if kind == "type":
        return {"type": "type", "text": action.text}
    if kind == "wait" and action.seconds == 0:
        return {"type": "screenshot"}
    if kind == "wait" and action.seconds == WAIT_SECONDS:
        return {"type": "wait"}
    if kind == "wait":
        raise ValueError(f"a wait of {action.seconds} seconds cannot be said; the tool's wait is {WAIT_SECONDS:g} second")
    raise ValueError(f"the tool has no {kind!r}")


def _point(action: Action, places: Places) -> dict[str, float]:
    x, y = places.write_needed(action.x, action.y, f"a {action.kind}")
    return {"x": x, "y": y}


def _write_keys(keys: Sequence[str]) -> list[str]:
    return [_KEYS.get(key, key.upper() if len(key) > 1 or key.isascii() else key) for key in keys]


def _read_keys(given: Mapping[str, Any]) -> tuple[str, ...]:
    try:
        return read_keys(given.get("keys"))
    except ValueError as error:
        raise ValueError(f"'keys': {error}") from None


def _read_modifiers(given: Mapping[str, Any]) -> tuple[str, ...]:
    if not given.get("keys"):
        return ()
    keys = _read_keys(given)
    for key in keys:
        if key not in MODIFIERS:
            raise ValueError(f"'keys': {key!r} is no modifier; it must be one of {', '.join(MODIFIERS)}")
    return tuple(dict.fromkeys(keys))


def _read_place(given: Mapping[str, Any], places: Places, needed: bool = False) -> tuple[float | None, float | None]:
    x, y = given.get("x"), given.get("y")
    return (None, None) if x is None and y is None and not needed else places.read(x, y)


def _read_click(given: Mapping[str, Any], x: float | None, y: float | None, held: tuple[str, ...]) -> list[Action]:
    button = given.get("button", "left")
    if isinstance(button, str) and button in _SIDE_BUTTONS:
        return [Action("key", keys=_SIDE_BUTTONS[button])]
    if not isinstance(button, str) or button not in _BUTTONS:
        raise ValueError(f"'button' is {show(button)}; it must be left, right, wheel, back or forward")
    return [Action(_BUTTONS[button], x, y, keys=held)]


def _read_drag(given: Mapping[str, Any], places: Places) -> list[Action]:
    """Along two places a drag; along more the button goes down at the first, moves from place to place and comes up at the last."""
    path, held = given.get("path"), _read_modifiers(given)
    if not isinstance(path, list) or not 2 <= len(path) <= MOST_ACTIONS:
        raise ValueError(f"'path' must be a list of 2 to {MOST_ACTIONS} places, not {show(path)}")
    points: list[tuple[float, float]] = []
    for point in path:
        pair = (point.get("x"), point.get("y")) if isinstance(point, dict) else point
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise ValueError(f"'path' holds {show(point)}; it must hold objects with x and y")
        points.append(places.read(*pair))
    if len(points) == 2:
        return [Action("drag", *points[0], *points[1], keys=held)]
    down, up = Action("mouse_down", *points[0]), Action("mouse_up", *points[-1])
    along = [down, *(Action("move", *point) for point in points[1:-1]), up]
    return [Action("key_down", keys=held), *along, Action("key_up", keys=held[::-1])] if held else along


def _read_scroll(given: Mapping[str, Any], x: float | None, y: float | None, held: tuple[str, ...]) -> list[Action]:
    across, down = (number(given.get(field) or 0, field) / PIXELS_PER_NOTCH for field in ("scroll_x", "scroll_y"))
    scrolls = [Action("scroll", x, y, amount=-down or 0.0, keys=held)] if down or not across else []
    return scrolls + ([Action("scroll", x, y, amount=across, name="horizontal", keys=held)] if across else [])


def _read_wait(given: Mapping[str, Any]) -> float:
    """Some models say how long, in milliseconds."""
    if given.get("ms") is None:
        return WAIT_SECONDS
    return min(max(number(given["ms"], "ms") / 1000, 0.0), LONGEST_WAIT)
