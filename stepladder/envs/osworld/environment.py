"""OSWorld's tasks: on a pocket desktop, or as the option `machine` says on a machine of somebody else's."""

from __future__ import annotations

import difflib
import inspect
import os
import shutil
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from stepladder.envs.desktop.actions import Move
from stepladder.envs.desktop.applications import APPLICATIONS, Application
from stepladder.envs.desktop.desktop import Settling
from stepladder.envs.desktop.environment import DesktopEnvironment
from stepladder.envs.desktop.look import Look
from stepladder.envs.desktop.sandbox import Isolation, SandboxLimits
from stepladder.envs.osworld.cache import cache_folder
from stepladder.envs.osworld.episode import OSWorldEpisode, solve
from stepladder.envs.osworld.pocket import PocketMachine, as_osworlds
from stepladder.envs.osworld.task_file import load_tasks
from stepladder.images import ImageStore
from stepladder.interfaces import Environment
from stepladder.plugins import load
from stepladder.types import Task

_OFFICE = ("calc", "writer", "impress")
#: When the programs that a task starts count as ready: nothing has changed for a second.
_READY = Settling(quiet=1.0, longest=15.0)
#: Seconds within which a program that a task starts has a window.
_WINDOW_SECONDS = 30.0
#: Environments for machines that are no pocket desktops; imported when they are asked for, since they need packages of their own.
_OTHERS = {
    "url": "stepladder.envs.osworld.remote_environment:RemoteEnvironment",
    "desktop_env": "stepladder.envs.osworld.desktop_env:DesktopEnvEnvironment",
}


class OSWorldEnvironment(DesktopEnvironment):
    """Setup, episode and grading of OSWorld's own task files. The options are those of DesktopEnvironment, and:

    cache     OSWorld's file cache (`<cache>/<task id>/...`); default: the environment variable OSWORLD_CACHE, or none
    machine   "pocket" (default), or the address of a machine with OSWorld's server such as "http://127.0.0.1:5000" (several with
              commas between, one for each environment; options: those of RemoteEnvironment), or "desktop_env" for OSWorld's own
              package (options: those of DesktopEnvEnvironment)

    A task that needs what is not there is an `env_error` that names it, never a score of 0.
    """

    def __init__(
        self,
        images: ImageStore,
        *,
        cache: str | os.PathLike[str] | None = None,
        width: int = 1920,
        height: int = 1080,
        tree: bool = False,
        isolation: Isolation = "bubblewrap",
        processes: int = SandboxLimits.processes,
        memory: int = SandboxLimits.memory,
        disk: int = SandboxLimits.disk,
        network: bool = False,
        vnc: bool = False,
        quiet: float = Settling.quiet,
        longest: float = Settling.longest,
        deadline: float = 180.0,
        reset_deadline: float = 120.0,
    ) -> None:
        super().__init__(
            images,
            width=width,
            height=height,
            tree=tree,
            isolation=isolation,
            processes=processes,
            memory=memory,
            disk=disk,
            network=network,
            vnc=vnc,
            quiet=quiet,
            longest=longest,
            deadline=deadline,
            reset_deadline=reset_deadline,
        )
        if self.settings.isolation == "none":
            raise ValueError(
                "isolation is 'none'; OSWorld's tasks end programs by name and write where they like: they need a sandbox"
            )
        self.evaluate_deadline = deadline
        self.settings = as_osworlds(self.settings)
        self.cache = cache_folder(cache)
        self._episode: OSWorldEpisode | None = None

    @classmethod
    async def create_many(
        cls,
        images: ImageStore,
        count: int,
        *,
        machine: str = "pocket",
        revert: Sequence[str] | None = None,
        password: str | None = None,
        token: str | None = None,
        pause: float | None = None,
        desktop_env: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Sequence[Environment]:
        """`count` environments for `machine`. Raises ValueError for an option that its kind of machine does not have."""
        special = {"revert": revert, "password": password, "token": token, "pause": pause, "desktop_env": desktop_env}
        options |= {name: value for name, value in special.items() if value is not None}
        if machine == "pocket":
            _check(cls, machine, options)
            return [cls(images, **options) for _ in range(count)]
        if machine != "desktop_env" and not machine.startswith(("http://", "https://")):
            raise ValueError(
                f"machine is {machine!r}; it must be 'pocket', 'desktop_env', or addresses such as http://127.0.0.1:5000"
            )
        kind = load("desktop_env" if machine == "desktop_env" else "url", _OTHERS, "machine")
        _check(kind, machine, options)
        if machine != "desktop_env":
            options["machine"] = machine
        made: Sequence[Environment] = await kind.create_many(images, count, **options)
        return made

    @classmethod
    def tasks(cls, names: Iterable[str] | None = None) -> list[Task]:
        """The tasks of files and folders."""
        return [task for name in names or () for task in load_tasks(Path(name))]

    def _applications(self, task: Task) -> Sequence[Application]:
        """Office programs that the task is about: OSWorld's machine has been used before, and asks no first questions."""
        names = [str(name).removeprefix("libreoffice_") for name in task.setup.get("related_apps") or []]
        return [APPLICATIONS[name] for name in names if name in _OFFICE and shutil.which(APPLICATIONS[name].command[0])]

    async def _start(self, task: Task, seed: int) -> Task:
        machine = PocketMachine(self.desktop)
        self._episode = OSWorldEpisode(task, machine, self.cache)
        self._episode.check()
        await machine.prepare()
        if await self._episode.set_up():
            await self.desktop.wait_for_window(lambda window: not window.splash, _WINDOW_SECONDS)
            await self.desktop.settle(_READY)
        return task

    async def solve(self) -> AsyncIterator[Move]:
        """(thought, action) of a known solution; what cannot be done is given up. Raises EnvironmentFailure for any other task."""
        async for move in solve(self.task, Look(self.desktop)):
            yield move

    async def _score(self) -> float:
        assert self._episode is not None
        return await self._episode.grade(self._gave_up)


def _check(kind: type[Any], machine: str, options: dict[str, Any]) -> None:
    """Raises ValueError for an option that an environment does not have."""
    known = list(inspect.signature(kind).parameters)[1:]
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
            raise ValueError(f"there is no option {name!r} for machine {machine!r}; {hint}")
