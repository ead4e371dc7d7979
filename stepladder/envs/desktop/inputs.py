"""From an Action to events of an X server's pointer and keyboard."""

from __future__ import annotations

import difflib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from stepladder.envs.acting import CannotDo
from stepladder.envs.desktop.keyboard import KEYSYMS, Keyboard, KeyPress, keysym_of
from stepladder.envs.desktop.xserver import XServer
from stepladder.keys import canonical_key
from stepladder.types import Action

MAX_NOTCHES = 100
#: The longest text that one action types.
MAX_TEXT = 10_000
_CLICKS = {"click": (1, 1), "double_click": (1, 2), "triple_click": (1, 3), "right_click": (3, 1), "middle_click": (2, 1)}
#: Buttons that the wheel presses: (towards positive amounts, towards negative ones).
_WHEEL = {"vertical": (4, 5), "horizontal": (7, 6)}
#: Points between the ends of a drag, and seconds at each: toolkits start a drag only after a movement that they can see.
_DRAG_POINTS = 12
_DRAG_PAUSE = 0.008
#: Seconds that the modifiers of a combination are held on. A window manager that takes the keyboard for itself to see them let go
#: of misses it otherwise.
_COMBINATION = 0.03
#: How often one text may need all spare keys anew; each time programs are waited for.
_MOST_PORTIONS = 4
#: Keys sent without asking whether the server has taken them in.
_BURST = 32


class Hands:
    """The pointer and the keyboard of one desktop, and what they hold. Methods may block, as those of XServer do.

    `drain` waits until programs have read all keys; it is called before a spare key gets another character.
    """

    def __init__(self, server: XServer, width: int, height: int, drain: Callable[[], None]) -> None:
        self._server, self._width, self._height, self._drain = server, width, height, drain
        self._keyboard = Keyboard(server.mapping())
        self._keys: list[int] = []
        self._buttons: list[int] = []

    def act(self, action: Action) -> None:
        """Carry out a mouse or keyboard action. Raises CannotDo, having done nothing, for a place off the screen, an unknown key
        or a kind that is no input."""
        for x, y in ((action.x, action.y), (action.x2, action.y2)):
            self._check_place(x, y)
        keys = self._keycodes(action.keys)
        if action.kind in _CLICKS:
            with self._held(keys):
                self._click(action)
        elif action.kind in ("move", "mouse_down", "mouse_up"):
            with self._held(keys):
                self._move(action.x, action.y)
                if action.kind != "move":
                    self._button(1, action.kind == "mouse_down")
        elif action.kind == "drag":
            if action.x2 is None or action.y2 is None:
                raise CannotDo("a drag needs the place where it ends (x2, y2)")
            with self._held(keys):
                self._drag(action, action.x2, action.y2)
        elif action.kind == "scroll":
            notches = self._notches(action)
            with self._held(keys):
                self._scroll(action, notches)
        elif action.kind == "type":
            self._type(action.text)
        elif action.kind in ("key", "key_down", "key_up"):
            if not keys:
                raise CannotDo(f"{action.kind} needs at least one key")
            self._press(action.kind, keys)
        else:
            raise CannotDo(f"a desktop cannot carry out {action.kind!r}")
        self._server.sync()

    def release(self) -> None:
        """Let go of everything."""
        for keycode in list(reversed(self._keys)):
            self._key(keycode, False)
        for button in list(self._buttons):
            self._button(button, False)
        self._server.sync()

    # ------------------------------------------------------------------------------------------------------------- pointer

    def _check_place(self, x: float | None, y: float | None) -> None:
        if x is None and y is None:
            return
        if x is None or y is None:
            raise CannotDo(f"a place needs both coordinates, not ({x}, {y})")
        if not (math.isfinite(x) and math.isfinite(y) and 0 <= x < self._width and 0 <= y < self._height):
            raise CannotDo(f"({x:g}, {y:g}) is outside the screen of {self._width} x {self._height} pixels")

    def _move(self, x: float | None, y: float | None) -> None:
        if x is not None and y is not None:
            self._server.move(int(x), int(y))

    def _button(self, number: int, down: bool) -> None:
        self._server.button(number, down)
        if down and number not in self._buttons:
            self._buttons.append(number)
        elif not down and number in self._buttons:
            self._buttons.remove(number)

    def _click(self, action: Action) -> None:
        button, times = _CLICKS[action.kind]
        self._move(action.x, action.y)
        for _ in range(times):
            self._button(button, True)
            self._button(button, False)

    def _drag(self, action: Action, x2: float, y2: float) -> None:
        self._move(action.x, action.y)
        self._server.sync()
        x1, y1 = self._server.pointer()
        self._button(1, True)
        try:
            for point in range(1, _DRAG_POINTS + 1):
                share = point / _DRAG_POINTS
                self._move(x1 + (x2 - x1) * share, y1 + (y2 - y1) * share)
                self._server.sync()
                time.sleep(_DRAG_PAUSE)
            self._move(x2, y2)
        finally:
            self._button(1, False)

    def _notches(self, action: Action) -> int:
        if not math.isfinite(action.amount):
            raise CannotDo(f"cannot scroll by {action.amount}")
        notches = math.copysign(max(1, round(abs(action.amount))), action.amount) if action.amount else 0
        return int(max(-MAX_NOTCHES, min(MAX_NOTCHES, notches)))

    def _scroll(self, action: Action, notches: int) -> None:
        self._move(action.x, action.y)
        button = _WHEEL["horizontal" if action.name == "horizontal" else "vertical"][notches < 0]
        for _ in range(abs(notches)):
            self._server.button(button, True)
            self._server.button(button, False)

    # ------------------------------------------------------------------------------------------------------------ keyboard

    def _keycodes(self, names: Sequence[str]) -> list[int]:
        """The keys with these names, with shift before one that needs it."""
        found: list[int] = []
        for name in names:
            press = self._find(name)
            found += [self._find("shift").keycode] if press.shift else []
            found.append(press.keycode)
        return list(dict.fromkeys(found))

    def _find(self, name: str) -> KeyPress:
        """The key with a canonical name, or any name that stands for one."""
        try:
            canonical = canonical_key(name)
        except ValueError as error:
            near = difflib.get_close_matches(name.lower(), KEYSYMS, n=1)
            raise CannotDo(f"there is no key {name!r}" + (f"; did you mean {near[0]!r}?" if near else "")) from error
        press = self._keyboard.key(canonical)
        if press is None:
            try:
                self._lend([keysym_of(canonical)])
            except ValueError as error:
                raise CannotDo(str(error)) from error
            press = self._keyboard.key(canonical)
        assert press is not None
        return press

    def _key(self, keycode: int, down: bool) -> None:
        self._server.key(keycode, down)
        if down and keycode not in self._keys:
            self._keys.append(keycode)
        elif not down and keycode in self._keys:
            self._keys.remove(keycode)

    @contextmanager
    def _held(self, keycodes: Sequence[int]) -> Iterator[None]:
        """Hold keys that were not held before, for the time of the block, whatever happens in it."""
        own = [keycode for keycode in dict.fromkeys(keycodes) if keycode not in self._keys]
        try:
            for keycode in own:
                self._key(keycode, True)
            yield
        finally:
            for keycode in reversed(own):
                self._key(keycode, False)

    def _press(self, kind: str, keycodes: Sequence[int]) -> None:
        if kind == "key":
            with self._held(keycodes[:-1]):
                self._key(keycodes[-1], True)
                self._key(keycodes[-1], False)
                if len(keycodes) > 1:
                    self._server.sync()
                    time.sleep(_COMBINATION)
        else:
            for keycode in keycodes:
                self._key(keycode, kind == "key_down")

    def _type(self, text: str) -> None:
        if len(text) > MAX_TEXT:
            raise CannotDo(f"the text has {len(text)} characters; one action types at most {MAX_TEXT}")
        text = text.replace("\r\n", "\n")
        try:
            keysyms = [keysym_of(character) for character in text]
        except ValueError as error:
            raise CannotDo(str(error)) from error
        portions = self._portions(keysyms)
        if len(portions) > _MOST_PORTIONS:
            raise CannotDo(
                f"the text has too many different characters that the keyboard lacks; type it in parts with at most "
                f"{self._keyboard.spare} of them"
            )
        shift = self._find("shift").keycode
        lock = self._find("capslock").keycode if self._server.capitals_locked() else None
        try:
            if lock is not None:
                self._tap(lock)
            for keysyms_at_once in portions:
                self._lend(keysyms_at_once)
                for place, keysym in enumerate(keysyms_at_once, 1):
                    press = self._keyboard.press(keysym)
                    assert press is not None
                    if press.shift:
                        with self._held([shift]):
                            self._tap(press.keycode)
                    else:
                        self._tap(press.keycode)
                    if place % _BURST == 0:
                        self._server.sync()
        finally:
            if lock is not None:
                self._tap(lock)

    def _tap(self, keycode: int) -> None:
        self._server.key(keycode, True)
        self._server.key(keycode, False)

    def _portions(self, keysyms: Sequence[int]) -> list[Sequence[int]]:
        """Parts of a text that each need no more spare keys than there are."""
        portions: list[Sequence[int]] = []
        start, wanted = 0, set[int]()
        for place, keysym in enumerate(keysyms):
            if self._keyboard.on_layout(keysym):
                continue
            if len(wanted | {keysym}) > self._keyboard.spare:
                portions.append(keysyms[start:place])
                start, wanted = place, set()
            wanted.add(keysym)
        return [*portions, keysyms[start:]]

    def _lend(self, keysyms: Sequence[int]) -> None:
        """See to it that all `keysyms` can be pressed."""
        if not self._keyboard.lacks(keysyms):
            return
        try:
            lent = self._keyboard.lend(keysyms)
        except ValueError:
            self._server.sync()
            self._drain()
            self._keyboard.give_back()
            lent = self._keyboard.lend(keysyms)
        for keycode, keysym in lent.items():
            self._server.map_keys(keycode, [keysym])
