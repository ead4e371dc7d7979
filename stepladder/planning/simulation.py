"""Run a pipeline in simulated time, and say what came of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from scipy.special import stdtrit

from stepladder.config import ConfigError
from stepladder.planning.bounds import Bounds, bounds_of
from stepladder.planning.episodes import Group
from stepladder.planning.events import Events
from stepladder.planning.loops import Asynchronous, Loop, Synchronous
from stepladder.planning.settings import Pipeline

#: A resource of which less than this share is used is not what holds the pipeline up.
HELD_UP = 0.85


@dataclass(frozen=True)
class Outcome:
    """What a pipeline does in the long run; `seconds` of simulated time and `updates` were measured.

    `updates_per_hour`, `episodes_per_second` and `steps_per_second` count what the trainer learned from,
    `played_steps_per_second` what was played. `environment_use` is the share of environments' time with an episode in them,
    `acting` the share in which they compute, `replaced` the share in which they are being replaced. `engine_use` is the share of
    engines' time in which they compute, `engine_load` what they did beside the most that they could have done, `trainer_use` the
    share in which the trainer learns. `learn_seconds` is the mean of the time in which an update's trainer learns, `play_seconds`
    the rest of an update, `reply_seconds` the mean time from asking an engine to its reply. `staleness` is the number of updates
    between the weights that wrote a reply and those that learned from it: the mean over turns, then the median, the 95th
    percentile and the highest of the oldest turn of each group. `queue` is the mean number of groups that wait to be learned from.
    `repeated` are attempts that broke and `given_up` episodes that did in every attempt, as shares of episodes played; `flat` and
    `dropped` are shares of groups begun. `bottleneck` names what holds the pipeline up: a resource that does nearly all it can
    (`Bounds`), or what keeps all of them from it: the end of a round ("waiting for one another"), engines too slow for environments
    that are all taken, or the limit of staleness."""

    seconds: float
    updates: float
    updates_per_hour: float
    episodes_per_second: float
    steps_per_second: float
    played_steps_per_second: float
    environment_use: float
    acting: float
    replaced: float
    engine_use: float
    engine_load: float
    trainer_use: float
    play_seconds: float
    learn_seconds: float
    reply_seconds: float
    staleness: float
    staleness_median: float
    staleness_95: float
    staleness_most: float
    queue: float
    repeated: float
    given_up: float
    flat: float
    dropped: float
    bottleneck: str


@dataclass(frozen=True)
class Prediction:
    """`figures` of `Outcome` as (mean over seeds, low, high) of a 95 % interval of the mean, and the bottleneck that most seeds
    had."""

    figures: Mapping[str, tuple[float, float, float]]
    bottleneck: str
    seeds: int

    def __getitem__(self, name: str) -> float:
        return self.figures[name][0]

    def to_json(self) -> dict[str, Any]:
        """Fit for JSON."""
        return {**{name: list(values) for name, values in self.figures.items()}, "bottleneck": self.bottleneck, "seeds": self.seeds}


class _Record:
    """Running totals at the end of every update."""

    def __init__(self) -> None:
        self.loop: Loop | None = None
        self.totals: list[dict[str, float]] = []
        self.learned: list[Sequence[Group]] = []

    def __call__(self, groups: Sequence[Group]) -> None:
        self.learned.append(groups)
        self.totals.append(self.now())

    def now(self) -> dict[str, float]:
        assert self.loop is not None
        loop, environments = self.loop, self.loop.environments
        return {
            "time": loop.events.now,
            "occupied": environments.occupied.integral,
            "acting": environments.acting.integral,
            "replaced": environments.replaced.integral,
            "engines": sum(replica.busy.integral for replica in loop.replicas),
            "prompt_tokens": sum(replica.prompt_tokens for replica in loop.replicas),
            "written": sum(replica.written for replica in loop.replicas),
            "trainer": loop.busy.integral,
            "queue": loop.depth.integral,
            "steps": environments.steps,
            "reply_seconds": environments.reply_seconds,
            **{f"groups {name}": loop.counts[name] for name in ("begun", "flat", "dropped")},
            **{f"attempts {name}": environments.counts[name] for name in ("begun", "broken", "finished", "given_up")},
        }


def run(pipeline: Pipeline, updates: int, seed: int, on_update: Callable[[Sequence[Group]], None]) -> Loop:
    """Simulate so many updates and return the loop as it stands then. Raises UserError where the pipeline stands still."""
    kinds: Mapping[str, type[Loop]] = {"synchronous": Synchronous, "asynchronous": Asynchronous}
    events, done = Events(), 0

    def count(groups: Sequence[Group]) -> None:
        nonlocal done
        done += 1
        on_update(groups)

    loop = kinds[pipeline.loop.mode](pipeline, events, seed, count)
    if isinstance(on_update, _Record):
        on_update.loop = loop
    loop.start()
    events.run(lambda: done >= updates)
    return loop


def simulate(pipeline: Pipeline, updates: int = 30, warm_up: int = 10, seed: int = 0) -> Outcome:
    """What comes of `updates` updates after the first `warm_up`, which are not measured. Equal seeds give equal outcomes, and an
    episode of one seed takes the same steps and tokens in every pipeline with this workload.

    Raises UserError where the pipeline stands still, ConfigError for less than one update."""
    if updates < 1 or warm_up < 0:
        raise ConfigError(f"updates is {updates} and warm_up {warm_up}; there must be at least 1 update and 0 before it")
    record = _Record()
    run(pipeline, warm_up + updates, seed, record)
    start = record.totals[warm_up - 1] if warm_up else dict.fromkeys(record.totals[0], 0.0)
    end = record.totals[-1]
    past = {name: end[name] - start[name] for name in end}
    return _outcome(pipeline, past, updates, record.learned[warm_up:])


def _outcome(pipeline: Pipeline, past: Mapping[str, float], updates: int, learned: Sequence[Sequence[Group]]) -> Outcome:
    seconds, loop, engine = past["time"], pipeline.loop, pipeline.engine
    groups = [group for of_update in learned for group in of_update]
    environment_time = seconds * loop.environments
    ages = np.array([group.learned_at - group.oldest for group in groups] or [0])
    turns = [(group.learned_at - version, count) for group in groups for version, count in group.versions.items()]
    replies = sum(count for _, count in turns)
    begun, attempts = max(1.0, past["groups begun"]), max(1.0, past["attempts finished"] + past["attempts given_up"])
    rate = updates / seconds if seconds else math.inf
    per_token = engine.reply_token_seconds + engine.token_seconds / engine.max_batch
    worked = past["prompt_tokens"] * engine.prompt_token_seconds + past["written"] * per_token
    return Outcome(
        seconds=seconds,
        updates=float(updates),
        updates_per_hour=3600 * rate,
        episodes_per_second=sum(group.episodes for group in groups) / seconds,
        steps_per_second=sum(group.steps for group in groups) / seconds,
        played_steps_per_second=past["steps"] / seconds,
        environment_use=past["occupied"] / environment_time,
        acting=past["acting"] / environment_time,
        replaced=past["replaced"] / environment_time,
        engine_use=past["engines"] / (seconds * engine.replicas),
        engine_load=worked / (seconds * engine.replicas),
        trainer_use=past["trainer"] / seconds,
        play_seconds=(seconds - past["trainer"]) / updates,
        learn_seconds=past["trainer"] / updates,
        reply_seconds=past["reply_seconds"] / max(1.0, past["steps"]),
        staleness=sum(age * count for age, count in turns) / max(1, replies),
        staleness_median=float(np.median(ages)),
        staleness_95=float(np.percentile(ages, 95)),
        staleness_most=float(ages.max()),
        queue=past["queue"] / seconds,
        repeated=past["attempts broken"] / attempts,
        given_up=past["attempts given_up"] / attempts,
        flat=past["groups flat"] / begun,
        dropped=past["groups dropped"] / begun,
        bottleneck=_bottleneck(pipeline, bounds_of(pipeline), rate, (past["occupied"] + past["replaced"]) / environment_time),
    )


def _bottleneck(pipeline: Pipeline, bounds: Bounds, rate: float, occupied: float) -> str:
    """The resource that does nearly all it can, or what keeps all of them from it. `occupied` is the share of environments' time
    that is taken."""
    name, bound = bounds.lowest
    if rate >= HELD_UP * bound:
        return name
    if pipeline.loop.mode == "synchronous":
        return "waiting for one another"
    return "environments that wait for replies" if occupied >= HELD_UP else "staleness limit"


def predict(pipeline: Pipeline, updates: int = 30, warm_up: int = 10, seeds: int = 3) -> Prediction:
    """`simulate` with `seeds` seeds, at least 2; the intervals are Student's. Raises what `simulate` raises."""
    if seeds < 2:
        raise ConfigError(f"seeds is {seeds}; an interval takes at least 2")
    outcomes = [simulate(pipeline, updates, warm_up, seed) for seed in range(seeds)]
    figures = {}
    for spec in fields(Outcome):
        if spec.name != "bottleneck":
            values = np.array([getattr(outcome, spec.name) for outcome in outcomes])
            mean = float(values.mean())
            half = float(stdtrit(seeds - 1, 0.975) * values.std(ddof=1) / math.sqrt(seeds))
            figures[spec.name] = (mean, mean - half, mean + half)
    found = [outcome.bottleneck for outcome in outcomes]
    return Prediction(figures, max(found, key=found.count), seeds)
