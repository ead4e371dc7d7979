"""An environment around another one, which changes nothing but what is shown."""

from __future__ import annotations

from typing import Any

from stepladder.interfaces import Environment
from stepladder.types import Action, Observation, Task


class WrappedEnvironment:
    """Hands everything on to `environment`, its further attributes included. Subclasses say in `shown` what is seen."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment

    async def shown(self, seen: Observation, action: Action | None) -> Observation:
        """What is shown in the place of `seen`, after `action` or, where that is None, after a reset."""
        return seen

    async def reset(self, task: Task, seed: int) -> Observation:
        """See `Environment.reset`."""
        return await self.shown(await self._environment.reset(task, seed), None)

    async def step(self, action: Action) -> Observation:
        """See `Environment.step`."""
        return await self.shown(await self._environment.step(action), action)

    async def evaluate(self) -> float:
        """See `Environment.evaluate`."""
        return await self._environment.evaluate()

    async def close(self) -> None:
        """See `Environment.close`."""
        await self._environment.close()

    def __getattr__(self, name: str) -> Any:
        """What an environment may have beside the contract, such as `task`, `solve` and its deadlines."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._environment, name)
