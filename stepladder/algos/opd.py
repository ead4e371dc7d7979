"""On-policy distillation: the student acts, and a teacher says of every token that it sampled how probable it would have been.

Source: R. Agarwal et al., arXiv 2306.13649 (GKD, on-policy, reverse KL); as a policy gradient the advantage of a token is
log teacher - log student, a dense reward that needs no grade.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from stepladder.algos.algorithm import Algorithm, GroupCredit, Need, Scores
from stepladder.algos.credit import NOTHING, Credit
from stepladder.types import Group, Trajectory


@dataclass(frozen=True)
class Opd(Algorithm):
    """`strength` multiplies the advantage, which stays within `bound`: one impossible token must not outweigh a batch."""

    strength: float = 1.0
    bound: float = 5.0
    aggregation: str = "token-mean"

    name: ClassVar[str] = "opd"
    loss_kind: ClassVar[str] = "reinforce"

    @property
    def needs(self) -> frozenset[Need]:
        return super().needs | {"teacher"}

    def keep(self, group: Group) -> bool:
        """The teacher has something to say about every episode that was played to its end."""
        return any(not trajectory.environment_failed for trajectory in group)

    def credit(self, groups: Sequence[Group], scores: Scores) -> list[GroupCredit]:
        return [[self._credited(trajectory, scores) for trajectory in group] for group in groups]

    def _credited(self, trajectory: Trajectory, scores: Scores) -> list[Credit]:
        if trajectory.environment_failed:
            return [NOTHING] * len(trajectory.steps)
        credits = []
        for number, step in enumerate(trajectory.steps):
            teacher = scores[trajectory.id][number].teacher
            sampled = None if step.completion is None else step.completion.logprobs
            if teacher is None or sampled is None:
                raise ValueError(f"step {number} of {trajectory.id!r} lacks log-probabilities of the student or of the teacher")
            advantage = np.clip(self.strength * (teacher - sampled), -self.bound, self.bound).astype(np.float32)
            credits.append(self.near_reference(Credit(pg=1.0, advantage=advantage), trajectory, number, scores))
        return credits
