"""REINFORCE leave-one-out: each member of a group is compared with the mean of the others.

Source: W. Kool et al. 2019; A. Ahmadian et al., arXiv 2402.14740. Unlike GRPO it divides by no deviation and clips nothing: it is
an unbiased policy gradient as long as one update is made from each batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from stepladder.algos import ops
from stepladder.algos.algorithm import Algorithm, GroupCredit, Scores, membership
from stepladder.types import Group


@dataclass(frozen=True)
class Rloo(Algorithm):
    name: ClassVar[str] = "rloo"
    loss_kind: ClassVar[str] = "reinforce"

    def credit(self, groups: Sequence[Group], scores: Scores) -> list[GroupCredit]:
        rewards = self.rewards([trajectory for group in groups for trajectory in group])
        return self.spread(groups, ops.rloo_advantages(rewards, membership(groups)), scores)
