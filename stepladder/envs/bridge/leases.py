"""Episodes that are lent: each has an environment of its own, and a lease that its user renews or loses."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from stepladder.images import ImageStore
from stepladder.interfaces import Environment
from stepladder.pressure import Pressure
from stepladder.types import Action, Observation, Task

#: Opens one more environment, whose pictures go to the store that is given.
OpenEnvironment = Callable[[ImageStore], Awaitable[Environment]]
_logger = logging.getLogger(__name__)


class Full(Exception):
    """As many episodes as there may be are running; none of them is given up for another."""


class Unknown(LookupError):
    """There is no such episode, or not any more."""

    def __init__(self, identifier: str) -> None:
        super().__init__(f"there is no episode {identifier[:64]!r}; it was closed, its lease ran out, or it never was")


class Taken(ValueError):
    """There is an episode of that name already."""


@dataclass(eq=False)
class Episode:
    """One episode; who works with it holds `busy`. Its pictures end with it."""

    id: str
    task: Task
    environment: Environment
    images: ImageStore
    until: float
    shown: Observation
    seed: int = 0
    steps: int = 0
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def act(self, actions: Sequence[Action]) -> None:
        """One step: these actions, until the environment ends the episode. Raises whatever the environment raises."""
        for action in actions:
            self.shown = await self.environment.step(action)
            if self.shown.done:
                break
        self.steps += 1


class Leases:
    """At most `capacity` episodes at once, each until `seconds` after it was last heard of. On a machine that is full (`pressure`)
    no further one begins as long as another one runs."""

    def __init__(self, open_environment: OpenEnvironment, capacity: int, seconds: float, pressure: Pressure | None = None) -> None:
        self._open, self.capacity, self.seconds = open_environment, capacity, seconds
        self._pressure = pressure or Pressure()
        self._episodes: dict[str, Episode] = {}
        #: Episodes that are being started; True for those that nobody wants any more.
        self._starting: dict[str, bool] = {}
        self._sweeping: asyncio.Task[None] | None = None
        #: What has happened since the start.
        self.counts = {"started": 0, "closed": 0, "expired": 0, "failed": 0, "refused": 0}

    @property
    def running(self) -> int:
        return len(self._episodes) + len(self._starting)

    def start(self) -> None:
        """Begin to look for leases that have run out."""
        self._sweeping = asyncio.create_task(self._sweep())

    async def stop(self) -> None:
        """Close every episode."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            with suppress(asyncio.CancelledError):
                await self._sweeping
        for identifier in self._starting:
            self._starting[identifier] = True
        while self._starting:
            await asyncio.sleep(0.05)
        for identifier in list(self._episodes):
            with suppress(Unknown):
                await self.close(identifier)

    async def begin(self, identifier: str, task: Task, seed: int, deadline: float) -> Episode:
        """Start an episode. Raises Full, Taken, whatever the environment raises, TimeoutError."""
        if identifier in self._episodes or identifier in self._starting:
            raise Taken(f"episode_id: there is an episode {identifier!r} already")
        if self.running >= self.capacity:
            self.counts["refused"] += 1
            raise Full(f"{self.capacity} episodes are running, and more there may not be; try again later")
        if self.running and (short := self._pressure.short()):
            self.counts["refused"] += 1
            raise Full(f"the server's machine is full, {short} is short; try again later")
        self._starting[identifier] = False
        images, environment = ImageStore(cache=0), None
        try:
            async with asyncio.timeout(deadline):
                environment = await self._open(images)
            async with asyncio.timeout(_granted(environment, "reset", deadline)):
                shown = await environment.reset(task, seed)
            if self._starting[identifier]:
                raise Unknown(identifier)
            task = getattr(environment, "task", task)
            episode = Episode(identifier, task, environment, images, time.monotonic() + self.seconds, shown, seed)
            self._episodes[identifier] = episode
            self.counts["started"] += 1
            return episode
        except BaseException:
            self.counts["failed"] += 1
            if environment is not None:
                await _end(environment)
            raise
        finally:
            del self._starting[identifier]

    def get(self, identifier: str) -> Episode:
        """The episode, its lease renewed. Raises Unknown."""
        episode = self._episodes.get(identifier)
        if episode is None:
            raise Unknown(identifier)
        episode.until = time.monotonic() + self.seconds
        return episode

    @asynccontextmanager
    async def working(self, identifier: str, deadline: float, what: str = "") -> AsyncIterator[Episode]:
        """The episode for one call, one at a time, of `deadline` seconds, or what the environment grants itself for `what`. An
        environment that fails in it, in whatever way, has failed for good, and its episode is closed. Raises Unknown,
        TimeoutError."""
        episode = self.get(identifier)
        try:
            async with episode.busy, asyncio.timeout(_granted(episode.environment, what, deadline)):
                self.get(identifier)  # it may have been closed while this call waited
                yield episode
        except (Unknown, asyncio.CancelledError):
            raise
        except Exception:
            with suppress(Unknown):  # its user may have closed it meanwhile
                await self.close(identifier, "failed")
            raise
        finally:
            episode.until = time.monotonic() + self.seconds

    async def close(self, identifier: str, why: str = "closed") -> None:
        """End an episode, also one that is still being started. What is under way in it is waited for. Raises Unknown."""
        if identifier in self._starting:
            self._starting[identifier] = True
            return
        episode = self._episodes.pop(identifier, None)
        if episode is None:
            raise Unknown(identifier)
        self.counts[why] += 1
        async with episode.busy:
            await _end(episode.environment)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(min(1.0, self.seconds / 4))
            now = time.monotonic()
            for episode in list(self._episodes.values()):
                if episode.until < now and not episode.busy.locked():
                    _logger.warning("episode %s was not heard of for %g s and is closed", episode.id, self.seconds)
                    with suppress(Unknown):
                        await self.close(episode.id, "expired")


def _granted(environment: Environment, what: str, deadline: float) -> float:
    """Seconds for one call: some environments grant themselves more by an attribute such as `reset_deadline`."""
    return max(deadline, float(getattr(environment, f"{what}_deadline", 0.0)))


async def _end(environment: Environment) -> None:
    try:
        async with asyncio.timeout(30.0):
            await environment.close()
    except Exception:
        _logger.warning("closing %s failed", type(environment).__name__, exc_info=True)
