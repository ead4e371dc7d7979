"""Grading as OSWorld does: steps before it, getters, metrics, several of them joined by `and` or `or`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stepladder.envs.osworld.getters import State, get
from stepladder.envs.osworld.metrics import metric
from stepladder.envs.osworld.steps import Setup
from stepladder.envs.osworld.task_file import infeasible
from stepladder.interfaces import EnvironmentFailure


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
    measure = metric(name)
    found = None if result is None else await get(state, result)
    wanted = [] if not expected else [await get(state, expected)]
    try:
        return max(0.0, min(1.0, float(measure(found, *wanted, **(options or {})))))
    except EnvironmentFailure:
        raise
    except Exception as error:
        # Metrics answer 0 for whatever an agent leaves; what fails is the task file, or the metric itself.
        raise EnvironmentFailure(f"the metric {name} cannot be worked out: {type(error).__name__}: {error}") from error
