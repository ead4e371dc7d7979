"""A pocket desktop as the machine that OSWorld's tasks expect: the user `user`, a password, Chrome by its name."""

from __future__ import annotations

import asyncio
import posixpath
import shlex
from dataclasses import dataclass
from typing import Any

from stepladder.envs.desktop.desktop import Desktop
from stepladder.envs.desktop.guest_client import Refused
from stepladder.envs.desktop.sandbox import HOME
from stepladder.envs.desktop.tree import osworld_xml
from stepladder.envs.desktop.xserver import Window
from stepladder.envs.osworld.lacking import Lacks
from stepladder.envs.osworld.machine import Executed
from stepladder.interfaces import EnvironmentFailure
from stepladder.types import Action

BIN = f"{HOME}/.local/bin"
#: What programs inside find first.
PATH = f"{BIN}:/usr/local/bin:/usr/bin:/bin:/usr/games:/usr/sbin:/sbin"
_CHROME = (
    "exec chromium --no-sandbox --disable-gpu --no-first-run --no-default-browser-check --password-store=basic --test-type "
    '--force-renderer-accessibility --user-data-dir="$HOME/.config/google-chrome" "$@"'
)
#: Commands of OSWorld's machine that a pocket desktop has under another name, or has no need of.
COMMANDS = {
    "google-chrome": _CHROME,
    "python": 'exec python3 "$@"',
    # There is one user, who may do everything in the sandbox that anybody may.
    "sudo": 'while [ "${1#-}" != "$1" ]; do shift; done\nexec "$@"',
    # Carries Chrome's debugging port out of the machine; nobody outside reaches into the sandbox.
    "socat": "exec sleep infinity",
    # Chromium's processes are called so.
    "pkill": 'for last; do :; done\ncase "$last" in *chrome) exec /usr/bin/pkill chromium;; esac\nexec /usr/bin/pkill "$@"',
}
#: Files of a machine that has been used before: players ask no first questions, and videos open with the player that Ubuntu has.
_VIDEOS = ("3gp", "3gpp", "3gpp2", "avi", "divx", "dv", "fli", "flv", "mp2t", "mp4", "mp4v-es", "mpeg", "mpeg-system", "msvideo")
FILES = {
    ".config/vlc/vlcrc": "[qt]\nqt-privacy-ask=0\n",
    ".local/share/applications/org.gnome.Totem.desktop": (
        f"[Desktop Entry]\nType=Application\nName=Videos\nExec=cvlc %U\nMimeType={''.join(f'video/{kind};' for kind in _VIDEOS)}\n"
    ),
    ".config/mimeapps.list": "[Default Applications]\n" + "".join(f"video/{kind}=org.gnome.Totem.desktop\n" for kind in _VIDEOS),
}
_OUTPUT = 8 << 20


@dataclass
class PocketMachine:
    """See `Machine`. `prepare` puts the commands in place."""

    desktop: Desktop
    password: str = "password"

    @property
    def size(self) -> tuple[int, int]:
        return self.desktop.settings.width, self.desktop.settings.height

    async def prepare(self) -> None:
        for name, script in COMMANDS.items():
            await self.desktop.guest.write(self.desktop.inside(f"{BIN}/{name}"), f"#!/bin/sh\n{script}\n".encode(), 0o755)
        for name, content in FILES.items():
            await self.desktop.guest.write(self.desktop.inside(f"{HOME}/{name}"), content.encode())

    async def execute(self, command: str | list[str], shell: bool, seconds: float = 120.0) -> Executed:
        ran = await self._refusing(self.desktop.guest.run(self._argv(command, shell), seconds, cwd=self._home(), limit=_OUTPUT))
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

    async def accessibility(self) -> str:
        return osworld_xml((await self.desktop.tree())["nodes"])

    # ----------------------------------------------------------------------------------------------------------- internals

    async def _window(self, name: str, strict: bool, by_class: bool) -> Window | None:
        for window in reversed(await self.desktop.windows()):
            texts = [".".join(window.classes)] if by_class else [window.title]
            if any(text == name if strict else name.lower() in text.lower() for text in texts):
                return window
        return None

    def _argv(self, command: str | list[str], shell: bool) -> list[str]:
        if shell:
            return ["bash", "-c", command if isinstance(command, str) else " ".join(command)]
        words = shlex.split(command) if isinstance(command, str) else [str(word) for word in command]
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
                raise Lacks(f"program or file {str(error).rpartition(':')[2].strip()}") from error
            raise EnvironmentFailure(str(error)) from error
