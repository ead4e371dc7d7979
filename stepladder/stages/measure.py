"""How good a checkpoint is, greedy and sampled, and how much entropy its replies have: before and after training."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stepladder.images import ImageStore
from stepladder.interfaces import EnvironmentFailure
from stepladder.policies.engine import Engine
from stepladder.policies.local import LocalPolicy
from stepladder.rollout.group import EpisodeJob, group_jobs
from stepladder.rollout.live import LiveScreens
from stepladder.rollout.plateau import sampled_entropy
from stepladder.rollout.pool import PoolSettings
from stepladder.stages.agent_options import AgentOptions
from stepladder.stages.episode_player import EpisodePlayer
from stepladder.stages.local_policy import kept_prompts, load_policy
from stepladder.stages.player import Player
from stepladder.stats import Rate, success_rate
from stepladder.store import TrajectoryStore
from stepladder.train.devices import AUTOMATIC, check_device, device_of
from stepladder.train.parallel import run_ranks
from stepladder.types import Limits, Sampling, Task, Trajectory

#: The episodes of a measurement: once at temperature 0, and several times as training samples.
GREEDY, SAMPLED = "greedy", "sampled"


@dataclass(frozen=True)
class Playing:
    """How the episodes of a measurement are played: `trials` sampled ones and a greedy one from every start, `environments` at a
    time in each of `ranks` processes. `options` go to the environment; `device` is that of `train.devices`; the others are as in
    `stages.rl_config.RlConfig`."""

    trials: int = 4
    temperature: float = 1.0
    max_tokens: int | None = None
    max_steps: int | None = None
    seed: int = 0
    ranks: int = 2
    environments: int = 6
    options: Mapping[str, Any] = field(default_factory=dict)
    pool: PoolSettings = field(default_factory=PoolSettings)
    device: str = AUTOMATIC


@dataclass(frozen=True, slots=True)
class Quality:
    """Success rates with intervals, and the entropy of a sampled token in nats."""

    greedy: Rate
    sampled: Rate
    entropy: float


def measure(directory: Path, checkpoint: Path, starts: Sequence[tuple[Task, int]], playing: Playing) -> Quality:
    """Play every start and keep the episodes in `directory`; those that are there already are not played again. Raises
    EnvironmentFailure when no episode of either kind has a grade."""
    check_device(playing.device, playing.ranks)
    directory.mkdir(parents=True, exist_ok=True)
    run_ranks(_play, playing.ranks, directory, checkpoint, starts, playing)
    sampled = list(_stored(directory, SAMPLED, playing.ranks))
    greedy = _rate(directory, list(_stored(directory, GREEDY, playing.ranks)))
    return Quality(greedy, _rate(directory, sampled), sampled_entropy(sampled))


def _play(rank: int, world: int, directory: Path, checkpoint: Path, starts: Sequence[tuple[Task, int]], playing: Playing) -> None:
    images = ImageStore(directory / "images", cache=0)
    options = AgentOptions.of_checkpoint(checkpoint)
    engine = Engine(*load_policy(checkpoint, images, device_of(playing.device)), **kept_prompts(playing.environments))
    tokens = playing.max_tokens or options.reply_tokens
    mine = starts[rank::world]

    async def play(name: str, jobs: Sequence[EpisodeJob], temperature: float) -> None:
        with TrajectoryStore(directory / f"{name}-{rank}.jsonl", "a") as store:
            episodes = EpisodePlayer(
                LocalPolicy(engine, "student"),
                options.build(),
                images,
                Limits(max_steps=playing.max_steps),
                playing.environments,
                playing.options,
                playing.pool,
                live=LiveScreens(directory, store.path.stem),
            )
            player = Player(episodes, store, Sampling(temperature, max_tokens=tokens))
            try:
                await player.groups(jobs, playing.seed)
            finally:
                await player.close()

    try:
        asyncio.run(play(GREEDY, group_jobs(mine, 1, GREEDY), 0.0))
        asyncio.run(play(SAMPLED, group_jobs(mine, playing.trials, SAMPLED), playing.temperature))
    finally:
        engine.close()


def _stored(directory: Path, name: str, ranks: int) -> Iterator[Trajectory]:
    for rank in range(ranks):
        with TrajectoryStore(directory / f"{name}-{rank}.jsonl") as store:
            yield from store


def _rate(directory: Path, trajectories: Sequence[Trajectory]) -> Rate:
    graded = [one for one in trajectories if one.reward is not None and not one.environment_failed]
    if not graded:
        raise EnvironmentFailure(f"no episode in {directory} has a grade: the environment failed in all of them")
    starts = len({(one.task.id, one.seed) for one in graded})
    return success_rate(sum(one.success for one in graded), len(graded), starts=starts)
