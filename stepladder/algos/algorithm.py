"""What all algorithms have in common: which groups are worth learning from, and how a trajectory's advantage reaches its tokens."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import torch

from stepladder.algos import ops
from stepladder.algos.credit import NOTHING, Credit
from stepladder.algos.objective import PolicyObjective
from stepladder.types import FloatArray, Group, Trajectory

Need = Literal["values", "reference", "teacher", "self_teacher"]
#: Credit of every step of every trajectory of a group.
GroupCredit = list[list[Credit]]
FLAT = 1e-6


@dataclass(frozen=True, eq=False)
class ReplyScores:
    """What models other than the behaviour policy say about one sampled reply, float32[C] each: log-probabilities of a reference
    and of a teacher, and the critic's values."""

    reference: FloatArray | None = None
    teacher: FloatArray | None = None
    values: FloatArray | None = None


#: For the id of a trajectory the scores of its replies, one for each step.
Scores = Mapping[str, Sequence[ReplyScores]]


@dataclass(frozen=True)
class Algorithm:
    """Settings that every algorithm has. A subclass gives `credit` and may change the defaults.

    reward          the term that is maximised: "task", or a name in `Trajectory.parts`
    clip_low/high   the trust region, as `ops.policy_loss` reads them for `loss_kind`
    dual_clip       bound on the loss of a token with a negative advantage (None: none)
    aggregation     how token losses become one number (`ops.aggregate`); `scale` is the constant of "seq-mean-token-sum-norm"
    kl              weight of the KL divergence from the policy that RL started from (0: it is not even computed)
    kl_kind         its estimator (`ops.kl`)
    reference_refresh  updates after which the present policy becomes the one that the divergence is measured from (0: never)
    entropy         weight of the entropy bonus; with `entropy_target`, in nats a token, it only begins there and follows the target
                    in steps of `entropy_step` between `entropy_least` and `entropy_most` (`entropy_control.EntropyControl`)
    whiten          give the advantages of a batch mean 0 and deviation 1, over all tokens on all ranks (`whitening.whitened`, which
                    the stage applies to what `credit` says)
    updates         optimizer steps on the same samples; with 1 the probability ratio is exactly 1
    correction      of the mismatch between sampling and training (`ops.importance_weights`; None: none), up to `correction_cap`
    off_policy_delta   replies with a negative advantage that have become less probable by more than so many nats a token are left
                    out (`off_policy.off_policy_replies`; None: none)
    overlong_filter    replies that were cut off at their most tokens are left out
    """

    reward: str = "task"
    clip_low: float = 0.2
    clip_high: float = 0.2
    dual_clip: float | None = None
    aggregation: str = "seq-mean-token-sum-norm"
    scale: float = 16.0
    kl: float = 0.0
    kl_kind: str = "k3"
    reference_refresh: int = 0
    entropy: float = 0.0
    entropy_target: float | None = None
    entropy_step: float = 0.005
    entropy_least: float = 0.0
    entropy_most: float = 1.0
    whiten: bool = False
    updates: int = 1
    correction: str | None = "token_truncate"
    correction_cap: float = 2.0
    off_policy_delta: float | None = None
    overlong_filter: bool = False

    name: ClassVar[str] = ""
    loss_kind: ClassVar[str] = "ppo"

    def check(self) -> None:
        """Raises ValueError for a setting that cannot be; the message names it and what would be right."""
        known = {"aggregation": ops.AGGREGATIONS, "kl_kind": ops.KL_KINDS, "correction": (None, *ops.WEIGHT_MODES)}
        for name, values in known.items():
            value = getattr(self, name)
            if value not in values:
                near = difflib.get_close_matches(str(value), [str(one) for one in values], n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"it must be one of {', '.join(map(str, values))}"
                raise ValueError(f"algo.{name} is {value!r}; {hint}")
        if self.updates < 1:
            raise ValueError(f"algo.updates is {self.updates}; it must be at least 1")
        for name in ("clip_low", "clip_high", "kl", "reference_refresh", "off_policy_delta", "entropy_least"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise ValueError(f"algo.{name} is {value}; it must not be negative")
        if not self.scale > 0:
            raise ValueError(f"algo.scale is {self.scale}; it must be positive")
        if self.dual_clip is not None and not self.dual_clip > 1:
            raise ValueError(f"algo.dual_clip is {self.dual_clip}; it must be greater than 1, or None")
        least = 1.0 if self.correction is not None and self.correction.endswith("mask") else 0.0
        if not self.correction_cap > least:
            raise ValueError(f"algo.correction_cap is {self.correction_cap}; with {self.correction} it must be above {least:g}")
        if self.reference_refresh and not self.kl:
            raise ValueError(f"algo.reference_refresh is {self.reference_refresh}; without algo.kl there is no reference")
        if self.entropy_target is not None:
            for name in ("entropy_target", "entropy_step"):
                if not getattr(self, name) > 0:
                    raise ValueError(f"algo.{name} is {getattr(self, name)}; it must be positive")
            if not self.entropy_least <= self.entropy <= self.entropy_most:
                bounds = f"algo.entropy_least, {self.entropy_least}, and algo.entropy_most, {self.entropy_most}"
                raise ValueError(f"algo.entropy is {self.entropy}; with a target it must lie between {bounds}")

    @property
    def needs(self) -> frozenset[Need]:
        """What `credit` wants to find in its scores."""
        return frozenset({"reference"} if self.kl else ())

    def objective(self) -> PolicyObjective:
        """What the trainer minimises on the sampled tokens."""
        return PolicyObjective(
            kind=self.loss_kind,
            clip_low=self.clip_low,
            clip_high=self.clip_high,
            dual_clip=self.dual_clip,
            aggregation=self.aggregation,
            scale=self.scale,
            kl=self.kl_kind,
            correction=self.correction,
            correction_cap=self.correction_cap,
            off_policy_delta=self.off_policy_delta,
        )

    def loss_weights(self, update: int, explained: Sequence[float] = ()) -> dict[str, float]:
        """What the terms of the loss weigh in an update, counted from 0: "pg", "kl", "entropy", and "value" of a critic.
        `explained` is the explained variance of the critic's answers in every update before."""
        return {"pg": 1.0, "kl": 1.0, "entropy": self.entropy, "value": 0.0}

    def rewards(self, group: Sequence[Trajectory]) -> torch.Tensor:
        """float64[B]: the reward of each trajectory; NaN where the environment failed, which leaves it out of every statistic."""
        values = []
        for trajectory in group:
            if trajectory.environment_failed or trajectory.reward is None:
                values.append(np.nan)
            elif self.reward == "task":
                values.append(trajectory.reward)
            elif self.reward in trajectory.parts:
                values.append(trajectory.parts[self.reward])
            else:
                there = ", ".join(["task", *trajectory.parts])
                raise ValueError(f"trajectory {trajectory.id!r} has no reward term {self.reward!r}; there are {there}")
        return torch.tensor(values, dtype=torch.float64)

    def keep(self, group: Group) -> bool:
        """Whether the group has a signal: two graded members whose rewards differ (DAPO, arXiv 2503.14476, section 3.2)."""
        rewards = self.rewards(group)
        rewards = rewards[rewards.isfinite()]
        return len(rewards) > 1 and float(rewards.max() - rewards.min()) > FLAT

    def shares(self, groups: Sequence[Group]) -> dict[str, tuple[float, float]]:
        """What is to be logged of a batch beside its losses: for each name a part and the whole, which add up over ranks. The names
        are always the same."""
        return {}

    def credit(self, groups: Sequence[Group], scores: Scores) -> list[GroupCredit]:
        """Credit of every step of every trajectory. `scores` holds what `needs` names. Raises ValueError for missing rewards."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it credits")

    def spread(self, groups: Sequence[Group], advantages: torch.Tensor, scores: Scores) -> list[GroupCredit]:
        """One advantage for each trajectory, in order, on all of its tokens. One whose environment failed is credited nothing."""
        rest = iter(advantages.tolist())
        return [[self._trajectory(trajectory, next(rest), scores) for trajectory in group] for group in groups]

    def _trajectory(self, trajectory: Trajectory, advantage: float, scores: Scores) -> list[Credit]:
        if trajectory.environment_failed or trajectory.reward is None:
            return [NOTHING] * len(trajectory.steps)
        credit = Credit(pg=1.0, advantage=advantage)
        return [self.near_reference(credit, trajectory, number, scores) for number in range(len(trajectory.steps))]

    def near_reference(self, credit: Credit, trajectory: Trajectory, step: int, scores: Scores) -> Credit:
        """The credit of a step, with the divergence from the reference in it where that has a weight."""
        return replace(credit, kl=self.kl, ref_logprobs=scores[trajectory.id][step].reference) if self.kl else credit


def membership(groups: Sequence[Group]) -> torch.Tensor:
    """int64[B]: for each trajectory, in order, the number of its group."""
    return torch.tensor([number for number, group in enumerate(groups) for _ in group], dtype=torch.int64)


def reply_lengths(trajectory: Trajectory) -> list[int]:
    """The number of sampled tokens of each step; 0 for a step that nobody sampled."""
    return [
        len(step.completion.tokens) if step.completion is not None and step.completion.tokens is not None else 0
        for step in trajectory.steps
    ]
