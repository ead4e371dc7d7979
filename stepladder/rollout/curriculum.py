"""Which tasks to play next: what a curriculum is, and what it is told of the groups that were played."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol, runtime_checkable

from stepladder.types import Task

#: Rewards of one group that lie no further apart are equal.
EQUAL = 1e-6


@dataclass(frozen=True, slots=True)
class Played:
    """What one group of a task came to: the mean of its task rewards, in [0, 1], and the mean size of its members' advantages
    (`mean_advantage`). The latter is None for episodes that were no group, such as those of a validation."""

    task: str
    mean: float
    advantage: float | None = None


@runtime_checkable
class Curriculum(Protocol):
    """Draws tasks and learns from what came of them. Equal states draw equal tasks with equal random numbers."""

    def draw(self, random: Random, count: int) -> list[Task]:
        """`count` tasks, in a random order; the same task may come several times."""

    def update(self, played: Sequence[Played]) -> None:
        """Take in the groups of one round. Their order may decide; callers give them in one that does not depend on who played."""

    def state(self) -> dict[str, Any]:
        """What it has learned, as plain JSON values."""

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave. Raises ValueError for the state of another curriculum."""


def mean_advantage(rewards: Sequence[float]) -> float:
    """Mean of |R - mean| / deviation over the graded members of a group (NaN: no grade), the deviation with n - 1. 0 where fewer
    than two are graded and where all rewards are equal. For success with probability p it is about 2 sqrt(p (1 - p))."""
    graded = [reward for reward in rewards if math.isfinite(reward)]
    if len(graded) < 2 or max(graded) - min(graded) <= EQUAL:
        return 0.0
    mean = sum(graded) / len(graded)
    distances = [abs(reward - mean) for reward in graded]
    deviation = math.sqrt(sum(distance * distance for distance in distances) / (len(graded) - 1))
    return sum(distances) / len(graded) / deviation


def draw_weighted(tasks: Sequence[Task], weights: Sequence[float], random: Random, count: int) -> list[Task]:
    """`count` tasks. Every task gets the whole number of places that its weight earns it, the rest are drawn."""
    total = sum(weights)
    shares = [count * weight / total for weight in weights]
    drawn = [task for task, share in zip(tasks, shares, strict=True) for _ in range(int(share))]
    left = [share - int(share) for share in shares]
    while len(drawn) < count:
        chosen = random.choices(range(len(left)), left if sum(left) else None)[0]
        left[chosen] = 0.0
        drawn.append(tasks[chosen])
    random.shuffle(drawn)
    return drawn


def own_state(state: dict[str, Any], *names: str) -> None:
    """Raises ValueError when `state` does not have exactly the entries `names`."""
    if set(state) != set(names):
        found = ", ".join(sorted(state)) or "nothing"
        raise ValueError(f"the state of another curriculum: it holds {found}, this one needs {', '.join(names)}")
