"""Are tasks what they should be? Their own solution scores 1, doing nothing 0, giving up 0 unless the task cannot be done.

    stepladder validate --tasks desk --seeds 5

Every finding is written to `<output>/validation.jsonl` the moment it is known. Started again, what was not right is tried again.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from stepladder.config import ConfigError, to_dict
from stepladder.images import ImageStore
from stepladder.interfaces import Environment, EnvironmentFailure
from stepladder.progress import Progress
from stepladder.rollout.demonstrate import run_demonstration
from stepladder.rollout.episode import Deadlines, own_time
from stepladder.rollout.group import EpisodeJob, play_many
from stepladder.rollout.opening import check_options
from stepladder.rollout.pool import EnvironmentPool, PoolSettings
from stepladder.run import Run
from stepladder.seeds import heldout_seeds, train_seeds
from stepladder.tasks import check_demonstrators, load_tasks, task_set_hash
from stepladder.types import Action, Limits, Task

Player = Literal["oracle", "idle", "gives_up"]
PLAYERS: tuple[Player, ...] = ("oracle", "idle", "gives_up")
FILE = "validation.jsonl"
Key = tuple[str, int, Player]


@dataclass(frozen=True)
class ValidateConfig:
    """`seeds` seeds of every task are tried, of which half (rounded up) are training seeds and the others held out. `environments`
    work at a time, with `options` for the environment, kept as `pool` says."""

    tasks: str = "desk"
    output: Path = Path("runs/validate")
    seeds: int = 5
    environments: int = 2
    options: dict[str, Any] = field(default_factory=dict)
    pool: PoolSettings = field(default_factory=PoolSettings)

    def check(self) -> None:
        """Raises ConfigError for what cannot be."""
        for name in ("seeds", "environments"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1")


@dataclass(frozen=True)
class Finding:
    """What one player came to on one start. `reward` is None when the environment failed, and `error` says how; `steps` are those
    of the solution."""

    task: str
    seed: int
    player: Player
    reward: float | None
    wanted: float
    steps: int = 0
    error: str = ""

    @property
    def key(self) -> Key:
        return self.task, self.seed, self.player

    @property
    def right(self) -> bool:
        return self.reward == self.wanted


def main(config: ValidateConfig, show: bool = True) -> list[Finding]:
    """Try every task, and return all findings. Raises ConfigError, TaskError."""
    config.check()
    tasks = load_tasks(config.tasks)
    check_demonstrators(tasks)
    for kind in {task.env for task in tasks}:
        check_options(kind, config.options)
    settings = {**to_dict(config), "task_set": task_set_hash(tasks)}
    with Run(config.output, settings, seeds={}, may_change=("output", "environments", "options", "seeds", "pool")) as run:
        return asyncio.run(_validate(config, tasks, run, show))


def seeds_of(count: int) -> list[int]:
    """Training seeds and held-out ones, half of each."""
    return [*train_seeds((count + 1) // 2), *heldout_seeds(count // 2)]


async def _validate(config: ValidateConfig, tasks: Sequence[Task], run: Run, show: bool) -> list[Finding]:
    path = config.output / FILE
    asked = [(task, seed) for task in tasks for seed in seeds_of(config.seeds)]
    found = {key: one for key, one in _read(path).items() if one.right}  # what was wrong is tried again
    starts = [start for start in asked if any((start[0].id, start[1], player) not in found for player in PLAYERS)]
    kinds = dict.fromkeys(task.env for task in tasks)
    if len(kinds) > 1:
        raise ConfigError(f"tasks of one environment at a time can be validated, not of {', '.join(kinds)}")
    kind, images, count = next(iter(kinds)), ImageStore(cache=0), min(config.environments, max(1, len(starts)))
    done = 0
    with Progress("validate", len(starts), show=show) as progress, path.open("a") as file:

        async def play(environment: Environment, job: EpisodeJob) -> list[Finding]:
            return [one async for one in _try(environment, job.task, job.seed)]

        def keep(findings: list[Finding]) -> None:
            nonlocal done
            for one in findings:
                found[one.key] = one
                file.write(json.dumps(asdict(one)) + "\n")
            file.flush()
            done += 1
            progress.update(done, len(starts), {"wrong": sum(not one.right for one in found.values())})

        async with EnvironmentPool.of(kind, images, count, config.options, config.pool) as pool:
            # Nothing is repeated: a task whose environment fails now and then is not valid.
            jobs = [EpisodeJob(task, seed) for task, seed in starts]
            await play_many(jobs, pool, play, failed=_broken, retries=0, on_result=keep)
        run.log(0, "environments", **pool.counts)
    return [found[task.id, seed, player] for task, seed in asked for player in PLAYERS]


def _broken(findings: list[Finding]) -> bool:
    return any(one.reward is None for one in findings)


async def _try(environment: Environment, task: Task, seed: int) -> AsyncIterator[Finding]:
    trajectory, _ = await run_demonstration(environment, task, seed, limits=Limits())
    yield Finding(task.id, seed, "oracle", trajectory.reward, 1.0, len(trajectory.steps), trajectory.error or "")
    yield await _end(environment, task, seed, "idle", Action("done"), 0.0)
    # Whether a task can be done only its solution says; one that failed says nothing.
    infeasible = trajectory.status == "gave_up"
    yield await _end(environment, task, seed, "gives_up", Action("fail"), float(infeasible))


async def _end(environment: Environment, task: Task, seed: int, player: Player, action: Action, wanted: float) -> Finding:
    """What ending at once comes to."""
    limits = Limits()
    deadlines = Deadlines(limits)
    try:
        await deadlines.call("reset", environment.reset(task, seed), extra=own_time(environment, limits, "reset"))
        await deadlines.call("step", environment.step(action))
        reward = await deadlines.call("evaluate", environment.evaluate(), extra=own_time(environment, limits, "evaluate"))
    except EnvironmentFailure as error:
        return Finding(task.id, seed, player, None, wanted, error=str(error))
    return Finding(task.id, seed, player, reward, wanted)


def _read(path: Path) -> dict[Key, Finding]:
    """Findings of an earlier run, of several for the same the last one; a line that was cut off counts as not written."""
    found: dict[Key, Finding] = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            one = Finding(**json.loads(line))
        except (ValueError, TypeError):
            continue
        found[one.key] = one
    return found
