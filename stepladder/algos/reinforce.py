"""REINFORCE with a return for every token and one baseline for the whole batch.

Source: R. J. Williams 1992; the batch-wide whitening is REINFORCE++ (J. Hu, arXiv 2501.03262). No group is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from stepladder.algos import ops
from stepladder.algos.algorithm import Algorithm, GroupCredit, Scores
from stepladder.algos.credit import NOTHING, Credit
from stepladder.types import Group


@dataclass(frozen=True)
class Reinforce(Algorithm):
    """`gamma` discounts from one turn to the next, so that the length of replies does not matter."""

    whiten: bool = True
    gamma: float = 1.0

    name: ClassVar[str] = "reinforce"
    loss_kind: ClassVar[str] = "reinforce"

    def keep(self, group: Group) -> bool:
        """Every graded trajectory tells something against the mean of the batch."""
        return bool(self.rewards(group).isfinite().any())

    def credit(self, groups: Sequence[Group], scores: Scores) -> list[GroupCredit]:
        members = [trajectory for group in groups for trajectory in group]
        rewards = self.rewards(members)
        longest = max((len(t.steps) for t in members), default=0)
        turn_rewards = torch.zeros(len(members), longest, dtype=torch.float64)
        mask = torch.zeros(len(members), longest, dtype=torch.bool)
        for row, trajectory in enumerate(members):
            if trajectory.steps and bool(rewards[row].isfinite()):
                mask[row, : len(trajectory.steps)] = True
                turn_rewards[row, len(trajectory.steps) - 1] = rewards[row]
        returns = ops.reinforce_pp_returns(turn_rewards, mask, self.gamma)
        everything: list[GroupCredit] = []
        row = 0
        for group in groups:
            everything.append([])
            for trajectory in group:
                graded = bool(mask[row].any())
                credits = [Credit(pg=1.0, advantage=float(returns[row, i])) for i in range(len(trajectory.steps))]
                everything[-1].append(
                    [self.near_reference(one, trajectory, i, scores) if graded else NOTHING for i, one in enumerate(credits)]
                )
                row += 1
        return everything
