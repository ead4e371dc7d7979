"""Tasks whose outcome is least certain come most often: those teach a group-relative algorithm most."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from stepladder.rollout.curriculum import Played, draw_weighted, own_state
from stepladder.types import Task


@dataclass
class UncertainTasks:
    """Draws tasks by their past success.

    The expected size of a group's advantage at success rate p is 2 sqrt(p (1 - p)) (SEC, arXiv 2505.14970), so a task is drawn
    with a weight of that, but never below `floor`: a task that seems solved, or hopeless, is still looked at. Success is a moving
    mean, to which a played group adds a share `rate`. `strength` 0 draws all tasks equally often.
    """

    tasks: Sequence[Task]
    strength: float = 1.0
    floor: float = 0.2
    rate: float = 0.3
    success: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.tasks:
            raise ValueError("a curriculum needs at least one task")
        if not 0 < self.floor <= 1 or not 0 < self.rate <= 1 or self.strength < 0:
            raise ValueError(f"floor {self.floor} and rate {self.rate} must be in (0, 1], strength {self.strength} at least 0")

    def weight(self, task: str) -> float:
        """A task that was never played counts as uncertain."""
        p = self.success.get(task, 0.5)
        return float(max(self.floor, 2 * math.sqrt(p * (1 - p))) ** self.strength)

    def draw(self, random: Random, count: int) -> list[Task]:
        """See `Curriculum.draw`."""
        return draw_weighted(self.tasks, [self.weight(task.id) for task in self.tasks], random, count)

    def update(self, played: Sequence[Played]) -> None:
        """Take in the mean success of every group."""
        for group in played:
            known = self.success.get(group.task)
            self.success[group.task] = group.mean if known is None else (1 - self.rate) * known + self.rate * group.mean

    def state(self) -> dict[str, Any]:
        """See `Curriculum.state`."""
        return {"success": dict(self.success)}

    def load_state(self, state: dict[str, Any]) -> None:
        """See `Curriculum.load_state`."""
        own_state(state, "success")
        self.success = dict(state["success"])
