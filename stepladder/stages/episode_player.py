"""Episodes of a policy on environments that stay open: of each kind as many as are asked for at a time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stepladder.data.policy_documents import DocumentAgent
from stepladder.data.regions import RegionStore
from stepladder.images import ImageStore
from stepladder.interfaces import Agent, Environment, Policy
from stepladder.judges.judge import Judge
from stepladder.rollout.demonstrate import HasRegions
from stepladder.rollout.group import EpisodeJob, Play, play_many, policy_player
from stepladder.rollout.judging import judging
from stepladder.rollout.live import LiveScreens
from stepladder.rollout.policy_aware import PolicyAware, Render, policy_aware
from stepladder.rollout.pool import EnvironmentPool, PoolSettings
from stepladder.types import Limits, Observation, Sampling, Step, Trajectory


@dataclass
class EpisodePlayer:
    """`environments` episodes at a time of each kind of environment; opened when they are first needed, with `options`.

    Of episodes that are kept, others can look on where there is a `live`, and with `regions` what is where on their screens is
    noted there, if the environment knows. `judge` grades judged tasks; with `opinion` it is asked about every kept episode. The
    player closes it. `aware` says which of the episodes that are kept are shown a policy document; `render` brings their messages
    into token space then.
    """

    policy: Policy
    agent: Agent
    images: ImageStore
    limits: Limits
    environments: int
    options: Mapping[str, Any]
    pool: PoolSettings | None = None
    live: LiveScreens | None = None
    regions: RegionStore | None = None
    judge: Judge | None = None
    opinion: bool = False
    aware: PolicyAware | None = None
    render: Render | None = None
    _pools: dict[str, EnvironmentPool] = field(default_factory=dict)
    _opening: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        if self.aware is not None and (self.aware.document is None or not self.aware.share):
            self.aware = None
        document = None if self.aware is None else self.aware.document
        self._document = "" if document is None else document.read_text(encoding="utf-8")

    async def episodes(
        self, jobs: Sequence[EpisodeJob], sampling: Sampling, kept: bool, on_trajectory: Callable[[Trajectory], None]
    ) -> None:
        """Play all jobs; those whose environment fails are repeated. `on_trajectory` is told of each the moment it is over."""
        play = self._play(sampling, kept)
        for kind in dict.fromkeys(job.task.env for job in jobs):
            pool = await self._pool(kind)
            of_kind = [job for job in jobs if job.task.env == kind]
            await play_many(of_kind, pool, play, failed=_environment_failed, on_result=on_trajectory)

    async def episode(self, job: EpisodeJob, sampling: Sampling, kept: bool) -> Trajectory:
        """One attempt at one job."""
        pool = await self._pool(job.task.env)
        async with pool.lease(job.task.id) as lease:
            trajectory = await self._play(sampling, kept)(lease.environment, job)
            if trajectory.environment_failed:
                lease.fail()
        return trajectory

    async def close(self) -> None:
        for pool in self._pools.values():
            await pool.close()
        self._pools = {}
        if self.judge is not None:
            await self.judge.close()

    @property
    def counts(self) -> Counter[str]:
        """What has happened to the environments so far; see `EnvironmentPool`."""
        return sum((pool.counts for pool in self._pools.values()), Counter[str]())

    async def _pool(self, kind: str) -> EnvironmentPool:
        async with self._opening:
            if kind not in self._pools:
                self._pools[kind] = await EnvironmentPool.of(kind, self.images, self.environments, self.options, self.pool).start()
        return self._pools[kind]

    def _play(self, sampling: Sampling, kept: bool) -> Play:
        watch, live = self._note if kept and self.regions is not None else None, self.live if kept else None
        play = policy_player(self.agent, self.policy, sampling, self.limits, watch, live)
        if self.aware is not None and kept:
            assert self.render is not None
            shown = policy_player(DocumentAgent(self.agent, self._document), self.policy, sampling, self.limits, watch, live)
            play = policy_aware(play, shown, self.aware.share, self.aware.behaviour, self.agent, self.render)
        return play if self.judge is None else judging(play, self.judge, self.opinion and kept)

    async def _note(self, environment: Environment, observation: Observation, _: Sequence[Step]) -> None:
        screen, regions = observation.screenshot, self.regions
        if regions is None or screen is None or screen in regions or not isinstance(environment, HasRegions):
            return
        regions.append(screen, await environment.regions())


def _environment_failed(trajectory: Trajectory) -> bool:
    return trajectory.environment_failed
