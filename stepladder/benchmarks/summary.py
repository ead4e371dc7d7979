"""What replies to an offline benchmark amount to: means and rates with their intervals and their n."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from stepladder.benchmarks.agentnet import AgentNetStep, predicted
from stepladder.benchmarks.agentnet_score import StepScore, score_step
from stepladder.benchmarks.screenspot import Target, is_inside
from stepladder.interfaces import ParseError
from stepladder.stats import mean_interval, success_rate
from stepladder.types import Action

#: The actions of each question that was answered, or why its reply could not be read.
Read = Mapping[str, tuple[Action, ...] | ParseError]


def agentnet_result(steps: Sequence[AgentNetStep], read: Read, compat: bool) -> dict[str, Any]:
    """`average_score`: the mean over all answered steps, unreadable replies as 0, with an interval from resampling trajectories.
    `action_type_scores` are means over the steps in which the type is recorded."""
    scores: dict[str, list[float]] = {}
    types: dict[str, list[float]] = {}
    alternatives = errors = 0
    details = []
    for step in steps:
        if step.id not in read:
            continue
        found = read[step.id]
        unreadable = isinstance(found, ParseError)
        score = StepScore(0.0) if isinstance(found, ParseError) else _score(step, found, compat)
        scores.setdefault(step.task.id, []).append(score.total)
        recorded = dict.fromkeys(str(action["type"]).lower() for action in step.recorded)
        for kind in score.types or recorded:
            types.setdefault(kind, []).append(score.types.get(kind, 0.0))
        alternatives += score.alternative
        errors += unreadable
        details.append({"id": step.id, "total": score.total, "alternative_matched": score.alternative, "parse_error": unreadable})
    everything = [score for of_task in scores.values() for score in of_task]
    low, high = mean_interval(scores)
    return {
        "total_trajectories": len(scores),
        "total_steps": len(everything),
        "missing": len(steps) - len(everything),
        "average_score": _mean(everything),
        "low": low,
        "high": high,
        "parse_errors": errors,
        "alternative_matches": alternatives,
        "action_type_scores": {kind: {"score": _mean(values), "n": len(values)} for kind, values in sorted(types.items())},
        "details": details,
    }


def _score(step: AgentNetStep, actions: Sequence[Action], compat: bool) -> StepScore:
    assert step.observation.screenshot is not None
    return score_step(predicted(actions, step.observation.screenshot), step.recorded, step.alternatives, compat)


def screenspot_result(targets: Sequence[Target], read: Read) -> dict[str, Any]:
    """`accuracy`: the share of targets whose first action with a place lies in the box, with its Wilson interval, and the same for
    every group of every table. Replies without a place, and unreadable ones, are wrong."""
    outcomes: dict[str, str] = {}
    for target in targets:
        if target.id not in read:
            continue
        found = read[target.id]
        if isinstance(found, ParseError):
            outcomes[target.id] = "wrong_format"
            continue
        pointing = next((action for action in found if action.x is not None), None)
        outcomes[target.id] = "correct" if pointing is not None and is_inside(pointing, target.box) else "wrong"
    answered = [target for target in targets if target.id in outcomes]
    tables: dict[str, dict[str, list[Target]]] = {}
    for target in answered:
        for table, group in target.groups.items():
            tables.setdefault(table, {}).setdefault(group, []).append(target)
    return {
        "missing": len(targets) - len(answered),
        "wrong_format": sum(outcome == "wrong_format" for outcome in outcomes.values()),
        **_rate(answered, outcomes),
        "tables": {
            table: {group: _rate(members, outcomes) for group, members in sorted(groups.items())}
            for table, groups in tables.items()
        },
        "details": [{"id": name, "correctness": outcome} for name, outcome in outcomes.items()],
    }


def _rate(targets: Iterable[Target], outcomes: Mapping[str, str]) -> dict[str, Any]:
    right = [outcomes[target.id] == "correct" for target in targets]
    rate = success_rate(sum(right), len(right))
    return {"accuracy": rate.rate, "low": rate.low, "high": rate.high, "correct": rate.successes, "n": rate.n}


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
