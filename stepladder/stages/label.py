"""Actions for recordings that have none, by inverse dynamics (VPT, arXiv 2206.11795).

    stepladder label recordings/ --demonstrations runs/collect --output runs/label
    stepladder sft --set demonstrations=runs/label/data --output runs/sft

A model learns from a few demonstrations to say what was done between two screens, which is easier than to know what to do next.
It then says so of every recording, whose screens with these labels are demonstrations like others. Files of a run:

    state.pt             weights and optimizer of the inverse model every `save_every` updates
    checkpoint/          the inverse model, which also labels further recordings
    labelled.jsonl       the recordings with their labels, each written when it is done
    data/                demonstrations and labelled recordings together, in the form that `stepladder collect` writes
    report.json          how many of held-back labels are right, and what became of the recordings

A run that was killed goes on where it was.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from stepladder.codec import to_json
from stepladder.config import ConfigError
from stepladder.models.small import SmallModel
from stepladder.run import Run, write_json
from stepladder.stages.agent_options import AgentOptions
from stepladder.stages.inverse_model import InverseModel
from stepladder.stages.labelling import Labelled, label_recordings
from stepladder.stages.preference_pairs import stores_of
from stepladder.store import TrajectoryStore
from stepladder.train.optimizer import OptimizerConfig
from stepladder.train.parallel import run_ranks
from stepladder.train.precision import bfloat16_is_fast
from stepladder.types import Trajectory

LABELLED, DATA = "labelled.jsonl", "data"
MAY_CHANGE = ("output", "save_every", "parallel", "track")


@dataclass(frozen=True)
class LabelConfig:
    """`recordings` are directories with stores of trajectories, or stores (.jsonl) beside `images/`; actions that stand in them
    are not used, and where there are some it is measured how many labels are right. `demonstrations` is a directory that
    `stepladder collect` wrote; of its trajectories a share `held_out`, drawn by their ids, measures the labels.

    The inverse model starts at `checkpoint` (None: a small model from random weights). It is asked through `agent`, which must
    show two screenshots. It learns in at most `steps` updates of `batch` transitions over all `ranks`, in `accumulate` pieces
    each; when a share `goal` of held-back labels is right, measured every `score_every` updates, the learning rate decays and
    training ends. Parameters whose names begin with one of `train` learn.

    A label is imitated where its mean log-probability is at least `confidence`, and right where no place is further away than
    `tolerance` pixels."""

    recordings: tuple[Path, ...] = ()
    demonstrations: Path = Path("runs/collect")
    checkpoint: Path | None = None
    output: Path = Path("runs/label")
    seed: int = 0
    held_out: float = 0.1
    agent: AgentOptions = field(default_factory=lambda: AgentOptions(screenshots=2))
    model: SmallModel = field(default_factory=SmallModel)
    ranks: int = 2
    bf16: bool = field(default_factory=bfloat16_is_fast)
    steps: int = 600
    batch: int = 32
    accumulate: int = 1
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(lr=2e-3))
    train: tuple[str, ...] = ("model",)
    warmup: int = 20
    decay: float = 0.4
    goal: float = 0.98
    score_every: int = 50
    save_every: int = 100
    confidence: float = -0.1
    tolerance: float = 8.0
    parallel: int = 64
    track: tuple[str, ...] = ()

    def check(self) -> None:
        """Raises ConfigError for what cannot be."""
        for name in ("ranks", "steps", "batch", "accumulate", "score_every", "save_every", "parallel"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.batch < self.accumulate * self.ranks:
            raise ConfigError(f"batch is {self.batch}; {self.ranks} ranks with accumulate={self.accumulate} pieces need more")
        if not 0 < self.held_out < 1:
            raise ConfigError(f"held_out is {self.held_out}; it is a share above 0 and below 1")
        if not self.confidence <= 0:
            raise ConfigError(f"confidence is {self.confidence}; it is a log-probability, at most 0")
        if not self.tolerance >= 0:
            raise ConfigError(f"tolerance is {self.tolerance}; it must be at least 0 pixels")
        if self.agent.screenshots < 2:
            raise ConfigError(f"agent.screenshots is {self.agent.screenshots}; the inverse model must be shown 2")
        if not stores_of(self.demonstrations):
            raise ConfigError(f"demonstrations: {self.demonstrations} holds none; make it with `stepladder collect`")
        if not self.recordings:
            raise ConfigError("recordings: none is given; name directories or stores (.jsonl) of trajectories")
        for path in self.recordings:
            if not stores_of(path):
                raise ConfigError(f"recordings: {path} holds no trajectories; give a directory or a store (.jsonl)")
        if self.checkpoint is not None and not self.checkpoint.is_dir():
            raise ConfigError(f"checkpoint: {self.checkpoint} is no directory")


def main(config: LabelConfig, show: bool = True) -> Labelled:
    """Train the inverse model, label the recordings, and write demonstrations and recordings into `data/`. Raises ConfigError."""
    config.check()
    with _open_run(config) as run:
        with run.phase("gather") as phase:
            if not phase.done:
                _gather(config)
        done = run.phase("train").done
    if not done:
        run_ranks(_train, config.ranks, config, show)
    with _open_run(config) as run, run.phase("label") as phase:
        found = label_recordings(
            config.output / "checkpoint",
            config.output / DATA / "images",
            _stored(config.demonstrations),
            _all(config.recordings),
            config.output / LABELLED,
            held_out=config.held_out,
            confidence=config.confidence,
            tolerance=config.tolerance,
            parallel=config.parallel,
            show=show,
        )
        if not phase.done:
            _compose(config)
        write_json(config.output / "report.json", to_json(found))
        run.log(0, "label", recordings=found.recordings, kept=found.kept, doubtful=found.doubtful, **found.rates())
    return found


def _open_run(config: LabelConfig) -> Run:
    return Run(
        config.output,
        config,
        seeds={"label": config.seed},
        may_change=MAY_CHANGE,
        trackers=config.track,
        defaults=LabelConfig(),
    )


def _train(rank: int, world: int, config: LabelConfig, show: bool) -> None:
    run = _open_run(config) if rank == 0 else None
    try:
        with run.phase("train") if run is not None else nullcontext():
            inverse = InverseModel.build(config, list(_stored(config.demonstrations)), rank, world)
            inverse.train(run, show)
            if run is not None:
                inverse.export(config.output / "checkpoint")
    finally:
        if run is not None:
            run.close()


# ---------------------------------------------------------------------------------------------------------------------- data


def _stored(path: Path) -> Iterator[Trajectory]:
    for store in stores_of(path):
        with TrajectoryStore(store) as opened:
            yield from opened


def _all(paths: Iterable[Path]) -> Iterator[Trajectory]:
    for path in paths:
        yield from _stored(path)


def _folder(path: Path) -> Path:
    return path if path.is_dir() else path.parent


def _gather(config: LabelConfig) -> None:
    """The pictures of demonstrations and recordings in one place, and what is known to be where on them."""
    data = config.output / DATA
    for folder in dict.fromkeys(map(_folder, (config.demonstrations, *config.recordings))):
        if not (folder / "images").is_dir():
            raise ConfigError(f"recordings: {folder} has no images/ beside its trajectories")
        shutil.copytree(folder / "images", data / "images", copy_function=_link, dirs_exist_ok=True)
    for name in ("regions.jsonl", "visited.jsonl"):
        source = _folder(config.demonstrations) / name
        if source.exists():
            shutil.copyfile(source, data / name)


def _link(source: str, target: str) -> None:
    """One file under two names, or on another file system a copy; what is there already is the same picture."""
    if os.path.exists(target):
        return
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _compose(config: LabelConfig) -> None:
    """Demonstrations and labelled recordings in one store, whole or not at all."""
    final = config.output / DATA / "trajectories.jsonl"
    partial = final.with_name("partial.jsonl")
    for path in (partial, partial.with_name(f"{partial.name}.index")):
        path.unlink(missing_ok=True)
    with TrajectoryStore(partial, "a") as store:
        for one in _stored(config.demonstrations):
            store.append(one)
        with TrajectoryStore(config.output / LABELLED) as labelled:
            for one in labelled:
                if any(step.imitated == "reply" for step in one.steps):
                    store.append(one)
    partial.replace(final)
    for suffix in ("index", "lock"):
        partial.with_name(f"{partial.name}.{suffix}").unlink(missing_ok=True)
