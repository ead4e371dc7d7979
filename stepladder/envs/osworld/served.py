"""A pocket desktop that stays up to be driven from elsewhere, and can be exchanged for a fresh one."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass, replace

from stepladder.envs.desktop.applications import APPLICATIONS, Application
from stepladder.envs.desktop.desktop import Desktop, DesktopSettings
from stepladder.envs.desktop.homes import home
from stepladder.envs.desktop.vnc import VncPort, open_vnc
from stepladder.envs.osworld.pocket import PocketMachine, as_osworlds
from stepladder.interfaces import EnvironmentFailure

_OFFICE = ("calc", "writer", "impress")


@dataclass(frozen=True)
class ServedSettings:
    """`applications` are those that the home has been used with before, so that they ask no first questions; None stands for the
    office programs that are installed. `vnc` is a port of this machine where viewers are let in, 0 for any, None for none."""

    width: int = 1920
    height: int = 1080
    applications: tuple[str, ...] | None = None
    vnc: int | None = None

    def desktop(self) -> DesktopSettings:
        """Raises ValueError for a size that is not possible."""
        return as_osworlds(DesktopSettings(self.width, self.height))

    def known(self) -> list[Application]:
        names = _OFFICE if self.applications is None else self.applications
        chosen = [APPLICATIONS[name] for name in names]
        return [one for one in chosen if self.applications is not None or shutil.which(one.command[0])]


class ServedDesktop:
    """`start` brings the desktop up, `revert` exchanges it for a fresh one, `close` ends it."""

    def __init__(self, settings: ServedSettings) -> None:
        self.settings = settings
        self._machine: PocketMachine | None = None
        self._exchanging = asyncio.Lock()
        #: Where viewers are let in.
        self.vnc: VncPort | None = None

    async def start(self) -> None:
        """Raises EnvironmentFailure that says what is missing."""
        settings = self.settings.desktop()
        desktop = await Desktop.start(replace(settings, home=await home(self.settings.known(), settings)))
        try:
            machine = PocketMachine(desktop)
            await machine.prepare()
            if self.settings.vnc is not None:
                port = self.settings.vnc if self.vnc is None else self.vnc.port
                self.vnc = await open_vnc(desktop, port)
        except BaseException:
            await desktop.close()
            raise
        self._machine = machine

    async def revert(self) -> None:
        """A fresh desktop in the place of this one. Raises EnvironmentFailure."""
        async with self._exchanging:
            await self._end()
            await self.start()

    async def close(self) -> None:
        async with self._exchanging:
            await self._end()

    @property
    def machine(self) -> PocketMachine:
        """Raises EnvironmentFailure when the desktop is not up, or a part of it has ended."""
        if self._machine is None:
            raise EnvironmentFailure("the desktop is not up")
        self._machine.desktop.check()
        return self._machine

    @property
    def desktop(self) -> Desktop:
        """As `machine`."""
        return self.machine.desktop

    async def _end(self) -> None:
        machine, self._machine = self._machine, None
        if self.vnc is not None:
            await self.vnc.close()
        if machine is not None:
            await machine.desktop.close()
