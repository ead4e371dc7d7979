"""Look at runs in a browser.

stepladder view runs                                   # prints the address
stepladder play --tasks forms --policy oracle          # the same, and tasks can be played there
"""

from __future__ import annotations

import os
import secrets
import webbrowser
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote

from rich.console import Console
from starlette.routing import BaseRoute

from stepladder.addresses import is_loopback
from stepladder.config import ConfigError
from stepladder.stages.listening import listen, serve
from stepladder.stages.play import PlayConfig, open_play
from stepladder.viewer.guard import GuardSettings
from stepladder.viewer.play import routes as play_routes
from stepladder.viewer.runs import Runs
from stepladder.viewer.server import ViewerSettings, make_app

#: The environment variable that holds the token of the pages.
TOKEN = "STEPLADDER_VIEW_TOKEN"
#: Seconds that open pages have to let go when the server ends.
_PARTING = 1


@dataclass(frozen=True)
class ViewConfig:
    """The runs in the directories `runs` at http://`host`:`port`. A directory is a run or a folder of runs. `token` None takes that
    of the environment variable STEPLADDER_VIEW_TOKEN, or makes one; "none" (--token none) wants none, which is refused for
    addresses that other machines reach. `tokenizer` is a checkpoint directory whose tokenizer tells the text of tokens where that
    of the run's own checkpoint does not lie in a run that is shown. With `open` the address is opened in a browser. `play` says
    what can be played: nothing, unless it has tasks or starts."""

    runs: tuple[Path, ...] = (Path("runs"),)
    host: str = "127.0.0.1"
    port: int = 8800
    token: str | None = None
    tokenizer: Path | None = None
    open: bool = False
    play: PlayConfig = field(default_factory=PlayConfig)

    @property
    def plays(self) -> bool:
        """Whether anything can be played."""
        return bool(self.play.tasks or self.play.starts)

    def check(self) -> None:
        """Raises ConfigError for what cannot be, or should not."""
        if not 0 < self.port < 65536:
            raise ConfigError(f"port is {self.port}; it must be 1 to 65535")
        if self.token == "none" and not is_loopback(self.host):
            raise ConfigError(
                f"token is 'none' and host {self.host!r} is reached by other machines: whoever comes could read the runs"
            )
        check_directories(self.runs)
        if self.tokenizer is not None and not (self.tokenizer / "tokenizer.json").is_file():
            raise ConfigError(f"tokenizer: {self.tokenizer} is no checkpoint directory; it has no tokenizer.json")


def check_directories(runs: tuple[Path, ...]) -> None:
    """Raises ConfigError for what is no directory."""
    if not runs:
        raise ConfigError("runs: give one directory or more")
    for path in runs:
        if path.is_file():
            raise ConfigError(f"{path} is a file; give the run's directory, {path.parent}")
        if not path.is_dir():
            raise ConfigError(f"there is no run directory {path}")


def main(config: ViewConfig) -> None:
    """Serve until interrupted. Raises ConfigError, TaskError, Locked."""
    if config.plays and not config.play.output.exists():
        config.play.output.mkdir(parents=True)
    config.check()
    token = None if config.token == "none" else config.token or os.environ.get(TOKEN) or secrets.token_urlsafe(24)
    sockets = listen(config.host, config.port)
    runs = Runs(config.runs)
    runs.read_ahead()
    with ExitStack() as stack:
        stack.callback(runs.close)
        play: list[BaseRoute] = play_routes(None)
        if config.plays:
            settings = stack.enter_context(open_play(config.play))
            play = play_routes(replace(settings, run=runs.include(config.play.output)))
        guard = GuardSettings(config.host, config.port, token)
        app = make_app(runs, ViewerSettings(guard, config.tokenizer, play))
        address = address_of(config.host, config.port, token)
        console = Console(stderr=True)
        console.print(f"{len(runs.all())} runs at {address}", highlight=False, soft_wrap=True)
        if token is None:
            console.print("[bold]without a token: every program of this machine can read them[/bold]")
        if config.open:
            webbrowser.open(address)
        serve(app, sockets, timeout_graceful_shutdown=_PARTING)


def address_of(host: str, port: int, token: str | None) -> str:
    """What is typed into a browser. Of a server that listens at all addresses, that of this machine itself."""
    name = "127.0.0.1" if host in ("0.0.0.0", "::", "") else host
    name = f"[{name}]" if ":" in name else name
    return f"http://{name}:{port}/" + (f"?token={quote(token, safe='')}" if token else "")
