"""How many episodes a start is worth, and how long they may be, by what earlier episodes of its task came to (DART-GUI, arXiv
2509.23866): a task that mostly succeeds needs fewer, and one whose successes are short gets no time to wander."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from stepladder.config import ConfigError
from stepladder.rollout.group import EpisodeJob, group_jobs
from stepladder.types import Task


@dataclass(frozen=True)
class DynamicSettings:
    """`rollouts` lets the size of a group fall from `group_size`, as long as its task succeeds in no more than a share `above` of
    all episodes, to `least` where it always does. The share is a moving mean, to which a group adds a share `rate`.

    `steps` bounds episodes by `slack` times the longest of the task's last `memory` successes, once there are `known` of them, and
    never by more than `max_steps` and the task say. The rest of the time the limit is theirs.
    """

    rollouts: bool = False
    above: float = 0.6
    least: int = 2
    rate: float = 0.3
    steps: bool = False
    slack: float = 1.5
    memory: int = 16
    known: int = 4

    def check(self, group_size: int) -> None:
        """Raises ConfigError for what cannot be."""
        if not 0 <= self.above < 1:
            raise ConfigError(f"dynamic.above is {self.above}; it is a share of episodes, at least 0 and below 1")
        if not 0 < self.rate <= 1:
            raise ConfigError(f"dynamic.rate is {self.rate}; it must be above 0 and at most 1")
        if self.rollouts and not 1 <= self.least <= group_size:
            raise ConfigError(f"dynamic.least is {self.least}; it must be at least 1 and at most group_size, {group_size}")
        if not self.slack >= 1:
            raise ConfigError(f"dynamic.slack is {self.slack}; below 1 the successes themselves would be cut off")
        if not 1 <= self.known <= self.memory:
            raise ConfigError(f"dynamic.known is {self.known}; it must be at least 1 and at most dynamic.memory, {self.memory}")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the members of one group came to: how many have a grade, and the numbers of steps of those that succeeded. A success
    that was put in from an earlier update is not among them."""

    task: str
    graded: int
    lengths: tuple[int, ...]


@dataclass
class Dynamic:
    """Groups of at most `group_size` episodes, sized and bounded by the history of their tasks. `success` and `lengths` are that
    history: the moving mean of success, and the steps of the last successes, by task."""

    settings: DynamicSettings
    group_size: int
    success: dict[str, float] = field(default_factory=dict)
    lengths: dict[str, list[int]] = field(default_factory=dict)

    def size(self, task: str) -> int:
        """Members of the next group of a task."""
        settings, success = self.settings, self.success.get(task, 0.0)
        if not settings.rollouts or success <= settings.above:
            return self.group_size
        solved = (success - settings.above) / (1 - settings.above)
        # 1 - 0.4 - 0.6 is not 0: what a rounding error adds must not add a member
        return settings.least + math.ceil((self.group_size - settings.least) * (1 - solved) - 1e-9)

    def limit(self, task: Task, max_steps: int | None = None) -> int | None:
        """Steps that the next episodes of a task may have, where its history says so; None: as many as ever. `max_steps` is what
        the run says (None: what the task says)."""
        lengths = self.lengths.get(task.id, [])
        if not self.settings.steps or len(lengths) < self.settings.known:
            return None
        found = math.ceil(max(lengths) * self.settings.slack)
        return min(found, task.max_steps if max_steps is None else max_steps)

    def jobs(self, starts: Sequence[tuple[Task, int]], name: str, max_steps: int | None = None) -> list[EpisodeJob]:
        """The groups of `starts`, as `group_jobs` makes them, each of its own size and length."""
        found = []
        for task, seed in starts:
            limit = self.limit(task, max_steps)
            found += [replace(job, max_steps=limit) for job in group_jobs([(task, seed)], self.size(task.id), name)]
        return found

    def update(self, played: Sequence[Outcome]) -> None:
        """Take in the groups of one round, in an order that does not depend on who played them."""
        for one in played:
            if not one.graded:
                continue
            share, known = len(one.lengths) / one.graded, self.success.get(one.task)
            self.success[one.task] = share if known is None else (1 - self.settings.rate) * known + self.settings.rate * share
            if one.lengths:
                self.lengths[one.task] = [*self.lengths.get(one.task, []), *one.lengths][-self.settings.memory :]

    def state(self) -> dict[str, Any]:
        """The history, as plain values."""
        return {"success": dict(self.success), "lengths": {task: list(lengths) for task, lengths in self.lengths.items()}}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.success = dict(state["success"])
        self.lengths = {task: list(lengths) for task, lengths in state["lengths"].items()}
