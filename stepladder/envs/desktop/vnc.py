"""Watching a desktop, or taking it over: a VNC port of this machine alone, with a password."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from contextlib import suppress

from stepladder.envs.desktop.desktop import Desktop
from stepladder.envs.desktop.guest_client import Refused
from stepladder.envs.desktop.sandbox import RUNTIME
from stepladder.interfaces import EnvironmentFailure

_SOCKET = f"{RUNTIME}/vnc"
_logger = logging.getLogger(__name__)


class VncPort:
    """`port` at 127.0.0.1, and the `password` that a viewer must give (VNC compares its first eight characters)."""

    def __init__(self, port: int, password: str, server: asyncio.Server) -> None:
        self.port, self.password = port, password
        self._server = server

    async def close(self) -> None:
        """Let nobody in any more."""
        self._server.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(2.0):
                await self._server.wait_closed()


class Viewers:
    """Lets viewers see one desktop after another at the same port and with the same password."""

    def __init__(self) -> None:
        self._port, self._password = 0, secrets.token_hex(4)
        self._open: VncPort | None = None

    async def show(self, desktop: Desktop, what: str) -> None:
        """From now on this desktop, on which `what` happens. Says for the first one, as a warning, where it is seen. Raises
        EnvironmentFailure."""
        await self.leave()
        self._open = await open_vnc(desktop, self._port, password=self._password)
        level = logging.INFO if self._port else logging.WARNING
        self._port = self._open.port
        _logger.log(level, "to watch %s: vncviewer 127.0.0.1:%d, password %s", what, self._port, self._password)

    async def leave(self) -> None:
        """Let nobody in until the next desktop. May be called twice."""
        opened, self._open = self._open, None
        if opened is not None:
            await opened.close()


async def open_vnc(desktop: Desktop, port: int = 0, control: bool = True, password: str | None = None) -> VncPort:
    """Let viewers see the desktop, and with `control` use its pointer and keys, at `port` (0: any that is free) of 127.0.0.1. A
    password is made where none is given.

    Raises EnvironmentFailure when x11vnc is missing or the port is taken."""
    password = password or secrets.token_hex(4)
    try:
        await desktop.guest.ask("vnc", path=desktop.inside(_SOCKET), password=password, control=control)
    except Refused as error:
        raise EnvironmentFailure(f"nobody can watch: {error}") from error

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while chunk := await reader.read(1 << 16):
                writer.write(chunk)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def welcome(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            # Not through a link that a program inside may have put there: it could lead to a socket of this machine.
            held = os.open(desktop.sandbox.path(_SOCKET), os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                inner_reader, inner_writer = await asyncio.open_unix_connection(f"/proc/self/fd/{held}")
            finally:
                os.close(held)
        except OSError:
            writer.close()
            return
        await asyncio.gather(carry(reader, inner_writer), carry(inner_reader, writer))

    try:
        server = await asyncio.start_server(welcome, "127.0.0.1", port)
    except OSError as error:
        raise EnvironmentFailure(f"port {port} cannot be opened: {error}") from error
    return VncPort(server.sockets[0].getsockname()[1], password, server)
