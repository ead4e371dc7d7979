"""What happens in a run while it goes on, as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from anyio.to_thread import run_sync

from stepladder.viewer.json_answers import encode
from stepladder.viewer.listing import written_after
from stepladder.viewer.live_screens import is_running, live_screens
from stepladder.viewer.run_view import RunView

#: Seconds between two looks, and between two signs of life of a stream in which nothing happens.
LOOK, HEARTBEAT = 1.0, 15.0
#: Trajectories that are told of one look; of more, the latest.
_MOST = 50


class Changes:
    """What is new in a run since the last look."""

    def __init__(self, run: RunView) -> None:
        self._run = run
        self._counts: dict[str, int] = {}
        self._latest: Any = None
        self._number = 0
        self._alarms = 0
        self._screens: list[Any] = []
        self._running: bool | None = None
        self._began = False

    def look(self) -> list[dict[str, Any]]:
        """Events, oldest first. The first look tells how things stand; trajectories, measurements and alarms that are there already
        are not told of."""
        run = self._run
        run.refresh(LOOK)
        events: list[dict[str, Any]] = []
        stores = run.stores()
        counts = {name: sum(store[name] for store in stores) for name in ("trajectories", "successes", "graded")}
        if counts != self._counts:
            events.append({"type": "count", **counts})
            self._counts = counts
        number, written = written_after(run, self._number, _MOST)
        latest, alarms = run.latest(), run.alarms()
        if self._began:
            events += [{"type": "trajectory", "trajectory": one} for one in written]
            events += [{"type": "alarm", "alarm": alarm} for alarm in alarms[self._alarms :]]
        if latest is not None and latest != self._latest:
            events.append({"type": "metrics", **latest})
        self._number, self._latest, self._alarms = number, latest, len(alarms)
        screens = [(one["slot"], one["id"], one["step"], one["updated"]) for one in live_screens(run, str)]
        if screens != self._screens or not self._began:
            events.append({"type": "screens", "count": len(screens)})
            self._screens = screens
        running = bool(screens) or is_running(run)
        if running != self._running:
            events.append({"type": "running", "running": running})
            if not running:
                events.append({"type": "end"})
            self._running = running
        self._began = True
        return events


async def event_stream(run: RunView, sleep: Callable[[float], Any] = asyncio.sleep) -> AsyncIterator[bytes]:
    """The events of a run for as long as somebody listens."""
    changes = Changes(run)
    yield b'data: {"type":"hello"}\n\n'
    quiet = 0.0
    while True:
        events = await run_sync(changes.look)
        for event in events:
            yield b"data: " + encode(event) + b"\n\n"
        quiet = 0.0 if events else quiet + LOOK
        if quiet >= HEARTBEAT:
            yield b": still here\n\n"
            quiet = 0.0
        await sleep(LOOK)
