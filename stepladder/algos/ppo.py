"""Proximal policy optimisation with a critic and generalised advantage estimates over the tokens or the steps of an episode.

Source: J. Schulman et al., arXiv 1707.06347; GAE: arXiv 1506.02438. The critic's targets may use another lambda than the advantages
(decoupled GAE, VC-PPO, arXiv 2503.01491; UI-TARS-2, arXiv 2509.02544, uses 1 for the critic), and that of the advantages may depend
on the episode's length (VAPO, arXiv 2504.05118). What the environment shows between two replies is no action and takes no part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import torch

from stepladder.algos import ops
from stepladder.algos.algorithm import Algorithm, GroupCredit, Need, Scores, reply_lengths
from stepladder.algos.credit import NOTHING, Credit
from stepladder.algos.objective import PolicyObjective
from stepladder.types import Group, Trajectory

#: The critic's explained variance is compared between so many updates and those before them.
_WINDOW = 5
#: A critic that explains less has not settled, it has not begun.
_LEAST = 0.2


@dataclass(frozen=True)
class Ppo(Algorithm):
    """`level` says what is an action with a value: every token, or every step's whole reply. `lam_alpha` makes lambda depend on the
    number of them in the episode (`ops.length_adaptive_lambda`), in the place of `lam`; `critic_lam` is the critic's own.

    `critic` reads the policy's states ("head"), shapes them too ("shared"), or has a language model of its own ("separate").
    `value` weighs its loss, clipped to `value_clip` around its old answer (None: not clipped). The first `critic_warmup` updates
    train the critic alone; with `critic_settled` these end as soon as the explained variance of its answers, a mean over five
    updates, is at least 0.2 and has risen by less than that from the five updates before.
    """

    dual_clip: float | None = 3.0
    whiten: bool = True
    gamma: float = 1.0
    level: Literal["token", "step"] = "token"
    lam: float = 0.95
    lam_alpha: float | None = None
    critic: Literal["head", "shared", "separate"] = "head"
    critic_lam: float = 1.0
    value: float = 0.5
    value_clip: float | None = None
    critic_warmup: int = 0
    critic_settled: float | None = None

    name: ClassVar[str] = "ppo"

    @property
    def needs(self) -> frozenset[Need]:
        return super().needs | {"values"}

    def objective(self) -> PolicyObjective:
        return replace(super().objective(), value_clip=self.value_clip)

    def check(self) -> None:
        super().check()
        for name, values in (("level", ("token", "step")), ("critic", ("head", "shared", "separate"))):
            if getattr(self, name) not in values:
                raise ValueError(f"algo.{name} is {getattr(self, name)!r}; it must be one of {', '.join(values)}")
        for name in ("gamma", "lam", "critic_lam"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"algo.{name} is {getattr(self, name)}; it must be in [0, 1]")
        for name in ("value", "value_clip", "critic_warmup"):
            if getattr(self, name) is not None and not getattr(self, name) >= 0:
                raise ValueError(f"algo.{name} is {getattr(self, name)}; it must not be negative")
        if self.lam_alpha is not None and not self.lam_alpha > 0:
            raise ValueError(f"algo.lam_alpha is {self.lam_alpha}; it must be positive, or None")

    def loss_weights(self, update: int, explained: Sequence[float] = ()) -> dict[str, float]:
        if update < self.critic_warmup and not self._settled(explained):
            return {"pg": 0.0, "kl": 0.0, "entropy": 0.0, "value": self.value}
        return {**super().loss_weights(update), "value": self.value}

    def _settled(self, explained: Sequence[float]) -> bool:
        """Whether the critic has stopped to get better, once. `explained` holds the explained variance of every update so far."""
        if self.critic_settled is None:
            return False
        means = [sum(explained[end - _WINDOW : end]) / _WINDOW for end in range(_WINDOW, len(explained) + 1)]
        rises = zip(means, means[_WINDOW:], strict=False)
        return any(after >= _LEAST and after - before < self.critic_settled for before, after in rises)

    def keep(self, group: Group) -> bool:
        """The critic is the baseline: every graded trajectory counts."""
        return bool(self.rewards(group).isfinite().any())

    def credit(self, groups: Sequence[Group], scores: Scores) -> list[GroupCredit]:
        members = [t for group in groups for t in group]
        rewards = self.rewards(members)
        lengths = [self._length(t) if bool(r.isfinite()) else 0 for t, r in zip(members, rewards, strict=True)]
        shape = (len(members), max(lengths, default=0))
        token_rewards, values = torch.zeros(shape, dtype=torch.float64), torch.zeros(shape, dtype=torch.float64)
        mask = torch.zeros(shape, dtype=torch.bool)
        for row, (trajectory, length) in enumerate(zip(members, lengths, strict=True)):
            if length:
                token_rewards[row, length - 1] = rewards[row]
                values[row, :length] = torch.from_numpy(self._values(trajectory, scores))
                mask[row, :length] = True
        lam: float | torch.Tensor = self.lam
        if self.lam_alpha is not None:
            lam = ops.length_adaptive_lambda(torch.tensor(lengths).clamp(min=1), self.lam_alpha)
        advantages, _ = ops.gae(token_rewards, values, mask, self.gamma, lam)
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
        replies = reply_lengths(trajectory)
        if self.level == "step":
            arrays = [_on_tokens(array, replies, everywhere=number == 0) for number, array in enumerate(arrays)]
        steps = zip(*(np.split(array, np.cumsum(replies)[:-1]) for array in arrays), strict=True)
        credits = [Credit(pg=1.0, advantage=advantage, values=values, returns=returns) for advantage, values, returns in steps]
        return [self.near_reference(credit, trajectory, i, scores) for i, credit in enumerate(credits)]

    def _values(self, trajectory: Trajectory, scores: Scores) -> np.ndarray:
        found = []
        for number, reply in enumerate(scores[trajectory.id]):
            if reply.values is None:
                raise ValueError(f"step {number} of trajectory {trajectory.id!r} has no critic's values, which ppo needs")
            found.append(reply.values if self.level == "token" else reply.values[:1])
        return np.concatenate(found).astype(np.float64)

    def _length(self, trajectory: Trajectory) -> int:
        """The number of actions that have a value of their own."""
        lengths = reply_lengths(trajectory)
        return sum(lengths) if self.level == "token" else sum(map(bool, lengths))


def _on_tokens(array: np.ndarray, replies: Sequence[int], everywhere: bool) -> np.ndarray:
    """One number for each reply that has tokens, on all of its tokens or, for the critic, on the first alone."""
    lengths = np.array([length for length in replies if length])
    if everywhere:
        return np.repeat(array, lengths)
    spread = np.full(lengths.sum(), np.nan, dtype=np.float32)
    spread[np.cumsum(lengths) - lengths] = array
    return spread
