"""A desktop without a task of its own: a place to start from for whoever brings an instruction and judges the result."""

from __future__ import annotations

from stepladder.envs.desktop.environment import DesktopEnvironment
from stepladder.types import Task


class PlainDesktop(DesktopEnvironment):
    """Nothing is open on it and nothing is graded. The options are those of DesktopEnvironment."""

    async def _start(self, task: Task, seed: int) -> Task:
        return task
