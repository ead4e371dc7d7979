"""What a report is made of, and its JSON form."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stepladder.alarms import Alarm
from stepladder.codec import to_json
from stepladder.images import ImageStore
from stepladder.report.breakdown import DomainRow, domain_rows, feasible_rates, overall_row, repeats_of
from stepladder.report.table import Table
from stepladder.results import Result
from stepladder.stats import Rate, Repeats
from stepladder.types import Trajectory


@dataclass(frozen=True, slots=True)
class Rung:
    """One state of the model on the ladder ("untrained", "behaviour_cloning", ...), its result and the seconds it took to get
    there from the rung before."""

    name: str
    result: Result
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Curve:
    """A small chart: `series` maps a name to (x, y) points, axes are labelled with their units. `percent` shows y as 0..100 %."""

    title: str
    x_label: str
    series: Mapping[str, Sequence[tuple[float, float]]]
    percent: bool = False
    logarithmic: bool = False


@dataclass(frozen=True, slots=True)
class Measured:
    """A share of right outcomes in the course of a training: `name` of what, `at` which moment. `n`, `low` and `high` are None
    where nobody has written down of how many."""

    name: str
    at: str
    rate: float
    n: int | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Perceived:
    """How well questions of one `kind` about the screens of one `source` were answered: `value` (None for n = 0) of a `measure` in
    0..1, over `n` questions, between `low` and `high` at 95 %."""

    kind: str
    source: str
    measure: str
    n: int
    value: float | None
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Strip:
    """An episode as a row of screenshots; `note` is a sentence to go with it."""

    trajectory: Trajectory
    note: str = ""


@dataclass(frozen=True, slots=True)
class DomainTrained:
    """What the sampled episodes of one domain came to at the beginning of a training and at its end: means of task reward and of
    success over the updates `first` and `last`, which are named as (from, to); `episodes` were graded in all."""

    domain: str
    episodes: int
    first: tuple[int, int]
    last: tuple[int, int]
    first_reward: float
    last_reward: float
    first_success: float
    last_success: float


@dataclass(frozen=True, slots=True)
class Report:
    """`rungs` in the order of training; the last one is the headline. `baselines` by name ("random", "idle", "give_up", "oracle").

    `perception` is question kind -> condition ("known", "held-out words", ...) -> rate, `perceived` the same in rows, with more
    measures. `phases` are seconds by stage, in
    order. `about` is small print: name -> text (machine, versions, commit). Film strips need `images`.

    The report of a training has no rungs, and `validation`, `domains`, `alarms` and `settings`: name -> (value, default) of those
    that differ. `tables` stand behind the headline.
    """

    title: str
    summary: str
    rungs: tuple[Rung, ...]
    baselines: Mapping[str, Result]
    seconds: float
    curves: tuple[Curve, ...] = ()
    perception: Mapping[str, Mapping[str, Rate]] = field(default_factory=dict)
    phases: Mapping[str, float] = field(default_factory=dict)
    strips: tuple[Strip, ...] = ()
    about: Mapping[str, str] = field(default_factory=dict)
    images: ImageStore | None = None
    validation: tuple[Measured, ...] = ()
    domains: tuple[DomainTrained, ...] = ()
    alarms: tuple[Alarm, ...] = ()
    settings: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    perceived: tuple[Perceived, ...] = ()
    tables: tuple[Table, ...] = ()

    @property
    def tasks(self) -> tuple[str, ...]:
        """Every task of any result, in order of appearance."""
        results = [rung.result for rung in self.rungs] + list(self.baselines.values())
        return tuple(dict.fromkeys(part.task for result in results for part in result.tasks))


def report_json(data: Report) -> dict[str, Any]:
    """Rates lie in 0..1 and are null where nothing was graded; times are seconds."""
    return {
        "title": data.title,
        "summary": data.summary,
        "tasks": list(data.tasks),
        "rungs": [
            {
                "rung": rung.name,
                **_result_json(rung.result),
                **_against_json(rung.result, data.baselines),
                "seconds": rung.seconds,
            }
            for rung in data.rungs
        ],
        "baselines": {name: _result_json(result) for name, result in data.baselines.items()},
        "perception": {kind: {name: to_json(rate) for name, rate in row.items()} for kind, row in data.perception.items()},
        "perceived": [dataclasses.asdict(one) for one in data.perceived],
        "phases": dict(data.phases),
        "validation": [dataclasses.asdict(one) for one in data.validation],
        "domains": [dataclasses.asdict(one) for one in data.domains],
        "alarms": [alarm.to_json() for alarm in data.alarms],
        "settings": {name: {"value": value, "default": default} for name, (value, default) in data.settings.items()},
        "curves": [dataclasses.asdict(curve) for curve in data.curves],
        "about": dict(data.about),
        "seconds": data.seconds,
    }


def _result_json(result: Result) -> dict[str, Any]:
    rates = feasible_rates(result)
    repeats = repeats_of(result)
    return {
        "success": result.rate,
        "low": result.low,
        "high": result.high,
        "n": result.n,
        "confidence": result.confidence,
        "interval": "Wilson interval of the pooled rate",
        "trials": result.trials,
        "turns": result.turns,
        "actions": result.actions,
        "reward": result.reward,
        "feasible": None if rates is None else _rate_json(rates[0]),
        "infeasible": None if rates is None else _rate_json(rates[1]),
        "repeats": None if repeats is None else _repeats_json(repeats),
        "task_low": result.task_low,
        "task_high": result.task_high,
        "missing": dict(result.missing),
        "errors": dict(result.errors),
        "policy": result.policy,
        "task_set": result.task_set,
        "seeds": list(result.seeds),
        "evaluation_seconds": result.seconds,
        "per_task": {
            part.task: {
                "success": part.rate,
                "low": part.low,
                "high": part.high,
                "n": part.n,
                "missing": dict(part.missing),
                "errors": dict(part.errors),
                "statuses": dict(part.statuses),
                "steps": part.steps,
                "actions": part.actions,
                "reward": part.reward,
                "seconds": part.seconds,
                "domain": part.domain,
                "infeasible": part.infeasible,
            }
            for part in result.tasks
        },
    }


def _against_json(result: Result, baselines: Mapping[str, Result]) -> dict[str, Any]:
    return {
        "domains": {row.domain: _domain_json(row) for row in domain_rows(result, baselines)},
        "against_baseline": _domain_json(overall_row(result, baselines)),
    }


def _domain_json(row: DomainRow) -> dict[str, Any]:
    return {
        "tasks": row.tasks,
        **_rate_json(row.rate),
        "baseline": row.baseline,
        "baseline_success": row.baseline_rate,
        "compared": row.compared,
        "difference": row.difference,
        "p": row.p,
        "p_holm": row.adjusted,
    }


def _rate_json(rate: Rate) -> dict[str, Any]:
    return {"success": rate.rate, "low": rate.low, "high": rate.high, "n": rate.n, "successes": rate.successes}


def _repeats_json(repeats: Repeats) -> dict[str, Any]:
    """`n` of each is the number of starts."""
    tables = {"pass_at_k": repeats.pass_at, "pass_hat_k": repeats.pass_hat}
    return {
        **{name: {k: dataclasses.asdict(mean) for k, mean in table.items()} for name, table in tables.items()},
        "flip_rate": dataclasses.asdict(repeats.flips),
    }


def choose_strips(trajectories: Iterable[Trajectory], successes: int = 6, failures: int = 6) -> tuple[Strip, ...]:
    """Episodes worth looking at: successes then failures, one of each task at first, longer ones before shorter ones.

    Episodes in which the environment failed, or that show no screenshot, are left out. The choice depends on nothing else than
    the trajectories.
    """
    shown = [
        item
        for item in trajectories
        if item.reward is not None and item.steps and any(step.observation.screenshot for step in item.steps)
    ]
    shown.sort(key=lambda item: (-min(len(item.steps), 5), item.task.id, item.seed, item.id))
    picked: list[Strip] = []
    for wanted, count in ((True, successes), (False, failures)):
        candidates = [item for item in shown if item.success is wanted]
        rank: dict[str, int] = {}
        order: list[tuple[int, int]] = []
        for position, item in enumerate(candidates):
            order.append((rank.get(item.task.id, 0), position))
            rank[item.task.id] = rank.get(item.task.id, 0) + 1
        picked += [Strip(candidates[position]) for _, position in sorted(order)[:count]]
    return tuple(picked)
