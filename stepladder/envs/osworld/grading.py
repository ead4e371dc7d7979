"""Grading as OSWorld does: steps before it, getters, metrics, several of them joined by `and` or `or`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from stepladder.envs.osworld.apart import TooMuch, apart
from stepladder.envs.osworld.getters import State, get
from stepladder.envs.osworld.metrics import metric
from stepladder.envs.osworld.steps import Setup
from stepladder.envs.osworld.task_file import infeasible

_MEASURE = "stepladder.envs.osworld.measuring:measure"
_logger = logging.getLogger(__name__)


async def grade(evaluator: Mapping[str, Any], state: State, gave_up: bool) -> float:
    """The score of the state reached, 0 to 1. A task that cannot be done scores 1 when the agent gave up, any other then scores 0.

    Raises Lacks for what is not there, EnvironmentFailure when a step or a getter fails: neither is a score of 0."""
    if infeasible(evaluator):
        return float(gave_up)
    if gave_up:
        return 0.0
    await Setup(state.machine, state.cache).run(evaluator.get("postconfig") or [], before_grading=True)
    functions = evaluator["func"]
    if not isinstance(functions, list):
        return await _measure(functions, evaluator.get("result"), evaluator.get("expected"), evaluator.get("options"), state)
    together, scores = evaluator.get("conj", "and"), []
    for place, name in enumerate(functions):
        result, expected, options = (
            (evaluator.get(part) or [None] * len(functions))[place] for part in ("result", "expected", "options")
        )
        score = await _measure(name, result, expected, options, state)
        if together == "and" and score == 0.0:
            return 0.0
        if together == "or" and score == 1.0:
            return 1.0
        scores.append(score)
    return sum(scores) / len(scores) if together == "and" else max(scores)


async def _measure(
    name: str, result: Mapping[str, Any] | None, expected: Mapping[str, Any] | None, options: Mapping[str, Any] | None, state: State
) -> float:
    metric(name)  # one that is not there is named before anything is fetched
    found = None if result is None else await get(state, result)
    wanted = [] if not expected else [await get(state, expected)]
    try:
        score: float = await apart(_MEASURE, name, found, wanted, options)
    except TooMuch as error:
        # Work that the task's own files never make: the agent has left what nobody can read.
        _logger.warning("the metric %s scores 0: %s", name, error)
        return 0.0
    return score
