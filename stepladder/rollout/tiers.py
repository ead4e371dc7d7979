"""Tiers of difficulty, known before the training and weighed anew in it (RLCS, GLM-4.1V-Thinking, arXiv 2507.01006)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from stepladder.rollout.curriculum import Played, draw_weighted, own_state
from stepladder.store import TrajectoryStore
from stepladder.types import Task

#: The tier of tasks of which the evaluation says nothing.
UNKNOWN = "unknown"


def measured_rates(path: Path) -> dict[str, float]:
    """The share of its graded episodes in which each task succeeded, of a store of episodes: pass@1 from repeated trials. Raises
    StoreError for a store that cannot be read, ValueError for one without a graded episode."""
    graded, succeeded = Counter[str](), Counter[str]()
    with TrajectoryStore(path) as store:
        for summary in store.summaries():
            if summary.reward is not None:
                graded[summary.task] += 1
                succeeded[summary.task] += summary.success
    if not graded:
        raise ValueError(f"{path} holds no graded episode; evaluate the starting checkpoint on the training tasks first")
    return {task: succeeded[task] / count for task, count in graded.items()}


def tier_of(rate: float, tiers: int) -> str:
    """The tier of a task that succeeds at `rate`: "never", "always", or one of `tiers` equal parts of what lies between, called by
    its upper end in percent."""
    if rate <= 0:
        return "never"
    if rate >= 1:
        return "always"
    return f"to {100 * (min(tiers - 1, int(rate * tiers)) + 1) / tiers:.0f} %"


@dataclass
class DifficultyTiers:
    """Draws tasks by the tier that an evaluation put them in, and tiers by what their groups came to lately.

    `rates` are the offline success rates by task. A tier's weight is the share of its groups that told something, neither all right
    nor all wrong: a moving mean to which each group adds a share `rate`, never below `floor`. It begins as what the offline rates
    predict for groups of `group_size`, the mean of 1 - p^n - (1 - p)^n; tasks that nothing is known of count as 50 %. Within a tier
    all tasks are drawn equally often.
    """

    tasks: Sequence[Task]
    rates: Mapping[str, float]
    group_size: int
    tiers: int = 4
    floor: float = 0.1
    rate: float = 0.1
    telling: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.tasks:
            raise ValueError("a curriculum needs at least one task")
        if not 0 < self.floor <= 1 or not 0 < self.rate <= 1 or self.tiers < 1:
            raise ValueError(f"floor {self.floor} and rate {self.rate} must be in (0, 1], tiers {self.tiers} at least 1")
        if self.group_size < 2:
            raise ValueError(f"group_size is {self.group_size}; tiers are weighed by groups of at least 2")
        self._tier = {
            task.id: tier_of(self.rates[task.id], self.tiers) if task.id in self.rates else UNKNOWN for task in self.tasks
        }
        expected: dict[str, list[float]] = {}
        for task in self.tasks:
            p = self.rates.get(task.id, 0.5)
            expected.setdefault(self._tier[task.id], []).append(1 - p**self.group_size - (1 - p) ** self.group_size)
        for tier in sorted(expected):
            self.telling.setdefault(tier, sum(expected[tier]) / len(expected[tier]))

    def tier(self, task: str) -> str:
        """Raises KeyError for a task that is not drawn."""
        return self._tier[task]

    def draw(self, random: Random, count: int) -> list[Task]:
        """See `Curriculum.draw`."""
        return draw_weighted(self.tasks, [max(self.floor, self.telling[self._tier[task.id]]) for task in self.tasks], random, count)

    def update(self, played: Sequence[Played]) -> None:
        """Take in which groups told something. What is no group does not say."""
        for group in played:
            tier = self._tier.get(group.task)
            if tier is not None and group.advantage is not None:
                self.telling[tier] = (1 - self.rate) * self.telling[tier] + self.rate * float(group.advantage > 0)

    def state(self) -> dict[str, Any]:
        """See `Curriculum.state`."""
        return {"telling": dict(self.telling)}

    def load_state(self, state: dict[str, Any]) -> None:
        """See `Curriculum.load_state`."""
        own_state(state, "telling")
        self.telling = dict(state["telling"])
