"""Categories of tasks as the arms of a bandit (SEC, arXiv 2505.14970): what moves the policy most is played most."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from stepladder.rollout.curriculum import Played, draw_weighted, own_state
from stepladder.types import Task


@dataclass
class CategoryBandit:
    """Draws a category by softmax(Q / temperature) and one of its tasks, all of them equally often.

    The reward of a category is the mean size of the advantages of its groups in one round; Q takes a share `rate` of it, from 0 on.
    Groups without a signal count with 0. `category` names the arm of a task.
    """

    tasks: Sequence[Task]
    category: Callable[[Task], str]
    temperature: float = 1.0
    rate: float = 0.5
    values: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.tasks:
            raise ValueError("a curriculum needs at least one task")
        if not 0 < self.rate <= 1 or not self.temperature > 0:
            raise ValueError(f"rate {self.rate} must be in (0, 1], temperature {self.temperature} above 0")
        self._arms = {task.id: self.category(task) for task in self.tasks}
        self._sizes = Counter(self._arms.values())

    def probabilities(self) -> dict[str, float]:
        """How often each category is drawn; together 1."""
        scaled = {arm: self.values.get(arm, 0.0) / self.temperature for arm in self._sizes}
        highest = max(scaled.values())
        shares = {arm: math.exp(value - highest) for arm, value in scaled.items()}
        return {arm: share / sum(shares.values()) for arm, share in shares.items()}

    def draw(self, random: Random, count: int) -> list[Task]:
        """See `Curriculum.draw`."""
        shares = self.probabilities()
        weights = [shares[self._arms[task.id]] / self._sizes[self._arms[task.id]] for task in self.tasks]
        return draw_weighted(self.tasks, weights, random, count)

    def update(self, played: Sequence[Played]) -> None:
        """Take in one round. What is no group says nothing of advantages, and a category that was not played keeps its value."""
        found: dict[str, list[float]] = {}
        for group in played:
            if group.advantage is not None and group.task in self._arms:
                found.setdefault(self._arms[group.task], []).append(group.advantage)
        for arm in sorted(found):
            reward = sum(found[arm]) / len(found[arm])
            self.values[arm] = (1 - self.rate) * self.values.get(arm, 0.0) + self.rate * reward

    def state(self) -> dict[str, Any]:
        """See `Curriculum.state`."""
        return {"values": dict(self.values)}

    def load_state(self, state: dict[str, Any]) -> None:
        """See `Curriculum.load_state`."""
        own_state(state, "values")
        self.values = dict(state["values"])
