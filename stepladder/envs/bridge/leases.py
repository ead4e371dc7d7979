"""Episodes that are lent: each has an environment of its own, and a lease that its user renews or loses."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TypeVar

from stepladder.images import ImageStore
from stepladder.interfaces import Environment, EnvironmentFailure, EnvironmentTimeout
from stepladder.pressure import Pressure
from stepladder.types import Action, Observation, Task

#: Opens one more environment, whose pictures go to the store that is given.
OpenEnvironment = Callable[[ImageStore], Awaitable[Environment]]
T = TypeVar("T")
_logger = logging.getLogger(__name__)


class Full(Exception):
    """As many episodes as there may be are running, and none of them is given up for another before it is graded."""


class Unknown(LookupError):
    """There is no such episode, or not any more."""

    def __init__(self, identifier: str) -> None:
        super().__init__(f"there is no episode {identifier[:64]!r}; it was closed, its lease ran out, or it never was")


class Taken(ValueError):
    """There is an episode of that name already."""


class Over(ValueError):
    """The episode has ended: its agent said done or fail, or its environment ended it. It can still be graded."""


@dataclass(eq=False)
class Episode:
    """One episode; who works with it holds `busy`. Its pictures end with it. Once it is `over` nothing is done in it any more.

    Whatever an environment raises comes out as EnvironmentFailure: any other exception is a mistake of the server's own."""

    id: str
    task: Task
    environment: Environment
    images: ImageStore
    until: float
    shown: Observation
    seed: int = 0
    steps: int = 0
    over: bool = False
    #: Whether nothing was done since it was graded: it then gives way to another one.
    graded: bool = False
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def act(self, actions: Sequence[Action], pause: float = 0.0) -> Action:
        """One step: these actions, until one ends the episode, and a look after `pause` seconds if there is to be one. `shown` then
        holds what was said on the way. Returns the last action that was done. Raises Over, EnvironmentFailure."""
        if self.over:
            raise Over("the episode is over: no step follows done or fail, or the environment's own end; grade or close it")
        said, self.graded = [], False
        for action in actions:
            await self._step(action)
            said.append(self.shown.text)
            self.over = self.shown.done or action.kind in ("done", "fail")
            if self.over:
                break
        self.steps += 1
        if pause and not self.over:
            await asyncio.sleep(pause)
            await self.look()
            said.append(self.shown.text)
        self.shown = replace(self.shown, text="\n".join(filter(None, said)))
        return action

    async def look(self) -> None:
        """What is on the screen now is what is `shown`; in an episode that is over, its last screen. Raises EnvironmentFailure."""
        if not self.over:
            await self._step(Action("wait"))
            self.over = self.shown.done

    async def grade(self) -> float:
        """0 to 1. Raises EnvironmentFailure."""
        reward = await _told("evaluate", self.environment.evaluate())
        if not isinstance(reward, (int, float)) or not 0 <= reward <= 1:
            raise EnvironmentFailure(f"evaluate gives {reward!r}, which is no number from 0 to 1")
        self.graded = True
        return float(reward)

    async def _step(self, action: Action) -> None:
        self.shown = await _told("step", self.environment.step(action))


class Leases:
    """At most `capacity` episodes at once, each until `seconds` after it was last heard of. On a machine that is full (`pressure`)
    no further one begins as long as another one runs. Those that are graded and not closed yet make room for others."""

    def __init__(self, open_environment: OpenEnvironment, capacity: int, seconds: float, pressure: Pressure | None = None) -> None:
        self._open, self.capacity, self.seconds = open_environment, capacity, seconds
        self._pressure = pressure or Pressure()
        self._episodes: dict[str, Episode] = {}
        #: Episodes that are being started; True for those that nobody wants any more.
        self._starting: dict[str, bool] = {}
        #: The closings under way. What they close takes its place until they are done.
        self._ending: set[asyncio.Task[None]] = set()
        self._sweeping: asyncio.Task[None] | None = None
        #: What has happened since the start.
        self.counts = {"started": 0, "closed": 0, "expired": 0, "failed": 0, "refused": 0}

    @property
    def running(self) -> int:
        """Episodes that take a place, also those that are being started or closed."""
        return len(self._episodes) + len(self._starting) + len(self._ending)

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
        await asyncio.gather(*self._ending)

    async def begin(self, identifier: str, task: Task, seed: int, deadline: float) -> Episode:
        """Start an episode. Raises Full, Taken, EnvironmentFailure, TimeoutError."""
        while why := self._full():
            graded = next((one for one in self._episodes.values() if one.graded and not one.busy.locked()), None)
            if graded is None:
                self.counts["refused"] += 1
                raise Full(why)
            with suppress(Unknown):
                await self.close(graded.id)
        if identifier in self._episodes or identifier in self._starting:
            raise Taken(f"episode_id: there is an episode {identifier!r} already")
        self._starting[identifier] = False
        images, environment = ImageStore(cache=0), None
        try:
            async with asyncio.timeout(deadline):
                environment = await _told("opening", self._open(images))
            async with asyncio.timeout(granted(environment, "reset", deadline)):
                shown = await _told("reset", environment.reset(task, seed))
            if self._starting[identifier]:
                raise Unknown(identifier)
            task = getattr(environment, "task", task)
            until = time.monotonic() + self.seconds
            episode = Episode(identifier, task, environment, images, until, shown, seed, over=shown.done)
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

    def _full(self) -> str:
        """Why no further episode can begin; empty when one can."""
        if self.running >= self.capacity:
            return f"{self.capacity} episodes are running, and more there may not be; try again later"
        if self.running and (short := self._pressure.short()):
            return f"the server's machine is full, {short} is short; try again later"
        return ""

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
            async with episode.busy, asyncio.timeout(granted(episode.environment, what, deadline)):
                self.get(identifier)  # it may have been closed while this call waited
                yield episode
        except (Unknown, Over, asyncio.CancelledError):
            raise
        except Exception:
            with suppress(Unknown):  # its user may have closed it meanwhile
                await self.close(identifier, "failed")
            raise
        finally:
            episode.until = time.monotonic() + self.seconds

    async def close(self, identifier: str, why: str = "closed") -> None:
        """End an episode, also one that is still being started. What is under way in it is waited for. Its place is free once its
        environment is closed, which goes on whoever is cancelled. Raises Unknown."""
        if identifier in self._starting:
            self._starting[identifier] = True
            return
        episode = self._episodes.pop(identifier, None)
        if episode is None:
            raise Unknown(identifier)
        self.counts[why] += 1
        ending = asyncio.create_task(_end_quiet(episode))
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
        await asyncio.shield(ending)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(min(1.0, self.seconds / 4))
            now = time.monotonic()
            for episode in list(self._episodes.values()):
                if episode.until < now and not episode.busy.locked():
                    _logger.warning("episode %s was not heard of for %g s and is closed", episode.id, self.seconds)
                    with suppress(Unknown):
                        await self.close(episode.id, "expired")


def granted(environment: Environment, what: str, deadline: float) -> float:
    """Seconds for one call: some environments grant themselves more by an attribute such as `reset_deadline`."""
    return max(deadline, float(getattr(environment, f"{what}_deadline", 0.0)))


async def _told(what: str, work: Awaitable[T]) -> T:
    """What a call of an environment gives. Raises EnvironmentFailure for whatever that raises."""
    try:
        return await work
    except EnvironmentFailure:
        raise
    except TimeoutError as error:  # one of its own: the server's comes as a cancellation
        raise EnvironmentTimeout(f"{what}: {error or 'it did not answer in time'}") from error
    except Exception as error:
        _logger.warning("an environment's %s failed in a way that it should not", what, exc_info=True)
        raise EnvironmentFailure(f"{what}: {type(error).__name__}: {error}") from error


async def _end_quiet(episode: Episode) -> None:
    """Close its environment once nobody works with it."""
    async with episode.busy:
        await _end(episode.environment)


async def _end(environment: Environment) -> None:
    try:
        async with asyncio.timeout(30.0):
            await environment.close()
    except Exception:
        _logger.warning("closing %s failed", type(environment).__name__, exc_info=True)
