"""Serve pocket desktops with the routes of the server in OSWorld's virtual machines.

stepladder serve-desktop --token none             # OSWorld's own controllers send no token
stepladder serve-desktop --count 4                # four desktops at ports 5000 to 5003, and the token that calls must carry
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import socket
from contextlib import AsyncExitStack
from dataclasses import dataclass

import uvicorn
from rich.console import Console

from stepladder.addresses import is_loopback
from stepladder.config import ConfigError
from stepladder.envs.osworld.machine_server import make_app
from stepladder.envs.osworld.remote_environment import TOKEN
from stepladder.envs.osworld.served import ServedDesktop, ServedSettings
from stepladder.stages.listening import listen


@dataclass(frozen=True)
class ServeDesktopConfig:
    """`count` desktops of `size` (width x height, in pixels) at http://`host`, the first at `port` and each at the next one.

    `token` None takes that of the environment variable STEPLADDER_MACHINE_TOKEN, or makes one; "none" wants none, which is refused
    for addresses that other machines reach. With `vnc` viewers are let in, at ports of this machine that are printed with their
    passwords.
    """

    host: str = "127.0.0.1"
    port: int = 5000
    count: int = 1
    size: str = "1920x1080"
    token: str | None = None
    vnc: bool = False

    def check(self) -> ServedSettings:
        """The desktops' settings. Raises ConfigError for what cannot be, or should not."""
        if self.count < 1:
            raise ConfigError(f"count is {self.count}; it must be at least 1")
        if not 0 < self.port <= 65536 - self.count:
            raise ConfigError(f"port is {self.port}; it must be 1 to {65536 - self.count} for {self.count} desktops")
        if self.token == "none" and not is_loopback(self.host):
            raise ConfigError(
                f"token is 'none' and host {self.host!r} is reached by other machines: whoever comes could run commands"
            )
        found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", self.size)
        if found is None:
            raise ConfigError(f"size is {self.size!r}; it must be width x height in pixels, such as 1920x1080")
        settings = ServedSettings(int(found[1]), int(found[2]), vnc=0 if self.vnc else None)
        try:
            settings.desktop()
        except ValueError as error:
            raise ConfigError(f"size is {self.size!r}: {error}") from error
        return settings


def main(config: ServeDesktopConfig) -> None:
    """Serve until interrupted. Raises ConfigError, EnvironmentFailure when a desktop does not start."""
    settings = config.check()
    token = None if config.token == "none" else config.token or os.environ.get(TOKEN) or secrets.token_urlsafe(24)
    asyncio.run(_serve(config, settings, token))


async def _serve(config: ServeDesktopConfig, settings: ServedSettings, token: str | None) -> None:
    console = Console(stderr=True)
    async with AsyncExitStack() as stack:
        listening: list[list[socket.socket]] = []
        for place in range(config.count):
            listening.append(listen(config.host, config.port + place))
            for one in listening[-1]:
                stack.callback(one.close)
        servers = []
        for place in range(config.count):
            served = ServedDesktop(settings)
            stack.push_async_callback(served.close)
            await served.start()
            port = config.port + place
            console.print(f"a desktop of {config.size} pixels at http://{config.host}:{port}", highlight=False)
            if served.vnc is not None:
                console.print(f"  viewers: 127.0.0.1:{served.vnc.port}, password {served.vnc.password}", highlight=False)
            app = make_app(served, token)
            servers.append(uvicorn.Server(uvicorn.Config(app, log_level="warning")))
        console.print(
            f"token: {token}" if token else "[bold]without a token: every program of this machine can run commands in them[/bold]",
            highlight=False,
        )
        await _until_one_ends(servers, listening)


async def _until_one_ends(servers: list[uvicorn.Server], listening: list[list[socket.socket]]) -> None:
    """Serve; when one server ends, by a signal, all do."""
    running = [asyncio.ensure_future(server.serve(sockets)) for server, sockets in zip(servers, listening, strict=True)]
    await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    for server in servers:
        server.should_exit = True
    await asyncio.gather(*running)
