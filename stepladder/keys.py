"""Names of keys: one lower-case name for each key, and the many spellings that models use for it.

Canonical names are single characters for letters, digits and symbols ("a", "7", "+"), and the words of `NAMED_KEYS`.
Environments receive canonical names only; dialects translate with `read_keys`.
"""

from __future__ import annotations

import difflib
import re

MODIFIERS = ("ctrl", "alt", "shift", "super")
NAMED_KEYS = (
    "enter",
    "tab",
    "escape",
    "backspace",
    "delete",
    "insert",
    "space",
    "up",
    "down",
    "left",
    "right",
    "home",
    "end",
    "pageup",
    "pagedown",
    "capslock",
    "numlock",
    "scrolllock",
    "printscreen",
    "pause",
    "menu",
    *(f"f{number}" for number in range(1, 13)),
    *MODIFIERS,
)

_ALIASES = {
    "return": "enter",
    "kpenter": "enter",
    "esc": "escape",
    "bksp": "backspace",
    "back": "backspace",
    "del": "delete",
    "ins": "insert",
    "spacebar": "space",
    "arrowup": "up",
    "arrowdown": "down",
    "arrowleft": "left",
    "arrowright": "right",
    "uparrow": "up",
    "downarrow": "down",
    "leftarrow": "left",
    "rightarrow": "right",
    "pgup": "pageup",
    "prior": "pageup",
    "pgdn": "pagedown",
    "pgdown": "pagedown",
    "next": "pagedown",
    "control": "ctrl",
    "controll": "ctrl",
    "controlleft": "ctrl",
    "controlright": "ctrl",
    "ctrlleft": "ctrl",
    "ctrlright": "ctrl",
    "ctrll": "ctrl",
    "ctrlr": "ctrl",
    "altleft": "alt",
    "altright": "alt",
    "altl": "alt",
    "altr": "alt",
    "option": "alt",
    "shiftleft": "shift",
    "shiftright": "shift",
    "shiftl": "shift",
    "shiftr": "shift",
    "cmd": "super",
    "command": "super",
    "meta": "super",
    "win": "super",
    "windows": "super",
    "winleft": "super",
    "winright": "super",
    "apps": "menu",
    "superl": "super",
    "superr": "super",
    "metal": "super",
    "metar": "super",
    "plus": "+",
    "minus": "-",
    "hyphen": "-",
    "equal": "=",
    "equals": "=",
    "comma": ",",
    "period": ".",
    "dot": ".",
    "slash": "/",
    "backslash": "\\",
    "semicolon": ";",
    "apostrophe": "'",
    "grave": "`",
    "bracketleft": "[",
    "bracketright": "]",
}
_WHITESPACE = {" ": "space", "\t": "tab", "\n": "enter", "\r": "enter", "\b": "backspace", "\x1b": "escape"}


def canonical_key(name: str) -> str:
    """The canonical name of one key. Raises ValueError that names the nearest valid name."""
    if len(name) == 1:
        character = _WHITESPACE.get(name, name)
        if len(character) > 1:
            return character
        if character.isprintable():
            lower = character.lower()
            return lower if len(lower) == 1 else character
        raise ValueError(f"{name!r} is no key")
    word = re.sub(r"[\s_\-]", "", name).lower()
    if word in NAMED_KEYS:
        return word
    if word in _ALIASES:
        return _ALIASES[word]
    if len(word) == 1:
        return canonical_key(word)
    near = difflib.get_close_matches(word, (*NAMED_KEYS, *_ALIASES), n=1)
    raise ValueError(f"unknown key {name[:40]!r}" + (f"; did you mean {near[0]!r}?" if near else ""))


def read_keys(value: object) -> tuple[str, ...]:
    """Canonical keys from what a model wrote: "ctrl+c", "ctrl c", ["ctrl", "c"], ["Control+Shift", "t"], ["keys=['ctrl'", "'c']"].

    Raises ValueError when there is no key or an unknown one.
    """
    parts = value if isinstance(value, (list, tuple)) else [value]
    keys: list[str] = []
    for part in parts:
        if isinstance(part, int) and not isinstance(part, bool) and 0 <= part <= 9:
            part = str(part)
        if not isinstance(part, str):
            raise ValueError(f"keys must be strings, not {type(part).__name__}")
        keys.extend(canonical_key(piece) for piece in _split(_strip_wrapping(part)))
    if not keys:
        raise ValueError("there is no key")
    return tuple(keys)


def _strip_wrapping(text: str) -> str:
    """Without the remains of a Python or JSON list around the name."""
    if len(text) <= 1:
        return text
    text = re.sub(r"^\s*keys\s*=\s*", "", text).strip()
    return text.strip("[]\"'() ") or text


def _split(text: str) -> list[str]:
    if len(text) <= 1:
        return [text] if text else []
    try:
        return [canonical_key(text)]
    except ValueError:
        if text.endswith("++"):
            return [*_split(text[:-2]), "+"]
        pieces = [piece.strip(" \t\r\n\"'") for piece in re.split(r"[+,\s]+", text)]
        pieces = [piece for piece in pieces if piece]
        if len(pieces) <= 1:
            return [text]
        return [part for piece in pieces for part in _split(piece)]
