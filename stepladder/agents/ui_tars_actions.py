"""Between canonical actions and the calls of UI-TARS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stepladder.agents.coordinates import Coordinates
from stepladder.agents.places import Places, check_action
from stepladder.agents.ui_tars_calls import Call, read_place, read_text, write_text
from stepladder.interfaces import ParseError
from stepladder.keys import read_keys
from stepladder.types import Action, ActionKind, ImageRef
from stepladder.values import show

#: What `wait()` takes.
WAIT_SECONDS = 5.0
ENTER = Action("key", keys=("enter",))

#: The names that are written for what happens at one place.
_POINTED: dict[str, ActionKind] = {
    "click": "click",
    "left_double": "double_click",
    "right_single": "right_click",
    "hover": "move",
    "mouse_down": "mouse_down",
    "mouse_up": "mouse_up",
}
_NAMES = {kind: name for name, kind in _POINTED.items()}
_ALIASES = {
    "left_single": "click",
    "left_click": "click",
    "double_click": "left_double",
    "right_click": "right_single",
    "move": "hover",
    "move_to": "hover",
    "mouse_move": "hover",
    "select": "drag",
    "key": "hotkey",
    "key_down": "keydown",
    "key_up": "keyup",
    "release": "keyup",
    "error_env": "call_user",
}
_KEYED: dict[str, ActionKind] = {"hotkey": "key", "keydown": "key_down", "keyup": "key_up"}
_DIRECTIONS = {"up": ("", 1), "down": ("", -1), "right": ("horizontal", 1), "left": ("horizontal", -1)}
_START = ("start_box", "point", "start_point", "box", "")
_END = ("end_box", "end_point")
_PARAMETERS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(_POINTED, _START),
    **dict.fromkeys(_KEYED, ("key", "keys", "hotkey", "press", "")),
    "drag": (*_START[:-1], *_END),
    "type": ("content", "text", ""),
    "scroll": (*_START[:-1], "direction"),
    "wait": (),
    "finished": ("content", "text", ""),
    "call_user": ("content", "text", ""),
}


@dataclass(frozen=True, slots=True)
class Wording:
    """`points` is how places are written ("box" or "point"), `notches` how far `scroll` goes, `press_holds` whether `press` means
    keydown (UI-TARS 2) and not a stroke of the key."""

    points: str
    notches: int
    press_holds: bool


def read_actions(
    calls: Sequence[Call], wording: Wording, coordinates: Coordinates, screenshot: ImageRef | None
) -> tuple[Action, ...]:
    """The actions of calls, at least one. Raises ParseError."""
    places = Places(coordinates, screenshot)
    return tuple(action for call in calls for action in _read(call, wording, places))


def _read(call: Call, wording: Wording, places: Places) -> list[Action]:
    name = _ALIASES.get(call.name, call.name)
    if name == "press":
        name = "keydown" if wording.press_holds else "hotkey"
    if name not in _PARAMETERS:
        raise ParseError(f"unknown action {call.name[:40]!r}; known are {', '.join(_PARAMETERS)}", call.position)
    for parameter, (_, position) in call.arguments.items():
        if parameter not in _PARAMETERS[name]:
            known = ", ".join(filter(None, _PARAMETERS[name])) or "nothing"
            raise ParseError(f"{call.name} takes {known}, and not {parameter or 'a value without a name'!r}", position)
    if name in _POINTED:
        return [Action(_POINTED[name], *_read_point(call, _START, places, needed=name == "hover"))]
    if name in _KEYED:
        return [Action(_KEYED[name], keys=_read_keys(call))]
    if name == "drag":
        return [Action("drag", *_read_point(call, _START, places), *_read_point(call, _END, places, needed=True))]
    if name == "scroll":
        return [_read_scroll(call, wording, places)]
    if name == "wait":
        return [Action("wait", seconds=WAIT_SECONDS)]
    text = _read_content(call, needed=name == "type")
    if name != "type":
        return [Action("done" if name == "finished" else "fail", text=text)]
    if not text.endswith("\n"):
        return [Action("type", text=text)]
    return [Action("type", text=text[:-1]), ENTER] if len(text) > 1 else [ENTER]


def _argument(call: Call, names: Sequence[str]) -> tuple[str, int] | None:
    return next((call.arguments[name] for name in names if name in call.arguments), None)


def _read_point(call: Call, names: Sequence[str], places: Places, needed: bool = False) -> tuple[float, float] | tuple[None, None]:
    argument = _argument(call, names)
    if argument is None:
        if needed:
            raise ParseError(f"{call.name} needs {names[0]}", call.position)
        return None, None
    x, y = read_place(*argument)
    try:
        return places.read(x, y)
    except ValueError as error:
        raise ParseError(f"{call.name}: {error}", argument[1]) from None


def _read_keys(call: Call) -> tuple[str, ...]:
    argument = _argument(call, _PARAMETERS["hotkey"])
    if argument is None:
        raise ParseError(f"{call.name} needs key", call.position)
    value = read_text(argument[0])
    try:
        # Split here, because read_keys takes "+" between spaces for a separator.
        return read_keys(value.split() or value)
    except ValueError as error:
        raise ParseError(f"{call.name}: {error}", argument[1]) from None


def _read_scroll(call: Call, wording: Wording, places: Places) -> Action:
    argument = call.arguments.get("direction")
    if argument is None:
        raise ParseError("scroll needs direction", call.position)
    direction = _DIRECTIONS.get(argument[0].strip().lower())
    if direction is None:
        raise ParseError(f"direction is {show(argument[0])}; it must be one of {', '.join(_DIRECTIONS)}", argument[1])
    start = _argument(call, _START)
    x, y = (None, None) if start is not None and not start[0].strip() else _read_point(call, _START, places)
    return Action("scroll", x, y, amount=float(direction[1] * wording.notches), name=direction[0])


def _read_content(call: Call, needed: bool) -> str:
    argument = _argument(call, _PARAMETERS["type"])
    if argument is None:
        if needed:
            raise ParseError(f"{call.name} needs content", call.position)
        return ""
    text = read_text(argument[0])
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ParseError("text cannot contain lone surrogates", argument[1])
    return text


def write_calls(actions: Sequence[Action], wording: Wording, coordinates: Coordinates, screenshot: ImageRef | None) -> list[str]:
    """The calls that say `actions`. Raises ValueError for what cannot be said."""
    if not actions:
        raise ValueError("a reply says at least one action")
    places = Places(coordinates, screenshot)
    calls: list[str] = []
    for number, action in enumerate(actions):
        if action == ENTER and number > 0 and actions[number - 1].kind == "type" and actions[number - 1].text:
            calls[-1] = f"type(content={write_text(actions[number - 1].text + chr(10))})"
        else:
            followed = number + 1 < len(actions) and actions[number + 1] == ENTER
            calls.append(_write(action, wording, places, followed))
    return calls


def _write(action: Action, wording: Wording, places: Places, followed_by_enter: bool) -> str:
    check_action(action)
    if action.keys and action.kind not in _KEYED.values():
        raise ValueError(f"UI-TARS cannot hold keys during a {action.kind}; say key_down and key_up")
    if action.kind in _NAMES:
        return f"{_NAMES[action.kind]}({_write_point(action.x, action.y, wording, places, 'start')})"
    if action.kind in _KEYED.values():
        holding = {"key_down": "press", "key_up": "release"} if wording.press_holds else {"key_down": "keydown", "key_up": "keyup"}
        return f"{holding.get(action.kind, 'hotkey')}(key={write_text(' '.join(action.keys))})"
    if action.kind == "drag":
        if action.x is None:
            raise ValueError("UI-TARS' drag needs the place where it starts, x and y")
        start = _write_point(action.x, action.y, wording, places, "start", drag=True)
        return f"drag({start}, {_write_point(action.x2, action.y2, wording, places, 'end', drag=True)})"
    if action.kind == "scroll":
        return _write_scroll(action, wording, places)
    if action.kind == "type":
        if action.text.endswith("\n") and not followed_by_enter:
            raise ValueError("UI-TARS presses Enter for a line break at the end of a text; say type and key enter as two actions")
        return f"type(content={write_text(action.text)})"
    if action.kind == "wait" and action.seconds == WAIT_SECONDS:
        return "wait()"
    if action.kind in ("done", "fail"):
        content = f"content={write_text(action.text)}" if action.text else ""
        return f"{'finished' if action.kind == 'done' else 'call_user'}({content})"
    detail = f" of {action.seconds:g} seconds; it takes {WAIT_SECONDS:g}" if action.kind == "wait" else ""
    raise ValueError(f"UI-TARS has no words for a {action.kind}{detail}")


def _write_point(x: float | None, y: float | None, wording: Wording, places: Places, end: str, drag: bool = False) -> str:
    """One parameter; empty for "at the pointer"."""
    written = places.write(x, y)
    if written is None:
        return ""
    if wording.points == "box":
        return f"{end}_box='<|box_start|>({written[0]},{written[1]})<|box_end|>'"
    return f"{f'{end}_point' if drag else 'point'}='<point>{written[0]} {written[1]}</point>'"


def _write_scroll(action: Action, wording: Wording, places: Places) -> str:
    if abs(action.amount) != wording.notches:
        raise ValueError(f"UI-TARS scrolls {wording.notches} notches at once and cannot say {action.amount:g}")
    sign = 1 if action.amount > 0 else -1
    direction = next(word for word, meaning in _DIRECTIONS.items() if meaning == (action.name, sign))
    point = _write_point(action.x, action.y, wording, places, "start")
    return f"scroll({f'{point}, ' if point else ''}direction='{direction}')"
