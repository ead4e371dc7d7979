"""OSWorld's tasks on machines that somebody else has started and that answer as OSWorld's do."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import httpx
import numpy as np

from stepladder.envs.acting import CannotDo, waiting_time
from stepladder.envs.desktop.actions import Move
from stepladder.envs.osworld import machines
from stepladder.envs.osworld.cache import cache_folder
from stepladder.envs.osworld.episode import OSWorldEpisode, solve
from stepladder.envs.osworld.remote import NoAnswer, RemoteMachine
from stepladder.envs.osworld.xml_tree import read_tree
from stepladder.images import ImageStore, Pixels, decode
from stepladder.interfaces import EnvironmentFailure, EnvironmentTimeout
from stepladder.locks import ExclusiveLock
from stepladder.types import Action, ImageRef, Observation, Task

#: The token that a machine wants, where it wants one.
TOKEN = "STEPLADDER_MACHINE_TOKEN"
#: Seconds within which a program that a task starts shows itself, and then without a change until it is ready.
_WINDOW_SECONDS, _READY_SECONDS, _READY_QUIET = 30.0, 15.0, 1.0
#: The part of the screen that a window changes, and the pointer alone never does.
_WINDOW_SHARE = 0.01
#: The most seconds that a machine which rests may take to say that it is well.
_CHECK_SECONDS = 30.0
#: Seconds between two looks at the screen.
_LOOK = 0.05
_logger = logging.getLogger(__name__)


class RemoteEnvironment:
    """Episodes on one of the machines at `machine` (addresses, comma-separated): it takes one that is free and keeps it until it is
    closed, or the machine fails: one that did not answer is left alone for a while, longer each time. Processes of this computer
    never share a machine.

    images     where screenshots go
    revert     a command that brings a machine back to its snapshot; its address is added as the last word. Without one, what an
               episode leaves behind is there in the next
    password   of the user on the machine
    token      default: the environment variable STEPLADDER_MACHINE_TOKEN, or none, as OSWorld's own servers want
    cache      as for OSWorldEnvironment
    tree       also give the accessibility tree with every observation
    quiet      seconds without a change after which the screen counts as settled, and
    longest    the most that is waited for that
    deadline   seconds that one call (step, evaluate) may take; a reset may take `reset_deadline`
    """

    def __init__(
        self,
        images: ImageStore,
        *,
        machine: str,
        revert: Sequence[str] | None = None,
        password: str = "password",
        token: str | None = None,
        cache: str | os.PathLike[str] | None = None,
        tree: bool = False,
        quiet: float = 0.3,
        longest: float = 3.0,
        deadline: float = 180.0,
        reset_deadline: float = 600.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        if not 0 <= quiet <= longest:
            raise ValueError(f"quiet is {quiet}; it must be at least 0 and at most longest, {longest}")
        if revert is not None and (isinstance(revert, str) or not revert):
            raise ValueError(f"revert is {revert!r}; it must be a list of words such as ['virsh-revert', '--wait']")
        self.images, self.urls, self.task = images, _addresses(machine), Task("", "", "")
        self.deadline, self.evaluate_deadline, self.reset_deadline = deadline, deadline, reset_deadline
        self.cache = cache_folder(cache)
        self._revert_command = None if revert is None else [str(word) for word in revert]
        self._password, self._token, self._transport = password, token if token is not None else os.environ.get(TOKEN), transport
        self._tree, self._quiet, self._longest = tree, quiet, longest
        self._lock: ExclusiveLock | None = None
        self._machine: RemoteMachine | None = None
        self._episode: OSWorldEpisode | None = None
        self._url = ""
        self._ended = self._gave_up = False

    @classmethod
    async def create_many(cls, images: ImageStore, count: int, *, machine: str, **options: object) -> list[RemoteEnvironment]:
        """Raises ValueError when there are fewer machines than environments."""
        machines = _addresses(machine)
        if count > len(machines):
            raise ValueError(
                f"{count} environments need as many machines, and {len(machines)} {'is' if len(machines) == 1 else 'are'} named: "
                f"name more, or set environments={len(machines)}"
            )
        return [cls(images, machine=machine, **options) for _ in range(count)]  # type: ignore[arg-type]

    async def reset(self, task: Task, seed: int) -> Observation:
        """Bring a machine to the start of `task`. Raises EnvironmentFailure, EnvironmentTimeout."""
        async with self._guard("reset", self.reset_deadline):
            self._ended = self._gave_up = False
            await self._disconnect()
            await self._take()
            machine = self._machine = await self._start()
            episode = self._episode = OSWorldEpisode(task, machine, self.cache, whole_system=True)
            episode.check()
            self.task, before = task, _pixels(await machine.screenshot(), self._url)
            if await episode.set_up():
                await self._wait_for_window(before)
            return await self._observe("")

    async def step(self, action: Action) -> Observation:
        """As every environment's; `Observation.text` says what could not be done."""
        extra, message = waiting_time(action), ""
        async with self._guard("step", self.deadline + extra):
            if action.kind in ("done", "fail"):
                self._ended, self._gave_up = True, action.kind == "fail"
            else:
                try:
                    await self.machine.act(action)
                except CannotDo as error:
                    message = str(error)
            return await self._observe(message)

    async def evaluate(self) -> float:
        """The task reward in [0, 1]."""
        async with self._guard("evaluate", self.deadline):
            if self._episode is None:
                raise EnvironmentFailure("the environment was not reset, or it failed since")
            return await self._episode.grade(self._gave_up)

    async def solve(self) -> AsyncIterator[Move]:
        """Gives up what cannot be done; other solutions are for pocket desktops. Raises EnvironmentFailure for those."""
        async for move in solve(self.task, None):
            yield move

    async def check(self) -> None:
        """Raises EnvironmentFailure, EnvironmentTimeout when the machine that is kept does not answer."""
        if self._lock is None:
            return
        async with self._guard("check", min(self.deadline, _CHECK_SECONDS)):
            machine = self._reached()
            try:
                await machine.connect()
            except EnvironmentFailure:
                await self._disconnect()
                machines.failed(self._url)
                raise
            finally:
                await machine.close()

    async def close(self) -> None:
        await self._disconnect()
        self._let_go()

    @property
    def machine(self) -> RemoteMachine:
        """The machine of the present episode. Raises EnvironmentFailure when there is none."""
        if self._machine is None:
            raise EnvironmentFailure("the environment was not reset, or it failed since")
        return self._machine

    # ----------------------------------------------------------------------------------------------------------- internals

    async def _take(self) -> None:
        """Take a machine, and another one in the place of one that has just failed."""
        if self._lock is not None and machines.rests(self._url):
            self._let_go()
        if self._lock is None:
            self._url, self._lock = await machines.take(self.urls)

    def _let_go(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.release()

    async def _start(self) -> RemoteMachine:
        """The machine, reverted and well. One that is not is left alone for a while, whatever is wrong: no task is at fault yet."""
        try:
            await self._revert()
            machine = self._reached()
            try:
                await machine.connect()
            except BaseException:
                await machine.close()
                raise
        except EnvironmentFailure:
            machines.failed(self._url)
            raise
        machines.answered(self._url)
        return machine

    def _reached(self) -> RemoteMachine:
        return RemoteMachine(self._url, password=self._password, token=self._token, transport=self._transport)

    async def _revert(self) -> None:
        if self._revert_command is None:
            _warn_once(self._url)
            return
        command = [*self._revert_command, self._url]
        try:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
            )
        except OSError as error:
            raise EnvironmentFailure(f"revert: {command[0]} does not start: {error}") from error
        try:
            said, _ = await process.communicate()
        except asyncio.CancelledError:
            with suppress(ProcessLookupError):
                process.kill()
            raise
        if process.returncode != 0:
            last = said.decode(errors="replace").strip()[-500:]
            raise EnvironmentFailure(f"revert: {' '.join(command)} ended with status {process.returncode}: {last or 'no output'}")

    async def _kept(self, content: bytes) -> ImageRef:
        """A screenshot in the image store."""
        try:
            return await asyncio.get_running_loop().run_in_executor(None, self.images.put, content)
        except ValueError as error:
            raise EnvironmentFailure(f"{self._url}/screenshot answers with no picture: {error}") from error

    async def _settle(self, quiet: float, longest: float) -> ImageRef:
        """The screen once nothing has changed on it for `quiet` seconds, or after `longest`."""
        shown, began = await self.machine.screenshot(), time.monotonic()
        changed = began
        while (now := time.monotonic()) - began < longest and now - changed < quiet:
            await asyncio.sleep(_LOOK)
            seen = await self.machine.screenshot()
            if seen != shown:
                shown, changed = seen, time.monotonic()
        return await self._kept(shown)

    async def _wait_for_window(self, before: Pixels) -> None:
        """Programs that a task starts take a while. A machine that is not reverted may have had the window before."""
        until = time.monotonic() + _WINDOW_SECONDS
        while not _changed(before, _pixels(await self.machine.screenshot(), self._url)):
            if time.monotonic() > until:
                _logger.warning("%s: the task started a program, and no window came within %g s", self._url, _WINDOW_SECONDS)
                break
            await asyncio.sleep(0.2)
        await self._settle(_READY_QUIET, _READY_SECONDS)

    async def _observe(self, message: str) -> Observation:
        shown = await self._settle(self._quiet, self._longest)
        tree = read_tree(await self.machine.accessibility()) if self._tree else None
        return Observation(shown, tree, message, "", shown.sha256[:16], self._ended)

    @asynccontextmanager
    async def _guard(self, what: str, seconds: float) -> AsyncIterator[None]:
        """After a failure there is no episode until the next reset. Raises EnvironmentTimeout after `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError:
            await self._disconnect()
            if self._lock is not None:
                machines.failed(self._url)
            said = f"{self._url} was not done" if self._lock is not None else "no machine was free and well"
            raise EnvironmentTimeout(f"{what}: {said} within {seconds:g} s") from None
        except (EnvironmentFailure, asyncio.CancelledError) as error:
            if self._machine is not None and isinstance(error, (NoAnswer, EnvironmentTimeout)):
                machines.failed(self._url)
            await self._disconnect()
            raise

    async def _disconnect(self) -> None:
        machine, self._machine, self._episode = self._machine, None, None
        if machine is not None:
            await machine.close()


def _pixels(content: bytes, url: str) -> Pixels:
    try:
        return decode(content)
    except ValueError as error:
        raise EnvironmentFailure(f"{url}/screenshot answers with no picture: {error}") from error


def _changed(before: Pixels, after: Pixels) -> bool:
    """Whether more has changed than the pointer."""
    return before.shape != after.shape or bool(np.any(before != after, axis=2).mean() > _WINDOW_SHARE)


def _addresses(machine: str) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(one.strip().rstrip("/") for one in machine.split(",") if one.strip()))
    for one in found:
        if not one.startswith(("http://", "https://")):
            raise ValueError(f"machine {one!r} is no address; it must be such as http://127.0.0.1:5000")
    if not found:
        raise ValueError("machine names no address; it must be such as http://127.0.0.1:5000")
    return found


_warned: set[str] = set()


def _warn_once(url: str) -> None:
    if url not in _warned:
        _warned.add(url)
        _logger.warning("%s is not reverted: what an episode leaves behind is there in the next. Set the option revert", url)
