"""Replies that come near the token limit cost something: the soft overlong punishment of DAPO.

Source: Yu et al., "DAPO: An Open-Source LLM Reinforcement Learning System at Scale" (arXiv 2503.14476), in the form of verl's
reward manager: min(-(length - (limit - buffer)) / buffer * factor, 0). The paper stops at -1, which is the same as long as no reply
is longer than the limit.
"""

from __future__ import annotations

import math

from stepladder.config import ConfigError
from stepladder.rewards.outcome import task_reward
from stepladder.types import Step, Trajectory


def overlong(length: int, limit: int, buffer: int, factor: float = 1.0) -> float:
    """0 up to `limit - buffer` tokens, then falling evenly to `-factor` at `limit`, and further beyond."""
    excess = length - (limit - buffer)
    return -excess / buffer * factor if excess > 0 else 0.0


class LengthReward:
    """`length`: `overlong` of each reply, averaged over the steps; 0 for a reply without tokens (a script's, a person's).

    DAPO has one reply to an episode. With several, the limit of sampling holds for each, so each is judged by itself; the mean
    keeps the term in [-factor, 0] when `limit` is `Sampling.max_tokens`, however many steps there are.

    limit   tokens that a reply may have
    buffer  the last so many of them cost something
    factor  what a reply of `limit` tokens costs
    """

    main = "length"

    def __init__(self, limit: int, buffer: int, factor: float = 1.0) -> None:
        if not 0 < buffer <= limit:
            raise ConfigError(f"buffer is {buffer}; it must be from 1 to limit, which is {limit}")
        if not (math.isfinite(factor) and factor >= 0):
            raise ConfigError(f"factor is {factor}; it must be 0 or more")
        self.limit, self.buffer, self.factor = limit, buffer, factor

    def __call__(self, group: list[Trajectory]) -> list[dict[str, float]]:
        return [{} if task_reward(trajectory) is None else {"length": self._term(trajectory)} for trajectory in group]

    def _term(self, trajectory: Trajectory) -> float:
        costs = [overlong(_tokens(step), self.limit, self.buffer, self.factor) for step in trajectory.steps]
        return sum(costs) / len(costs) if costs else 0.0


def _tokens(step: Step) -> int:
    return 0 if step.completion is None or step.completion.tokens is None else len(step.completion.tokens)
