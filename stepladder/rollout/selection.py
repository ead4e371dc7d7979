"""What the data flywheel keeps of the episodes that were played: successes by the task's own check, each once, no task too many.

Source of the idea: rejection sampling fine-tuning as in UI-TARS-2 (arXiv 2509.02544) and EvoCUA (arXiv 2601.15876). A shaped reward
never decides what is kept: partial credit for a failure is not a demonstration.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Iterable
from dataclasses import dataclass, field

from stepladder.types import Observation, Trajectory


@dataclass
class Selection:
    """The trajectories that are kept, and why the others are not."""

    kept: list[Trajectory] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def select(
    trajectories: Iterable[Trajectory], *, per_start: int = 1, per_task: int | None = None, known: Collection[Hashable] = ()
) -> Selection:
    """Successes, at most `per_start` from one start (a task and its seed) and `per_task` of one task.

    Of one start the shortest are kept. Where a task has too many, those from starts with the lowest success rate are kept: what
    always succeeds teaches least. A trajectory that does the same on the same screens as another, or as one whose `deeds` are in
    `known`, is a duplicate. An episode whose environment failed is no failure of the policy and has no part in a success rate.
    """
    if per_start < 1 or (per_task is not None and per_task < 1):
        raise ValueError(f"per_start is {per_start} and per_task {per_task}; both must be at least 1")
    chosen = Selection()
    by_start: dict[tuple[str, int], list[Trajectory]] = {}
    for trajectory in trajectories:
        if trajectory.environment_failed or trajectory.reward is None:
            chosen.left_out["environment failed"] += 1
        else:
            by_start.setdefault((trajectory.task.id, trajectory.seed), []).append(trajectory)
    seen = set(known)
    candidates: list[tuple[float, Trajectory]] = []
    for _, attempts in sorted(by_start.items()):
        rate = sum(attempt.success for attempt in attempts) / len(attempts)
        taken = 0
        for attempt in sorted(attempts, key=lambda one: (len(one.steps), one.id)):
            if not attempt.success:
                chosen.left_out["no success"] += 1
            elif deeds(attempt) in seen:
                chosen.left_out["duplicate"] += 1
            elif taken >= per_start:
                chosen.left_out["enough from this start"] += 1
            else:
                seen.add(deeds(attempt))
                candidates.append((rate, attempt))
                taken += 1
    of_task: Counter[str] = Counter()
    for _, trajectory in sorted(candidates, key=lambda pair: (pair[0], pair[1].id)):
        if per_task is not None and of_task[trajectory.task.id] >= per_task:
            chosen.left_out["enough of this task"] += 1
            continue
        of_task[trajectory.task.id] += 1
        chosen.kept.append(trajectory)
    return chosen


def deeds(trajectory: Trajectory) -> Hashable:
    """Equal for trajectories that were asked the same and did the same on the same screens."""
    done = tuple((_screen(step.observation), repr(step.actions)) for step in trajectory.steps)
    return trajectory.task.id, trajectory.task.instruction, done


def _screen(observation: Observation) -> str:
    return observation.screenshot.sha256 if observation.screenshot is not None else observation.state_key
