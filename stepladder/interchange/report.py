"""What a conversion did: how much was kept, what was dropped and why."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from stepladder.errors import UserError
from stepladder.interchange.folder import TrajectoryFolder
from stepladder.store import StoreError
from stepladder.types import Trajectory

#: Dropped things that are named, and reasons that are told apart; the others are counted.
MOST_NAMED = 1000
#: What further reasons are counted under.
OTHERS = "other reasons"


@dataclass
class Report:
    """`dropped` maps what was left out to the reason; `reasons` counts all of them."""

    kept: int = 0
    steps: int = 0
    unreadable_steps: int = 0
    dropped: dict[str, str] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)

    def count(self, steps: int = 0) -> None:
        self.kept += 1
        self.steps += steps

    def keep(self, into: TrajectoryFolder, trajectory: Trajectory) -> None:
        """Add a trajectory to a folder; one that is there already is dropped."""
        try:
            into.store.append(trajectory)
        except StoreError as error:
            self.drop(trajectory.id, str(error))
            return
        self.count(len(trajectory.steps))
        self.unreadable_steps += sum(step.action is None for step in trajectory.steps)

    def drop(self, name: str, reason: str) -> None:
        if len(self.dropped) < MOST_NAMED:
            self.dropped[name] = reason
        reason = reason[:120]
        self.reasons[reason if reason in self.reasons or len(self.reasons) < MOST_NAMED else OTHERS] += 1

    def drop_for(self, name: str, error: Exception) -> None:
        """Drop what cannot be read, with the error as reason."""
        if isinstance(error, KeyError):
            self.drop(name, f"the field {error} is missing")
        elif isinstance(error, UserError):
            self.drop(name, str(error))
        else:
            self.drop(name, f"{type(error).__name__}: {error}")

    def to_json(self) -> dict[str, Any]:
        return {
            "kept": self.kept,
            "steps": self.steps,
            "unreadable_steps": self.unreadable_steps,
            "dropped": self.reasons.total(),
            "reasons": dict(self.reasons.most_common()),
            "names": self.dropped,
        }
