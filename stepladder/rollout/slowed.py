"""Any environment with steps that take as long as those of real machines: what waiting costs can be seen before there are any."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from random import Random

from stepladder.config import ConfigError
from stepladder.interfaces import Environment
from stepladder.rollout.wrapped import WrappedEnvironment
from stepladder.types import Action, Observation, Task


@dataclass(frozen=True)
class Latency:
    """Seconds by which every step is slowed: lognormal, as those of real desktops and web pages are, with their long tail.
    `median` 0 slows nothing. A share of 0.16 of the steps takes at least exp(`spread`) times the median; none is slowed by more
    than `longest`. Waiting takes no processor time."""

    median: float = 0.0
    spread: float = 0.7
    longest: float = 30.0

    def __post_init__(self) -> None:
        if not 0 <= self.median <= self.longest:
            raise ConfigError(f"latency.median is {self.median}; it must be at least 0 and at most latency.longest, {self.longest}")
        if self.spread < 0:
            raise ConfigError(f"latency.spread is {self.spread}; it must be at least 0")

    def seconds(self, random: Random) -> float:
        """Those of the next step."""
        return min(self.longest, self.median * math.exp(self.spread * random.gauss(0.0, 1.0)))


class SlowedEnvironment(WrappedEnvironment):
    """`environment`, slowed."""

    def __init__(self, environment: Environment, latency: Latency) -> None:
        super().__init__(environment)
        self._latency, self._random, self._episodes = latency, Random(), 0

    async def reset(self, task: Task, seed: int) -> Observation:
        """See `Environment.reset`."""
        self._episodes += 1
        self._random = Random(f"{task.id} {seed} {self._episodes}")
        return await super().reset(task, seed)

    async def step(self, action: Action) -> Observation:
        """See `Environment.step`."""
        await asyncio.sleep(self._latency.seconds(self._random))
        return await super().step(action)
