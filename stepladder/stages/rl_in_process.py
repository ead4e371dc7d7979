"""Asynchronous rollouts within the training process: a copy of the weights in an engine of its own, environments beside it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol

from torch import Tensor

from stepladder.policies.engine import Engine
from stepladder.policies.served_engine import ServedEngine
from stepladder.rollout.asynchronous import RolloutWorker
from stepladder.rollout.group import EpisodeJob
from stepladder.stages.episode_player import EpisodePlayer
from stepladder.stages.rl_config import RlConfig
from stepladder.types import Sampling, Trajectory


class Placement(Protocol):
    """Where episodes of an asynchronous run are played."""

    @property
    def workers(self) -> Sequence[RolloutWorker]:
        """Who plays."""

    async def open(self) -> None:
        """Start what is needed; before anything else."""

    async def refresh(self, weights: Mapping[str, Tensor], version: int) -> None:
        """Go on with `weights`, what `models.lora.learned_state` gives of the learning model."""

    async def figures(self) -> dict[str, float]:
        """What was measured since this was asked last."""

    async def counts(self) -> Counter[str]:
        """What has happened to the environments so far (`rollout.pool`)."""

    async def close(self) -> None:
        """End everything that was started."""


class InProcess:
    """Placement in this process: `engine` has weights of its own, `episodes` plays with it. Closes both."""

    def __init__(self, engine: Engine | ServedEngine, episodes: EpisodePlayer, config: RlConfig) -> None:
        self.engine, self.config = engine, config
        self.workers = [_Here(episodes, config.environments)]
        self._episodes = episodes
        self._use = EngineUse()

    async def open(self) -> None:
        """Nothing is to be started."""

    async def refresh(self, weights: Mapping[str, Tensor], version: int) -> None:
        """See `Placement.refresh`."""
        await self.engine.update_weights(weights, version, self.config.asynchronous.in_progress)

    async def figures(self) -> dict[str, float]:
        """`engine_use`, the share of the time in which the engine computed, and `engine_tokens` a second."""
        return self._use.interval(self.engine.busy_seconds, self.engine.sampled_tokens)

    async def counts(self) -> Counter[str]:
        """See `Placement.counts`."""
        return self._episodes.counts

    async def close(self) -> None:
        """See `Placement.close`."""
        await self._episodes.close()
        self.engine.close()


class EngineUse:
    """How busy engines were in an interval, from what they have done so far."""

    def __init__(self) -> None:
        self._before, self._at = (0.0, 0), time.monotonic()

    def interval(self, busy_seconds: float, tokens: int, engines: int = 1) -> dict[str, float]:
        """`engine_use` and `engine_tokens` (a second) since the last call. Counts that have shrunk are those of new processes."""
        now, (busy, sampled) = time.monotonic(), self._before
        seconds, self._at, self._before = max(1e-9, now - self._at), now, (busy_seconds, tokens)
        use = max(0.0, busy_seconds - busy) / (seconds * engines)
        return {"engine_use": min(1.0, use), "engine_tokens": max(0, tokens - sampled) / seconds}


class _Here:
    def __init__(self, episodes: EpisodePlayer, capacity: int) -> None:
        self.capacity, self._episodes = capacity, episodes

    async def ready(self) -> None:
        """It always is."""

    async def play(self, job: EpisodeJob, sampling: Sampling, kept: bool) -> Trajectory:
        return await self._episodes.episode(job, sampling, kept)
