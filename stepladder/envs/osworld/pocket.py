"""A pocket desktop as the machine that OSWorld's tasks expect: the user `user`, a password, Chrome by its name."""

from __future__ import annotations

import asyncio
import posixpath
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from stepladder.envs.acting import CannotDo
from stepladder.envs.desktop.desktop import Desktop, DesktopSettings
from stepladder.envs.desktop.guest_client import Refused
from stepladder.envs.desktop.sandbox import HOME
from stepladder.envs.desktop.tree import osworld_xml
from stepladder.envs.desktop.xserver import Window
from stepladder.envs.osworld import dock
from stepladder.envs.osworld.commands import NAME, PATH, commands_directory
from stepladder.envs.osworld.lacking import Lacks
from stepladder.envs.osworld.machine import Executed
from stepladder.envs.osworld.pyautogui_command import pyautogui_code, without_pyautogui
from stepladder.images import encode_png
from stepladder.interfaces import EnvironmentFailure
from stepladder.types import Action

#: Files of a machine that has been used before: players ask no first questions, videos open with the player that Ubuntu has, and
#: the volume of the sound is 40 %. Whoever first asks for the sound server starts it, and it stays, since what is set must last.
_VIDEOS = ("3gp", "3gpp", "3gpp2", "avi", "divx", "dv", "fli", "flv", "mp2t", "mp4", "mp4v-es", "mpeg", "mpeg-system", "msvideo")
FILES = {
    ".config/pulse/client.conf": "autospawn = yes\n",
    ".config/pulse/daemon.conf": "exit-idle-time = -1\n",
    ".config/pulse/default.pa": (
        "load-module module-native-protocol-unix\n"
        "load-module module-null-sink sink_name=speakers sink_properties=device.description=Speakers\n"
        "set-sink-volume speakers 0x6666\n"
    ),
    ".config/vlc/vlcrc": "[qt]\nqt-privacy-ask=0\n",
    ".local/share/applications/org.gnome.Totem.desktop": (
        f"[Desktop Entry]\nType=Application\nName=Videos\nExec=cvlc %U\nMimeType={''.join(f'video/{kind};' for kind in _VIDEOS)}\n"
    ),
    ".config/mimeapps.list": "[Default Applications]\n" + "".join(f"video/{kind}=org.gnome.Totem.desktop\n" for kind in _VIDEOS),
}
#: How a program that a command names and is not there is called.
MISSING = "program or file"
_OUTPUT = 8 << 20
#: Python loads nothing of its own accord that an agent can have left.
_APART_FROM_HOME = {"PYTHONNOUSERSITE": "1"}


def as_osworlds(settings: DesktopSettings) -> DesktopSettings:
    """Settings of a desktop that has the commands of OSWorld's machine."""
    environment = {**settings.environment, "PATH": PATH}
    return replace(settings, environment=environment, provided={**settings.provided, NAME: commands_directory()})


@dataclass
class PocketMachine:
    """See `Machine`. `prepare` puts the dock and files in place; the desktop was made with `as_osworlds`."""

    desktop: Desktop
    password: str = "password"

    @property
    def size(self) -> tuple[int, int]:
        return self.desktop.settings.width, self.desktop.settings.height

    async def prepare(self) -> None:
        await dock.start(self.desktop)
        for name, content in FILES.items():
            await self.desktop.guest.write(self.desktop.inside(f"{HOME}/{name}"), content.encode())
        await dock.painted(self.desktop)

    async def execute(self, command: str | list[str], shell: bool, seconds: float = 120.0) -> Executed:
        actions = pyautogui_code(command)
        if actions is not None:
            return await self._perform(actions, command, seconds)
        command = without_pyautogui(command)
        argv, env = self._argv(command, shell), _APART_FROM_HOME
        ran = await self._refusing(self.desktop.guest.run(argv, seconds, env=env, cwd=self._home(), limit=_OUTPUT))
        if ran.timed_out:
            raise EnvironmentFailure(f"the command {command!r} took longer than {seconds:g} s")
        return Executed(ran.output, ran.errors, ran.returncode)

    async def launch(self, command: str | list[str], shell: bool) -> None:
        # Tasks end programs themselves before they are graded.
        await self._refusing(self.desktop.guest.spawn(self._argv(command, shell), cwd=self._home(), may_be_ended=True))

    async def read(self, path: str) -> bytes | None:
        return await self._refusing(self.desktop.guest.read(self._path(path)))

    async def write(self, path: str, content: bytes) -> None:
        await self._refusing(self.desktop.guest.write(self._path(path), content))

    async def act(self, action: Action) -> None:
        if action.kind == "wait":
            await asyncio.sleep(action.seconds)
            return
        await self.desktop.act(action)
        await self.desktop.settle()

    async def activate_window(self, name: str, strict: bool, by_class: bool) -> bool:
        window = await self._window(name, strict, by_class)
        if window is not None:
            await self.desktop.activate(window)
            await self.desktop.settle()
        return window is not None

    async def close_window(self, name: str, strict: bool, by_class: bool) -> bool:
        window = await self._window(name, strict, by_class)
        if window is not None:
            await self.desktop.close_window(window)
            await self.desktop.settle()
        return window is not None

    async def screenshot(self) -> bytes:
        return await asyncio.get_running_loop().run_in_executor(None, encode_png, self.desktop.pixels())

    async def accessibility(self) -> str:
        return osworld_xml((await self.desktop.tree())["nodes"])

    # ----------------------------------------------------------------------------------------------------------- internals

    async def _perform(self, actions: Sequence[Action], command: object, seconds: float) -> Executed:
        """What pyautogui would do, done with the desktop's own pointer and keyboard; what cannot be done ends it, as an error ends
        Python."""
        try:
            async with asyncio.timeout(seconds):
                for action in actions:
                    await self.act(action)
        except CannotDo as error:
            return Executed("", f"{CannotDo.__name__}: {error}\n", 1)
        except TimeoutError:
            raise EnvironmentFailure(f"the command {command!r} took longer than {seconds:g} s") from None
        return Executed("", "", 0)

    async def _window(self, name: str, strict: bool, by_class: bool) -> Window | None:
        for window in reversed(await self.desktop.windows()):
            texts = [".".join(window.classes)] if by_class else [window.title]
            if any(text == name if strict else name.lower() in text.lower() for text in texts):
                return window
        return None

    def _argv(self, command: str | list[str], shell: bool) -> list[str]:
        if shell:
            return ["bash", "-c", command if isinstance(command, str) else " ".join(command)]
        try:
            words = shlex.split(command) if isinstance(command, str) else [str(word) for word in command]
        except ValueError as error:
            raise EnvironmentFailure(f"the command {command!r} cannot be split into words: {error}") from error
        if not words:
            raise EnvironmentFailure("a command is empty")
        return [self._path(word) if word.startswith("~/") else word for word in words]

    def _home(self) -> str:
        return self.desktop.inside(HOME)

    def _path(self, path: str) -> str:
        """A path of the task as programs inside call it."""
        if path.startswith("~/"):
            path = posixpath.join(HOME, path[2:])
        return self.desktop.inside(path if path.startswith("/") else posixpath.join(HOME, path))

    async def _refusing(self, work: Any) -> Any:
        try:
            return await work
        except Refused as error:
            if "FileNotFoundError" in str(error):
                raise Lacks(f"{MISSING} {str(error).rpartition(':')[2].strip()}") from error
            raise EnvironmentFailure(str(error)) from error
