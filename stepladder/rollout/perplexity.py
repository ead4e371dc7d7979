"""How well a policy knows an episode: which past successes are worth learning again (WebRL, arXiv 2411.02337)."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from stepladder.types import FloatArray


def geometric_mean(logprobs: Iterable[FloatArray]) -> float:
    """The geometric mean of the probabilities of all tokens of an episode, from the log-probabilities float[C] of each reply: one
    over its perplexity. NaN where there is no token."""
    pieces = [np.asarray(one, dtype=np.float64) for one in logprobs]
    tokens = sum(len(one) for one in pieces)
    return math.exp(sum(float(one.sum()) for one in pieces) / tokens) if tokens else math.nan


def worth_learning(probability: float, bounds: tuple[float, float]) -> bool:
    """Whether the probability lies in (low, high]: below, the policy has left it behind; above, it has nothing left to learn."""
    low, high = bounds
    return low < probability <= high
