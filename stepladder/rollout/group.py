"""Many episodes at once: as many as there are environments, failed ones repeated on a fresh environment (law 4)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stepladder.interfaces import Agent, Environment, Policy
from stepladder.rollout.episode import run_episode
from stepladder.rollout.pool import OpenEnvironment, close_environments
from stepladder.types import Limits, Sampling, Task, Trajectory


@dataclass(frozen=True, slots=True)
class EpisodeJob:
    """One episode to be played. Jobs of one group differ in `index` alone."""

    task: Task
    seed: int
    group: str = ""
    index: int = 0


def group_jobs(tasks: Sequence[tuple[Task, int]], size: int, name: str = "") -> list[EpisodeJob]:
    """`size` jobs for each (task, seed). The group is called "<name>/<task id>-<seed>", without the slash when `name` is empty."""
    prefix = f"{name}/" if name else ""
    return [EpisodeJob(task, seed, f"{prefix}{task.id}-{seed}", index) for task, seed in tasks for index in range(size)]


def _ignore(trajectory: Trajectory) -> None:
    """Default of `on_trajectory`."""


async def run_many(
    jobs: Sequence[EpisodeJob],
    environments: list[Environment],
    agent: Agent,
    policy: Policy,
    *,
    sampling: Sampling,
    limits: Limits,
    retries: int = 2,
    on_trajectory: Callable[[Trajectory], None] = _ignore,
    fresh: OpenEnvironment | None = None,
) -> list[Trajectory]:
    """The trajectories of `jobs`, in the order of the jobs.

    An episode that ends as `env_error` or `timeout` is repeated up to `retries` times; only its last attempt is returned and
    passed to `on_trajectory`, which is called once for each job as soon as it is over. After such an end the environment is
    closed and the one that `fresh` opens takes its place in `environments` (the list is changed), so that the caller closes what
    is left; without `fresh` the same environment is reset. Raises ValueError without environments, and whatever the policy,
    `on_trajectory` or `fresh` raises, after the other episodes have been cancelled.
    """
    if not environments:
        raise ValueError("run_many needs at least one environment")
    results: dict[int, Trajectory] = {}
    waiting = list(enumerate(jobs))[::-1]

    async def work(place: int) -> None:
        while waiting:
            number, job = waiting.pop()
            for _ in range(1 + retries):
                trajectory = await run_episode(
                    environments[place],
                    agent,
                    policy,
                    job.task,
                    job.seed,
                    sampling=sampling,
                    limits=limits,
                    group=job.group,
                    index=job.index,
                )
                if not trajectory.environment_failed:
                    break
                if fresh is not None:
                    await close_environments([environments[place]])
                    environments[place] = await fresh()
            results[number] = trajectory
            on_trajectory(trajectory)

    await _together([asyncio.create_task(work(place)) for place in range(min(len(environments), len(jobs)))])
    return [results[number] for number in range(len(jobs))]


async def _together(workers: list[asyncio.Task[None]]) -> None:
    """Wait for all; the first error, or a cancellation from outside, cancels the rest."""
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
