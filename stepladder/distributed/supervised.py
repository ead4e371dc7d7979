"""An object in an actor that is made anew whenever its process is lost, wherever there is room then."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import ActorDiedError

from stepladder.distributed.remote import Life, Lost, Remote
from stepladder.distributed.settings import RaySettings
from stepladder.errors import UserError

_logger = logging.getLogger(__name__)


class PlacementFailure(UserError):
    """A part of the run that cannot be placed, or does not come up; the message says which and why."""


async def one_ready(parts: Sequence[Supervised]) -> None:
    """Wait until one of them is well. Raises what the first one says when none will be."""
    waiting = [asyncio.ensure_future(part.ready()) for part in parts]
    try:
        for done in asyncio.as_completed(waiting):
            with suppress(Exception):
                await done
                return
        await waiting[0]
    finally:
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


class Supervised:
    """`remote`, called `name` in messages; `born` is awaited whenever it has a new process, before anybody calls it."""

    def __init__(self, name: str, remote: Remote, settings: RaySettings, born: Callable[[], Awaitable[None]]) -> None:
        self.name, self.remote, self.settings = name, remote, settings
        #: Processes that another one has taken the place of, and the present one.
        self.losses = 0
        self.life: Life | None = None
        #: The process that `born` was done for.
        self._greeted: Life | None = None
        self._born = born
        self._up = asyncio.Event()
        self._failure: Exception | None = None
        self._look_now = asyncio.Event()
        self._watching = asyncio.create_task(self._watch())

    @property
    def failure(self) -> Exception | None:
        """Why it is done without for good, if it is."""
        return self._failure

    async def ready(self) -> None:
        """Wait until it is well. Raises PlacementFailure where it will not be, and what `born` raised."""
        try:
            async with asyncio.timeout(self.settings.gone):
                await self._up.wait()
        except TimeoutError:
            what = "did not come up" if self.life is None else "is lost and did not come back"
            hint = "one that takes long to load needs a larger ray.patience"
            raise PlacementFailure(f"{self.name} {what} within {self.settings.gone:g} s (ray.gone); {hint}") from None
        if self._failure is not None:
            raise self._failure

    async def call(self, method: str, *arguments: Any) -> Any:
        """See `Remote.call`."""
        life = self.life
        try:
            return await self.remote.call(method, *arguments)
        except Lost:
            if life == self.life:  # else it is the end of an earlier process
                self._down()
            raise

    async def close(self) -> None:
        """End its process."""
        self._watching.cancel()
        await asyncio.gather(self._watching, return_exceptions=True)
        ray.kill(self.remote.handle)

    async def _watch(self) -> None:
        while self._failure is None:
            try:
                await self._look()
            except Lost as error:
                self._down()
                if isinstance(error.__cause__, ActorDiedError) and self.life is None:
                    self._give_up(PlacementFailure(f"{self.name} does not start: {_reason(error.__cause__)}"))
            except TimeoutError:
                _logger.warning("%s said nothing for %g s; it is ended and begun anew", self.name, self._patience)
                self._down()
                ray.kill(self.remote.handle, no_restart=False)
            except Exception as error:
                self._give_up(error)
            self._look_now.clear()
            try:
                async with asyncio.timeout(self.settings.heartbeat if self._up.is_set() else min(0.2, self.settings.heartbeat)):
                    await self._look_now.wait()
            except TimeoutError:
                pass

    async def _look(self) -> None:
        async with asyncio.timeout(self._patience):
            life = await self.remote.ping()
            if life != self._greeted:
                self._up.clear()
                self.losses += self.life not in (None, life)
                self.life = life
                await self._born()
                self._greeted = life
        self._up.set()

    @property
    def _patience(self) -> float:
        """Seconds in which it has to answer. One that is being made anew may take long: its model has to be read."""
        return self.settings.silence if self._up.is_set() else max(self.settings.silence, self.settings.patience)

    def _down(self) -> None:
        if self._up.is_set():
            _logger.warning("%s is lost, and begun anew", self.name)
        self._up.clear()
        self._look_now.set()

    def _give_up(self, error: Exception) -> None:
        _logger.error("%s is done without: %s", self.name, error)
        self._failure = error
        self._up.set()


def _reason(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    return lines[-1] if lines else repr(error)
