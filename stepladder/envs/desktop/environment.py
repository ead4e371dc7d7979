"""DesktopEnvironment: one episode at a time on a pocket desktop. Subclasses say where a task starts and how it is graded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from stepladder.envs.acting import CannotDo, waiting_time
from stepladder.envs.desktop.applications import Application
from stepladder.envs.desktop.desktop import Desktop, DesktopSettings, Settling
from stepladder.envs.desktop.guest_client import Refused
from stepladder.envs.desktop.homes import home
from stepladder.envs.desktop.regions import tree_regions
from stepladder.envs.desktop.sandbox import Isolation, SandboxLimits
from stepladder.envs.desktop.tree import elements
from stepladder.envs.desktop.vnc import Viewers
from stepladder.images import ImageStore
from stepladder.interfaces import EnvironmentFailure, EnvironmentTimeout
from stepladder.state_keys import KEY_KINDS, KeyKind, perceptual_key, tree_key
from stepladder.types import Action, Observation, Region, Task

#: How often the accessibility tree is read when the screen changes meanwhile.
_LOOKS = 3
#: Numbers of a frame that a caret changes, at most.
_CARET = 300


class DesktopEnvironment:
    """The base of all environments on pocket desktops.

    A subclass implements `_applications` (which applications the home is to know), `_start` (bring the desktop to the start of the
    task, return the task with its instruction filled in) and `_score`, and may implement `_call` (the functions that it offers).

    images         where screenshots go
    width, height  size of the screen in pixels, 640 x 480 to 1920 x 1080
    tree           also give the accessibility tree with every observation
    isolation      "bubblewrap", or "none" on machines that forbid user namespaces
    limits         processes, bytes of memory of one process, bytes of disk
    network        let tasks have the machine's network, its loopback included, whose setup says `"network": true`
    vnc            let viewers of this machine in; a warning of the log tells the port and the password, the same for all episodes
    quiet          seconds without a change after which the screen counts as settled, and
    longest        the most that is waited for that
    state_key      what makes two observations the same state: "pixels", "looks" or, with `tree`, "tree" (`stepladder.state_keys`)
    deadline       seconds that one call (step, evaluate) may take; a reset may take `reset_deadline`
    """

    def __init__(
        self,
        images: ImageStore,
        *,
        width: int = 1280,
        height: int = 720,
        tree: bool = False,
        isolation: Isolation = "bubblewrap",
        processes: int = SandboxLimits.processes,
        memory: int = SandboxLimits.memory,
        disk: int = SandboxLimits.disk,
        network: bool = False,
        vnc: bool = False,
        quiet: float = Settling.quiet,
        longest: float = Settling.longest,
        state_key: KeyKind = "pixels",
        deadline: float = 20.0,
        reset_deadline: float = 120.0,
    ) -> None:
        if isolation not in ("bubblewrap", "none"):
            raise ValueError(f"isolation is {isolation!r}; it must be 'bubblewrap' or 'none'")
        if not 0 <= quiet <= longest:
            raise ValueError(f"quiet is {quiet}; it must be at least 0 and at most longest, {longest}")
        if state_key not in KEY_KINDS:
            raise ValueError(f"state_key is {state_key!r}; it must be one of {', '.join(KEY_KINDS)}")
        if state_key == "tree" and not tree:
            raise ValueError("state_key is 'tree'; it needs the accessibility tree, tree=true")
        self.images, self.tree, self.network, self.state_key = images, tree, network, state_key
        self.deadline, self.reset_deadline = deadline, reset_deadline
        self.settings = DesktopSettings(width, height, isolation, SandboxLimits(processes, memory, disk))
        self.settling = Settling(quiet, longest)
        self.task = Task("", "", "")
        self._desktop: Desktop | None = None
        #: A desktop that was started ahead.
        self._spare: Desktop | None = None
        self._viewers = Viewers() if vnc else None
        self._messages: list[str] = []
        self._answer: str | None = None
        self._gave_up = False
        #: What the last evaluation has to say of a failure.
        self.explanation = ""

    # ------------------------------------------------------------------------------------------- what subclasses implement

    def _applications(self, task: Task) -> Sequence[Application]:
        """Applications that the task's home is to have been used with before."""
        return ()

    async def _start(self, task: Task, seed: int) -> Task:
        """Bring the desktop to the start of `task` and return it with its instruction filled in."""
        raise NotImplementedError(f"{type(self).__name__} does not say how a task starts")

    async def _score(self) -> float:
        """The task reward in [0, 1] of the desktop as it is."""
        raise NotImplementedError(f"{type(self).__name__} does not say how a task is graded")

    async def _call(self, name: str, arguments: dict[str, Any]) -> str:
        """Carry out a function that the agent called, and return its output. Raises CannotDo for one that there is not."""
        raise CannotDo(f"this desktop offers no function {name!r}")

    # ------------------------------------------------------------------------------------------------------ the environment

    async def reset(self, task: Task, seed: int) -> Observation:
        """Start `task` on a fresh desktop. Raises EnvironmentFailure, EnvironmentTimeout."""
        async with self._guard("reset", self.reset_deadline):
            settings = await self._settings_for(task)
            spare = self._spare
            if spare is not None and spare.settings == settings and spare.guest.broken is None:
                before, self._desktop, self._spare = self._desktop, spare, None
                if before is not None:
                    await before.close()
            else:
                await self._drop()
                self._desktop = await Desktop.start(settings)
            self._messages, self._answer, self._gave_up, self.explanation = [], None, False, ""
            self.task = task
            self.task = await self._start(task, seed)
            if self._viewers is not None:
                await self._viewers.show(self.desktop, task.id)
            return await self._observe()

    async def step(self, action: Action) -> Observation:
        """Carry out one action and show the settled result; `Observation.text` says what could not be done, and what a function
        gave out."""
        extra = waiting_time(action)
        async with self._guard("step", self.deadline + extra):
            try:
                await self._act(action, extra)
            except (CannotDo, Refused) as error:
                self._messages.append(str(error))
            return await self._observe()

    async def regions(self) -> tuple[Region, ...]:
        """Widgets and lines of text with their boxes. Raises EnvironmentFailure, EnvironmentTimeout."""
        async with self._guard("regions", self.deadline):
            tree = elements((await self.desktop.tree())["nodes"])
        return tree_regions(tree, self.settings.width, self.settings.height)

    async def evaluate(self) -> float:
        """The task reward in [0, 1]."""
        async with self._guard("evaluate", self.deadline):
            await self.desktop.settle(self.settling)  # also finds what is broken
            return await self._score()

    async def prepare(self) -> None:
        """Put a fresh desktop in the place of that of the last episode; the next reset takes it, if its task needs no other. Raises
        EnvironmentFailure, EnvironmentTimeout."""
        async with self._guard("prepare", self.reset_deadline):
            settings = await self._settings_for(self.task)
            await self._drop()
            self._spare = await Desktop.start(settings)

    async def check(self) -> None:
        """Raises EnvironmentFailure when the desktop that was prepared has broken since."""
        if self._spare is not None:
            async with self._guard("check", self.deadline):
                await self._spare.settle(Settling(0.0, 0.5))

    async def close(self) -> None:
        await self._drop()

    # ------------------------------------------------------------------------------------------------------------ internals

    @property
    def desktop(self) -> Desktop:
        """The desktop of the present episode. Raises EnvironmentFailure when there is none."""
        if self._desktop is None:
            raise EnvironmentFailure("the environment was not reset, or it failed since")
        return self._desktop

    async def _settings_for(self, task: Task) -> DesktopSettings:
        wanted = task.setup.get("network", False)
        if not isinstance(wanted, bool):
            raise EnvironmentFailure(f"task {task.id!r}: network is {wanted!r}; it must be true or false")
        # A task may come from elsewhere (a server accepts whole tasks), and the network is that of whoever lends the desktop.
        if wanted and not self.network:
            raise EnvironmentFailure(
                f"task {task.id!r} asks for the network, and this environment does not lend it; its option network=true does "
                "(--set options.network=true)"
            )
        settings = replace(self.settings, network=wanted)
        if self.settings.home is None:
            applications = self._applications(task) if task.id else ()  # an environment is also prepared before its first task
            settings = replace(settings, home=await home(applications, settings))
        return settings

    async def _act(self, action: Action, seconds: float) -> None:
        if action.kind in ("done", "fail"):
            await self.desktop.release()
            self._answer, self._gave_up = action.text, action.kind == "fail"
        elif action.kind == "wait":
            await asyncio.sleep(seconds)
        elif action.kind == "call":
            self._messages.append(await self._call(action.name, dict(action.args)))
        else:
            await self.desktop.act(action)

    async def _observe(self) -> Observation:
        desktop = self.desktop
        await desktop.settle(self.settling)
        tree, pixels = None, desktop.pixels()
        for _ in range(_LOOKS if self.tree else 0):
            tree = elements((await desktop.tree())["nodes"])
            before, pixels = pixels, desktop.pixels()
            if np.count_nonzero(before != pixels) <= _CARET:
                break
            await desktop.settle(self.settling)  # something came up while the tree was read, and is not in it
        shown = await asyncio.get_running_loop().run_in_executor(None, self.images.put_pixels, pixels)
        text, self._messages = "\n".join(self._messages), []
        key = shown.sha256[:16]
        if self.state_key == "looks":
            key = perceptual_key(pixels)
        elif self.state_key == "tree" and tree is not None:
            key = tree_key(tree)
        return Observation(shown, tree, text, "", key, self._answer is not None)

    @asynccontextmanager
    async def _guard(self, what: str, seconds: float) -> AsyncIterator[None]:
        """Failures become EnvironmentFailure or, after `seconds`, EnvironmentTimeout; either way the desktop is given up."""
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError:
            await self._drop()
            raise EnvironmentTimeout(f"{what}: the desktop did not answer within {seconds:g} s") from None
        except (EnvironmentFailure, Refused, OSError) as error:
            await self._drop()
            if isinstance(error, EnvironmentFailure):
                raise
            raise EnvironmentFailure(f"{what}: {error}") from error
        except asyncio.CancelledError:
            await self._drop()
            raise

    async def _drop(self) -> None:
        ended = [desktop for desktop in (self._desktop, self._spare) if desktop is not None]
        self._desktop = self._spare = None
        for desktop in ended:
            await desktop.close()
        if self._viewers is not None:
            await self._viewers.leave()
