"""Which keys say which text. A character that the layout lacks is put on a spare key for as long as it is needed.

A program that is told of a key looks up what the key means, now: a spare key that got another character in the meantime would be
read wrongly. So every character has a spare key of its own, and one is used again only after the program had time to read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

#: Canonical names of keys -> keysyms (X11/keysymdef.h).
KEYSYMS = {
    "enter": 0xFF0D,
    "tab": 0xFF09,
    "escape": 0xFF1B,
    "backspace": 0xFF08,
    "delete": 0xFFFF,
    "insert": 0xFF63,
    "space": 0x20,
    "up": 0xFF52,
    "down": 0xFF54,
    "left": 0xFF51,
    "right": 0xFF53,
    "home": 0xFF50,
    "end": 0xFF57,
    "pageup": 0xFF55,
    "pagedown": 0xFF56,
    "capslock": 0xFFE5,
    "numlock": 0xFF7F,
    "scrolllock": 0xFF14,
    "printscreen": 0xFF61,
    "pause": 0xFF13,
    "menu": 0xFF67,
    "ctrl": 0xFFE3,
    "alt": 0xFFE9,
    "shift": 0xFFE1,
    "super": 0xFFEB,
    **{f"f{number}": 0xFFBD + number for number in range(1, 13)},
}
#: Characters that have a key with a name.
NAMED = {"\n": "enter", "\r": "enter", "\t": "tab", "\b": "backspace", "\x1b": "escape"}
#: Keysyms below this are Latin-1 and the same as the character; others are Unicode with this added.
_UNICODE = 0x01000000


def keysym_of(character: str) -> int:
    """The keysym of one character. Raises ValueError for a control character that no key types."""
    if character in NAMED:
        return KEYSYMS[NAMED[character]]
    code = ord(character)
    if 0x20 <= code <= 0x7E or 0xA0 <= code <= 0xFF:
        return code
    if code < 0x20 or 0x7F <= code < 0xA0 or 0xD800 <= code < 0xE000:
        raise ValueError(f"no key types the control character {character!r}")
    return _UNICODE + code


@dataclass(frozen=True)
class KeyPress:
    """A key, with shift or without."""

    keycode: int
    shift: bool = False


class Keyboard:
    """The layout of an X server: `mapping` is keycode -> keysyms of its levels. Keys without any are spare."""

    def __init__(self, mapping: dict[int, tuple[int, ...]]) -> None:
        self._known: dict[int, KeyPress] = {}
        for keycode, keysyms in mapping.items():
            for level, keysym in enumerate(keysyms[:2]):
                if keysym:
                    self._known.setdefault(keysym, KeyPress(keycode, level == 1 and keysym != keysyms[0]))
        self._layout = frozenset(self._known)
        self._spare = [keycode for keycode, keysyms in mapping.items() if not any(keysyms)]
        self._lent: list[int] = []

    @property
    def spare(self) -> int:
        """How many characters that the layout lacks can be had at once."""
        return len(self._spare) + len(self._lent)

    def on_layout(self, keysym: int) -> bool:
        """Whether a keysym needs no spare key."""
        return keysym in self._layout

    def press(self, keysym: int) -> KeyPress | None:
        """How a keysym is pressed at present; None for one that needs a spare key first."""
        return self._known.get(keysym)

    def key(self, name: str) -> KeyPress | None:
        """How a canonical key is pressed at present; a modifier as itself."""
        return self.press(KEYSYMS[name] if name in KEYSYMS else keysym_of(name))

    def lacks(self, keysyms: Iterable[int]) -> list[int]:
        """Those that need a spare key, each once, in order."""
        return [keysym for keysym in dict.fromkeys(keysyms) if keysym not in self._known]

    def lend(self, keysyms: Iterable[int]) -> dict[int, int]:
        """Put keysyms on spare keys: keycode -> keysym, to be told to the server. Raises ValueError when there are too few; then
        `give_back` first."""
        wanted = self.lacks(keysyms)
        if len(wanted) > len(self._spare):
            raise ValueError(f"{len(wanted)} characters are not on the keyboard, and {len(self._spare)} keys are free")
        lent = {self._spare.pop(): keysym for keysym in wanted}
        for keycode, keysym in lent.items():
            self._known[keysym] = KeyPress(keycode)
            self._lent.append(keycode)
        return lent

    def give_back(self) -> None:
        """All lent keys are spare again. What they mean to the server stays until they are lent anew."""
        self._known = {keysym: press for keysym, press in self._known.items() if keysym in self._layout}
        self._spare += self._lent
        self._lent.clear()
