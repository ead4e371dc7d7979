"""Episodes of the policy that is being trained: played once, kept the moment they are over, never played again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from stepladder.data.policy_documents import DocumentAgent
from stepladder.data.regions import RegionStore
from stepladder.images import ImageStore
from stepladder.interfaces import Agent, Environment
from stepladder.judges.judge import Judge
from stepladder.policies.local import LocalPolicy
from stepladder.rollout.demonstrate import HasRegions
from stepladder.rollout.group import EpisodeJob, play_many, policy_player
from stepladder.rollout.judging import judging
from stepladder.rollout.live import LiveScreens
from stepladder.rollout.policy_aware import PolicyAware, policy_aware
from stepladder.rollout.pool import EnvironmentPool, PoolSettings
from stepladder.store import TrajectoryStore
from stepladder.types import Group, Limits, Observation, Sampling, Step, Trajectory


class Player:
    """`environments` episodes at a time of each kind of environment; opened when they are first needed.

    With `regions`, what is where on the screens of kept episodes is noted there, if the environment knows. `judge` grades judged
    tasks; with `opinion` it is asked about every kept episode. The player closes it. `aware` says which of the episodes that are
    kept are shown a policy document.
    """

    def __init__(
        self,
        policy: LocalPolicy,
        agent: Agent,
        images: ImageStore,
        store: TrajectoryStore,
        *,
        sampling: Sampling,
        limits: Limits,
        environments: int,
        options: Mapping[str, Any],
        pool: PoolSettings | None = None,
        regions: RegionStore | None = None,
        judge: Judge | None = None,
        opinion: bool = False,
        aware: PolicyAware | None = None,
    ) -> None:
        self.policy, self.agent, self.images, self.store = policy, agent, images, store
        self.sampling, self.limits, self.regions = sampling, limits, regions
        self.judge, self.opinion = judge, opinion
        self.aware = aware if aware is not None and aware.document is not None and aware.share else None
        self._document = self.aware.document.read_text(encoding="utf-8") if self.aware and self.aware.document else ""
        self._count, self._options, self._settings = environments, options, pool
        self._pools: dict[str, EnvironmentPool] = {}
        self._live = LiveScreens(store.path.parent, store.path.stem)

    async def groups(self, jobs: Sequence[EpisodeJob], seed: int) -> list[Group]:
        """The groups of `jobs`, whose members stand together. Episodes that the store holds are taken from it; the others are
        sampled with numbers that follow from `seed` and appended to it."""
        missing = [job for job in jobs if job.identifier not in self.store]
        await self._play(missing, replace(self.sampling, seed=seed), self.store)
        groups: dict[str, Group] = {}
        for job in jobs:
            groups.setdefault(job.group, []).append(self.store.get(job.identifier))
        return list(groups.values())

    async def greedily(self, jobs: Sequence[EpisodeJob]) -> list[Trajectory]:
        """Episodes at temperature 0, which are not kept."""
        return await self._play(jobs, replace(self.sampling, temperature=0.0, seed=0), None)

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

    async def _play(self, jobs: Sequence[EpisodeJob], sampling: Sampling, store: TrajectoryStore | None) -> list[Trajectory]:
        played: dict[str, Trajectory] = {}

        def keep(trajectory: Trajectory) -> None:
            played[trajectory.id] = trajectory
            if store is not None:
                store.append(trajectory)

        async def note(environment: Environment, observation: Observation, _: Sequence[Step]) -> None:
            screen, regions = observation.screenshot, self.regions
            if regions is None or screen is None or screen in regions or not isinstance(environment, HasRegions):
                return
            regions.append(screen, await environment.regions())

        for kind in dict.fromkeys(job.task.env for job in jobs):
            if kind not in self._pools:
                pool = EnvironmentPool.of(kind, self.images, self._count, self._options, self._settings)
                self._pools[kind] = await pool.start()
            watch, live = None if self.regions is None or store is None else note, None if store is None else self._live
            play = policy_player(self.agent, self.policy, sampling, self.limits, watch, live)
            if self.aware is not None and store is not None:
                shown = policy_player(DocumentAgent(self.agent, self._document), self.policy, sampling, self.limits, watch, live)
                render = self.policy.engine.renderer.render
                play = policy_aware(play, shown, self.aware.share, self.aware.behaviour, self.agent, render)
            if self.judge is not None:
                play = judging(play, self.judge, self.opinion and store is not None)
            of_kind = [job for job in jobs if job.task.env == kind]
            await play_many(of_kind, self._pools[kind], play, failed=_environment_failed, on_result=keep)
        return [played[job.identifier] for job in jobs]


def _environment_failed(trajectory: Trajectory) -> bool:
    return trajectory.environment_failed
