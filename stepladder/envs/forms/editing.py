"""A one-line text field with caret, selection, clipboard and scrolling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from stepladder.drawing import text_width
from stepladder.envs.forms.widgets import Reaction, Widget

MASK = "•"
PADDING = 4
MAX_LENGTH = 200


@dataclass(slots=True)
class TextField(Widget):
    """`caret` and `anchor` are positions between characters; what lies between them is selected. `label` is what the field is
    called, `hint` stands in it in grey while it is empty."""

    value: str = ""
    password: bool = False
    hint: str = ""
    caret: int = 0
    anchor: int = 0
    read_only: bool = False

    role: ClassVar[str] = "textbox"
    focusable: ClassVar[bool] = True

    def look(self) -> tuple[object, ...]:
        return (self.enabled, self.value, self.caret, self.anchor)

    @property
    def shown(self) -> str:
        """The text as it is seen: a password is a row of dots."""
        return MASK * len(self.value) if self.password else self.value

    @property
    def selection(self) -> tuple[int, int]:
        return min(self.caret, self.anchor), max(self.caret, self.anchor)

    @property
    def scrolled(self) -> int:
        """Pixels of the text that are hidden at the left, so that the caret is always seen."""
        room = self.box[2] - 2 * PADDING - 1
        return max(0, self.offset(self.caret) - room)

    def offset(self, position: int) -> int:
        """Pixels from the start of the text to this caret position."""
        return text_width(self.font, self.shown[:position])

    def position_at(self, x: float) -> int:
        """The caret position nearest to a place on the screen."""
        wanted = x - self.box[0] - PADDING + self.scrolled
        return min(range(len(self.value) + 1), key=lambda position: abs(self.offset(position) - wanted))

    def insert(self, text: str) -> Reaction:
        """Put text in the place of the selection. Line breaks and what has no glyph of its own are left out."""
        start, end = self.selection
        room = MAX_LENGTH - len(self.value) + (end - start)
        text = "".join(letter for letter in text if letter.isprintable())[:room]
        if self.read_only or (not text and start == end):
            return Reaction.NOTHING
        self.value = self.value[:start] + text + self.value[end:]
        self.caret = self.anchor = start + len(text)
        return Reaction.CHANGED

    def select_all(self) -> None:
        self.anchor, self.caret = 0, len(self.value)

    def press(self, x: float, y: float, count: int, extend: bool) -> Reaction:
        if count >= 3:
            self.select_all()
            return Reaction.CHANGED
        self.caret = self.position_at(x)
        if count == 2:
            self.anchor, self.caret = self._word(self.caret, -1, False), self._word(self.caret, 1, False)
        elif not extend:
            self.anchor = self.caret
        return Reaction.CHANGED

    def pull(self, x: float, y: float) -> Reaction:
        self.caret = self.position_at(x)
        return Reaction.CHANGED

    def key(self, name: str, modifiers: frozenset[str]) -> Reaction:
        if name == "enter":
            return Reaction.ENTER
        if name in ("backspace", "delete"):
            return self._erase(-1 if name == "backspace" else 1, "ctrl" in modifiers)
        if name in ("left", "right", "home", "end", "up", "down"):
            return self._move(name, "ctrl" in modifiers, "shift" in modifiers)
        if name == "a" and "ctrl" in modifiers:
            self.select_all()
            return Reaction.CHANGED
        return Reaction.NOTHING

    def _erase(self, direction: int, whole_word: bool) -> Reaction:
        if self.read_only:
            return Reaction.NOTHING
        start, end = self.selection
        if start == end:
            other = self._word(self.caret, direction) if whole_word else self.caret + direction
            start, end = sorted((self.caret, min(max(0, other), len(self.value))))
        if start == end:
            return Reaction.NOTHING
        self.value = self.value[:start] + self.value[end:]
        self.caret = self.anchor = start
        return Reaction.CHANGED

    def _move(self, name: str, whole_word: bool, extend: bool) -> Reaction:
        before = (self.caret, self.anchor)
        if name in ("home", "up"):
            self.caret = 0
        elif name in ("end", "down"):
            self.caret = len(self.value)
        elif self.caret != self.anchor and not extend and not whole_word:
            self.caret = self.selection[0 if name == "left" else 1]
        else:
            direction = -1 if name == "left" else 1
            self.caret = self._word(self.caret, direction) if whole_word else self.caret + direction
        self.caret = min(max(0, self.caret), len(self.value))
        if not extend:
            self.anchor = self.caret
        return Reaction.CHANGED if (self.caret, self.anchor) != before else Reaction.NOTHING

    def _word(self, position: int, direction: int, skip_spaces: bool = True) -> int:
        """The edge of the word at a position, in the given direction; `skip_spaces` goes on to the next word if need be."""
        text = "x" * len(self.value) if self.password else self.value
        at = position
        for spaces in (True, False) if skip_spaces else (False,):
            while 0 <= (ahead := at if direction > 0 else at - 1) < len(text) and text[ahead].isspace() == spaces:
                at += direction
        return at
