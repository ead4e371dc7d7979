"""A viewer with plays on this machine, for tests: the pages and the API over a real socket, in a thread of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from stepladder.stages.listening import listen
from stepladder.stages.play import PlayConfig, open_play
from stepladder.store import TrajectoryStore
from stepladder.types import Trajectory
from stepladder.viewer.guard import GuardSettings
from stepladder.viewer.play import routes
from stepladder.viewer.runs import Runs
from stepladder.viewer.server import ViewerSettings, make_app


@contextmanager
def served(config: PlayConfig | None, folder: Path) -> Iterator[str]:
    """The address of a viewer of `folder`, with plays as `config` says, or without."""
    sockets = listen("127.0.0.1", 0)
    port = sockets[0].getsockname()[1]
    if config is None:
        with _running(Runs([folder]), ViewerSettings(GuardSettings(port=port), play=routes(None)), sockets):
            yield f"http://127.0.0.1:{port}"
        return
    with open_play(config) as settings:
        viewer = ViewerSettings(GuardSettings(port=port), play=routes(settings))
        with _running(Runs([config.output]), viewer, sockets):
            yield f"http://127.0.0.1:{port}"


@contextmanager
def _running(runs: Runs, settings: ViewerSettings, sockets: list) -> Iterator[None]:  # type: ignore[type-arg]
    server = uvicorn.Server(uvicorn.Config(make_app(runs, settings), log_level="warning", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": sockets}, daemon=True)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield
    finally:
        server.should_exit = True
        thread.join(40)
        runs.close()
        assert not thread.is_alive(), "the server did not end"


def kept(output: Path) -> list[Trajectory]:
    """The plays in a directory."""
    with TrajectoryStore(output / "plays.jsonl") as store:
        return list(store)
