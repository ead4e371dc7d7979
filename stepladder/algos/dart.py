"""DART: GRPO that learns only from the steps at which the policy was least certain, with weights that never exceed 1.

Source: P. Li et al., arXiv 2509.23866: training on high-entropy steps and truncated importance sampling. Its dynamic numbers of
rollouts and of steps are settings of the RL stage (`rollout.dynamic`), its pool of past successes is `rollout.replay`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from stepladder.algos.algorithm import GroupCredit, Scores
from stepladder.algos.credit import NOTHING, Credit
from stepladder.algos.grpo import Grpo
from stepladder.algos.high_entropy import highest_entropy_steps
from stepladder.types import FloatArray, Group, Step


@dataclass(frozen=True)
class Dart(Grpo):
    """`entropy_share` of the steps of a group, those with the highest mean entropy of a token, are learned from; 1: all."""

    clip_high: float = 0.28
    correction_cap: float = 1.0
    entropy_share: float = 0.8

    name: ClassVar[str] = "dart"

    def check(self) -> None:
        """See `Algorithm.check`."""
        super().check()
        if not 0 < self.entropy_share <= 1:
            raise ValueError(f"algo.entropy_share is {self.entropy_share}; it must be above 0 and at most 1")

    def credit(self, groups: Sequence[Group], scores: Scores) -> list[GroupCredit]:
        """As in `Algorithm.credit`; also raises ValueError for a step that is learned from and has no entropies."""
        credits = super().credit(groups, scores)
        if self.entropy_share == 1.0:
            return credits
        learned = list(_learned(groups, credits))
        width = max((len(entropies) for _, entropies in learned), default=0)
        entropies, mask = torch.zeros(len(learned), width, dtype=torch.float64), torch.zeros(len(learned), width, dtype=torch.bool)
        for row, (_, values) in enumerate(learned):
            entropies[row, : len(values)], mask[row, : len(values)] = torch.from_numpy(values.astype(np.float64)), True
        numbers = torch.tensor([number for number, _ in learned], dtype=torch.int64)
        chosen = iter(highest_entropy_steps(entropies, mask, numbers, self.entropy_share).tolist())
        return [[[self._kept(one, chosen) for one in steps] for steps in group] for group in credits]

    def _kept(self, credit: Credit, chosen: Iterator[bool]) -> Credit:
        return credit if credit.pg and next(chosen) else NOTHING


def _learned(groups: Sequence[Group], credits: Sequence[GroupCredit]) -> Iterator[tuple[int, FloatArray]]:
    """(number of the group, entropies float32[C]) of every step that has credit, in order."""
    for number, (group, group_credit) in enumerate(zip(groups, credits, strict=True)):
        for trajectory, steps in zip(group, group_credit, strict=True):
            for place, (step, credit) in enumerate(zip(trajectory.steps, steps, strict=True)):
                if credit.pg:
                    yield number, _entropies(step, f"step {place} of trajectory {trajectory.id!r}")


def _entropies(step: Step, where: str) -> FloatArray:
    completion = step.completion
    count = 0 if completion is None or completion.tokens is None else len(completion.tokens)
    found = None if completion is None else completion.entropies
    if found is None or len(found) != count:
        has = "no entropies" if found is None else f"{len(found)} entropies for {count} tokens"
        raise ValueError(
            f"{where} has {has}, by which dart chooses; the engine of this package records one for each token it samples. "
            "Start the run anew in another output directory, or set algo.entropy_share=1 to learn from every step"
        )
    return found
