"""The data flywheel, rung 10: play, keep what the task's own check calls a success, learn from it, play again.

    stepladder flywheel --set checkpoint=runs/demo/sft/checkpoint --set demonstrations=runs/demo/collect

One turn of it, in `turn-<number>/`:

    validation-<rank>.jsonl   greedy episodes on validation seeds: how good the policy is that plays now
    rollouts-<rank>.jsonl     episodes sampled on training seeds, each written the moment it is over
    data/                     the demonstrations and everything kept so far, in the form that `stepladder collect` writes, with all
                              screens that were seen and what is where on them
    sft/                      training on it, from the checkpoint of the turn before

`alarms.jsonl` holds signs that something else is learned than was meant (`stepladder.alarms`), by turn.

It ends when a turn no longer makes the policy better by more than the uncertainty of the measurement, or after `turns`.
`checkpoint/` is the one that did best; `report.html`, `report.md` and `report.json` tell what came of it. A run that
was killed goes on where it was.
"""

from __future__ import annotations

import asyncio
import math
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from stepladder.alarms import Alarm, AlarmLog, AlarmSettings, Member, described, observe
from stepladder.config import ConfigError, to_dict
from stepladder.data.regions import RegionStore
from stepladder.data.screen_pool import VISITED_FILE
from stepladder.images import ImageStore
from stepladder.interfaces import EnvironmentFailure
from stepladder.judges.judge import Judge, JudgeSettings
from stepladder.policies.engine import Engine
from stepladder.policies.local import LocalPolicy
from stepladder.rollout.focus import MOST, focus, outcomes
from stepladder.rollout.group import EpisodeJob, group_jobs
from stepladder.rollout.live import LiveScreens
from stepladder.rollout.opening import check_options
from stepladder.rollout.pool import PoolSettings
from stepladder.rollout.selection import deeds, select
from stepladder.run import Run
from stepladder.seeds import train_seeds, validation_seeds
from stepladder.stages import sft, training_report
from stepladder.stages.agent_options import AgentOptions
from stepladder.stages.episode_player import EpisodePlayer
from stepladder.stages.judging import FREE_CALLS, check_judge, judge_settings, open_judge
from stepladder.stages.local_policy import kept_prompts, load_policy
from stepladder.stages.player import Player
from stepladder.stages.policies import ApiOptions
from stepladder.stats import Rate, success_rate
from stepladder.store import TrajectoryStore
from stepladder.tasks import load_tasks, task_set_hash
from stepladder.train.parallel import run_ranks
from stepladder.types import Limits, Sampling, Step, Trajectory

#: Settings that change how far a run goes and not what its turns come to.
MAY_CHANGE = ("output", "environments", "pool", "turns", "patience", "track", "train.track", "alarms", *FREE_CALLS)


def training() -> sft.SftConfig:
    """How a turn trains: behaviour cloning alone, from weights that can act already."""
    off = sft.PhaseConfig(steps=0, batch=1, lr=1e-3)
    cloning = replace(sft.SftConfig().cloning, steps=160, lr=1e-3, score_every=80, visits=12)
    return sft.SftConfig(copying=off, perception=off, cloning_frozen=off, cloning=cloning)


@dataclass(frozen=True)
class FlywheelConfig:
    """`checkpoint` plays first, and `demonstrations` (a directory of `stepladder collect`) stay in the training data of every turn.

    A turn plays `starts` training seeds of a task, from `first` on and others in every turn, `attempts` times at `temperature`; of
    one start `per_start` successes are kept, of one task `per_task` (None: all). `validation` episodes of each task measure the
    policy; after `patience` turns that were not clearly better it ends. `focus` above 0 gives tasks that failed more often in
    validation more of the starts, of which `starts` is then the mean, and more of the training (`rollout.focus`).

    `train` are the settings of the training, whose data, checkpoint and output are the turn's own. `ranks` processes play
    `environments` episodes each at a time, kept as `pool` says.

    A `teacher`, another checkpoint, plays in the place of the student in the first turn. It may speak another dialect: of its
    episodes the actions are learned and not the tokens. `track` names trackers (`stepladder.tracking`) of its measurements and of
    those of its training. `judge` grades tasks that have no other check, `judge_api` says how its server is called. `alarms` says
    what the episodes of a turn are watched for; a turn is an update there."""

    checkpoint: Path = Path("runs/demo/sft/checkpoint")
    demonstrations: Path = Path("runs/demo/collect")
    tasks: str = "miniwob@demo"
    output: Path = Path("runs/flywheel")
    seed: int = 0
    turns: int = 3
    patience: int = 1
    starts: int = 40
    attempts: int = 2
    first: int = 10_000
    focus: float = 1.0
    per_start: int = 1
    per_task: int | None = None
    temperature: float = 1.0
    max_tokens: int | None = None
    validation: int = 10
    teacher: Path | None = None
    ranks: int = 2
    environments: int = 6
    options: Mapping[str, Any] = field(default_factory=dict)
    pool: PoolSettings = field(default_factory=PoolSettings)
    judge: JudgeSettings = field(default_factory=JudgeSettings)
    judge_api: ApiOptions = field(default_factory=ApiOptions)
    track: tuple[str, ...] = ()
    alarms: AlarmSettings = field(default_factory=lambda: AlarmSettings(window=1, again=1))
    train: sft.SftConfig = field(default_factory=training)

    @property
    def judged(self) -> bool:
        """Whether tasks may be such that a judge grades them."""
        return self.judge.policy is not None

    @property
    def room(self) -> int:
        """Training seeds that belong to one turn: as many as the task with most starts may have."""
        return math.ceil(MOST * self.starts)

    def check(self) -> None:
        """Raises ConfigError for what cannot be."""
        for name in ("turns", "patience", "starts", "attempts", "per_start", "validation", "ranks", "environments"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if not self.focus >= 0:
            raise ConfigError(f"focus is {self.focus}; it must be at least 0")
        try:
            validation_seeds(self.validation)
        except ValueError as error:
            raise ConfigError(f"validation: {error}") from error
        try:
            train_seeds(self.turns * self.room, self.first)
        except ValueError as error:
            raise ConfigError(f"first, with {self.turns} turns of {self.room} seeds each (starts * {MOST:g}): {error}") from error
        for name in ("checkpoint", "demonstrations"):
            if not getattr(self, name).is_dir():
                raise ConfigError(f"{name}: {getattr(self, name)} is no directory")
        if self.teacher is not None and not self.teacher.is_dir():
            raise ConfigError(f"teacher: {self.teacher} is no directory")
        check_judge(self.judge, self.judge_api)
        self.alarms.check()


def main(config: FlywheelConfig, show: bool = True) -> Path:
    """Turn until it no longer helps, and return the exported checkpoint directory. Raises ConfigError, TaskError."""
    config.check()
    tasks = load_tasks(config.tasks, split="train", judged=config.judged)
    for kind in dict.fromkeys(task.env for task in tasks):
        check_options(kind, config.options)
    console = Console(stderr=True, quiet=not show)
    described = {name: value for name, value in to_dict(config).items() if name not in ("judge", "judge_api")}
    described |= {**judge_settings(config.judge, config.judge_api), "task_set": task_set_hash(tasks)}
    best, best_success, stale = config.checkpoint, -1.0, 0
    seeds, defaults = {"flywheel": config.seed}, FlywheelConfig()
    with Run(config.output, described, seeds, may_change=MAY_CHANGE, trackers=config.track, defaults=defaults) as run:
        for turn in range(config.turns + 1):
            directory = config.output / f"turn-{turn}"
            checkpoint = config.checkpoint if turn == 0 else config.output / f"turn-{turn - 1}" / "sft" / "checkpoint"
            with run.phase(f"turn {turn}: validation") as phase:
                if not phase.done:
                    run_ranks(_validate, config.ranks, config, directory, checkpoint)
            rate = _measured(config, directory)
            success = rate.successes / rate.n
            console.print(f"  turn {turn}: {success:.3f} ({rate.low:.3f} to {rate.high:.3f}, n = {rate.n}) on validation seeds")
            run.log(turn, "flywheel", success=success, low=rate.low, high=rate.high, n=rate.n, seconds=run.seconds)
            clearly_better = rate.low > best_success
            if success > best_success:
                best, best_success = checkpoint, success
            stale = 0 if clearly_better else stale + 1
            if turn == config.turns or stale >= config.patience:
                break
            with run.phase(f"turn {turn}: play") as phase:
                if not phase.done:
                    player = config.teacher if turn == 0 and config.teacher is not None else checkpoint
                    run_ranks(_play, config.ranks, config, directory, player, turn)
                    for alarm in _watch(config, directory, turn, run):
                        console.print(f"  alarm in turn {turn}: {alarm.message}", markup=False)
            with run.phase(f"turn {turn}: train") as phase:
                if not phase.done:
                    phase.result |= _gather(config, directory, turn)
                    console.print(f"  turn {turn}: {phase.result['kept']} successes kept")
                    data, output = directory / "data", directory / "sft"
                    agent = AgentOptions.of_checkpoint(checkpoint)
                    settings = replace(config.train, demonstrations=data, output=output, checkpoint=checkpoint, agent=agent)
                    settings = replace(settings, weights=_weights(config, directory), track=config.track or config.train.track)
                    sft.main(replace(settings, seed=config.seed + turn, ranks=config.ranks), show)
    final, partial = config.output / "checkpoint", config.output / "checkpoint.partial"
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(best, partial)
    shutil.rmtree(final, ignore_errors=True)
    partial.replace(final)
    training_report.finish(config.output)
    return final


# --------------------------------------------------------------------------------------------------------------- playing


def _validate(rank: int, world: int, config: FlywheelConfig, directory: Path, checkpoint: Path) -> None:
    tasks = load_tasks(config.tasks, split="train", judged=config.judged)
    starts = [(task, seed) for task in tasks for seed in validation_seeds(config.validation)]
    sampling = Sampling(temperature=0.0, seed=0)
    _play_jobs(rank, config, directory / "validation", checkpoint, group_jobs(starts[rank::world], 1, "validation"), sampling)


def _play(rank: int, world: int, config: FlywheelConfig, directory: Path, checkpoint: Path, turn: int) -> None:
    seeds = train_seeds(config.room, config.first + turn * config.room)
    share = _focus(config, directory)
    tasks = load_tasks(config.tasks, split="train", judged=config.judged)
    starts = [(task, seed) for task in tasks for seed in seeds[: max(1, round(share.get(task.id, 1.0) * config.starts))]]
    jobs = group_jobs(starts[rank::world], config.attempts, f"turn-{turn}")
    _play_jobs(rank, config, directory / "rollouts", checkpoint, jobs, Sampling(config.temperature, seed=config.seed), regions=True)


def _play_jobs(
    rank: int,
    config: FlywheelConfig,
    path: Path,
    checkpoint: Path,
    jobs: Sequence[EpisodeJob],
    sampling: Sampling,
    regions: bool = False,
) -> None:
    """Play what the store `<path>-<rank>.jsonl` lacks."""
    images = ImageStore(path.parent / "images", cache=0)
    options = AgentOptions.of_checkpoint(checkpoint)
    model, renderer = load_policy(checkpoint, images)
    engine = Engine(model, renderer, **kept_prompts(config.environments))

    async def play(store: TrajectoryStore, judge: Judge | None) -> None:
        episodes = EpisodePlayer(
            LocalPolicy(engine, "student"),
            options.build(),
            images,
            Limits(),
            config.environments,
            config.options,
            config.pool,
            live=LiveScreens(path.parent, store.path.stem),
            regions=RegionStore(path.parent / f"regions-{rank}.jsonl") if regions else None,
            judge=judge,
        )
        player = Player(episodes, store, replace(sampling, max_tokens=config.max_tokens or options.reply_tokens))
        try:
            await player.groups(jobs, sampling.seed or 0)
        finally:
            await player.close()

    try:
        kept = TrajectoryStore(path.with_name(f"{path.name}-{rank}.jsonl"), "a")
        with kept as store, open_judge(config.judge, images, config.judge_api) as judge:
            asyncio.run(play(store, judge))
    finally:
        engine.close()


def _watch(config: FlywheelConfig, directory: Path, turn: int, run: Run) -> list[Alarm]:
    """Raise the alarms of what was played in this turn. What a teacher has played is no measure of the student."""
    if not config.alarms.window:
        return []
    groups: dict[str, list[Member]] = {}
    for rank in range(config.ranks):
        name = f"rollouts-{rank}"
        with TrajectoryStore(directory / f"{name}.jsonl") as store:
            for trajectory in store:
                groups.setdefault(trajectory.group, []).extend(observe([trajectory], f"{directory.name}/{name}"))
    played = list(groups.values())
    if turn > 0 or config.teacher is None:
        run.log(turn, "rollouts", **described(played))
    return AlarmLog(config.output, "flywheel", config.alarms).update(turn, run.metrics("rollouts"), played)


def _measured(config: FlywheelConfig, directory: Path) -> Rate:
    """Raises EnvironmentFailure when no episode has a grade."""
    graded = [success for results in outcomes(_stored(config, directory / "validation")).values() for success in results]
    if not graded:
        raise EnvironmentFailure(f"no validation episode in {directory} has a grade: the environment failed in all of them")
    return success_rate(sum(graded), len(graded))


def _focus(config: FlywheelConfig, directory: Path) -> dict[str, float]:
    """How much of this turn each task gets, as `rollout.focus` says: its validation tells."""
    return focus(outcomes(_stored(config, directory / "validation")), config.focus)


def _weights(config: FlywheelConfig, directory: Path) -> dict[str, float]:
    """How often each task is drawn in the training: its given weight times its share of the turn."""
    share, given = _focus(config, directory), config.train.weights
    return {task: given.get(task, 1.0) * share.get(task, 1.0) for task in {**given, **share}}


def _stored(config: FlywheelConfig, path: Path) -> Iterable[Trajectory]:
    for rank in range(config.ranks):
        with TrajectoryStore(path.with_name(f"{path.name}-{rank}.jsonl")) as store:
            yield from store


# ------------------------------------------------------------------------------------------------------------------ data


def _gather(config: FlywheelConfig, directory: Path, turn: int) -> dict[str, int]:
    """Write the turn's training data: what the turn before had, and what was kept of this one. Returns counts."""
    before = config.demonstrations if turn == 0 else config.output / f"turn-{turn - 1}" / "data"
    partial, data = directory / "data.partial", directory / "data"
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(before / "images", partial / "images", copy_function=_link)
    for name in ("regions.jsonl", VISITED_FILE):
        if (before / name).exists():
            shutil.copyfile(before / name, partial / name)
    with TrajectoryStore(before / "trajectories.jsonl") as old, TrajectoryStore(partial / "trajectories.jsonl", "a") as new:
        known = set()
        for trajectory in old:
            known.add(deeds(trajectory))
            new.append(trajectory)
        found = select(_stored(config, directory / "rollouts"), per_start=config.per_start, per_task=config.per_task, known=known)
        for trajectory in found.kept:
            new.append(_in_own_words(trajectory) if turn == 0 and config.teacher is not None else trajectory)
    _take_over(config, directory, partial)
    shutil.rmtree(data, ignore_errors=True)
    partial.replace(data)
    return {"kept": len(found.kept), **found.left_out}


def _link(source: str, target: str) -> None:
    """One file under two names, or on another file system a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _in_own_words(trajectory: Trajectory) -> Trajectory:
    """What was done, without the tokens in which a teacher said it."""
    return replace(trajectory, steps=tuple(replace(step, prompt=None, completion=None) for step in trajectory.steps))


def _take_over(config: FlywheelConfig, directory: Path, data: Path) -> None:
    """The pictures of everything that was seen in this turn, and what is where on them. Of failures that is known all the same:
    they join the visited pages."""
    regions, images = RegionStore(data / "regions.jsonl"), ImageStore(directory / "images", cache=0)
    target = ImageStore(data / "images", cache=0)
    for rank in range(config.ranks):
        source = RegionStore(directory / f"regions-{rank}.jsonl")
        for digest in source.digests():
            regions.append(digest, source.get(digest))

    def has_regions(step: Step) -> bool:
        screen = step.observation.screenshot
        return screen is not None and screen in regions and bool(regions.get(screen))

    with TrajectoryStore(data / VISITED_FILE, "a") as visited:
        for trajectory in _stored(config, directory / "rollouts"):
            if not trajectory.success and trajectory.id not in visited:
                visited.append(replace(trajectory, steps=tuple(filter(has_regions, trajectory.steps)), final=None))
            for step in trajectory.steps:
                screen = step.observation.screenshot
                if screen is not None and screen not in target:
                    target.put(images.get(screen))
                    regions.append(screen, ())
