"""OSWorld's tasks on a pocket desktop."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from stepladder.envs.desktop.applications import APPLICATIONS, Application
from stepladder.envs.desktop.desk.actions import give_up
from stepladder.envs.desktop.desk.case import Move
from stepladder.envs.desktop.desk.look import Look
from stepladder.envs.desktop.desktop import Settling
from stepladder.envs.desktop.environment import DesktopEnvironment
from stepladder.envs.osworld.cache import FileCache
from stepladder.envs.osworld.coverage import lacks, shows_window
from stepladder.envs.osworld.getters import State
from stepladder.envs.osworld.grading import grade
from stepladder.envs.osworld.lacking import Lacks
from stepladder.envs.osworld.pocket import PATH, PocketMachine
from stepladder.envs.osworld.solutions import SOLUTIONS
from stepladder.envs.osworld.steps import Setup
from stepladder.envs.osworld.task_file import infeasible, load_tasks
from stepladder.images import ImageStore
from stepladder.interfaces import EnvironmentFailure
from stepladder.types import Task

#: Where OSWorld's file cache is looked for when no other place is named.
CACHE = "OSWORLD_CACHE"
_OFFICE = ("calc", "writer", "impress")
#: When the programs that a task starts count as ready: nothing has changed for a second.
_READY = Settling(quiet=1.0, longest=15.0)
#: Seconds within which a program that a task starts has a window.
_WINDOW_SECONDS = 30.0


class OSWorldEnvironment(DesktopEnvironment):
    """Setup, episode and grading of OSWorld's own task files. The options are those of DesktopEnvironment, and:

    cache   OSWorld's file cache (`<cache>/<task id>/...`); default: the environment variable OSWORLD_CACHE, or none

    A task that needs what is not there is an `env_error` that names it, never a score of 0.
    """

    def __init__(
        self,
        images: ImageStore,
        *,
        cache: str | os.PathLike[str] | None = None,
        width: int = 1920,
        height: int = 1080,
        deadline: float = 180.0,
        **options: Any,
    ) -> None:
        super().__init__(images, width=width, height=height, deadline=deadline, **options)
        if self.settings.isolation == "none":
            raise ValueError(
                "isolation is 'none'; OSWorld's tasks end programs by name and write where they like: they need a sandbox"
            )
        self.evaluate_deadline = deadline
        self.settings = replace(self.settings, environment={"PATH": PATH})
        named = cache if cache is not None else os.environ.get(CACHE)
        self.cache = None if named is None else Path(named)
        self._state: State | None = None

    @classmethod
    def tasks(cls, names: Iterable[str] | None = None) -> list[Task]:
        """The tasks of files and folders."""
        return [task for name in names or () for task in load_tasks(Path(name))]

    def _applications(self, task: Task) -> Sequence[Application]:
        """Office programs that the task is about: OSWorld's machine has been used before, and asks no first questions."""
        names = [str(name).removeprefix("libreoffice_") for name in task.setup.get("related_apps") or []]
        return [APPLICATIONS[name] for name in names if name in _OFFICE and shutil.which(APPLICATIONS[name].command[0])]

    async def _start(self, task: Task, seed: int) -> Task:
        missing = lacks(task, self.cache)
        if missing:
            raise Lacks(", ".join(missing))
        machine = PocketMachine(self.desktop)
        await machine.prepare()
        self._state = State(machine, FileCache(self.cache, str(task.setup["id"])))
        config = task.setup.get("config") or []
        await Setup(machine, self._state.cache).run(config)
        if any(map(shows_window, config)):
            await self.desktop.wait_for_window(lambda window: True, _WINDOW_SECONDS)
            await self.desktop.settle(_READY)
        return task

    async def solve(self) -> AsyncIterator[Move]:
        """(thought, action) of a known solution; what cannot be done is given up. Raises EnvironmentFailure for any other task."""
        if infeasible(self.task.check):
            yield give_up("This cannot be done here.")
            return
        solution = SOLUTIONS.get(str(self.task.setup["id"])[:8])
        if solution is None:
            raise EnvironmentFailure(f"no solution of {self.task.id} is known")
        async for move in solution(Look(self.desktop)):
            yield move

    async def _score(self) -> float:
        assert self._state is not None
        return await grade(self.task.check, self._state, self._gave_up)
