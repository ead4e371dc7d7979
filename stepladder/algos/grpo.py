"""Group relative policy optimisation: the reward against the group's mean, in units of the group's deviation.

Source: Z. Shao et al., DeepSeekMath, arXiv 2402.03300, section 4.1. Dr. GRPO (Z. Liu et al., arXiv 2503.20783) leaves out the
deviation, which favours tasks that are nearly always or nearly never solved, and divides by a constant in place of each reply's
length, which favours long failures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from stepladder.algos import ops
from stepladder.algos.algorithm import Algorithm, GroupCredit, Scores, membership
from stepladder.types import Group


@dataclass(frozen=True)
class Grpo(Algorithm):
    """`dr` makes it Dr. GRPO: no deviation, and "seq-mean-token-sum-norm" whatever `aggregation` says."""

    aggregation: str = "seq-mean-token-mean"
    dr: bool = False
    eps: float = 1e-6

    name: ClassVar[str] = "grpo"

    def __post_init__(self) -> None:
        if self.dr:
            object.__setattr__(self, "aggregation", "seq-mean-token-sum-norm")

    def credit(self, groups: Sequence[Group], scores: Scores) -> list[GroupCredit]:
        rewards = self.rewards([trajectory for group in groups for trajectory in group])
        return self.spread(groups, ops.grpo_advantages(rewards, membership(groups), std=not self.dr, eps=self.eps), scores)
