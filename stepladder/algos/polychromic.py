"""Polychromic set objective: a trajectory is worth what the sets are worth that it belongs to, and a set is worth something if it
succeeds in different ways.

    f(set) = (mean reward of its members) * (number of distinct outcomes among them / number of members)
    A_i    = mean of f over the sets of `set_size` members of the group with i in them - mean of f over all such sets

A policy that has found one way of doing a task gains nothing by doing it that way more often; a failure that tried something new
beside successes may be worth more than another success of the same kind.

Sets want as many members as there are ways, or fewer: with w equal ways and sets much larger than w, one more success of a known
kind adds less than a failure of a new one, and the policy is paid for trying what does not work.

Source: J. Hamid et al., Polychromic Objectives for Reinforcement Learning, arXiv 2509.25424. Three things are ours. The source
draws some sets and gives all members of one the same advantage; here every set counts, in closed form (`set_advantages`), which is
the mean of what would be drawn. Sets are made where a group starts and not also at states within an episode (vine sampling), where
they would need environments that can be put back. The rest is PPO's clipped loss without a critic.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from stepladder.algos.algorithm import FLAT, Algorithm, GroupCredit, Scores
from stepladder.algos.gigpo import state
from stepladder.types import Group, Trajectory

OUTCOMES = ("path", "final", "actions", "replies")


@dataclass(frozen=True)
class Polychromic(Algorithm):
    """Sets have `set_size` members; of a group that has no more graded members than that, all but one. `outcome` is what makes two
    trajectories different (`outcome`)."""

    set_size: int = 2
    outcome: Literal["path", "final", "actions", "replies"] = "path"

    name: ClassVar[str] = "polychromic"

    def check(self) -> None:
        super().check()
        if self.set_size < 1:
            raise ValueError(f"algo.set_size is {self.set_size}; it must be at least 1, and below the size of the groups")
        if self.outcome not in OUTCOMES:
            raise ValueError(f"algo.outcome is {self.outcome!r}; it must be one of {', '.join(OUTCOMES)}")

    def keep(self, group: Group) -> bool:
        """Whether some sets are worth more than others: successes of which some are of another kind tell something, too."""
        return bool((self._advantages(group).abs() > FLAT).any())

    def shares(self, groups: Sequence[Group]) -> dict[str, tuple[float, float]]:
        """ "distinct": different outcomes of a group among its graded members; "distinct_successes": among its successes."""
        counts = {"distinct": [0.0, 0.0], "distinct_successes": [0.0, 0.0]}
        for group in groups:
            graded = [one for one in group if not one.environment_failed and one.reward is not None]
            for name, members in (("distinct", graded), ("distinct_successes", [one for one in graded if one.success])):
                counts[name][0] += len({outcome(one, self.outcome) for one in members})
                counts[name][1] += len(members)
        return {name: (part, whole) for name, (part, whole) in counts.items()}

    def credit(self, groups: Sequence[Group], scores: Scores) -> list[GroupCredit]:
        advantages = [self._advantages(group) for group in groups]
        return self.spread(groups, torch.cat(advantages) if advantages else torch.zeros(0), scores)

    def _advantages(self, group: Sequence[Trajectory]) -> torch.Tensor:
        """float64[B] of a group; 0 for a member whose environment failed, which is in no set."""
        rewards = self.rewards(group)
        graded = rewards.isfinite()
        found = torch.zeros_like(rewards)
        kinds = [outcome(one, self.outcome) for one, counts in zip(group, graded.tolist(), strict=True) if counts]
        found[graded] = torch.tensor(set_advantages(rewards[graded].tolist(), kinds, self.set_size), dtype=torch.float64)
        return found


def outcome(trajectory: Trajectory, kind: str = "path") -> Hashable:
    """What is equal for trajectories that did the same.

    "path"     the states that were passed through, in any order and however often, the last one included
    "final"    the last state
    "actions"  what was done, in order; places to the pixel
    "replies"  what was said, in order, to the letter

    A state is what an environment calls one (`Observation.state_key`), else the screenshot to the pixel.
    """
    if kind == "actions":
        return tuple(repr(action) for step in trajectory.steps for action in step.actions)
    if kind == "replies":
        return tuple(step.completion.text if step.completion is not None else "" for step in trajectory.steps)
    last = "" if trajectory.final is None else state(trajectory.final)
    return last if kind == "final" else frozenset([last, *(state(step.observation) for step in trajectory.steps)])


def set_value(rewards: Sequence[float], kinds: Sequence[Hashable]) -> float:
    """f of one set: mean reward times the share of distinct outcomes. Raises ValueError for an empty set."""
    if not rewards or len(rewards) != len(kinds):
        raise ValueError(f"a set has {len(rewards)} rewards and {len(kinds)} outcomes; it needs as many of both, and at least one")
    return math.fsum(rewards) / len(rewards) * len(set(kinds)) / len(kinds)


def set_advantages(rewards: Sequence[float], kinds: Sequence[Hashable], size: int) -> list[float]:
    """Mean of `set_value` over the subsets of n members that contain a member, minus that over all subsets of n members, for each
    of G members; n is `size`, at most G - 1. Exactly 0 for a group of one and where all sets are worth the same.

    No subset is listed. Of the n - 1 members that join j from the other G - 1, each is one with probability h = (n-1) / (G-1), and
    an outcome that m others have, j not among them, is present with probability P1(m) = 1 - C(G-1-m, n-1) / C(G-1, n-1); given
    another member that does not have it either, with P2(m) = 1 - C(G-2-m, n-2) / C(G-2, n-2). With R the sum of all rewards and R_c
    of those with outcome c,

        n^2 E[f | j] = r_j + h (R - r_j) + sum over c other than j's of (P1(m_c) r_j + h R_c + h P2(m_c) (R - r_j - R_c))

    and E[f] is the mean of E[f | j] over j, since every subset has n members.
    """
    count = len(rewards)
    if count < 2:
        return [0.0] * count
    n = min(size, count - 1)
    total, joined = math.fsum(rewards), (n - 1) / (count - 1)
    sizes = Counter(kinds)
    sums = {kind: math.fsum(r for r, own in zip(rewards, kinds, strict=True) if own == kind) for kind in sizes}
    first = {m: _met(m, count - 1, n - 1) for m in sizes.values()}
    second = {m: _met(m, count - 2, n - 2) for m in sizes.values()}
    expected = []
    for reward, own in zip(rewards, kinds, strict=True):
        terms = [reward, joined * (total - reward)]
        for kind, m in sizes.items():
            if kind != own:
                terms.append(first[m] * reward + joined * sums[kind] + joined * second[m] * (total - reward - sums[kind]))
        expected.append(math.fsum(terms) / n**2)
    mean = math.fsum(expected) / count
    # What differs by rounding alone is the same.
    return [0.0 if abs(value - mean) <= 1e-12 else value - mean for value in expected]


def _met(m: int, others: int, drawn: int) -> float:
    """The probability that `drawn` of `others` members include one of m."""
    if drawn <= 0:
        return 0.0
    return 1.0 - math.comb(max(0, others - m), drawn) / math.comb(others, drawn)
