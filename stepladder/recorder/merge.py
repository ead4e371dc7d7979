"""From single events of mouse and keyboard to actions.

- A press and a release in one place are a click; two or three in quick succession a double or triple click. Elsewhere they are a
  drag.
- Characters in a row are one text, from which Backspace takes the last one again. Any other key ends it.
- A key with ctrl, alt or super held is a combination; a modifier that is pressed and let go of alone is a key, except shift.
- Turns of the wheel in one direction are one scroll.
- Where the pointer goes in between is no action.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from stepladder.keys import MODIFIERS
from stepladder.types import Action, ActionKind

EventKind = Literal["key_down", "key_up", "button_down", "button_up", "move"]
#: Pixels that the pointer may move during a click, and between the clicks of a double click.
STILL = 5.0
#: Seconds between the clicks of a double click, between characters of one text, between turns of the wheel.
CLICK_PAUSE, TEXT_PAUSE, WHEEL_PAUSE = 0.4, 3.0, 0.8
_CLICKS: dict[int, ActionKind] = {1: "click", 2: "middle_click", 3: "right_click"}
_TIMES: dict[int, ActionKind] = {1: "click", 2: "double_click", 3: "triple_click"}
#: Buttons that the wheel presses: name of the scroll, notches.
_WHEEL = {4: ("", 1.0), 5: ("", -1.0), 6: ("horizontal", -1.0), 7: ("horizontal", 1.0)}
_HELD = tuple(key for key in MODIFIERS if key != "shift")


@dataclass(frozen=True, slots=True)
class InputEvent:
    """`time` in seconds, `x`, `y` where the pointer is, `button` as X counts them, `key` the canonical name of a key (its plain
    character for one that types), `text` what it types."""

    kind: EventKind
    time: float
    x: int = 0
    y: int = 0
    button: int = 0
    key: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Deed:
    """An action, from its first event to its last, in seconds."""

    action: Action
    began: float
    ended: float


@dataclass
class _Open:
    """An action that may still go on."""

    action: Action
    began: float
    ended: float
    pause: float
    times: int = 1


@dataclass
class Merger:
    """Takes events in the order of their time, and gives the actions that are over. A text is over `text_pause` seconds after its
    last character."""

    text_pause: float = TEXT_PAUSE
    _held: list[str] = field(default_factory=list)
    _used: bool = False
    _pressed: InputEvent | None = None
    _open: _Open | None = None

    @property
    def pending(self) -> Action | None:
        """The action that may still go on."""
        return None if self._open is None else self._open.action

    def take(self, event: InputEvent) -> Iterator[Deed]:
        """The actions that are known to be over, now that `event` has come."""
        yield from self.until(event.time)
        if event.kind == "key_down":
            yield from self._key_down(event)
        elif event.kind == "key_up":
            yield from self._key_up(event)
        elif event.kind == "button_down":
            yield from self._button_down(event)
        elif event.kind == "button_up":
            yield from self._button_up(event)

    def until(self, time: float) -> Iterator[Deed]:
        """The action that is over because nothing came until `time`."""
        if self._open is not None and time - self._open.ended > self._open.pause:
            yield from self.finish()

    def finish(self) -> Iterator[Deed]:
        """The action that is still open."""
        opened, self._open = self._open, None
        if opened is not None and not (opened.action.kind == "type" and not opened.action.text):
            yield Deed(opened.action, opened.began, opened.ended)

    # ------------------------------------------------------------------------------------------------------------ keyboard

    def _key_down(self, event: InputEvent) -> Iterator[Deed]:
        if event.key in MODIFIERS:
            if event.key not in self._held:
                self._held.append(event.key)
                self._used = False
            return
        self._used = True
        modifiers = tuple(key for key in self._held if key in _HELD)
        text = self._open if self._open is not None and self._open.action.kind == "type" else None
        if event.text and not modifiers:
            if text is None:
                yield from self.finish()
                text = self._open = _Open(Action("type"), event.time, event.time, self.text_pause)
            text.action = Action("type", text=text.action.text + event.text)
            text.ended = event.time
        elif event.key == "backspace" and not self._held and text is not None and text.action.text:
            text.action = Action("type", text=text.action.text[:-1])
            text.ended = event.time
        elif event.key:
            yield from self.finish()
            held = tuple(self._held) if modifiers or not event.text else ()
            yield Deed(Action("key", keys=(*held, event.key)), event.time, event.time)

    def _key_up(self, event: InputEvent) -> Iterator[Deed]:
        if event.key not in self._held:
            return
        self._held.remove(event.key)
        if not self._used and not self._held and event.key != "shift":
            yield from self.finish()
            yield Deed(Action("key", keys=(event.key,)), event.time, event.time)
        self._used = True

    # --------------------------------------------------------------------------------------------------------------- mouse

    def _button_down(self, event: InputEvent) -> Iterator[Deed]:
        self._used = True
        if event.button in _WHEEL:
            yield from self._turn(event)
        elif event.button in _CLICKS and self._pressed is None:
            self._pressed = event
            if not self._is_again(event):
                yield from self.finish()

    def _button_up(self, event: InputEvent) -> Iterator[Deed]:
        pressed = self._pressed
        if pressed is None or event.button != pressed.button:
            return
        self._pressed = None
        keys = tuple(self._held)
        if event.button == 1 and math.dist((event.x, event.y), (pressed.x, pressed.y)) > STILL:
            yield from self.finish()
            action = Action("drag", pressed.x, pressed.y, event.x, event.y, keys=keys)
            yield Deed(action, pressed.time, event.time)
            return
        if self._is_again(pressed) and self._open is not None:
            self._open.times += 1
            before = self._open.action
            self._open.action = Action(_TIMES[self._open.times], before.x, before.y, keys=before.keys)
            self._open.ended = event.time
            return
        yield from self.finish()
        action = Action(_CLICKS[event.button], pressed.x, pressed.y, keys=keys)
        self._open = _Open(action, pressed.time, event.time, CLICK_PAUSE if event.button == 1 else 0.0)

    def _is_again(self, event: InputEvent) -> bool:
        """Whether a press may be another click of the one before it."""
        opened = self._open
        if opened is None or event.button != 1 or opened.action.kind not in ("click", "double_click"):
            return False
        x, y = opened.action.x, opened.action.y
        near = x is not None and y is not None and math.dist((event.x, event.y), (x, y)) <= STILL
        return near and event.time - opened.ended <= CLICK_PAUSE and opened.action.keys == tuple(self._held)

    def _turn(self, event: InputEvent) -> Iterator[Deed]:
        name, notches = _WHEEL[event.button]
        opened, keys = self._open, tuple(self._held)
        if opened is not None and opened.action.kind == "scroll":
            before = opened.action
            if before.name == name and before.amount * notches > 0 and before.keys == keys:
                opened.action = Action("scroll", before.x, before.y, amount=before.amount + notches, name=name, keys=keys)
                opened.ended = event.time
                return
        yield from self.finish()
        action = Action("scroll", event.x, event.y, amount=notches, name=name, keys=keys)
        self._open = _Open(action, event.time, event.time, WHEEL_PAUSE)
