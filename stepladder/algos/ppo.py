"""Proximal policy optimisation with a critic and generalised advantage estimates over the sampled tokens of an episode.

Source: J. Schulman et al., arXiv 1707.06347; GAE: arXiv 1506.02438. The critic's targets may use another lambda than the advantages
(decoupled GAE, VC-PPO, arXiv 2503.01491; UI-TARS-2 uses 1 for the critic). What the environment shows between two replies is no
action and takes no part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch

from stepladder.algos import ops
from stepladder.algos.algorithm import Algorithm, GroupCredit, Need, Scores, reply_lengths
from stepladder.algos.credit import NOTHING, Credit
from stepladder.algos.objective import PolicyObjective
from stepladder.types import Group, Trajectory


@dataclass(frozen=True)
class Ppo(Algorithm):
    """`value` weighs the critic's loss, clipped to `value_clip` around its old answer (None: not clipped). The first
    `critic_warmup` updates train the critic alone."""

    dual_clip: float | None = 3.0
    whiten: bool = True
    gamma: float = 1.0
    lam: float = 0.95
    critic_lam: float = 1.0
    value: float = 0.5
    value_clip: float | None = None
    critic_warmup: int = 0

    name: ClassVar[str] = "ppo"

    @property
    def needs(self) -> frozenset[Need]:
        return super().needs | {"values"}

    def objective(self) -> PolicyObjective:
        return replace(super().objective(), value_clip=self.value_clip)

    def loss_weights(self, update: int) -> dict[str, float]:
        if update < self.critic_warmup:
            return {"pg": 0.0, "kl": 0.0, "entropy": 0.0, "value": self.value}
        return {**super().loss_weights(update), "value": self.value}

    def keep(self, group: Group) -> bool:
        """The critic is the baseline: every graded trajectory counts."""
        return bool(self.rewards(group).isfinite().any())

    def credit(self, groups: Sequence[Group], scores: Scores) -> list[GroupCredit]:
        members = [t for group in groups for t in group]
        rewards = self.rewards(members)
        lengths = [sum(reply_lengths(t)) if bool(r.isfinite()) else 0 for t, r in zip(members, rewards, strict=True)]
        shape = (len(members), max(lengths, default=0))
        token_rewards, values = torch.zeros(shape, dtype=torch.float64), torch.zeros(shape, dtype=torch.float64)
        mask = torch.zeros(shape, dtype=torch.bool)
        for row, (trajectory, length) in enumerate(zip(members, lengths, strict=True)):
            if length:
                token_rewards[row, length - 1] = rewards[row]
                values[row, :length] = torch.from_numpy(self._values(trajectory, scores))
                mask[row, :length] = True
        advantages, _ = ops.gae(token_rewards, values, mask, self.gamma, self.lam)
        _, returns = ops.gae(token_rewards, values, mask, self.gamma, self.critic_lam)
        everything: list[GroupCredit] = []
        row = 0
        for group in groups:
            everything.append([])
            for trajectory in group:
                arrays = [array[row, : lengths[row]].numpy().astype(np.float32) for array in (advantages, values, returns)]
                everything[-1].append(
                    self._credited(trajectory, arrays, scores) if lengths[row] else [NOTHING] * len(trajectory.steps)
                )
                row += 1
        return everything

    def _credited(self, trajectory: Trajectory, arrays: list[np.ndarray], scores: Scores) -> list[Credit]:
        ends = np.cumsum(reply_lengths(trajectory))[:-1]
        steps = zip(*(np.split(array, ends) for array in arrays), strict=True)
        credits = [Credit(pg=1.0, advantage=advantage, values=values, returns=returns) for advantage, values, returns in steps]
        return [self.near_reference(credit, trajectory, i, scores) for i, credit in enumerate(credits)]

    def _values(self, trajectory: Trajectory, scores: Scores) -> np.ndarray:
        found = []
        for number, reply in enumerate(scores[trajectory.id]):
            if reply.values is None:
                raise ValueError(f"step {number} of trajectory {trajectory.id!r} has no critic's values, which ppo needs")
            found.append(reply.values)
        return np.concatenate(found).astype(np.float64)
