"""Lend environments over HTTP.

    stepladder serve --tasks desk                     # prints the address and the token that every call must carry

and where they are played, with OSWORLD_SERVER_URL and STEPLADDER_BRIDGE_TOKEN set:

    stepladder eval runs/rl/checkpoint --tasks bridge
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console

from stepladder.addresses import is_loopback
from stepladder.config import ConfigError
from stepladder.envs.bridge.answers import LARGEST_REQUEST
from stepladder.envs.bridge.client import TOKEN
from stepladder.envs.bridge.server import ServerSettings, make_app
from stepladder.images import ImageStore
from stepladder.interfaces import Environment
from stepladder.pressure import Pressure
from stepladder.rollout.opening import check_options, open_environments
from stepladder.stages.listening import listen, serve
from stepladder.tasks import load_tasks


@dataclass(frozen=True)
class ServeConfig:
    """Environments of `tasks` at http://`host`:`port`. `token` None takes that of the environment variable
    STEPLADDER_BRIDGE_TOKEN, or makes one; "none" (--token none) wants none, which is refused for addresses that other machines
    reach. `capacity` episodes at once, each with a lease of `lease` seconds; a call may take `deadline` seconds. No further episode
    begins while less than `memory` GiB are free or more than `load` processes a core want to run (0: whatever is free)."""

    tasks: str = "desk"
    host: str = "127.0.0.1"
    port: int = 8765
    token: str | None = None
    capacity: int = 8
    lease: float = 600.0
    deadline: float = 180.0
    memory: float = 0.5
    load: float = 32.0
    options: Mapping[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """Raises ConfigError for what cannot be, or should not."""
        if not 0 < self.port < 65536:
            raise ConfigError(f"port is {self.port}; it must be 1 to 65535")
        if self.token == "none" and not is_loopback(self.host):
            raise ConfigError(
                f"token is 'none' and host {self.host!r} is reached by other machines: whoever comes could start episodes"
            )


def main(config: ServeConfig) -> None:
    """Serve until interrupted. Raises ConfigError, TaskError."""
    config.check()
    tasks = load_tasks(config.tasks)
    kinds = dict.fromkeys(task.env for task in tasks)
    if len(kinds) > 1:
        raise ConfigError(f"tasks of one environment at a time can be served, not of {', '.join(kinds)}")
    kind = next(iter(kinds))
    check_options(kind, config.options)
    token = None if config.token == "none" else config.token or os.environ.get(TOKEN) or secrets.token_urlsafe(24)
    sockets = listen(config.host, config.port)
    console = Console(stderr=True)
    console.print(
        f"{len(tasks)} tasks of {kind!r} at http://{config.host}:{config.port}, {config.capacity} episodes at once", highlight=False
    )
    console.print(f"token: {token}" if token else "[bold]without a token: every program of this machine can start episodes[/bold]")

    async def open_one(images: ImageStore) -> Environment:
        return (await open_environments(kind, images, 1, config.options))[0]

    app = make_app(
        open_one, tasks, ServerSettings(token, config.capacity, config.lease, config.deadline, Pressure(config.memory, config.load))
    )
    serve(
        app,
        sockets,
        ws_max_size=LARGEST_REQUEST,
        ws_ping_timeout=config.lease,  # a client that computes and lets no event loop run has its lease all the same
        ws_per_message_deflate=False,  # pictures are compressed already
    )
