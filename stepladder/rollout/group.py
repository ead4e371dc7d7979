"""Many episodes at once: as many as a pool lends environments for, failed ones repeated on a fresh environment (law 4)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from stepladder.interfaces import Agent, Environment, Policy
from stepladder.rollout.by_task import ByTask
from stepladder.rollout.episode import Watch, episode_id, run_episode
from stepladder.rollout.live import LiveScreens, watched
from stepladder.rollout.pool import EnvironmentPool
from stepladder.types import Limits, Sampling, Task, Trajectory

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class EpisodeJob:
    """One episode to be played. Jobs of one group differ in `index` alone. `max_steps` bounds it in place of the limit that all
    have (None: that limit)."""

    task: Task
    seed: int
    group: str = ""
    index: int = 0
    max_steps: int | None = None

    @property
    def identifier(self) -> str:
        """The id that the trajectory will have, for a job of a group."""
        return episode_id(self.task.id, self.seed, self.group, self.index)


#: How one job is played in an environment.
Play = Callable[[Environment, EpisodeJob], Awaitable[Trajectory]]


def group_jobs(tasks: Sequence[tuple[Task, int]], size: int, name: str = "") -> list[EpisodeJob]:
    """`size` jobs for each (task, seed). The group is called "<name>/<task id>-<seed>", without the slash when `name` is empty."""
    prefix = f"{name}/" if name else ""
    return [EpisodeJob(task, seed, f"{prefix}{task.id}-{seed}", index) for task, seed in tasks for index in range(size)]


def _ignore(result: object) -> None:
    """Default of `on_trajectory` and `on_result`."""


def policy_player(
    agent: Agent,
    policy: Policy,
    sampling: Sampling,
    limits: Limits,
    watch: Watch | None = None,
    live: LiveScreens | None = None,
) -> Play:
    """Episodes in which `policy` acts; see `run_episode` for `watch`. With `live`, other processes can look on."""

    async def play(environment: Environment, job: EpisodeJob) -> Trajectory:
        identifier = episode_id(job.task.id, job.seed, job.group or policy.name, job.index)
        with watched(live, job.task, job.seed, identifier, policy.name, watch) as watching:
            return await run_episode(
                environment,
                agent,
                policy,
                job.task,
                job.seed,
                sampling=sampling,
                limits=limits if job.max_steps is None else replace(limits, max_steps=job.max_steps),
                group=job.group,
                index=job.index,
                watch=watching,
            )

    return play


async def run_many(
    jobs: Sequence[EpisodeJob],
    pool: EnvironmentPool,
    agent: Agent,
    policy: Policy,
    *,
    sampling: Sampling,
    limits: Limits,
    retries: int = 2,
    on_trajectory: Callable[[Trajectory], None] = _ignore,
    watch: Watch | None = None,
    live: LiveScreens | None = None,
) -> list[Trajectory]:
    """The trajectories of `jobs`, in the order of the jobs; see `run_episode` for `watch` and `play_many` for everything else. With
    `live`, other processes can look on."""
    play = policy_player(agent, policy, sampling, limits, watch, live)
    return await play_many(jobs, pool, play, failed=_environment_failed, retries=retries, on_result=on_trajectory)


async def play_many(
    jobs: Sequence[EpisodeJob],
    pool: EnvironmentPool,
    play: Callable[[Environment, EpisodeJob], Awaitable[T]],
    *,
    failed: Callable[[T], bool],
    retries: int = 2,
    on_result: Callable[[T], None] = _ignore,
) -> list[T]:
    """What `play` makes of each job, in the order of the jobs; as many at once as `pool` lends environments.

    A result that is `failed` (its environment broke) is thrown away and the job played again on another environment, up to
    `retries` times; only the last attempt is returned and passed to `on_result`, which is called once for each job as soon as it is
    over. The pool counts attempts that were `repeated` and jobs that were `given_up`. Raises whatever `play`, `on_result` or the
    pool raises, after the other episodes have been cancelled.
    """
    results: dict[int, T] = {}
    waiting: ByTask[tuple[int, EpisodeJob]] = ByTask()
    for numbered in enumerate(jobs):
        waiting.add(numbered[1].task.id, numbered)

    async def work() -> None:
        task = ""
        while taken := waiting.take(task):
            number, job = taken[0]
            task = job.task.id
            for left in reversed(range(1 + retries)):
                async with pool.lease(task) as lease:
                    result = await play(lease.environment, job)
                    if failed(result):
                        lease.fail()
                if not lease.failed:
                    break
                pool.counts["repeated" if left else "given_up"] += 1
            results[number] = result
            on_result(result)

    await _together([asyncio.create_task(work()) for _ in range(min(pool.size, len(jobs)))])
    return [results[number] for number in range(len(jobs))]


def _environment_failed(trajectory: Trajectory) -> bool:
    return trajectory.environment_failed


async def _together(workers: list[asyncio.Task[None]]) -> None:
    """Wait for all; the first error, or a cancellation from outside, cancels the rest."""
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
