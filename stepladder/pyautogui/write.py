"""From actions to calls of pyautogui: the names that all who write them share, and the lines that machines of OSWorld run.

`read.read_code` reads them back.
"""

from __future__ import annotations

import math

from stepladder.keys import canonical_key
from stepladder.pyautogui.parts import LONGEST_WAIT, elementary
from stepladder.types import Action, ActionKind
from stepladder.values import whole

#: What OSWorld's controllers put before every command.
PREFIX = "import pyautogui; import time; pyautogui.FAILSAFE = False; "
#: Turns of the wheel that one action makes at most.
MAX_NOTCHES = 100
#: The function of every kind of action; a scroll sideways and several keys at once have their own, see `function_of`.
FUNCTIONS: dict[ActionKind, str] = {
    "click": "click",
    "double_click": "doubleClick",
    "triple_click": "tripleClick",
    "right_click": "rightClick",
    "middle_click": "middleClick",
    "move": "moveTo",
    "mouse_down": "mouseDown",
    "mouse_up": "mouseUp",
    "drag": "dragTo",
    "scroll": "scroll",
    "type": "write",
    "key": "press",
    "key_down": "keyDown",
    "key_up": "keyUp",
    "wait": "sleep",
}
#: Keys that pyautogui calls otherwise.
_KEYS = {"super": "win", "menu": "apps"}
#: Characters beyond the printable ones of ASCII that pyautogui has a key for.
_CONTROL = "\n\r\t\b"


def function_of(action: Action) -> str:
    """The function of pyautogui that says an elementary action, such as "pyautogui.click"; waits are `time`'s."""
    if action.kind == "wait":
        return "time.sleep"
    if action.kind == "scroll" and action.name:
        return "pyautogui.hscroll"
    if action.kind == "key" and len(action.keys) > 1:
        return "pyautogui.hotkey"
    return f"pyautogui.{FUNCTIONS[action.kind]}"


def key_name(key: str) -> str:
    """What pyautogui calls a canonical key."""
    return _KEYS.get(key, key)


def sleep_call(seconds: float) -> str:
    """Such as `time.sleep(0.5)`. Raises ValueError for a wait that is longer than LONGEST_WAIT, or no time."""
    if not 0 <= seconds <= LONGEST_WAIT:
        raise ValueError(f"a wait of {seconds} seconds cannot be said; it must lie in 0..{LONGEST_WAIT:g}")
    return f"time.sleep({whole(seconds)!r})"


def write_action(action: Action, real: bool = True) -> str:
    """Calls of pyautogui that carry out an action, joined by "; ".

    With `real` they are for pyautogui itself, which types "<" as ">" (OSWorld rewrites it in the same way) and leaves out without a
    word what is no ASCII: such text is refused. Otherwise they are for a server that reads them, and say the action exactly.

    Raises ValueError for an action that cannot be said, a place that is no number, an unknown key, a wait that is too long."""
    return "; ".join(_call(one, real) for one in elementary(action))


def _call(action: Action, real: bool) -> str:
    """The call of one elementary action."""
    function = function_of(action)
    if action.kind == "drag":
        return f"{function}({_place(action.x2, action.y2)}, duration=1.0, button='left')"
    if action.kind == "scroll":
        place = _place(action.x, action.y)
        return f"{function}({_notches(action.amount)}{f', {place}' if place else ''})"
    if action.kind == "type":
        return _typed(action.text) if real else _typing(action.text)
    if action.kind == "wait":
        return sleep_call(action.seconds)
    if action.kind in ("key", "key_down", "key_up"):
        keys = [_key(name, real) for name in action.keys]
        if action.kind == "key" and real and keys == ["<"]:
            return "pyautogui.hotkey('shift', ',')"
        return f"{function}({', '.join(map(repr, keys))})"
    return f"{function}({_place(action.x, action.y)})"


def _place(x: float | None, y: float | None) -> str:
    if x is None and y is None:
        return ""
    if x is None or y is None:
        raise ValueError(f"a place needs both coordinates, not ({x}, {y})")
    if not (math.isfinite(x) and math.isfinite(y)):
        raise ValueError(f"({x}, {y}) is no place on a screen")
    return ", ".join(repr(whole(float(one))) for one in (x, y))


def _notches(amount: float) -> int:
    if not math.isfinite(amount):
        raise ValueError(f"cannot scroll by {amount}")
    notches = math.copysign(max(1, round(abs(amount))), amount) if amount else 0
    return int(max(-MAX_NOTCHES, min(MAX_NOTCHES, notches)))


def _typing(text: str) -> str:
    """OSWorld's controllers write `typewrite`, the older name of `write`."""
    return f"pyautogui.typewrite({text!r})"


def _typed(text: str) -> str:
    for character in text:
        if not (character.isascii() and character.isprintable()) and character not in _CONTROL:
            raise ValueError(
                f"this machine types with pyautogui, which has no key for {character!r} and would leave it out without a word; "
                "write it another way, such as with printf in a terminal"
            )
    parts = text.split("<")
    calls = [_typing(parts[0])] if parts[0] or len(parts) == 1 else []
    for part in parts[1:]:
        calls.append("pyautogui.hotkey('shift', ',')")
        calls += [_typing(part)] if part else []
    return "; ".join(calls)


def _key(name: str, real: bool) -> str:
    try:
        canonical = canonical_key(name)
    except ValueError as error:
        raise ValueError(f"there is no key {name!r}: {error}") from error
    if real and not canonical.isascii():
        raise ValueError(f"this machine presses keys with pyautogui, which has none for {name!r}")
    return key_name(canonical)
