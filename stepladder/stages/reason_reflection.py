"""Recoveries from one's own failures, added to the demonstrations: replayed where an environment can, else from the record."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

from stepladder.compare.forks import Start
from stepladder.interfaces import Environment
from stepladder.policies.budget import Meter
from stepladder.progress import Progress
from stepladder.rollout.group import EpisodeJob, play_many
from stepladder.rollout.pool import EnvironmentPool
from stepladder.stages.reason_failures import Failures
from stepladder.stages.reason_work import COLLECTED, Work, Written, each, learned, opened_teacher, taught
from stepladder.thoughts.recovery import SUFFIX, Fork, Recovered, recorded, replayed, with_reflection
from stepladder.thoughts.teacher import Teacher
from stepladder.types import Limits, Trajectory

#: Of a fork: what the environment made of it, and the episode with its thoughts where there is one.
_Outcome = tuple[Recovered, Written | None]


def reflect(work: Work, meter: Meter, without: Counter[str], show: bool) -> None:
    """Add a recovery of each fork that has none; `without` is told of the failures that gave no fork. Raises what environments'
    pools and calls of servers raise."""
    config = work.config
    failures = Failures(config.rollouts, config.demonstrations / COLLECTED)
    forks, successes = failures.forks(config.per_start, without)
    left = [fork for fork in forks if not work.is_done(COLLECTED, _name(fork))]
    with opened_teacher(work, meter) as teacher:
        asyncio.run(_Reflection(work, failures, successes, teacher).all(left, show))


def _name(fork: Fork) -> str:
    return f"{fork.failure.id}{SUFFIX}"


class _Reflection:
    def __init__(
        self, work: Work, failures: Failures, successes: Mapping[Start, Sequence[Trajectory]], teacher: Teacher | None
    ) -> None:
        self.work, self.failures, self.successes, self.teacher = work, failures, successes, teacher

    async def all(self, forks: Sequence[Fork], show: bool) -> None:
        try:
            left = await self._replay(forks, show) if self.work.config.replay else [(fork, "") for fork in forks]
            orders: list[Callable[[], Awaitable[None]]] = [partial(self._from_record, *one) for one in left]
            await each(orders, self.work.config.parallel, "reason by reflection", show)
        finally:
            if self.teacher is not None:
                await self.teacher.close()

    async def _replay(self, forks: Sequence[Fork], show: bool) -> list[tuple[Fork, str]]:
        """Write what the environments come to; the forks for which that is nothing, with the reasons."""
        config, left = self.work.config, list[tuple[Fork, str]]()
        by_name = {fork.failure.id: fork for fork in forks}
        jobs = [EpisodeJob(fork.failure.task, fork.failure.seed, fork.failure.id) for fork in forks]
        done = 0
        with Progress("replay failures", len(jobs), show=show) as progress:

            async def play(environment: Environment, job: EpisodeJob) -> tuple[Fork, _Outcome]:
                fork = by_name[job.group]
                return fork, await self._replayed(environment, fork)

            def keep(result: tuple[Fork, _Outcome]) -> None:
                nonlocal done
                fork, (recovered, written) = result
                if written is None:
                    left.append((fork, recovered.reason))
                else:
                    self.work.keep(COLLECTED, written)
                done += 1
                progress.update(done, len(jobs))

            for kind in dict.fromkeys(job.task.env for job in jobs):
                of_kind = [job for job in jobs if job.task.env == kind]
                size = min(config.environments, len(of_kind))
                async with EnvironmentPool.of(kind, self.work.images, size, config.options, config.pool) as pool:
                    await play_many(of_kind, pool, play, failed=lambda result: result[1][0].broken, on_result=keep)
        return left

    async def _replayed(self, environment: Environment, fork: Fork) -> _Outcome:
        recovered = await replayed(environment, fork, Limits(), known=set(self.work.known.digests()))
        if recovered.trajectory is None:
            return recovered, None
        for step, seen in zip(recovered.trajectory.steps, recovered.regions, strict=False):
            if step.observation.screenshot is not None and seen is not None:
                self.work.known.append(step.observation.screenshot, seen)
        return recovered, await self._thought_out(recovered)

    async def _from_record(self, fork: Fork, reason: str) -> None:
        """The one step after the mistake; `reason` says why nothing was replayed."""
        recovered = recorded(fork, self.successes[fork.failure.task.id, fork.failure.seed])
        if recovered.trajectory is None:
            self.work.leave_out(COLLECTED, _name(fork), {reason or recovered.reason: 1})
            return
        self._take_screens(recovered.trajectory)
        self.work.keep(COLLECTED, await self._thought_out(recovered))

    async def _thought_out(self, recovered: Recovered) -> Written:
        config = self.work.config
        told = with_reflection(recovered, self.work.regions, config.level, config.plan)
        return (told, {}, len(learned(told))) if self.teacher is None else await taught(self.teacher, told, self.work)

    def _take_screens(self, trajectory: Trajectory) -> None:
        """The pictures of an episode, and what is where on them, as far as the rollouts know it."""
        for step in trajectory.steps:
            screen = step.observation.screenshot
            if screen is None:
                continue
            if screen not in self.work.images:
                self.work.images.put(self.failures.picture(screen))
            regions = self.failures.regions(screen)
            if screen not in self.work.known and regions is not None:
                self.work.known.append(screen, regions)
