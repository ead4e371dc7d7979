"""What stages that learn from a fixed list of examples have in common: the order of the examples, means over ranks, the loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, Protocol

from stepladder.progress import Progress
from stepladder.run import Run
from stepladder.train.parallel import gather
from stepladder.train.states import States
from stepladder.train.trainer import Trainer

#: The metrics that are shown while it trains.
SHOWN = ("loss", "accuracy", "margin")


class LearnsFromExamples(Protocol):
    """One of the processes that learn together. `trainer` takes `updates` steps."""

    trainer: Trainer
    updates: int

    def update(self, drawn: Sequence[int]) -> dict[str, float]:
        """One optimizer step from the training examples of these numbers, of which each rank takes its part; all get the same."""
        ...

    def score(self) -> dict[str, float]:
        """Metrics on the examples that are held back; empty where none is."""
        ...


def drawn_examples(name: str, seed: int, update: int, batch: int, count: int) -> list[int]:
    """Numbers of the training examples of an update, `batch` of `count`: one shuffled round after another, cut into batches."""
    start, drawn = update * batch, list[int]()
    while len(drawn) < batch:
        position = start + len(drawn)
        order = Random(f"{name} {seed} {position // count}").sample(range(count), count)
        drawn += order[position % count :][: batch - len(drawn)]
    return drawn


def mean_over_ranks(metrics: Mapping[str, Any], count: int) -> dict[str, float]:
    """Means over the examples of all ranks, of which this one has `count`. A rank that lacks a metric has no part in it."""
    found = gather(({name: float(value) for name, value in metrics.items()}, count))
    names = dict.fromkeys(name for each, _ in found for name in each)
    means = {}
    for name in names:
        parts = [(each[name], number) for each, number in found if name in each]
        means[name] = sum(value * number for value, number in parts) / sum(number for _, number in parts)
    return means


def learn_from_examples(
    learner: LearnsFromExamples,
    name: str,
    run: Run | None,
    state: Path,
    *,
    seed: int,
    batch: int,
    count: int,
    score_every: int,
    save_every: int,
    show: bool,
) -> None:
    """Go on from `state` (`train.states`) until every one of `count` examples came up often enough; rank 0 has the `run`."""
    trainer = learner.trainer
    states = States(trainer, state)
    states.read()
    with Progress(name, learner.updates, show=show and run is not None) as progress:
        if trainer.step_count == 0:
            _log(run, name, 0, learner.score())
        while trainer.step_count < learner.updates:
            figures = learner.update(drawn_examples(name, seed, trainer.step_count, batch, count))
            step = trainer.step_count
            if step % score_every == 0 or step == learner.updates:
                figures |= learner.score()
            _log(run, name, step, figures)
            if run is not None:
                progress.update(step, learner.updates, {name: figures[name] for name in SHOWN if name in figures})
            if step % save_every == 0:
                states.write({})
    states.finish()


def _log(run: Run | None, name: str, step: int, figures: dict[str, float]) -> None:
    if run is not None and figures:
        run.log(step, name, **figures)
