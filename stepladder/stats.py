"""Intervals for success rates.

Two questions, two intervals. *How well does it do on these very tasks, had other seeds been drawn?* is answered by the Wilson
interval of the pooled rate (`success_rate`). *How well would it do on other tasks of this kind?* is answered by resampling
whole tasks (`cluster_bootstrap`), which is wider as soon as tasks differ in difficulty. A report must say which one it shows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri


@dataclass(frozen=True, slots=True)
class Rate:
    """`successes` of `n`; `rate` is their quotient (None for n = 0), `low` and `high` bound it at `confidence`."""

    successes: int
    n: int
    rate: float | None
    low: float
    high: float
    confidence: float = 0.95


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a binomial proportion; (0, 1) for n = 0, where nothing is known.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).
    """
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} trials cannot be")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}; it must lie between 0 and 1")
    if n == 0:
        return 0.0, 1.0
    z = float(ndtri((1 + confidence) / 2))
    rate, shrink = successes / n, 1 + z * z / n
    centre = (rate + z * z / (2 * n)) / shrink
    reach = z * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n)) / shrink
    return (0.0 if successes == 0 else centre - reach), (1.0 if successes == n else centre + reach)


def success_rate(successes: int, n: int, confidence: float = 0.95) -> Rate:
    """The pooled rate with its Wilson interval: every episode counts the same, tasks are taken as fixed."""
    low, high = wilson_interval(successes, n, confidence)
    return Rate(successes, n, successes / n if n else None, low, high, confidence)


def cluster_bootstrap(
    outcomes: Mapping[str, Sequence[bool]], confidence: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> Rate:
    """The pooled rate with a percentile interval from resampling whole tasks with replacement.

    `outcomes` maps a task to its episodes. Needs two tasks or more to say anything: with one the interval is (0, 1).
    Source: A. C. Davison and D. V. Hinkley, "Bootstrap Methods and their Application" (1997), section 3.8.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}; it must lie between 0 and 1")
    wins = np.array([sum(map(bool, episodes)) for episodes in outcomes.values() if len(episodes)], dtype=np.int64)
    counts = np.array([len(episodes) for episodes in outcomes.values() if len(episodes)], dtype=np.int64)
    successes, n = int(wins.sum()), int(counts.sum())
    if len(wins) < 2:
        return Rate(successes, n, successes / n if n else None, 0.0, 1.0, confidence)
    drawn = np.random.default_rng(seed).integers(0, len(wins), size=(resamples, len(wins)))
    rates = wins[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.quantile(rates, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Rate(successes, n, successes / n, float(low), float(high), confidence)
