"""Replies that are no action cost something."""

from __future__ import annotations

from stepladder.rewards.outcome import task_reward
from stepladder.types import Trajectory


class FormatReward:
    """`format`: minus the share of steps whose reply could not be parsed; with `share` False, -1 as soon as there is one.

    The share is the milder signal: one slip in a long episode costs little, and the fewer slips the better.
    """

    main = "format"

    def __init__(self, share: bool = True) -> None:
        self.share = share

    def __call__(self, group: list[Trajectory]) -> list[dict[str, float]]:
        return [{} if task_reward(trajectory) is None else {"format": self._term(trajectory)} for trajectory in group]

    def _term(self, trajectory: Trajectory) -> float:
        errors = sum(step.error is not None for step in trajectory.steps)
        if errors == 0:
            return 0.0
        return -errors / len(trajectory.steps) if self.share else -1.0
