"""Environments of one kind, lent for an episode at a time: spares, checks, quarantine, patience when a machine is full.

An environment may offer two coroutines beyond those of the protocol, both without arguments:

    prepare()   make the next reset quick (start what it needs); called while nobody waits for the environment
    check()     raise EnvironmentFailure when it would fail; called now and then while it rests

After failures in a row a fresh environment is tried with one of them before anybody gets it: many a constructor never fails, and a
task that cannot be played here says nothing about the machine.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

from stepladder.config import ConfigError
from stepladder.images import ImageStore
from stepladder.interfaces import Environment, EnvironmentFailure
from stepladder.pressure import Pressure, Room
from stepladder.rollout.opening import close_environments, open_environments
from stepladder.rollout.slowed import Latency, SlowedEnvironment

#: Opens so many environments, which may share what is dear.
OpenEnvironments = Callable[[int], Awaitable[Sequence[Environment]]]
#: Seconds between two looks at a machine that is full, and the longest pause before an environment is opened after failures.
_LOOK, _LONGEST_PAUSE = 0.25, 2.0
#: What is counted when a preparation or a check succeeds, and when it fails.
_COUNTS = {"prepare": ("prepared", "unprepared"), "check": ("checked", "unhealthy")}
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PoolSettings:
    """How a pool keeps its environments.

    `spares` environments are open beyond those at work: while one is tidied up, prepared or replaced, a spare goes on in its place.
    Every `check_every` seconds those that rest are checked (0: never). No further episode begins while less than `memory` GiB are
    free or more than `load` processes a core want to run (0: whatever is free), as long as another one is at work. The pool gives
    up after `most_failures` openings in a row that failed, or that brought environments which fail when they are tried. To open,
    prepare and check one may take `open_deadline` seconds. `latency` slows their steps.
    """

    spares: int = 0
    check_every: float = 30.0
    memory: float = 0.5
    load: float = 32.0
    most_failures: int = 5
    open_deadline: float = 120.0
    latency: Latency = field(default_factory=Latency)

    def __post_init__(self) -> None:
        for name, least in (("spares", 0), ("check_every", 0), ("memory", 0), ("load", 0), ("most_failures", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"pool: {name} is {getattr(self, name)}; it must be at least {least}")
        if not self.open_deadline > 0:
            raise ConfigError(f"pool: open_deadline is {self.open_deadline}; it must be above 0")


@dataclass(eq=False)
class Lease:
    """An environment that is lent. Who finds it broken says so with `fail`; it is then not lent again."""

    environment: Environment
    failed: bool = False

    def fail(self) -> None:
        self.failed = True


@dataclass(eq=False)
class _Resting:
    environment: Environment
    task: str = ""
    since: float = field(default_factory=time.monotonic)


class EnvironmentPool:
    """`size` environments at work at a time, and spares. Use it as an asynchronous context manager.

    `open_many(count)` opens environments. What happens is counted in `counts`:

    opened, open_failed, closed        environments opened, openings that failed, environments closed
    lent, waited, held_back            leases; those that had to wait for an environment; those that waited for a full machine
    returned, quarantined              environments given back whole, and taken out because they failed
    checked, unhealthy, prepared, unprepared   checks, those that failed, preparations, those that failed
    """

    def __init__(
        self,
        open_many: OpenEnvironments,
        size: int,
        settings: PoolSettings | None = None,
        look: Callable[[], Room] | None = None,
    ) -> None:
        if size < 1:
            raise ValueError(f"the size of the pool is {size}; at least one environment is needed")
        self.size, self.settings = size, settings or PoolSettings()
        self.counts: Counter[str] = Counter()
        self._open_many, self._look = open_many, look
        self._pressure = Pressure(self.settings.memory, self.settings.load)
        self._resting: list[_Resting] = []
        self._changed = asyncio.Event()
        self._places = asyncio.Semaphore(size)
        #: What is open, and which of them are lent, by identity.
        self._open: dict[int, Environment] = {}
        self._lent: set[int] = set()
        self._working: set[asyncio.Task[None]] = set()
        self._closing: set[asyncio.Task[None]] = set()
        #: Failures in a row, of episodes and openings together, and of replacing an environment alone.
        self._failures = self._failed_openings = 0
        self._given_up: BaseException | None = None
        self._closed = False

    @classmethod
    def of(
        cls,
        name: str,
        images: ImageStore,
        size: int,
        options: Mapping[str, Any] | None = None,
        settings: PoolSettings | None = None,
    ) -> Self:
        """A pool of environments of the kind `name` (`stepladder.envs.ENVIRONMENTS` or `package.module:Class`) with `options`,
        whose pictures go to `images`. Entering it raises what `open_environments` raises."""

        async def open_many(count: int) -> Sequence[Environment]:
            opened = await open_environments(name, images, count, options)
            if settings is None or not settings.latency.median:
                return opened
            return [SlowedEnvironment(one, settings.latency) for one in opened]

        return cls(open_many, size, settings)

    async def start(self) -> Self:
        """Open the first environments, all together. Raises what opening raises."""
        first = await self._more(self.size + self.settings.spares)
        self._resting = [_Resting(environment) for environment in first]
        if self.settings.check_every:
            self._in_background(self._check_now_and_then())
        return self

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @asynccontextmanager
    async def lease(self, task: str = "") -> AsyncIterator[Lease]:
        """An environment for one episode of `task`, if possible one that has played that task last: it may have kept its page.

        An exception within the `with` counts as a failure of the environment. Raises what the last opening raised when the pool
        has given up.
        """
        async with self._places:
            await self._wait_for_room()
            lease = Lease(await self._take(task))
            self._lent.add(id(lease.environment))
            self.counts["lent"] += 1
            try:
                yield lease
            except BaseException:
                lease.fail()
                raise
            finally:
                self._lent.discard(id(lease.environment))
                self._give_back(lease, task)

    async def close(self) -> None:
        """Close every environment. One that is lent is closed when it is given back. May be called twice."""
        self._closed = True
        for work in list(self._working):
            work.cancel()
        await asyncio.gather(*self._working, return_exceptions=True)
        self._resting = []
        for number, environment in list(self._open.items()):
            if number not in self._lent:
                self._shut(environment)
        self._changed.set()
        await asyncio.gather(*self._closing)

    # ----------------------------------------------------------------------------------------------------------- internals

    async def _take(self, task: str) -> Environment:
        """The resting environment that suits `task` best, once there is one."""
        self.counts["waited"] += not self._resting
        while not self._resting:
            if self._closed:
                raise EnvironmentFailure("the pool of environments was closed")
            if self._given_up is not None:
                raise self._given_up
            self._changed.clear()
            await self._changed.wait()
        chosen = min(self._resting, key=lambda one: (one.task != task, one.task != "", one.since))
        self._resting.remove(chosen)
        return chosen.environment

    def _give_back(self, lease: Lease, task: str) -> None:
        if self._closed:
            self._shut(lease.environment)
        elif lease.failed:
            self.counts["quarantined"] += 1
            self._failures += 1
            self._in_background(self._replace(lease.environment))
        else:
            self.counts["returned"] += 1
            self._failures = 0
            one = _Resting(lease.environment, task)
            if self.settings.spares and hasattr(lease.environment, "prepare"):
                self._in_background(self._prepare(one))
            else:
                self._rest(one)

    def _rest(self, one: _Resting) -> None:
        one.since = time.monotonic()
        self._resting.append(one)
        self._changed.set()

    async def _prepare(self, one: _Resting) -> None:
        if await self._well(one, "prepare"):
            self._rest(one)

    async def _check_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(self.settings.check_every)
            until = time.monotonic() - self.settings.check_every
            due = [one for one in self._resting if one.since <= until and hasattr(one.environment, "check")]
            for one in due:
                if one in self._resting:  # it may have been lent meanwhile
                    self._resting.remove(one)
                    if await self._well(one, "check"):
                        self._rest(one)

    async def _well(self, one: _Resting, what: str) -> bool:
        """Call `prepare` or `check` of an environment that is out of everybody's reach. One that fails is replaced."""
        done, failed = _COUNTS[what]
        try:
            async with asyncio.timeout(self.settings.open_deadline):
                await getattr(one.environment, what)()
        except Exception as error:
            _logger.warning("%s of a resting %s failed: %s", what, type(one.environment).__name__, error)
            self.counts[failed] += 1
            self._in_background(self._replace(one.environment))
            return False
        self.counts[done] += 1
        return True

    async def _replace(self, broken: Environment) -> None:
        """Close what failed, and open another one in its place; later after several failures in a row."""
        await asyncio.shield(self._shut(broken))
        while self._given_up is None:
            if self._failures > 1:
                await asyncio.sleep(min(_LONGEST_PAUSE, 0.25 * 2 ** min(self._failures - 2, 10)))
            try:
                (environment,) = await self._more(1)
                if self._failures > 1:
                    await self._try_out(environment)
            except Exception as error:
                self._failures += 1
                self._failed_openings += 1
                _logger.warning("an environment could not be opened (%d failures in a row): %s", self._failures, error)
                if self._failed_openings >= self.settings.most_failures:
                    self._given_up = error
                    self._changed.set()
            else:
                self._failed_openings = 0
                self._rest(_Resting(environment))
                return

    async def _try_out(self, environment: Environment) -> None:
        """Prepare, or else check, an environment that nobody has had. Raises what that raises; the environment is closed then."""
        what = next((one for one in ("prepare", "check") if hasattr(environment, one)), None)
        if what is None:
            return
        done, failed = _COUNTS[what]
        try:
            async with asyncio.timeout(self.settings.open_deadline):
                await getattr(environment, what)()
        except Exception as error:
            self.counts[failed] += 1
            await asyncio.shield(self._shut(environment))
            if isinstance(error, TimeoutError):
                raise EnvironmentFailure(f"{what} took longer than {self.settings.open_deadline:g} s") from error
            raise
        self.counts[done] += 1
        if what == "prepare":  # the machine is well: those before failed for another reason, and the next one need not pause
            self._failures = 0

    async def _more(self, count: int) -> Sequence[Environment]:
        try:
            async with asyncio.timeout(self.settings.open_deadline):
                opened = await self._open_many(count)
        except Exception as error:
            self.counts["open_failed"] += 1
            if isinstance(error, TimeoutError):
                raise EnvironmentFailure(f"opening took longer than {self.settings.open_deadline:g} s") from error
            raise
        self.counts["opened"] += len(opened)
        self._open |= {id(environment): environment for environment in opened}
        return opened

    def _shut(self, environment: Environment) -> asyncio.Task[None]:
        """Begin to close an environment; that goes on whoever is cancelled."""
        del self._open[id(environment)]
        self.counts["closed"] += 1
        task = asyncio.create_task(close_environments([environment]))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        return task

    async def _wait_for_room(self) -> None:
        """Wait while the machine is full, unless nobody else is at work: somebody must be, or it never ends."""
        if not self._lent or not self._pressure.short(self._look):
            return
        self.counts["held_back"] += 1
        while self._lent and (short := self._pressure.short(self._look)):
            _logger.info("an episode waits: %s is short", short)
            await asyncio.sleep(_LOOK)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._working.add(task)
        task.add_done_callback(self._working.discard)
