"""One task of OSWorld on one machine, whichever that is: what is lacking, setup, grading."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

from stepladder.envs.desktop.actions import Move, give_up
from stepladder.envs.desktop.look import Look
from stepladder.envs.osworld.cache import FileCache
from stepladder.envs.osworld.coverage import lacks, shows_window
from stepladder.envs.osworld.getters import State
from stepladder.envs.osworld.grading import grade
from stepladder.envs.osworld.lacking import Lacks
from stepladder.envs.osworld.machine import Machine
from stepladder.envs.osworld.solutions import SOLUTIONS
from stepladder.envs.osworld.steps import Setup
from stepladder.envs.osworld.task_file import infeasible
from stepladder.interfaces import EnvironmentFailure
from stepladder.types import Task

#: How `lacks` names what is ours to have, and not the machine's.
_OURS = ("setup step ", "getter ", "metric ", "package ", "file ")


class OSWorldEpisode:
    """`task` on `machine`, with the file cache at `cache`. A machine that is a `whole_system` has programs, a network and rights of
    its own: of what a task needs, only what is ours to have is asked for before."""

    def __init__(self, task: Task, machine: Machine, cache: Path | None, whole_system: bool = False) -> None:
        self.task, self.machine = task, machine
        self._root, self._whole_system = cache, whole_system
        self._state = State(machine, FileCache(cache, str(task.setup["id"])))

    def check(self) -> None:
        """Raises Lacks that names all that the task needs and is not there."""
        missing = lacks(self.task, self._root)
        if self._whole_system:
            missing = [one for one in missing if one.startswith(_OURS)]
        if missing:
            raise Lacks(", ".join(missing))

    async def set_up(self) -> bool:
        """Carry out the task's `config`; whether it started something that has a window. Raises EnvironmentFailure."""
        config = self.task.setup.get("config") or []
        await Setup(self.machine, self._state.cache).run(config)
        return any(map(shows_window, config))

    async def grade(self, gave_up: bool) -> float:
        """The score of the state reached, 0 to 1. Raises Lacks, EnvironmentFailure."""
        return await grade(self.task.check, self._state, gave_up)


async def solve(task: Task, look: Look | None) -> AsyncIterator[Move]:
    """(thought, action) of a known solution; what cannot be done is given up. Raises EnvironmentFailure for any other task, and
    where there is no pocket desktop for a solution to look at."""
    if infeasible(task.check):
        yield give_up("This cannot be done here.")
        return
    solution = SOLUTIONS.get(str(task.setup["id"])[:8])
    if solution is None:
        raise EnvironmentFailure(f"no solution of {task.id} is known")
    if look is None:
        raise EnvironmentFailure(f"the solution of {task.id} is for a pocket desktop")
    async for move in solution(look):
        yield move
