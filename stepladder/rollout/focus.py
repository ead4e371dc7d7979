"""How much of the next turn each task gets: more where more fails."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from stepladder.types import Trajectory

#: No task gets more than this many times its equal share.
MOST = 4.0


def outcomes(trajectories: Iterable[Trajectory]) -> dict[str, list[bool]]:
    """Successes and failures of each task. An episode without a grade, or whose environment failed, is neither."""
    found: dict[str, list[bool]] = {}
    for trajectory in trajectories:
        if trajectory.reward is not None and not trajectory.environment_failed:
            found.setdefault(trajectory.task.id, []).append(trajectory.success)
    return found


def focus(seen: Mapping[str, list[bool]], strength: float) -> dict[str, float]:
    """A factor for each task, 1 on average but for tasks that would get more than MOST and get MOST.

    It grows with the failure rate to the power `strength`, by the rule of succession (f + 1) / (n + 2), so that a task without a
    failure still gets something. With strength 0, or nothing seen, all are 1.
    """
    if not seen:
        return {}
    rates = {task: (results.count(False) + 1) / (len(results) + 2) for task, results in sorted(seen.items())}
    highest = max(rates.values())
    needs = {task: (rate / highest) ** strength for task, rate in rates.items()}
    mean = sum(needs.values()) / len(needs)
    return {task: min(MOST, need / mean) for task, need in needs.items()}
