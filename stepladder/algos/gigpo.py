"""GiGPO, group-in-group policy optimisation: an episode against its group, and every step against the group's other steps from the
same state.

Source: L. Feng et al., arXiv 2505.10978. Nothing more is played than for GRPO: members of a group pass through the same states
again and again, and what followed from there says how good the action was. A state is what an environment calls one (`state_key`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from stepladder.algos import ops
from stepladder.algos.algorithm import Algorithm, GroupCredit, Scores
from stepladder.algos.credit import NOTHING, Credit
from stepladder.state_keys import tree_key
from stepladder.types import Group, Observation, Trajectory

ANCHORS = ("key", "screenshot", "tree")


@dataclass(frozen=True)
class Gigpo(Algorithm):
    """`weight` multiplies the step's part of the advantage, `gamma` discounts from step to step within it, `std` divides both parts
    by their deviations. `anchor` is what makes two states the same (`state`). With `per_row` every step counts in the episodes'
    statistics, not every episode: as the source's code does."""

    weight: float = 1.0
    gamma: float = 0.95
    std: bool = False
    per_row: bool = False
    eps: float = 1e-6
    anchor: Literal["key", "screenshot", "tree"] = "key"
    aggregation: str = "seq-mean-token-mean"

    name: ClassVar[str] = "gigpo"

    def check(self) -> None:
        super().check()
        for name in ("weight", "eps"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"algo.{name} is {getattr(self, name)}; it must not be negative")
        if not 0 <= self.gamma <= 1:
            raise ValueError(f"algo.gamma is {self.gamma}; it must be in [0, 1]")
        if self.anchor not in ANCHORS:
            raise ValueError(f"algo.anchor is {self.anchor!r}; it must be one of {', '.join(ANCHORS)}")

    def shares(self, groups: Sequence[Group]) -> dict[str, tuple[float, float]]:
        sizes, steps = _anchored(groups, self.anchor)
        return {"anchored": (float(sum(sizes)), float(steps))}

    def keep(self, group: Group) -> bool:
        """As elsewhere, and where all succeed but some sooner: what followed a state was then discounted more or less."""
        lengths = {len(one.steps) for one in group if one.reward and not one.environment_failed}
        return super().keep(group) or (self.weight > 0 and self.gamma < 1 and len(lengths) > 1)

    def credit(self, groups: Sequence[Group], scores: Scores) -> list[GroupCredit]:
        members = [(number, trajectory) for number, group in enumerate(groups) for trajectory in group]
        rewards = self.rewards([trajectory for _, trajectory in members])
        states: dict[tuple[int, str], int] = {}
        rows: list[tuple[float, float, int, int, int]] = []
        for number, (group, trajectory) in enumerate(members):
            reward, last = float(rewards[number]), len(trajectory.steps) - 1
            for place, step in enumerate(trajectory.steps):
                key = state(step.observation, self.anchor)
                anchor = states.setdefault((group, key), len(states)) if key else -1
                rows.append((reward, reward if place == last else 0.0, group, anchor, number))
        if not rows:
            return [[[] for _ in group] for group in groups]
        episodes, step_rewards, in_group, anchors, ids = map(list, zip(*rows, strict=True))
        returns = ops.step_returns(torch.tensor(step_rewards, dtype=torch.float64), torch.tensor(ids), self.gamma)
        advantages = ops.gigpo_advantages(
            torch.tensor(episodes, dtype=torch.float64),
            returns,
            torch.tensor(in_group),
            torch.tensor(anchors),
            self.weight,
            self.std,
            self.eps,
            trajectory_ids=None if self.per_row else torch.tensor(ids),
        )
        rest = iter(advantages.tolist())
        return [
            [self._steps(trajectory, [next(rest) for _ in trajectory.steps], scores) for trajectory in group] for group in groups
        ]

    def _steps(self, trajectory: Trajectory, advantages: list[float], scores: Scores) -> list[Credit]:
        if trajectory.environment_failed or trajectory.reward is None:
            return [NOTHING] * len(trajectory.steps)
        credits = [Credit(pg=1.0, advantage=advantage) for advantage in advantages]
        return [self.near_reference(credit, trajectory, number, scores) for number, credit in enumerate(credits)]


def state(observation: Observation, anchor: str = "key") -> str:
    """What is equal for observations of the same state, "" where there is no such thing.

    "key"         the environment's own word (of browsers: address and contents of the page), else the screenshot
    "screenshot"  the screenshot to the pixel
    "tree"        address and accessibility tree without boxes, where trees are recorded: it overlooks a caret that blinks, and
                  everything else that is only painted
    """
    if anchor == "tree":
        return "" if observation.tree is None else tree_key(observation.tree, observation.url)
    if anchor == "key" and observation.state_key:
        return observation.state_key
    return observation.screenshot.sha256 if observation.screenshot is not None else ""


def anchor_shares(groups: Sequence[Group], anchor: str = "key") -> dict[str, float]:
    """How much step groups have to say: "anchored", the share of steps whose state another member of the group was in too, and
    "anchor_size", the mean number of steps from one state among those. Empty without steps."""
    sizes, steps = _anchored(groups, anchor)
    if not steps:
        return {}
    return {"anchored": sum(sizes) / steps, "anchor_size": sum(sizes) / len(sizes) if sizes else 0.0}


def _anchored(groups: Sequence[Group], anchor: str) -> tuple[list[int], int]:
    """(the number of steps in each state that several members of a group were in, all steps)."""
    sizes: list[int] = []
    total = 0
    for group in groups:
        found: dict[str, list[int]] = {}
        for number, trajectory in enumerate(group):
            for step in trajectory.steps:
                total += 1
                key = state(step.observation, anchor)
                if key:
                    found.setdefault(key, []).append(number)
        sizes += [len(members) for members in found.values() if len(set(members)) > 1]
    return sizes, total
