"""What of failed episodes is worth learning: the turn-aware masking of slime's OSWorld cookbook, as a loss mask.

Of a failure the first turns are learned whole. Of later ones the action is left out where it repeats the one before, and of the
last ones always, so that a model learns the reasoning of long failures and not their loops:

turn 1 to `early`             everything
`early` + 1 to `late`         the reasoning alone where the action is that of the turn before (also counted from `early` + 1 on)
later                         the reasoning alone

The trainer honours the mask (`Step.imitated`). Where a format cannot mask, the texts can be cut instead (`chat.Dialect.edit`),
which is what the cookbook does: a model that is trained on them also sees its own past without the actions, which it never does
in use.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from stepladder.agents.tool_call import split_thought
from stepladder.types import Action, Step, Trajectory


@dataclass(frozen=True)
class TurnMask:
    """Turns are counted from 1."""

    early: int = 5
    late: int = 15

    def __post_init__(self) -> None:
        if not 0 <= self.early <= self.late:
            raise ValueError(f"early is {self.early} and late {self.late}; 0 <= early <= late is needed")

    def apply(self, trajectory: Trajectory) -> Trajectory:
        """The trajectory with its steps marked; a success is returned as it is, and so is one whose environment failed."""
        if trajectory.success or trajectory.environment_failed:
            return trajectory
        steps: list[Step] = []
        before: tuple[Mapping[str, Any], ...] | None = None
        for turn, step in enumerate(trajectory.steps, start=1):
            deeds = tuple(signature(action) for action in step.actions)
            repeats = turn > self.early and bool(deeds) and deeds == before
            if turn > self.early:
                before = deeds
            steps.append(_reasoning_only(step) if turn > self.late or repeats else step)
        return replace(trajectory, steps=tuple(steps), parts={**trajectory.parts, "curated": 1.0})


def signature(action: Action) -> Mapping[str, Any]:
    """What makes two actions the same: kind, places, text and keys."""
    return {name: getattr(action, name) for name in ("kind", "x", "y", "x2", "y2", "text", "keys")}


def _reasoning_only(step: Step) -> Step:
    if step.imitated == "nothing":
        return step
    return replace(step, imitated="thought" if split_thought(step.thought)[0] else "nothing")
