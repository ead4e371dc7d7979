"""Episodes of the policy that is being trained: played once, kept the moment they are over, never played again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from stepladder.rollout.group import EpisodeJob
from stepladder.stages.episode_player import EpisodePlayer
from stepladder.store import TrajectoryStore
from stepladder.types import Group, Sampling, Trajectory


class Player:
    """Plays with `episodes`, which it closes, and keeps in `store` what is to be kept."""

    def __init__(self, episodes: EpisodePlayer, store: TrajectoryStore, sampling: Sampling) -> None:
        self.episodes, self.store, self.sampling = episodes, store, sampling

    async def groups(self, jobs: Sequence[EpisodeJob], seed: int) -> list[Group]:
        """The groups of `jobs`, whose members stand together. Episodes that the store holds are taken from it; the others are
        sampled with numbers that follow from `seed` and appended to it."""
        missing = [job for job in jobs if job.identifier not in self.store]
        await self.episodes.episodes(missing, replace(self.sampling, seed=seed), True, self.store.append)
        groups: dict[str, Group] = {}
        for job in jobs:
            groups.setdefault(job.group, []).append(self.store.get(job.identifier))
        return list(groups.values())

    async def greedily(self, jobs: Sequence[EpisodeJob]) -> list[Trajectory]:
        """Episodes at temperature 0, which are not kept."""
        played: dict[str, Trajectory] = {}

        def keep(trajectory: Trajectory) -> None:
            played[trajectory.id] = trajectory

        await self.episodes.episodes(jobs, replace(self.sampling, temperature=0.0, seed=0), False, keep)
        return [played[job.identifier] for job in jobs]

    async def close(self) -> None:
        await self.episodes.close()

    @property
    def counts(self) -> Counter[str]:
        """What has happened to the environments so far; see `EnvironmentPool`."""
        return self.episodes.counts
