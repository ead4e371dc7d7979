"""A connection to a desktop's X server: pointer and keys through XTEST, the keyboard's mapping, the windows.

python-xlib waits without a limit, so every method may block: call them from the thread that a desktop keeps for it. A server that
never answers is killed, which ends the wait with an EnvironmentFailure.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

from Xlib import X, display, error
from Xlib.ext import xtest
from Xlib.protocol import event
from Xlib.support import connect

from stepladder.interfaces import EnvironmentFailure

P = ParamSpec("P")
T = TypeVar("T")
_connecting = threading.Lock()
#: Seconds between two looks for an event.
_LOOK = 0.005


@dataclass(frozen=True)
class Window:
    """A window of an application. `classes` are its instance and class names, `box` (left, top, width, height) in pixels without
    the frame that the window manager draws, `dialog` whether it belongs to another window, `splash` whether it only tells that the
    application is starting."""

    id: int
    title: str
    classes: tuple[str, ...]
    box: tuple[int, int, int, int]
    dialog: bool
    splash: bool = False


def _failing(method: Callable[P, T]) -> Callable[P, T]:
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(*args, **kwargs)
        except (error.ConnectionClosedError, error.DisplayError, OSError) as failure:
            raise EnvironmentFailure(f"the X server is gone: {failure}") from failure

    return call


class XServer:
    """The server that listens on the socket at `path`. Raises EnvironmentFailure when there is none."""

    def __init__(self, path: str) -> None:
        self._display = open_display(path)
        self._root = self._display.screen().root
        information = self._display.display.info
        self._pings = 0
        self.first_keycode, self.last_keycode = information.min_keycode, information.max_keycode

    def close(self) -> None:
        with suppress(error.ConnectionClosedError, OSError):
            self._display.close()

    # -------------------------------------------------------------------------------------------------------------- input

    @_failing
    def pointer(self) -> tuple[int, int]:
        answer = self._root.query_pointer()
        return answer.root_x, answer.root_y

    @_failing
    def move(self, x: int, y: int) -> None:
        xtest.fake_input(self._display, X.MotionNotify, x=x, y=y)

    @_failing
    def button(self, number: int, down: bool) -> None:
        xtest.fake_input(self._display, X.ButtonPress if down else X.ButtonRelease, number)

    @_failing
    def key(self, keycode: int, down: bool) -> None:
        xtest.fake_input(self._display, X.KeyPress if down else X.KeyRelease, keycode)

    @_failing
    def sync(self) -> None:
        """Wait until the server has taken everything in."""
        self._display.sync()

    # ----------------------------------------------------------------------------------------------------------- keyboard

    @_failing
    def mapping(self) -> dict[int, tuple[int, ...]]:
        """keycode -> keysyms of its levels: plain, shift, and further ones."""
        rows = self._display.get_keyboard_mapping(self.first_keycode, self.last_keycode - self.first_keycode + 1)
        return {self.first_keycode + place: tuple(row) for place, row in enumerate(rows)}

    @_failing
    def map_keys(self, keycode: int, keysyms: Sequence[int]) -> None:
        """Give keycodes from `keycode` on one keysym each, with and without shift."""
        self._display.change_keyboard_mapping(keycode, [(keysym, keysym) for keysym in keysyms])
        self._display.sync()

    @_failing
    def capitals_locked(self) -> bool:
        return bool(self._root.query_pointer().mask & X.LockMask)

    # ------------------------------------------------------------------------------------------------------------ windows

    @_failing
    def managed(self) -> bool:
        """Whether a window manager is at work: it is there, and has said how many desktops there are, which docks wait for."""
        told = ("_NET_SUPPORTING_WM_CHECK", "_NET_NUMBER_OF_DESKTOPS")
        return all(len(self._property(self._root, name)) > 0 for name in told)

    @_failing
    def windows(self) -> list[Window]:
        """The windows that the window manager knows, the topmost last; docks and panels are none."""
        found = []
        for identifier in self._property(self._root, "_NET_CLIENT_LIST_STACKING"):
            try:
                window = self._window(int(identifier))
            except error.XError:
                continue  # it was closed meanwhile
            if window is not None:
                found.append(window)
        return found

    @_failing
    def active(self) -> int:
        """The window that has the keyboard, 0 for none."""
        values = self._property(self._root, "_NET_ACTIVE_WINDOW")
        return int(values[0]) if len(values) else 0

    @_failing
    def activate(self, window: int) -> None:
        """Ask the window manager to raise a window and give it the keyboard."""
        self._message(window, "_NET_ACTIVE_WINDOW", (2, X.CurrentTime, 0, 0, 0))

    @_failing
    def close_window(self, window: int) -> None:
        """Ask the window manager to close a window, as its close button does."""
        self._message(window, "_NET_CLOSE_WINDOW", (X.CurrentTime, 2, 0, 0, 0))

    @_failing
    def has_read(self, window: int, patience: float) -> bool:
        """Whether the program of a window has read all keys that were sent before: it is pinged (EWMH 1.5, _NET_WM_PING), and
        events are read in their order. False when it did not answer within `patience` seconds, or answers no pings."""
        about = self._display.create_resource_object("window", window)
        ping, protocols = (self._display.intern_atom(name) for name in ("_NET_WM_PING", "WM_PROTOCOLS"))
        try:
            if ping not in self._property(about, "WM_PROTOCOLS"):
                return False
            self._root.change_attributes(event_mask=X.SubstructureNotifyMask)
            self._pings += 1
            asked = (ping, self._pings, window, 0, 0)
            about.send_event(event.ClientMessage(window=about, client_type=protocols, data=(32, asked)), event_mask=0)
            self._display.sync()
            return self._comes(lambda found: found.type == X.ClientMessage and tuple(found.data[1])[:3] == asked[:3], patience)
        except error.XError:
            return False  # it was closed meanwhile
        finally:
            self._root.change_attributes(event_mask=X.NoEventMask)
            self._display.sync()
            while self._display.pending_events():
                self._display.next_event()

    def _comes(self, wanted: Callable[[Any], bool], patience: float) -> bool:
        """Whether an event comes within `patience` seconds."""
        until = time.monotonic() + patience
        while time.monotonic() < until:
            if not self._display.pending_events():
                time.sleep(_LOOK)
            elif wanted(self._display.next_event()):
                return True
        return False

    def _window(self, identifier: int) -> Window | None:
        """None for a dock."""
        window = self._display.create_resource_object("window", identifier)
        kinds = {self._display.get_atom_name(kind) for kind in self._property(window, "_NET_WM_WINDOW_TYPE")}
        if "_NET_WM_WINDOW_TYPE_DOCK" in kinds:
            return None
        named = self._property(window, "_NET_WM_NAME") or self._property(window, "WM_NAME")
        title = named.decode(errors="replace") if isinstance(named, bytes) else str(named or "")
        geometry = window.get_geometry()
        origin = window.translate_coords(self._root, 0, 0)
        dialog = "_NET_WM_WINDOW_TYPE_DIALOG" in kinds or bool(len(self._property(window, "WM_TRANSIENT_FOR")))
        classes = tuple(window.get_wm_class() or ())
        box = (-origin.x, -origin.y, geometry.width, geometry.height)
        return Window(identifier, title, classes, box, dialog, "_NET_WM_WINDOW_TYPE_SPLASH" in kinds)

    def _property(self, window: Any, name: str) -> Any:
        found = window.get_full_property(self._display.intern_atom(name), X.AnyPropertyType)
        return () if found is None else found.value

    def _message(self, window: int, name: str, data: tuple[int, ...]) -> None:
        about = self._display.create_resource_object("window", window)
        message = event.ClientMessage(window=about, client_type=self._display.intern_atom(name), data=(32, data))
        self._root.send_event(message, event_mask=X.SubstructureRedirectMask | X.SubstructureNotifyMask)
        self._display.sync()


def open_display(path: str) -> display.Display:
    """A connection to the X server that listens on the socket at `path`. Raises EnvironmentFailure.

    python-xlib looks for sockets in the machine's /tmp alone; ours lie within sandboxes. It asks for the socket, then for what
    proves who we are, and then begins to speak: only until then its own functions are exchanged, so that a server that does not
    answer keeps nobody else waiting."""
    exchanged = False

    def back() -> None:
        nonlocal exchanged
        if exchanged:
            exchanged = False
            connect.get_socket, connect.get_auth = usual_socket, usual_auth
            _connecting.release()

    def open_socket(*_: Any) -> socket.socket:
        found = socket.socket(socket.AF_UNIX)
        try:
            found.connect(path)
        except OSError:
            found.close()
            raise
        return found

    def authority(*_: Any) -> tuple[str, str]:
        back()
        return "", ""

    _connecting.acquire()
    usual_socket, usual_auth = connect.get_socket, connect.get_auth
    exchanged = True
    connect.get_socket, connect.get_auth = open_socket, authority
    try:
        return display.Display(":0")
    except (error.DisplayError, error.ConnectionClosedError, OSError) as failure:
        raise EnvironmentFailure(f"the X server does not answer: {failure}") from failure
    finally:
        back()
