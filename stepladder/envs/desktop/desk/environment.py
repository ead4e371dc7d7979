"""The environment of the task set `desk`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from stepladder.envs.desktop.actions import Move, give_up
from stepladder.envs.desktop.applications import Application, application
from stepladder.envs.desktop.desk import catalogue
from stepladder.envs.desktop.desk.case import Case
from stepladder.envs.desktop.desk.functions import FUNCTIONS, call
from stepladder.envs.desktop.environment import DesktopEnvironment
from stepladder.envs.desktop.launch import launch
from stepladder.envs.desktop.look import Look
from stepladder.images import ImageStore
from stepladder.interfaces import EnvironmentFailure
from stepladder.seeds import HELDOUT
from stepladder.types import Task


class DeskEnvironment(DesktopEnvironment):
    """Everyday work with real applications. Seeds from `HELDOUT` on use words that no seed below it does.

    The options are those of DesktopEnvironment. A task is solved when its check finds the wanted state and the agent did not give
    up; one that cannot be done is solved by giving up.
    """

    def __init__(self, images: ImageStore, **options: Any) -> None:
        super().__init__(images, **options)
        self._case: Case | None = None

    @classmethod
    def tasks(cls, names: Iterable[str] | None = None) -> list[Task]:
        return catalogue.tasks(names)

    def _applications(self, task: Task) -> Sequence[Application]:
        return [application(name) for name in catalogue.desk_task(task.id).applications]

    async def _start(self, task: Task, seed: int) -> Task:
        kind = catalogue.desk_task(task.id)
        case = self._case = kind.make(Random(f"desk {kind.name} {seed}"), "heldout" if seed >= HELDOUT else "train")
        look = Look(self.desktop)
        for name, content in case.files.items():
            await self.desktop.guest.write(look.path(name), content)
        for opened in case.opened:
            await launch(self.desktop, application(opened.application), [look.path(name) for name in opened.files])
        return replace(task, instruction=case.instruction)

    async def _call(self, name: str, arguments: dict[str, Any]) -> str:
        offered = {tool: FUNCTIONS[tool] for tool in catalogue.desk_task(self.task.id).tools}
        return await call(offered, Look(self.desktop), name, arguments)

    async def _score(self) -> float:
        case = self._case
        assert case is not None
        if case.solve is None:
            self.explanation = "" if self._gave_up else "this cannot be done here, and was not given up"
            return float(self._gave_up)
        if self._gave_up:
            self.explanation = "this can be done, and was given up"
            return 0.0
        look = Look(self.desktop)
        solved = await case.check(look)
        self.explanation = "" if solved else "; ".join(look.complaints) or "the state that was asked for was not reached"
        return float(solved)

    async def solve(self) -> AsyncIterator[Move]:
        """(thought, action) towards the goal, from the start of the task."""
        case, desktop = self._case, self.desktop
        if case is None:
            raise EnvironmentFailure("the environment was not reset")
        if case.solve is None:
            yield give_up("This cannot be done here.")
            return
        async for move in case.solve(Look(desktop)):
            yield move
