"""Writing actions as the pyautogui lines that machines of OSWorld run. `pyautogui_code.read_actions` reads them back."""

from __future__ import annotations

import math
from dataclasses import replace

from stepladder.envs.acting import CannotDo
from stepladder.keys import canonical_key
from stepladder.types import Action

#: What OSWorld's controllers put before every command.
PREFIX = "import pyautogui; import time; pyautogui.FAILSAFE = False; "
#: Turns of the wheel that one action makes at most.
MAX_NOTCHES = 100
_CLICKS = {
    "click": "click",
    "double_click": "doubleClick",
    "triple_click": "tripleClick",
    "right_click": "rightClick",
    "middle_click": "middleClick",
}
_POINTER = {"move": "moveTo", "mouse_down": "mouseDown", "mouse_up": "mouseUp", **_CLICKS}
#: Keys that pyautogui calls otherwise.
_KEYS = {"super": "winleft", "menu": "apps"}
#: Characters beyond the printable ones of ASCII that pyautogui has a key for.
_CONTROL = "\n\r\t\b"


def elementary(action: Action) -> list[Action]:
    """The actions without held keys that a mouse or keyboard action, or a wait, consists of: each is one call of pyautogui.

    Raises CannotDo for what pyautogui has no call for."""
    if action.kind in _POINTER or action.kind == "scroll":
        return _holding(action.keys, replace(action, keys=()))
    if action.kind == "drag":
        if action.x2 is None or action.y2 is None:
            raise CannotDo("a drag needs the place where it ends (x2, y2)")
        start = [] if action.x is None and action.y is None else [Action("move", action.x, action.y)]
        return _holding(action.keys, *start, Action("drag", x2=action.x2, y2=action.y2))
    if action.kind in ("key", "key_down", "key_up"):
        if not action.keys:
            raise CannotDo(f"{action.kind} needs at least one key")
        if action.kind == "key":
            return [Action("key", keys=action.keys)]
        return [Action(action.kind, keys=(key,)) for key in action.keys]
    if action.kind in ("type", "wait"):
        return [action]
    raise CannotDo(f"a desktop cannot carry out {action.kind!r}")


def write_action(action: Action, real: bool = True) -> str:
    """Calls of pyautogui that carry out an action, joined by "; ".

    With `real` they are for pyautogui itself, which types "<" as ">" (OSWorld rewrites it in the same way) and leaves out without a
    word what is no ASCII: such text is refused. Otherwise they are for a server that reads them, and say the action exactly.

    Raises CannotDo for an action that cannot be said, a place that is no number, an unknown key."""
    return "; ".join(_call(one, real) for one in elementary(action))


def _holding(keys: tuple[str, ...], *actions: Action) -> list[Action]:
    """Actions while keys are held down."""
    return [
        *(Action("key_down", keys=(key,)) for key in keys),
        *actions,
        *(Action("key_up", keys=(key,)) for key in reversed(keys)),
    ]


def _call(action: Action, real: bool) -> str:
    """The call of one elementary action."""
    if action.kind in _POINTER:
        return f"pyautogui.{_POINTER[action.kind]}({_place(action.x, action.y)})"
    if action.kind == "drag":
        return f"pyautogui.dragTo({_place(action.x2, action.y2)}, duration=1.0, button='left')"
    if action.kind == "scroll":
        function = "hscroll" if action.name == "horizontal" else "scroll"
        place = _place(action.x, action.y)
        return f"pyautogui.{function}({_notches(action.amount)}{f', {place}' if place else ''})"
    if action.kind == "type":
        return _typed(action.text) if real else f"pyautogui.typewrite({action.text!r})"
    if action.kind == "wait":
        if not math.isfinite(action.seconds):
            raise CannotDo(f"cannot wait for {action.seconds} seconds")
        return f"time.sleep({max(0.0, action.seconds)!r})"
    keys = [_key(name, real) for name in action.keys]
    if action.kind == "key":
        if real and keys == ["<"]:
            return "pyautogui.hotkey('shift', ',')"
        return f"pyautogui.{'press' if len(keys) == 1 else 'hotkey'}({', '.join(map(repr, keys))})"
    return f"pyautogui.{'keyDown' if action.kind == 'key_down' else 'keyUp'}({keys[0]!r})"


def _place(x: float | None, y: float | None) -> str:
    if x is None and y is None:
        return ""
    if x is None or y is None:
        raise CannotDo(f"a place needs both coordinates, not ({x}, {y})")
    if not (math.isfinite(x) and math.isfinite(y)):
        raise CannotDo(f"({x}, {y}) is no place on a screen")
    return ", ".join(repr(int(one) if float(one).is_integer() else float(one)) for one in (x, y))


def _notches(amount: float) -> int:
    if not math.isfinite(amount):
        raise CannotDo(f"cannot scroll by {amount}")
    whole = math.copysign(max(1, round(abs(amount))), amount) if amount else 0
    return int(max(-MAX_NOTCHES, min(MAX_NOTCHES, whole)))


def _typed(text: str) -> str:
    for character in text:
        if not (character.isascii() and character.isprintable()) and character not in _CONTROL:
            raise CannotDo(
                f"this machine types with pyautogui, which has no key for {character!r} and would leave it out without a word; "
                "write it another way, such as with printf in a terminal"
            )
    parts = text.split("<")
    calls = [f"pyautogui.typewrite({parts[0]!r})"] if parts[0] or len(parts) == 1 else []
    for part in parts[1:]:
        calls.append("pyautogui.hotkey('shift', ',')")
        calls += [f"pyautogui.typewrite({part!r})"] if part else []
    return "; ".join(calls)


def _key(name: str, real: bool) -> str:
    try:
        canonical = canonical_key(name)
    except ValueError as error:
        raise CannotDo(f"there is no key {name!r}: {error}") from error
    if real and not canonical.isascii():
        raise CannotDo(f"this machine presses keys with pyautogui, which has none for {name!r}")
    return _KEYS.get(canonical, canonical)
