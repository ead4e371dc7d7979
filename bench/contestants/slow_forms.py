"""Forms whose resets and steps take as long as those of slow environments, and whose episodes differ in length."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable
from random import Random
from typing import ClassVar

from stepladder.envs.forms.environment import FormsEnvironment
from stepladder.images import ImageStore
from stepladder.interfaces import EnvironmentFailure
from stepladder.planning.distributions import Distribution
from stepladder.types import Action, Observation, Task


class SlowForms(FormsEnvironment):
    """`step_seconds` and `reset_seconds` are distributions as text, `ending` is the probability that a step is the last one,
    `failure` that it breaks the environment. Rewards are 0 or 1 by chance: what is learned does not matter here."""

    _numbers: ClassVar[itertools.count[int]] = itertools.count()

    def __init__(
        self,
        images: ImageStore,
        *,
        step_seconds: str = "lognormal:0.2,0.6",
        reset_seconds: str = "lognormal:0.3,0.5",
        ending: float = 0.2,
        failure: float = 0.0,
    ) -> None:
        super().__init__(images)
        self._step_seconds, self._reset_seconds = Distribution.parse(step_seconds), Distribution.parse(reset_seconds)
        self._ending, self._failure = ending, failure
        self._random = Random(f"slow forms {next(self._numbers)}")

    @classmethod
    def tasks(cls, kinds: Iterable[str] | None = None) -> list[Task]:
        """One task, of up to 20 steps."""
        return [Task("slow-form", "", "contestants.slow_forms:SlowForms", setup={"kind": "click-button"}, max_steps=20)]

    async def reset(self, task: Task, seed: int) -> Observation:
        await asyncio.sleep(self._reset_seconds.draw(self._random))
        return await super().reset(task, seed)

    async def step(self, action: Action) -> Observation:
        await asyncio.sleep(self._step_seconds.draw(self._random))
        if self._random.random() < self._failure:
            raise EnvironmentFailure("broken by chance")
        self._started()
        shown = self._observe("")
        return Observation(shown.screenshot, state_key=shown.state_key, done=self._random.random() < self._ending)

    async def evaluate(self) -> float:
        return float(self._random.random() < 0.5)
