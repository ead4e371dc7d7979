"""What an evaluation found: rates that carry their n, interval, seeds, task set and everything that is missing (law 8)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from stepladder.domains import domain_of, is_infeasible
from stepladder.stats import Rate, cluster_bootstrap, success_rate
from stepladder.types import Task, Trajectory

NOT_RUN = "not run"


@dataclass(frozen=True, slots=True)
class TaskResult:
    """One task: `successes` of `n` graded episodes, `rate` (None for n = 0) with its Wilson interval.

    `missing` counts by reason the episodes that were asked for and have no grade: "env_error", "timeout" or "not run". They are
    no part of n. `errors` counts the messages of those that were played. `statuses` counts how the graded episodes ended. `steps`
    (turns, each a look and a reply), `actions` (of which a turn may have several), `seconds` and `reward` (the task reward, None
    for n = 0) are their means. `outcomes` has for each seed, in the order of the result's, which of its graded trials succeeded.
    """

    task: str
    n: int
    successes: int
    rate: float | None
    low: float
    high: float
    missing: Mapping[str, int]
    statuses: Mapping[str, int]
    steps: float
    seconds: float
    errors: Mapping[str, int] = field(default_factory=dict)
    actions: float = 0.0
    reward: float | None = None
    domain: str = ""
    infeasible: bool = False
    outcomes: tuple[tuple[bool, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """One policy on one task set.

    `low` and `high` are the Wilson interval of the pooled rate at `confidence`: what other seeds of these tasks would give.
    `task_low` and `task_high` come from resampling whole tasks: what other tasks like these would give. `task_set` is the hash
    of the tasks, `seeds` are the seeds every task was asked for, `seconds` is the running time of the evaluation. `errors` are
    the messages of missing episodes with their counts, the most frequent first. Each seed was asked for `trials` times; with more
    than one, Wilson intervals are those of as many episodes as there are starts. `turns`, `actions` and `reward` are means over the
    graded episodes.
    """

    policy: str
    n: int
    successes: int
    rate: float | None
    low: float
    high: float
    task_low: float
    task_high: float
    confidence: float
    missing: Mapping[str, int]
    tasks: tuple[TaskResult, ...]
    task_set: str
    seeds: tuple[int, ...]
    seconds: float
    errors: Mapping[str, int] = field(default_factory=dict)
    trials: int = 1
    turns: float = 0.0
    actions: float = 0.0
    reward: float | None = None

    def starts(self, tasks: Iterable[TaskResult] | None = None) -> dict[tuple[str, int], tuple[bool, ...]]:
        """(task, seed) -> which of its graded trials succeeded, for every start of `tasks` (default: of all) that has one."""
        return {
            (part.task, seed): trials
            for part in (self.tasks if tasks is None else tasks)
            for seed, trials in zip(self.seeds, part.outcomes, strict=False)
            if trials
        }


def rate_of(result: Result, keep: Callable[[TaskResult], bool]) -> Rate:
    """The pooled rate over some of the tasks, with its Wilson interval."""
    parts = [part for part in result.tasks if keep(part)]
    n = sum(part.n for part in parts)
    starts = sum(bool(trials) for part in parts for trials in part.outcomes)
    return success_rate(sum(part.successes for part in parts), n, result.confidence, starts or None)


def summarise(
    trajectories: Iterable[Trajectory],
    tasks: Sequence[Task],
    seeds: Sequence[int],
    *,
    policy: str,
    task_set: str,
    seconds: float,
    confidence: float = 0.95,
    trials: int = 1,
) -> Result:
    """The result of every (task, seed) that was asked for, `trials` times each.

    Of the trajectories of one (task, seed) the last `trials` graded ones count, and where fewer are graded the last of the others;
    trajectories of other tasks or seeds are an error, for a rate over unasked episodes is no rate over the task set.
    """
    found: dict[tuple[str, int], list[Trajectory]] = {(task.id, seed): [] for task in tasks for seed in seeds}
    for trajectory in trajectories:
        key = (trajectory.task.id, trajectory.seed)
        if key not in found:
            raise ValueError(f"trajectory {trajectory.id!r} has task {key[0]!r} and seed {key[1]}, which were not asked for")
        found[key].append(trajectory)
    counted = {key: _counted(played, trials) for key, played in found.items()}
    parts = tuple(_task_result(task, [counted[task.id, seed] for seed in seeds], confidence) for task in tasks)
    outcomes = {
        task.id: [one.success for seed in seeds for one in counted[task.id, seed] if one is not None and _graded(one)]
        for task in tasks
    }
    starts = sum(any(map(_graded, played)) for played in counted.values())
    pooled = success_rate(sum(part.successes for part in parts), sum(part.n for part in parts), confidence, starts)
    resampled = cluster_bootstrap(outcomes, confidence)
    missing: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    for part in parts:
        missing.update(part.missing)
        errors.update(part.errors)
    count = max(pooled.n, 1)
    return Result(
        policy=policy,
        n=pooled.n,
        successes=pooled.successes,
        rate=pooled.rate,
        low=pooled.low,
        high=pooled.high,
        task_low=resampled.low,
        task_high=resampled.high,
        confidence=confidence,
        missing=dict(missing),
        tasks=parts,
        task_set=task_set,
        seeds=tuple(seeds),
        seconds=seconds,
        errors=dict(errors.most_common()),
        trials=trials,
        turns=sum(part.steps * part.n for part in parts) / count,
        actions=sum(part.actions * part.n for part in parts) / count,
        reward=sum((part.reward or 0.0) * part.n for part in parts) / count if pooled.n else None,
    )


def _counted(played: Sequence[Trajectory], trials: int) -> list[Trajectory | None]:
    """What of the episodes of one start counts, None for each that was not played."""
    graded = [one for one in played if _graded(one)][-trials:]
    failed = [one for one in played if not _graded(one)][::-1][: trials - len(graded)]
    return [*graded, *failed, *[None] * (trials - len(graded) - len(failed))]


def _graded(trajectory: Trajectory | None) -> bool:
    return trajectory is not None and trajectory.reward is not None and not trajectory.environment_failed


def _task_result(task: Task, starts: Sequence[Sequence[Trajectory | None]], confidence: float) -> TaskResult:
    episodes = [episode for start in starts for episode in start]
    graded = [episode for episode in episodes if episode is not None and _graded(episode)]
    absent = [NOT_RUN if episode is None else episode.status for episode in episodes if not _graded(episode)]
    errors = Counter(episode.error or "no reason given" for episode in episodes if episode is not None and not _graded(episode))
    independent = sum(any(map(_graded, start)) for start in starts)
    rate = success_rate(sum(episode.success for episode in graded), len(graded), confidence, independent)
    count = max(len(graded), 1)
    return TaskResult(
        task=task.id,
        n=rate.n,
        successes=rate.successes,
        rate=rate.rate,
        low=rate.low,
        high=rate.high,
        missing=dict(Counter(absent)),
        statuses=dict(Counter(str(episode.status) for episode in graded)),
        steps=sum(len(episode.steps) for episode in graded) / count,
        seconds=sum(sum(step.seconds.values()) for episode in graded for step in episode.steps) / count,
        errors=dict(errors.most_common()),
        actions=sum(len(step.actions) for episode in graded for step in episode.steps) / count,
        reward=sum(episode.reward or 0.0 for episode in graded) / count if graded else None,
        domain=domain_of(task),
        infeasible=is_infeasible(task),
        outcomes=tuple(tuple(one.success for one in start if one is not None and _graded(one)) for start in starts),
    )
