"""From an Action to Chromium's input events: a pure mapping, given where the pointer is and what is held down."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from stepladder.envs.acting import CannotDo
from stepladder.types import Action

#: One call of the Input domain, or None: "wait here until the page has handled what came before, and let a frame pass".
InputCall = tuple[str, dict[str, Any]] | None

#: Pixels that a notch of the wheel scrolls (Chromium's own value on Linux).
NOTCH = 53
MAX_NOTCHES = 100
#: Longer texts are inserted line by line, as a paste would, in place of key by key.
MAX_KEYSTROKES = 200

MODIFIERS = {"alt": 1, "ctrl": 2, "super": 4, "shift": 8}
_BUTTON_BITS = {"left": 1, "right": 2, "middle": 4}
_CLICKS = {
    "click": ("left", 1),
    "double_click": ("left", 2),
    "triple_click": ("left", 3),
    "right_click": ("right", 1),
    "middle_click": ("middle", 1),
}
_DRAG_STEPS = 4


@dataclass(frozen=True, slots=True)
class Key:
    """`key` and `code` as in a DOM KeyboardEvent, `virtual` the Windows key code, `text` what it types ("" for none)."""

    key: str
    code: str
    virtual: int
    text: str = ""


def _keys() -> dict[str, Key]:
    table = {
        "ctrl": Key("Control", "ControlLeft", 17),
        "shift": Key("Shift", "ShiftLeft", 16),
        "alt": Key("Alt", "AltLeft", 18),
        "super": Key("Meta", "MetaLeft", 91),
        "enter": Key("Enter", "Enter", 13, "\r"),
        "tab": Key("Tab", "Tab", 9),
        "space": Key(" ", "Space", 32, " "),
        "backspace": Key("Backspace", "Backspace", 8),
        "delete": Key("Delete", "Delete", 46),
        "insert": Key("Insert", "Insert", 45),
        "escape": Key("Escape", "Escape", 27),
        "home": Key("Home", "Home", 36),
        "end": Key("End", "End", 35),
        "pageup": Key("PageUp", "PageUp", 33),
        "pagedown": Key("PageDown", "PageDown", 34),
        "left": Key("ArrowLeft", "ArrowLeft", 37),
        "up": Key("ArrowUp", "ArrowUp", 38),
        "right": Key("ArrowRight", "ArrowRight", 39),
        "down": Key("ArrowDown", "ArrowDown", 40),
        "capslock": Key("CapsLock", "CapsLock", 20),
        "numlock": Key("NumLock", "NumLock", 144),
        "scrolllock": Key("ScrollLock", "ScrollLock", 145),
        "printscreen": Key("PrintScreen", "PrintScreen", 44),
        "pause": Key("Pause", "Pause", 19),
        "menu": Key("ContextMenu", "ContextMenu", 93),
    }
    table |= {f"f{n}": Key(f"F{n}", f"F{n}", 111 + n) for n in range(1, 25)}
    return table


NAMED_KEYS = _keys()
_ALIASES = {
    "control": "ctrl",
    "cmd": "super",
    "meta": "super",
    "win": "super",
    "return": "enter",
    "esc": "escape",
    "del": "delete",
    "arrowleft": "left",
    "arrowup": "up",
    "arrowright": "right",
    "arrowdown": "down",
}
#: US layout: unshifted and shifted character, DOM code, Windows key code.
_PUNCTUATION = (
    ("`~", "Backquote", 192),
    ("-_", "Minus", 189),
    ("=+", "Equal", 187),
    ("[{", "BracketLeft", 219),
    ("]}", "BracketRight", 221),
    ("\\|", "Backslash", 220),
    (";:", "Semicolon", 186),
    ("'\"", "Quote", 222),
    (",<", "Comma", 188),
    (".>", "Period", 190),
    ("/?", "Slash", 191),
)
_SHIFTED_DIGITS = ")!@#$%^&*("
_LAYOUT: dict[str, tuple[str, int, bool]] = {" ": ("Space", 32, False)}
for _index, _symbol in enumerate(_SHIFTED_DIGITS):
    _LAYOUT[str(_index)] = (f"Digit{_index}", 48 + _index, False)
    _LAYOUT[_symbol] = (f"Digit{_index}", 48 + _index, True)
for _letter in "abcdefghijklmnopqrstuvwxyz":
    _LAYOUT[_letter] = (f"Key{_letter.upper()}", ord(_letter.upper()), False)
    _LAYOUT[_letter.upper()] = (f"Key{_letter.upper()}", ord(_letter.upper()), True)
for _pair, _code, _virtual in _PUNCTUATION:
    _LAYOUT[_pair[0]] = (_code, _virtual, False)
    _LAYOUT[_pair[1]] = (_code, _virtual, True)


def key_name(name: str) -> str:
    """The canonical name of a key: an entry of NAMED_KEYS or a single character. Raises CannotDo for an unknown name."""
    if len(name) == 1 and name.isprintable():
        return "space" if name == " " else name
    lower = name.lower()
    lower = _ALIASES.get(lower, lower)
    if lower in NAMED_KEYS or len(lower) == 1:
        return lower
    near = difflib.get_close_matches(lower, [*NAMED_KEYS, *_ALIASES], n=1)
    raise CannotDo(f"there is no key {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))


@dataclass(slots=True)
class InputState:
    """Where the pointer is and what is held. `call_input` keeps it up to date."""

    x: float = 0.0
    y: float = 0.0
    buttons: set[str] = field(default_factory=set)
    held: list[str] = field(default_factory=list)

    @property
    def modifiers(self) -> int:
        return sum(MODIFIERS[name] for name in dict.fromkeys(self.held) if name in MODIFIERS)

    @property
    def button_mask(self) -> int:
        return sum(_BUTTON_BITS[button] for button in self.buttons)


def input_calls(action: Action, state: InputState, width: int, height: int) -> list[InputCall]:
    """The calls that carry out a mouse or keyboard action on a screen of `width` x `height` pixels; updates `state`.

    Raises CannotDo, and leaves `state` as it is, for a place off the screen, an unknown key, or a kind that is no input.
    """
    for x, y in ((action.x, action.y), (action.x2, action.y2)):
        _check_place(x, y, width, height)
    keys = [key_name(name) for name in action.keys]
    if action.kind in _CLICKS:
        return list(_with_held(keys, state, _click(action, state)))
    if action.kind == "move":
        return list(_with_held(keys, state, _move(action, state)))
    if action.kind == "mouse_down":
        return list(_with_held(keys, state, _hold_button(action, state)))
    if action.kind == "mouse_up":
        return list(_with_held(keys, state, _let_go_button(action, state)))
    if action.kind == "drag":
        if action.x2 is None or action.y2 is None:
            raise CannotDo("a drag needs the place where it ends (x2, y2)")
        return list(_with_held(keys, state, _drag(action, state)))
    if action.kind == "scroll":
        if not math.isfinite(action.amount):
            raise CannotDo(f"cannot scroll by {action.amount}")
        return list(_with_held(keys, state, _scroll(action, state)))
    if action.kind == "type":
        return list(_type(action.text, state))
    if action.kind in ("key", "key_down", "key_up") and not keys:
        raise CannotDo(f"{action.kind} needs at least one key")
    if action.kind == "key":
        return list(_with_held(keys[:-1], state, _tap(keys[-1:], state)))
    if action.kind == "key_down":
        return [_key_down(name, state) for name in keys]
    if action.kind == "key_up":
        return [_key_up(name, state) for name in keys]
    raise CannotDo(f"a browser page cannot carry out {action.kind!r}")


def release_all(state: InputState) -> list[InputCall]:
    """Let go of everything that is held, so that the next episode starts with free hands."""
    calls: list[InputCall] = [_release(button, 1, state) for button in sorted(state.buttons)]
    calls += [_key_up(name, state) for name in list(state.held)]
    return calls


def releases(calls: Iterable[InputCall]) -> list[tuple[str, dict[str, Any]]]:
    """Those of `calls` that let go of a button or key."""
    return [call for call in calls if call is not None and call[1].get("type") in ("mouseReleased", "keyUp")]


def _check_place(x: float | None, y: float | None, width: int, height: int) -> None:
    if (x is None) != (y is None):
        raise CannotDo("a place needs both coordinates")
    if x is None or y is None:
        return
    if not (math.isfinite(x) and math.isfinite(y) and 0 <= x < width and 0 <= y < height):
        raise CannotDo(f"({x:g}, {y:g}) is not on the screen, which is {width} x {height} pixels")


def _mouse(kind: str, state: InputState, button: str = "none", count: int = 0) -> InputCall:
    params: dict[str, Any] = {"type": kind, "x": state.x, "y": state.y, "button": button, "buttons": state.button_mask}
    params.update(clickCount=count, modifiers=state.modifiers)
    return "Input.dispatchMouseEvent", params


def _move(action: Action, state: InputState) -> Iterator[InputCall]:
    if action.x is not None and action.y is not None:
        state.x, state.y = action.x, action.y
    yield _mouse("mouseMoved", state, next(iter(sorted(state.buttons)), "none"))


def _hold_button(action: Action, state: InputState) -> Iterator[InputCall]:
    yield from _move(action, state)
    yield _press("left", 1, state)


def _let_go_button(action: Action, state: InputState) -> Iterator[InputCall]:
    yield from _move(action, state)
    yield _release("left", 1, state)


def _press(button: str, count: int, state: InputState) -> InputCall:
    state.buttons.add(button)
    return _mouse("mousePressed", state, button, count)


def _release(button: str, count: int, state: InputState) -> InputCall:
    state.buttons.discard(button)
    return _mouse("mouseReleased", state, button, count)


def _click(action: Action, state: InputState) -> Iterator[InputCall]:
    button, count = _CLICKS[action.kind]
    yield from _move(action, state)
    for number in range(1, count + 1):
        yield _press(button, number, state)
        yield _release(button, number, state)


def _drag(action: Action, state: InputState) -> Iterator[InputCall]:
    """Chromium delivers one move per frame, and pages begin to drag only after the first, so frames pass in between."""
    assert action.x2 is not None
    assert action.y2 is not None
    yield from _move(action, state)
    yield _press("left", 1, state)
    x, y = state.x, state.y
    for step in range(1, _DRAG_STEPS + 1):
        state.x = x + (action.x2 - x) * step / _DRAG_STEPS
        state.y = y + (action.y2 - y) * step / _DRAG_STEPS
        yield _mouse("mouseMoved", state, "left")
        yield None
    yield _release("left", 1, state)


def _scroll(action: Action, state: InputState) -> Iterator[InputCall]:
    yield from _move(action, state)
    distance = max(-MAX_NOTCHES, min(MAX_NOTCHES, action.amount)) * NOTCH
    horizontal = action.name == "horizontal"
    _, params = _mouse("mouseWheel", state) or ("", {})
    params.update(deltaX=distance if horizontal else 0, deltaY=0 if horizontal else -distance)
    yield "Input.dispatchMouseEvent", params


def _with_held(keys: list[str], state: InputState, calls: Iterable[InputCall]) -> Iterator[InputCall]:
    """Hold `keys` while `calls` happen. Keys that were held before stay held."""
    added = [name for name in dict.fromkeys(keys) if name not in state.held]
    downs = [_key_down(name, state) for name in added]
    yield from downs
    yield from calls
    for name in reversed(added):
        yield _key_up(name, state)


def _tap(names: list[str], state: InputState) -> Iterator[InputCall]:
    for name in names:
        yield _key_down(name, state)
        yield _key_up(name, state)


def _key(name: str, modifiers: int) -> Key:
    if name in NAMED_KEYS:
        return NAMED_KEYS[name]
    character = name.upper() if modifiers & MODIFIERS["shift"] and name.upper() in _LAYOUT else name
    if character in _LAYOUT:
        code, virtual, _ = _LAYOUT[character]
        return Key(character, code, virtual, character)
    return Key(character, "", 0, character)


def _key_down(name: str, state: InputState) -> InputCall:
    if name not in state.held:
        state.held.append(name)
    return "Input.dispatchKeyEvent", _key_event("keyDown", name, state)


def _key_up(name: str, state: InputState) -> InputCall:
    if name in state.held:
        state.held.remove(name)
    return "Input.dispatchKeyEvent", _key_event("keyUp", name, state)


def _key_event(kind: str, name: str, state: InputState) -> dict[str, Any]:
    modifiers = state.modifiers
    key = _key(name, modifiers)
    # With ctrl, alt or meta a key is a command and types nothing.
    text = "" if modifiers & ~MODIFIERS["shift"] or kind == "keyUp" else key.text
    params: dict[str, Any] = {
        "type": "rawKeyDown" if kind == "keyDown" and not text else kind,
        "key": key.key,
        "code": key.code,
        "windowsVirtualKeyCode": key.virtual,
        "modifiers": modifiers,
    }
    if text:
        params.update(text=text, unmodifiedText=text)
    return params


def _type(text: str, state: InputState) -> Iterator[InputCall]:
    """Text as key presses where a keyboard has the character, otherwise as an input method would insert it."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    by_key = len(text) <= MAX_KEYSTROKES
    pending = ""
    for character in text:
        special = {"\n": "enter", "\t": "tab"}.get(character)
        if special is None and (not by_key or character not in _LAYOUT):
            if character.isprintable() or ord(character) > 127:
                pending += character
            continue
        if pending:
            yield "Input.insertText", {"text": pending}
            pending = ""
        if special is not None:
            yield from _tap([special], state)
        else:
            yield from _character(character, state)
    if pending:
        yield "Input.insertText", {"text": pending}


def _character(character: str, state: InputState) -> Iterator[InputCall]:
    code, virtual, shifted = _LAYOUT[character]
    modifiers = state.modifiers | (MODIFIERS["shift"] if shifted else 0)
    params: dict[str, Any] = {"key": character, "code": code, "windowsVirtualKeyCode": virtual, "modifiers": modifiers}
    yield "Input.dispatchKeyEvent", {"type": "keyDown", "text": character, "unmodifiedText": character, **params}
    yield "Input.dispatchKeyEvent", {"type": "keyUp", **params}
