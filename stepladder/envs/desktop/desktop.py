"""One pocket desktop: an X server, a window manager, a message bus, applications, all in one sandbox; handled from outside."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from stepladder.envs.desktop.framebuffer import FrameBuffer
from stepladder.envs.desktop.guest_client import Guest, Refused
from stepladder.envs.desktop.inputs import Hands
from stepladder.envs.desktop.provided import guest_directory
from stepladder.envs.desktop.sandbox import FRAMES, HOME, LOGS, PROVIDED, RUNTIME, Isolation, Sandbox, SandboxLimits, guest_python
from stepladder.envs.desktop.xserver import Window, XServer
from stepladder.interfaces import EnvironmentFailure, EnvironmentTimeout
from stepladder.types import Action

T = TypeVar("T")
#: Sizes of the screen, in pixels.
SMALLEST, LARGEST = (640, 480), (1920, 1080)
_SERVER = "stepladder.envs.desktop.guest.server"
#: Seconds between two looks at the screen while it settles.
_LOOK = 0.012
#: Seconds that a program which is busy is given to read its keys.
_MOST_READING = 3.0
#: Free bytes in the home below which programs can no longer be trusted to have saved anything.
_LEAST_ROOM = 64 << 10


@dataclass(frozen=True)
class Settling:
    """When the screen counts as settled: nothing changed on it for `quiet` seconds and no program inside wants the processor,
    or after `longest` seconds in any case."""

    quiet: float = 0.08
    longest: float = 3.0


@dataclass(frozen=True)
class DesktopSettings:
    """How a desktop is made. `home` is a directory (readable by everybody) that its home starts as a copy of, `environment` what
    programs inside find in theirs beside the usual, `provided` further such directories, by the names that they have below
    /opt/stepladder, where nobody inside can write."""

    width: int = 1280
    height: int = 720
    isolation: Isolation = "bubblewrap"
    limits: SandboxLimits = field(default_factory=SandboxLimits)
    network: bool = False
    home: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    provided: Mapping[str, Path] = field(default_factory=dict)
    start_seconds: float = 30.0
    call_seconds: float = 15.0

    def __post_init__(self) -> None:
        if not (SMALLEST[0] <= self.width <= LARGEST[0] and SMALLEST[1] <= self.height <= LARGEST[1]):
            raise ValueError(
                f"a desktop of {self.width} x {self.height} pixels is not possible; {SMALLEST[0]} x {SMALLEST[1]} is the least, "
                f"{LARGEST[0]} x {LARGEST[1]} the most"
            )


class Desktop:
    """A running desktop. `await Desktop.start(settings)` brings one up, `close` ends it without a trace.

    A failure of the session (a part of it ended, it does not answer) is an EnvironmentFailure of every call from then on.
    """

    def __init__(self, settings: DesktopSettings) -> None:
        self.settings = settings
        self.sandbox = Sandbox(
            settings.isolation,
            settings.limits,
            {**settings.provided, "guest": guest_directory(), **({"home": settings.home} if settings.home is not None else {})},
            settings.network,
        )
        self._thread = ThreadPoolExecutor(1, "desktop")
        #: The socket of the X server, once it is up.
        self.display_socket = ""
        self._guest: Guest | None = None
        self._frames: FrameBuffer | None = None
        self._server: XServer | None = None
        self._hands: Hands | None = None

    @classmethod
    async def start(cls, settings: DesktopSettings | None = None) -> Desktop:
        """Raises EnvironmentFailure that says what is missing, EnvironmentTimeout."""
        desktop = cls(settings or DesktopSettings())
        try:
            await desktop._start()
        except BaseException:
            await desktop.close()
            raise
        return desktop

    async def _start(self) -> None:
        settings, sandbox = self.settings, self.sandbox
        loop = asyncio.get_running_loop()
        command, environment = self._command(), self._environment()
        process = await loop.run_in_executor(self._thread, sandbox.start, command, environment)
        self._guest = Guest(process)
        session = await self._guest.connect(settings.start_seconds)
        self._frames = FrameBuffer(sandbox.path(f"{FRAMES}/Xvfb_screen0"))
        self.display_socket = sandbox.display_socket(session["display"])
        self._server = await self._in_thread(lambda: XServer(self.display_socket))
        self._hands = await self._in_thread(lambda: Hands(self.server, settings.width, settings.height, self._drain))
        # A window that comes before the window manager may never get the keyboard.
        until = time.monotonic() + settings.start_seconds
        while not await self._in_thread(self.server.managed):
            if time.monotonic() > until:
                raise EnvironmentTimeout(f"the window manager was not there within {settings.start_seconds:g} s")
            await asyncio.sleep(0.005)

    def _command(self) -> list[str]:
        inside = self.inside
        options = {
            "width": self.settings.width,
            "height": self.settings.height,
            "display": 0 if self.settings.isolation == "bubblewrap" else None,
            "isolated": self.settings.isolation == "bubblewrap",
            "frames": inside(FRAMES),
            "logs": inside(LOGS),
            "home": None if self.settings.home is None else inside(f"{PROVIDED}/home"),
            "window_manager": inside(f"{PROVIDED}/guest/openbox.xml"),
        }
        run = f"import sys; sys.path.insert(0, {inside(f'{PROVIDED}/guest')!r}); from {_SERVER} import main; main()"
        return [guest_python(), "-I", "-c", run, json.dumps(options)]

    def _environment(self) -> dict[str, str]:
        home = self.inside(HOME)
        return {
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/games:/usr/sbin:/sbin",
            "HOME": home,
            "USER": "user",
            "LOGNAME": "user",
            "SHELL": "/bin/bash",
            "LANG": "C.UTF-8",
            "TMPDIR": self.inside("/tmp"),
            "XDG_RUNTIME_DIR": self.inside(RUNTIME),
            "XDG_SESSION_TYPE": "x11",
            "XDG_CURRENT_DESKTOP": "X-Stepladder",
            "GDK_BACKEND": "x11",
            "GSETTINGS_BACKEND": "keyfile",
            "GTK_THEME": "Adwaita",
            "GTK_A11Y": "atspi",
            "NO_AT_BRIDGE": "0",
            "ACCESSIBILITY_ENABLED": "1",
            "QT_LINUX_ACCESSIBILITY_ALWAYS_ON": "1",
            "SAL_USE_VCLPLUGIN": "gtk3",
            "LIBGL_ALWAYS_SOFTWARE": "1",
            **self.settings.environment,
        }

    async def close(self) -> None:
        """End everything inside. May be called twice, and after any failure; goes on to its end when the caller is cancelled."""
        await asyncio.shield(asyncio.ensure_future(self._close()))

    async def _close(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self.sandbox.kill)  # first: whoever waits for something inside, waits no more
        guest, self._guest = self._guest, None
        if guest is not None:
            await guest.close()
        self.sandbox.release()
        server, self._server, self._hands = self._server, None, None
        if server is not None:
            with suppress(Exception):
                await loop.run_in_executor(self._thread, server.close)
        self._thread.shutdown(wait=False)
        frames, self._frames = self._frames, None
        if frames is not None:
            frames.close()

    # --------------------------------------------------------------------------------------------------- what is inside it

    @property
    def guest(self) -> Guest:
        """Programs and files inside. Raises EnvironmentFailure when the desktop is not up."""
        if self._guest is None:
            raise EnvironmentFailure("the desktop is not up")
        return self._guest

    @property
    def server(self) -> XServer:
        if self._server is None:
            raise EnvironmentFailure("the desktop is not up")
        return self._server

    @property
    def frames(self) -> FrameBuffer:
        if self._frames is None:
            raise EnvironmentFailure("the desktop is not up")
        return self._frames

    def inside(self, path: str) -> str:
        """What programs inside call a path of the usual layout, such as /home/user/note.txt."""
        return self.sandbox.inside(path)

    def check(self) -> None:
        """Raises EnvironmentFailure when a part of the session has ended."""
        if self.guest.broken is not None:
            raise EnvironmentFailure(self.guest.broken)

    # --------------------------------------------------------------------------------------------------- seeing and acting

    def pixels(self) -> npt.NDArray[np.uint8]:
        """The screen, uint8[height, width, 3], with the pointer. Raises EnvironmentFailure."""
        self.check()
        return self.frames.pixels()

    async def act(self, action: Action) -> None:
        """Carry out a mouse or keyboard action. Raises CannotDo, EnvironmentFailure, EnvironmentTimeout."""
        self.check()
        hands = self._hands
        if hands is None:
            raise EnvironmentFailure("the desktop is not up")
        await self._in_thread(lambda: hands.act(action))

    async def release(self) -> None:
        """Let go of every key and button that is held."""
        hands = self._hands
        if hands is not None:
            await self._in_thread(hands.release)

    async def settle(self, settling: Settling | None = None) -> float:
        """Wait until the screen has settled; the seconds that it took."""
        settling = settling or Settling()
        began = changed = time.monotonic()
        shown = self.frames.raw()
        while (now := time.monotonic()) - began < settling.longest:
            if now - changed >= settling.quiet:
                if await self._idle():
                    break
                changed = max(changed, now - settling.quiet / 2)
            await asyncio.sleep(_LOOK)
            self.check()
            seen = self.frames.raw()
            if seen != shown:
                shown, changed = seen, time.monotonic()
        return time.monotonic() - began

    async def _idle(self) -> bool:
        """Whether no program inside wants the processor. Raises EnvironmentTimeout for one that was stopped, EnvironmentFailure for
        a full disk: neither is the agent's fault, and what it does then comes to nothing."""
        state = await self.guest.ask("state", self.settings.call_seconds)
        if state["stopped"]:
            raise EnvironmentTimeout(f"{', '.join(state['stopped'])} stands still: it was stopped")
        if state["free"] < _LEAST_ROOM:
            raise EnvironmentFailure(f"the desktop's disk is full: {state['free']} bytes are left")
        return bool(state["idle"])

    async def windows(self) -> list[Window]:
        """The windows of applications, the topmost last."""
        return await self._in_thread(self.server.windows)

    async def pointer(self) -> tuple[int, int]:
        """Where the pointer is, in pixels."""
        return await self._in_thread(self.server.pointer)

    async def wait_for_window(self, matches: Callable[[Window], bool], seconds: float = 20.0) -> Window:
        """The topmost window that matches, once there is one. Raises EnvironmentTimeout that names the windows there are."""
        until = time.monotonic() + seconds
        while True:
            windows = await self.windows()
            found = next((window for window in reversed(windows) if matches(window)), None)
            if found is not None:
                return found
            if time.monotonic() > until:
                there = ", ".join(repr(window.title) for window in windows) or "none"
                log = (await self.guest.log("applications"))[-500:]
                raise EnvironmentTimeout(f"no such window came within {seconds:g} s; windows: {there}; log: {log or 'empty'}")
            await asyncio.sleep(0.01)

    async def activate(self, window: Window) -> None:
        """Raise a window and give it the keyboard."""
        await self._in_thread(lambda: self.server.activate(window.id))

    async def close_window(self, window: Window) -> None:
        """Ask an application to close a window."""
        await self._in_thread(lambda: self.server.close_window(window.id))

    async def tree(self, seconds: float = 3.0, nodes: int = 3000, characters: int = 2000, depth: int = 50) -> dict[str, Any]:
        """The accessibility tree as `guest/atspi.py` gives it. Raises EnvironmentFailure when there is none."""
        limits = {"seconds": seconds, "nodes": nodes, "characters": characters, "depth": depth}
        try:
            return await self.guest.ask("tree", seconds + 3 * self.settings.call_seconds, limits=limits)
        except Refused as error:
            raise EnvironmentFailure(f"the accessibility tree cannot be read: {error}") from error

    async def launch(self, argv: Sequence[str], env: Mapping[str, str] | None = None) -> int:
        """Start a program and leave it running. Raises EnvironmentFailure when it cannot be started."""
        try:
            return await self.guest.spawn(argv, env=env, cwd=self.inside(HOME))
        except Refused as error:
            raise EnvironmentFailure(f"{argv[0]} does not start: {error}") from error

    # ----------------------------------------------------------------------------------------------------------- internals

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """`work` in this desktop's own thread. When it does not end in time the sandbox is killed, which ends it."""
        running = asyncio.get_running_loop().run_in_executor(self._thread, work)
        try:
            async with asyncio.timeout(self.settings.call_seconds):
                return await asyncio.shield(running)
        except TimeoutError:
            await asyncio.get_running_loop().run_in_executor(None, self.sandbox.kill)
            running.add_done_callback(lambda done: done.cancelled() or done.exception())
            raise EnvironmentTimeout(f"the X server did not answer within {self.settings.call_seconds:g} s") from None
        except EnvironmentFailure:
            self.check()  # the reason is better known inside
            raise

    def _drain(self) -> None:
        """Programs have read all keys when the one that has the keyboard says so, and nothing has happened on the screen for a
        while. Called in the desktop's thread."""
        window = self.server.active()
        if window:
            self.server.has_read(window, _MOST_READING)
        until, changed, shown = time.monotonic() + 2.0, time.monotonic(), self.frames.raw()
        while time.monotonic() < until and time.monotonic() - changed < 0.15:
            time.sleep(_LOOK)
            seen = self.frames.raw()
            if seen != shown:
                shown, changed = seen, time.monotonic()
