"""Learning curves of a training, from its metrics.jsonl: what is drawn together, and against what."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stepladder.report import Curve
from stepladder.report.words import readable
from stepladder.run import read_metrics
from stepladder.stages.training_domains import measured

Record = Mapping[str, Any]
Points = list[tuple[float, float]]

#: Terms of the loss in supervised training, and in reinforcement learning, by how a reader knows them.
LOSSES = {
    "ce": "cross-entropy of replies",
    "pointing": "pointing",
    "word": "words",
    "letters": "letters",
    "centre": "centres",
    "pg": "policy gradient",
    "value": "values",
}
#: What a measurement of supervised training has beside losses and scores.
OTHERS = {"step", "phase", "time", "seconds", "grad_norm", "rate", "loss"}
#: Charts of reinforcement learning over its updates: title, measurements by how a reader knows them, whether they are shares.
RL_CHARTS: tuple[tuple[str, dict[str, str], bool], ...] = (
    ("Success", {"reward": "task reward of sampled episodes", "validation": "validation seeds, greedy"}, True),
    ("Losses", LOSSES, False),
    ("Entropy of a token, nats", {"entropy": "entropy"}, False),
    ("KL divergence from the reference", {"kl": "kl"}, False),
    ("Gradient norm", {"grad_norm": "norm"}, False),
    ("Groups of an update", {"kept": "with a signal", "flat": "without", "equal": "all earned the same"}, False),
    ("Episodes of an update", {"episodes": "played", "failed": "environment failed"}, False),
    ("Steps of an episode", {"steps": "steps"}, False),
    ("Tokens of a reply", {"reply_tokens": "tokens"}, False),
    ("Seconds of an update", {"play_seconds": "play", "learn_seconds": "learn", "validate_seconds": "validate"}, False),
)


def curves_of(directory: Path, kind: str, records: Sequence[Record], phases: Mapping[str, Mapping[str, Any]]) -> tuple[Curve, ...]:
    """The charts of a run of `kind` "sft", "rl" or "flywheel"; those without a measurement are left out."""
    if kind == "rl":
        found = _rl(records)
    elif kind == "flywheel":
        found = _flywheel(directory, records, phases)
    else:
        found = _supervised(_by_phase(records))
    return tuple(curve for curve in found if curve.series)


def held_out_scores(record: Record) -> dict[str, float]:
    """The shares of right answers in one measurement of supervised training."""
    return {
        name: float(value)
        for name, value in record.items()
        if name not in OTHERS and name not in LOSSES and isinstance(value, (int, float)) and 0 <= value <= 1
    }


def turns_of(directory: Path) -> list[Path]:
    """The directories of a flywheel's turns in order."""
    found = [path for path in directory.glob("turn-*") if path.name.removeprefix("turn-").isdecimal()]
    return sorted(found, key=_number)


def _number(turn: Path) -> int:
    return int(turn.name.removeprefix("turn-"))


def _rl(records: Sequence[Record]) -> list[Curve]:
    updates = [record for record in records if record["phase"] == "rl"]
    terms = dict.fromkeys(name for record in updates for name in record if name.startswith("term/"))
    domains = [
        (title, {name: domain for record in updates for domain, name in measured(record, figure).items()}, True)
        for title, figure in (("Task reward by domain", "reward"), ("Success by domain", "success"))
    ]
    of_terms = ("Terms of the reward", {name: name.removeprefix("term/") for name in terms}, False)
    charts = [*RL_CHARTS[:1], *domains, of_terms, *RL_CHARTS[1:]]
    return [_curve(title, "update", updates, names, shares) for title, names, shares in charts]


def _curve(title: str, x_label: str, records: Sequence[Record], names: Mapping[str, str], shares: bool = False) -> Curve:
    """Shares are drawn from 0 to 100 % where all of them are. One line alone has no legend: the title says what it is."""
    series = {label: points for name, label in names.items() if (points := _points(records, name))}
    if len(series) == 1 and (label := next(iter(series))) not in title.lower():
        title = f"{title}: {label}"
    return _drawn(title, x_label, series, shares)


def _drawn(title: str, x_label: str, series: Mapping[str, Points], shares: bool = False) -> Curve:
    percent = shares and all(0 <= y <= 1 for points in series.values() for _, y in points)
    return Curve(title, x_label, series, percent=percent)


def _points(records: Sequence[Record], name: str) -> Points:
    """What was measured and is a number; what is not finite cannot be drawn."""
    values = [(record["step"], record.get(name)) for record in records]
    return [(float(step), float(value)) for step, value in values if isinstance(value, (int, float)) and math.isfinite(value)]


def _by_phase(records: Sequence[Record]) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(str(record["phase"]), []).append(record)
    return found


def _supervised(by_phase: Mapping[str, Sequence[Record]]) -> list[Curve]:
    """Losses and held-out scores of every phase over its updates, then what all phases have."""
    curves = []
    for phase, records in by_phase.items():
        title = readable(phase).capitalize()
        scores = {name: readable(name) for record in records for name in held_out_scores(record)}
        curves.append(_curve(f"{title}: held-out scores", "update of the phase", records, scores, shares=True))
        curves.append(_curve(f"{title}: losses", "update of the phase", records, LOSSES))
    norms = {readable(phase): points for phase, records in by_phase.items() if (points := _points(records, "grad_norm"))}
    seconds = {readable(phase): points for phase, records in by_phase.items() if (points := _pace(records))}
    return [
        *curves,
        Curve("Gradient norm", "update of the phase", norms),
        Curve("Seconds of an update", "update of the phase", seconds),
    ]


def _pace(records: Sequence[Record]) -> Points:
    """Seconds of an update between one measurement and the next."""
    points, before, elapsed = [], 0.0, 0.0
    for step, seconds in _points(records, "seconds"):
        if step > before and seconds >= elapsed:
            points.append((step, (seconds - elapsed) / (step - before)))
        before, elapsed = step, seconds
    return points


def _flywheel(directory: Path, records: Sequence[Record], phases: Mapping[str, Mapping[str, Any]]) -> list[Curve]:
    by_phase = _by_phase(records)
    measured, played = by_phase.get("flywheel", []), by_phase.get("rollouts", [])
    bounds = {"success": "validation seeds, greedy", "low": "95 %, low", "high": "95 %, high"}
    curves = [
        _curve("Success", "turn", measured, bounds, shares=True),
        _curve("Task reward of sampled episodes", "turn", played, {"reward": "reward"}, shares=True),
        _drawn("Successes kept", "turn", _kept(phases)),
        _curve("Entropy of a token, nats", "turn", played, {"entropy": "entropy"}),
        _curve("Steps of an episode", "turn", played, {"steps": "steps"}),
        _curve("Tokens of a reply", "turn", played, {"reply_tokens": "tokens"}),
    ]
    trained = {f"turn {_number(turn)}": read_metrics(turn / "sft", "cloning") for turn in turns_of(directory)}
    names = dict.fromkeys(name for its in trained.values() for one in its for name in held_out_scores(one))
    charts = [(f"{readable(name)}, held-out demonstrations", name, True) for name in names]
    for title, name, shares in (*charts, ("cross-entropy of replies", "ce", False), ("gradient norm", "grad_norm", False)):
        series = {turn: points for turn, its in trained.items() if (points := _points(its, name))}
        curves.append(_drawn(f"Training: {title}", "update of the training", series, shares))
    pace = {turn: points for turn, its in trained.items() if (points := _pace(its))}
    return [*curves, Curve("Training: seconds of an update", "update of the training", pace)]


def _kept(phases: Mapping[str, Mapping[str, Any]]) -> dict[str, Points]:
    kept: Points = []
    for name, state in phases.items():
        words = name.split()
        if len(words) == 3 and words[0] == "turn" and words[2] == "train" and "kept" in state["result"]:
            kept.append((float(words[1].removesuffix(":")), float(state["result"]["kept"])))
    return {"kept": kept} if kept else {}
