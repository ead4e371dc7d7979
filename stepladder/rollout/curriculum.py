"""Which tasks to play next: those whose outcome is least certain teach a group-relative algorithm most."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from stepladder.types import Task


@dataclass
class Curriculum:
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
        """`count` tasks. Every task gets the whole number of places that its weight earns it, the rest are drawn."""
        weights = [self.weight(task.id) for task in self.tasks]
        shares = [count * weight / sum(weights) for weight in weights]
        drawn = [task for task, share in zip(self.tasks, shares, strict=True) for _ in range(int(share))]
        left = [share - int(share) for share in shares]
        while len(drawn) < count:
            chosen = random.choices(range(len(left)), left if sum(left) else None)[0]
            left[chosen] = 0.0
            drawn.append(self.tasks[chosen])
        random.shuffle(drawn)
        return drawn

    def update(self, played: Mapping[str, Sequence[float]]) -> None:
        """Take in what groups of each task came to: the mean success of every group, in a fixed order."""
        for task in sorted(played):
            for mean in played[task]:
                known = self.success.get(task)
                self.success[task] = mean if known is None else (1 - self.rate) * known + self.rate * mean
