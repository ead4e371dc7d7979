"""Listening to the mouse and the keyboard of an X server through its RECORD extension.

What is seen are keys and not text: a character that an input method composes of several keys is not known.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from Xlib import X, display, error
from Xlib.ext import record
from Xlib.protocol import rq

from stepladder.envs.desktop.keyboard import KEYSYMS
from stepladder.interfaces import EnvironmentFailure
from stepladder.recorder.merge import InputEvent

Connect = Callable[[], display.Display]
_NAMES = {keysym: name for name, keysym in KEYSYMS.items()}
#: The right-hand twins of modifiers, keys of the numeric pad, and what shift makes of Tab.
_NAMES |= {0xFFE2: "shift", 0xFFE4: "ctrl", 0xFFEA: "alt", 0xFFEC: "super", 0xFFE7: "alt", 0xFFE8: "alt", 0xFE20: "tab"}
_NAMES |= {0xFF8D: "enter", 0xFF95: "home", 0xFF96: "left", 0xFF97: "up", 0xFF98: "right", 0xFF99: "down", 0xFF9A: "pageup"}
_NAMES |= {0xFF9B: "pagedown", 0xFF9C: "end", 0xFF9E: "insert", 0xFF9F: "delete"}
_PAD = {0xFFB0 + digit: str(digit) for digit in range(10)} | {0xFFAA: "*", 0xFFAB: "+", 0xFFAD: "-", 0xFFAE: ".", 0xFFAF: "/"}
#: The modifier that chooses the third character of a key (AltGr).
_LEVEL3 = X.Mod5Mask
_KINDS = {X.KeyPress: "key_down", X.KeyRelease: "key_up", X.ButtonPress: "button_down", X.ButtonRelease: "button_up"}


class Listener:
    """Calls `on_event` in a thread of its own for every event, from `start` to `stop`. `connect` opens a connection to the server;
    three are used. Raises EnvironmentFailure when the server cannot be listened to."""

    def __init__(self, connect: Connect, on_event: Callable[[InputEvent], None]) -> None:
        self._on_event = on_event
        self._control, self._data, self._layout = connect(), connect(), connect()
        if not self._control.has_extension("RECORD"):
            self._close()
            raise EnvironmentFailure("the X server has no RECORD extension, without which nobody's input can be seen")
        ranges = {
            "core_requests": (0, 0),
            "core_replies": (0, 0),
            "ext_requests": (0, 0, 0, 0),
            "ext_replies": (0, 0, 0, 0),
            "delivered_events": (0, 0),
            "device_events": (X.KeyPress, X.MotionNotify),
            "errors": (0, 0),
            "client_started": False,
            "client_died": False,
        }
        self._context = self._control.record_create_context(0, [record.AllClients], [ranges])
        self._control.sync()
        self._thread = threading.Thread(target=self._listen, name="recorder", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Listen no more. May be called twice."""
        with suppress(error.ConnectionClosedError, error.XError, OSError):
            self._control.record_disable_context(self._context)
            self._control.sync()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(5.0)
        with suppress(error.ConnectionClosedError, error.XError, OSError):
            self._control.record_free_context(self._context)
        self._close()

    def _close(self) -> None:
        for connection in (self._control, self._data, self._layout):
            with suppress(error.ConnectionClosedError, OSError):
                connection.close()

    def _listen(self) -> None:
        with suppress(error.ConnectionClosedError, OSError):
            self._data.record_enable_context(self._context, self._take)

    def _take(self, reply: Any) -> None:
        if reply.category != record.FromServer or reply.client_swapped or not reply.data:
            return
        data = reply.data
        while data:
            event, data = rq.EventField(None).parse_binary_value(data, self._data.display, None, None)
            told = self._read(event)
            if told is not None:
                self._on_event(told)

    def _read(self, event: Any) -> InputEvent | None:
        now = time.monotonic()
        if event.type == X.MotionNotify:
            return InputEvent("move", now, event.root_x, event.root_y)
        kind = _KINDS.get(event.type)
        if kind in ("button_down", "button_up"):
            return InputEvent(kind, now, event.root_x, event.root_y, button=event.detail)  # type: ignore[arg-type]
        if kind in ("key_down", "key_up"):
            key, text = self._meaning(event.detail, event.state)
            return InputEvent(kind, now, event.root_x, event.root_y, key=key, text=text)  # type: ignore[arg-type]
        return None

    def _meaning(self, keycode: int, state: int) -> tuple[str, str]:
        """The canonical name of a key, and what it types with the modifiers of `state`."""
        levels = [int(keysym) for keysym in self._layout.get_keyboard_mapping(keycode, 1)[0]]
        levels += [0] * (6 - len(levels))
        plain, shifted = levels[0], levels[1] or levels[0]
        if plain in _NAMES:
            return _NAMES[plain], " " if plain == 0x20 else ""
        if plain in _PAD or shifted in _PAD:
            digit = _PAD.get(shifted) or _PAD[plain]
            return digit, digit
        shift = bool(state & X.ShiftMask)
        if state & _LEVEL3:
            chosen = (levels[5] if shift else levels[4]) or (levels[3] if shift else levels[2])
        else:
            chosen = shifted if shift else plain
        text = character(chosen)
        if state & X.LockMask and len(text) == 1 and text.isalpha():
            text = text.lower() if shift else text.upper()
        name = character(plain).lower() or text
        return name, text


def character(keysym: int) -> str:
    """What a keysym types; empty for one that types nothing, or is not known."""
    if 0x20 <= keysym <= 0x7E or 0xA0 <= keysym <= 0xFF:
        return chr(keysym)
    if 0x01000100 <= keysym <= 0x0110FFFF:
        return chr(keysym - 0x01000000)
    return ""
