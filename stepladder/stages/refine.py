"""Refinement of a run of reinforcement learning whose entropy has collapsed, rung 12 (Entropulse: ComputerRL, arXiv 2508.14040).

    stepladder refine runs/rl --output runs/refine

The successes of all versions of the policy are pooled, some are drawn for every start, and the policy imitates them. Its entropy
comes back at about equal success, and reinforcement learning can go on from `checkpoint/`. Files of a run:

    before/, after/   the episodes by which both checkpoints are measured
    data/             the successes that were drawn, in the form that `stepladder collect` writes
    sft/              training on them
    checkpoint/       what came of it
    report.html, report.md, report.json

A run that was killed goes on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any, Literal

from rich.console import Console

from stepladder.config import ConfigError
from stepladder.images import ImageStore
from stepladder.report import Curve, Measured, Report, write_report
from stepladder.rollout.plateau import Plateau, PlateauSettings, as_points, find_plateau, played_updates
from stepladder.rollout.pool import PoolSettings
from stepladder.rollout.success_pool import draw_successes
from stepladder.run import Run, read_phases
from stepladder.seeds import train_seeds, validation_seeds
from stepladder.stages import sft
from stepladder.stages.imitation import imitate_chosen, training, write_chosen
from stepladder.stages.measure import Playing, Quality, measure
from stepladder.stats import Rate
from stepladder.store import TrajectoryStore
from stepladder.tasks import load_tasks
from stepladder.types import Task, Trajectory

MAY_CHANGE = ("output", "environments", "pool", "track", "train.track")
Origin = Literal["end", "beginning"]


@dataclass(frozen=True)
class RefineConfig:
    """`run` is the directory of `stepladder rl`. Training starts at its checkpoint ("end") or at the one that it started with
    ("beginning"), as `origin` says. A run that has not reached a plateau as in `plateau` is refused, unless `anyway`.

    Of every start `per_start` successes are drawn, in turns from `versions` equal stretches of the run. `train` are the
    settings of the training, whose data, checkpoint, output, seed and agent are the run's own.

    Both checkpoints are measured on `seeds` seeds of each task: those of the run's validation, or the first of its training seeds
    ("training"), with one greedy episode of each and `trials` sampled ones."""

    run: Path = Path("runs/rl")
    output: Path = Path("runs/refine")
    seed: int = 0
    origin: Origin = "end"
    anyway: bool = False
    plateau: PlateauSettings = field(default_factory=PlateauSettings)
    per_start: int = 4
    versions: int = 8
    measured_on: Literal["validation", "training"] = "validation"
    seeds: int = 10
    trials: int = 4
    ranks: int = 2
    environments: int = 6
    pool: PoolSettings = field(default_factory=PoolSettings)
    track: tuple[str, ...] = ()
    train: sft.SftConfig = field(default_factory=training)

    def check(self) -> None:
        """Raises ConfigError for what cannot be."""
        for name in ("per_start", "versions", "seeds", "trials", "ranks", "environments"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1")
        self.plateau.check()
        if not (self.run / "config.json").exists() or not any(self.run.glob("rollouts-*.jsonl")):
            raise ConfigError(f"run: {self.run} is no run of `stepladder rl`: it lacks config.json or rollouts-0.jsonl")


@dataclass(frozen=True)
class Refined:
    """What came of a refinement."""

    checkpoint: Path
    plateau: Plateau | None
    before: Quality
    after: Quality
    selection: dict[str, int]


@dataclass(frozen=True)
class _Source:
    """What the refined run was set to, as far as it matters here."""

    directory: Path
    settings: dict[str, Any]

    @property
    def tasks(self) -> list[Task]:
        return load_tasks(self.settings["tasks"], split="train")

    def checkpoint(self, origin: Origin) -> Path:
        path = self.directory / "checkpoint" if origin == "end" else Path(self.settings["checkpoint"])
        if not path.is_dir():
            hint = "the run is not over" if origin == "end" else "give origin=end"
            raise ConfigError(f"run: its checkpoint {path} is not there; {hint}")
        return path

    def starts(self, config: RefineConfig) -> list[tuple[Task, int]]:
        """Raises ConfigError for more seeds than there are."""
        if config.measured_on == "validation":
            try:
                seeds: Sequence[int] = validation_seeds(config.seeds)
            except ValueError as error:
                raise ConfigError(f"seeds: {error}") from error
        else:
            seeds = train_seeds(self.settings["seeds"], self.settings["first"])[: config.seeds]
        return [(task, seed) for task in self.tasks for seed in seeds]

    def trajectories(self) -> Iterator[Trajectory]:
        for path in self._stores():
            with TrajectoryStore(path) as store:
                yield from store

    def updates(self) -> list[Any]:
        with ExitStack() as opened:
            return played_updates([opened.enter_context(TrajectoryStore(path)) for path in self._stores()])

    def _stores(self) -> list[Path]:
        return sorted(self.directory.glob("rollouts-*.jsonl"))


def source_of(directory: Path) -> _Source:
    """Raises ConfigError for what is no run of `stepladder rl`."""
    try:
        settings = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"run: {directory / 'config.json'} cannot be read: {error}") from error
    lacking = [name for name in ("tasks", "checkpoint", "algorithm", "seeds", "first") if name not in settings]
    if lacking:
        raise ConfigError(f"run: {directory} is no run of `stepladder rl`: its settings lack {', '.join(lacking)}")
    return _Source(directory, settings)


def main(config: RefineConfig, show: bool = True) -> Refined:
    """Measure, imitate, measure again. Raises ConfigError, among others for a run that still learns, unless `anyway`."""
    config.check()
    console = Console(stderr=True, quiet=not show)
    source = source_of(config.run)
    updates = source.updates()
    plateau = find_plateau(updates, config.plateau)
    sentence = f"{len(updates)} updates were played, fewer than two windows of {config.plateau.window}."
    sentence = sentence if plateau is None else plateau.sentence
    console.print(f"  {config.run}: {sentence}", markup=False, highlight=False)
    if not config.anyway and (plateau is None or not plateau.reached):
        raise ConfigError(f"run: {config.run} has not reached a plateau. {sentence} Let it go on, or set anyway=true")
    start, starts, playing = source.checkpoint(config.origin), source.starts(config), _playing(config, source)
    with Run(
        config.output,
        config,
        {"refine": config.seed},
        may_change=MAY_CHANGE,
        trackers=config.track,
        defaults=RefineConfig(),
    ) as run:
        with run.phase("measure before"):
            before = measure(config.output / "before", start, starts, playing)
        with run.phase("draw") as phase:
            if not phase.done:
                phase.result |= _draw(config, source)
        console.print(f"  {phase.result['kept']} successes drawn", markup=False, highlight=False)
        with run.phase("train") as phase:
            if not phase.done:
                _train(config, start, show)
        with run.phase("measure after"):
            after = measure(config.output / "after", config.output / "checkpoint", starts, playing)
        for step, quality in enumerate((before, after)):
            run.log(step, "refine", **_figures(quality))
        selection = dict(read_phases(config.output)["draw"]["result"])
    for name, quality in (("before", before), ("after", after)):
        console.print(f"  {name}: {in_words(quality)}", markup=False, highlight=False)
    refined = Refined(config.output / "checkpoint", plateau, before, after, selection)
    _report(config, source, updates, sentence, refined)
    return refined


def in_words(quality: Quality) -> str:
    """Success rates and entropy in one line."""
    greedy, sampled = _rate_words(quality.greedy), _rate_words(quality.sampled)
    return f"greedy {greedy}, sampled {sampled}, entropy {quality.entropy:.4f} nats a token"


def _rate_words(rate: Rate) -> str:
    return f"{rate.successes / rate.n:.3f} ({rate.low:.3f} to {rate.high:.3f}, n = {rate.n})"


def _playing(config: RefineConfig, source: _Source) -> Playing:
    """As the run has played."""
    kept = {name: source.settings[name] for name in ("temperature", "max_tokens", "max_steps", "options")}
    return Playing(
        trials=config.trials,
        seed=config.seed,
        ranks=config.ranks,
        environments=config.environments,
        pool=config.pool,
        **kept,
    )


def _figures(quality: Quality) -> dict[str, float]:
    rates = {f"{name}_{part}": getattr(rate, part) for name, rate in _rates(quality) for part in ("low", "high", "n")}
    return {**{name: rate.successes / rate.n for name, rate in _rates(quality)}, **rates, "entropy": quality.entropy}


def _rates(quality: Quality) -> tuple[tuple[str, Rate], ...]:
    return ("greedy", quality.greedy), ("sampled", quality.sampled)


# ------------------------------------------------------------------------------------------------------------------ training


def _draw(config: RefineConfig, source: _Source) -> dict[str, int]:
    """Write the training data. Returns counts. Raises ConfigError where nothing ever succeeded."""
    found = draw_successes(source.trajectories(), config.per_start, Random(f"refine {config.seed}"), config.versions)
    if not found.kept:
        raise ConfigError(f"run: no episode in {source.directory} succeeded, so that there is nothing to imitate")
    write_chosen(found.kept, ImageStore(source.directory / "images", cache=0), config.output / "data")
    return {"kept": len(found.kept), **found.left_out}


def _train(config: RefineConfig, start: Path, show: bool) -> None:
    settings = replace(config.train, seed=config.seed, ranks=config.ranks, track=config.track or config.train.track)
    imitate_chosen(settings, start, config.output, show)


# -------------------------------------------------------------------------------------------------------------------- report


def _report(config: RefineConfig, source: _Source, updates: Sequence[Any], sentence: str, refined: Refined) -> None:
    points, last = as_points(updates), float(updates[-1].update + 1) if updates else 0.0
    before, after = refined.before, refined.after
    measured = [
        Measured(f"{config.measured_on} seeds, {name}", moment, rate.successes / rate.n, rate.n, rate.low, rate.high)
        for name in ("greedy", "sampled")
        for moment, quality in (("before", before), ("after", after))
        for rate in (getattr(quality, name),)
    ]
    curves = (
        Curve(
            "Success of sampled episodes",
            "update",
            {"run": points["success"], "measured before and after": _both(last, before.sampled, after.sampled)},
            percent=True,
        ),
        Curve(
            "Entropy of a token, nats",
            "update",
            {"run": points["entropy"], "measured before and after": [(last, before.entropy), (last, after.entropy)]},
        ),
    )
    phases = {name: float(state["seconds"]) for name, state in read_phases(config.output).items()}
    drawn = ", ".join(f"{reason} {count}" for reason, count in refined.selection.items())
    write_report(
        config.output,
        Report(
            title=f"Refinement of {source.settings['algorithm']} on {source.settings['tasks']}",
            summary=f"{sentence} Before: {in_words(before)}. After: {in_words(after)}. Successes: {drawn}.",
            rungs=(),
            baselines={},
            seconds=sum(phases.values()),
            curves=curves,
            phases=phases,
            validation=tuple(measured),
        ),
    )


def _both(at: float, before: Rate, after: Rate) -> list[tuple[float, float]]:
    return [(at, before.successes / before.n), (at, after.successes / after.n)]
