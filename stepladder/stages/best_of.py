"""Rejection sampling with a reward model, rung 6: play every start several times, keep what the reward model scores best, imitate
it.

    stepladder best-of runs/reward-model/checkpoint --checkpoint runs/sft/checkpoint --output runs/best-of

(L. Ouyang et al., arXiv 2203.02155, call it best of n; Llama 2, arXiv 2307.09288, section 3.2.3, rejection-sampling fine-tuning.)
The tasks' own checks take no part in the choice; they tell afterwards what the choice was worth. Files of a run:

    play/             the episodes: `attempts` from each start, and a greedy one
    data/             the best of each start, in the form that `stepladder collect` writes
    sft/              training on them
    checkpoint/       what came of it

`phases.json` tells the success of one sampled episode and of the best of `attempts`, with intervals. A run that was killed goes
on where it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console

from stepladder.config import ConfigError
from stepladder.images import ImageStore
from stepladder.rollout.opening import check_options
from stepladder.run import Run, read_phases
from stepladder.seeds import train_seeds
from stepladder.stages import sft
from stepladder.stages.imitation import imitate_chosen, training, write_chosen
from stepladder.stages.local_policy import load_policy
from stepladder.stages.measure import SAMPLED, measure
from stepladder.stages.prefer_config import PlaySettings
from stepladder.stages.reward_scores import RewardModelSettings, load_reward_model
from stepladder.stats import Rate, success_rate
from stepladder.store import TrajectoryStore
from stepladder.tasks import load_tasks, task_set_hash
from stepladder.train.precision import bfloat16_is_fast
from stepladder.train.reward_model import RewardModel
from stepladder.types import Trajectory

MAY_CHANGE = ("output", "play.environments", "play.pool", "track", "train.track")


@dataclass(frozen=True)
class BestOfConfig:
    """`checkpoint` plays as `play` says, `reward_model` chooses the best `keep` of the `play.attempts` episodes from each start.
    `train` are the settings of the training on them, whose data, checkpoint, output, seed and agent are the run's own."""

    checkpoint: Path = Path("runs/rl/checkpoint")
    reward_model: RewardModelSettings = field(default_factory=lambda: RewardModelSettings(Path("runs/reward-model/checkpoint")))
    output: Path = Path("runs/best-of")
    seed: int = 0
    play: PlaySettings = field(default_factory=PlaySettings)
    keep: int = 1
    ranks: int = 2
    bf16: bool = field(default_factory=bfloat16_is_fast)
    track: tuple[str, ...] = ()
    train: sft.SftConfig = field(default_factory=training)

    def check(self) -> None:
        """Raises ConfigError for what cannot be."""
        for name in ("keep", "ranks"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.play.attempts <= self.keep:
            raise ConfigError(f"play.attempts is {self.play.attempts}; to choose {self.keep} of them there must be more")
        self.play.check(rounds=1)
        if not self.checkpoint.is_dir():
            raise ConfigError(f"checkpoint: {self.checkpoint} is no directory")
        if self.reward_model.checkpoint is None:
            raise ConfigError("reward_model.checkpoint is missing: it chooses")
        self.reward_model.check({"model": 1.0})


@dataclass(frozen=True)
class BestOf:
    """What came of it: success of one sampled episode and of the best ones, by the tasks' own checks."""

    checkpoint: Path
    one: Rate
    best: Rate


def main(config: BestOfConfig, show: bool = True) -> BestOf:
    """Play, choose, imitate. Raises ConfigError, TaskError, EnvironmentFailure."""
    config.check()
    console = Console(stderr=True, quiet=not show)
    tasks = load_tasks(config.play.tasks, split="train")
    for kind in dict.fromkeys(task.env for task in tasks):
        check_options(kind, config.play.options)
    starts = [(task, seed) for task in tasks for seed in train_seeds(config.play.starts, config.play.first)]
    seeds, defaults = {"best-of": config.seed, "task_set": task_set_hash(tasks)}, BestOfConfig()
    with Run(config.output, config, seeds, may_change=MAY_CHANGE, trackers=config.track, defaults=defaults) as run:
        with run.phase("play") as phase:
            if not phase.done:
                measure(config.output / "play", config.checkpoint, starts, config.play.playing(config.seed, config.ranks))
        with run.phase("choose") as phase:
            if not phase.done:
                phase.result |= _choose(config)
        with run.phase("train") as phase:
            if not phase.done:
                train = replace(config.train, seed=config.seed, ranks=config.ranks, bf16=config.bf16)
                imitate_chosen(replace(train, track=config.track or train.track), config.checkpoint, config.output, show)
    told = read_phases(config.output)["choose"]["result"]
    one, best = (success_rate(told[name]["successes"], told[name]["n"], starts=told[name]["starts"]) for name in ("one", "best"))
    for name, rate in (("one sample", one), (f"the best {config.keep} of {config.play.attempts}", best)):
        console.print(f"  {name}: {rate.rate:.3f} ({rate.low:.3f} to {rate.high:.3f}, n = {rate.n})", markup=False, highlight=False)
    return BestOf(config.output / "checkpoint", one, best)


def best_of(model: RewardModel, config: RewardModelSettings, episodes: Sequence[Trajectory], keep: int) -> list[Trajectory]:
    """Of the episodes of each start the `keep` that the reward model scores best, in order of starts. An episode whose
    environment failed is none, and one without any reply has nothing to imitate."""
    played = [one for one in episodes if not one.environment_failed and any(step.completion is not None for step in one.steps)]
    scores = dict(zip((one.id for one in played), model.of_episodes(played, config.aggregate), strict=True))
    starts: dict[tuple[str, int], list[Trajectory]] = {}
    for one in played:
        starts.setdefault((one.task.id, one.seed), []).append(one)
    return [one for start in sorted(starts) for one in sorted(starts[start], key=lambda one: (-scores[one.id], one.id))[:keep]]


def _choose(config: BestOfConfig) -> dict[str, dict[str, int]]:
    """Write the data. Raises ConfigError for a reward model of another vocabulary than the policy's, and where nothing was
    played."""
    directory = config.output / "play"
    images, episodes = ImageStore(directory / "images", cache=0), list[Trajectory]()
    for path in sorted(directory.glob(f"{SAMPLED}-*.jsonl")):
        with TrajectoryStore(path) as store:
            episodes += list(store)
    assert config.reward_model.checkpoint is not None
    model = load_reward_model(config.reward_model.checkpoint, images, config.bf16)
    if not model.renderer.reads_alike(load_policy(config.checkpoint, images)[1]):
        raise ConfigError(
            f"reward_model.checkpoint: {config.reward_model.checkpoint} has another vocabulary or other visual tokens than "
            f"{config.checkpoint}, whose episodes it is to score"
        )
    best = best_of(model, config.reward_model, episodes, config.keep)
    if not best:
        raise ConfigError(f"play: no episode in {directory} has a reply; there is nothing to choose from")
    # chosen by score and not by success: `data.demonstrations` learns from failures only where their steps were chosen for that
    write_chosen([replace(one, parts={**one.parts, "curated": 1.0}) for one in best], images, config.output / "data")
    return {"one": _counts(episodes), "best": _counts(best)}


def _counts(episodes: Sequence[Trajectory]) -> dict[str, int]:
    graded = [one for one in episodes if one.reward is not None and not one.environment_failed]
    starts = len({(one.task.id, one.seed) for one in graded})
    return {"successes": sum(one.success for one in graded), "n": len(graded), "starts": starts}
