"""Intervals for success rates.

Two questions, two intervals. *How well does it do on these very tasks, had other seeds been drawn?* is answered by the Wilson
interval of the pooled rate (`success_rate`). *How well would it do on other tasks of this kind?* is answered by resampling
whole tasks (`cluster_bootstrap`), which is wider as soon as tasks differ in difficulty. A report must say which one it shows.

*Is one policy better than another?* is asked on the same tasks and seeds (`compare_paired`), where it takes far fewer episodes than
two separate intervals would need.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy.special import ndtri
from scipy.stats import binomtest

#: What names a start, such as (task, seed).
Start = TypeVar("Start", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Rate:
    """`successes` of `n`; `rate` is their quotient (None for n = 0), `low` and `high` bound it at `confidence`."""

    successes: int
    n: int
    rate: float | None
    low: float
    high: float
    confidence: float = 0.95


def wilson_interval(successes: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
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


def success_rate(successes: int, n: int, confidence: float = 0.95, starts: int | None = None) -> Rate:
    """The pooled rate with its Wilson interval: every episode counts the same, tasks are taken as fixed.

    Where several of the episodes began at the same start, `starts` is the number of different ones and the interval that of as many
    episodes: repetitions of a start may all end alike, and then say no more than one of them.
    """
    if starts is None or starts == n:
        low, high = wilson_interval(successes, n, confidence)
    else:
        low, high = wilson_interval(starts * successes / n, starts, confidence)
    return Rate(successes, n, successes / n if n else None, low, high, confidence)


def cluster_bootstrap(
    outcomes: Mapping[str, Sequence[bool]], confidence: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> Rate:
    """The pooled rate with a percentile interval from resampling whole tasks with replacement.

    `outcomes` maps a task to its episodes. Needs two tasks or more to say anything: with one the interval is (0, 1).
    Source: A. C. Davison and D. V. Hinkley, "Bootstrap Methods and their Application" (1997), section 3.8.
    """
    successes = sum(sum(map(bool, episodes)) for episodes in outcomes.values())
    n = sum(map(len, outcomes.values()))
    low, high = mean_interval({task: list(map(bool, episodes)) for task, episodes in outcomes.items()}, confidence, resamples, seed)
    return Rate(successes, n, successes / n if n else None, low, high, confidence)


def mean_interval(
    scores: Mapping[str, Sequence[float]], confidence: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """A percentile interval of the pooled mean of scores in [0, 1], from resampling whole tasks with replacement; (0, 1) for fewer
    than two tasks. Source: see `cluster_bootstrap`."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}; it must lie between 0 and 1")
    sums = np.array([sum(values) for values in scores.values() if len(values)], dtype=np.float64)
    counts = np.array([len(values) for values in scores.values() if len(values)], dtype=np.int64)
    if len(sums) < 2:
        return 0.0, 1.0
    drawn = np.random.default_rng(seed).integers(0, len(sums), size=(resamples, len(sums)))
    low, high = np.quantile(sums[drawn].sum(1) / counts[drawn].sum(1), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Of `n` episodes that both played, `gained` were won by the second alone and `lost` by the first alone. `difference` is the
    second's success rate less the first's, bounded by `low` and `high` at `confidence`; `p` is the probability of a split at
    least as uneven if both were equally good."""

    n: int
    gained: int
    lost: int
    difference: float
    low: float
    high: float
    p: float
    confidence: float = 0.95


def compare_paired(first: Mapping[Start, bool], second: Mapping[Start, bool], confidence: float = 0.95) -> Comparison:
    """Compare two policies on the starts (task and seed) that both have played. Raises ValueError when there are none.

    The test is McNemar's in its exact form, the sign test on the pairs that differ (Q. McNemar, Psychometrika 12, 1947); the
    interval of the difference is Wald's for paired proportions (A. Agresti, "Categorical Data Analysis", section 11.1.1).
    """
    pairs = [(first[start], second[start]) for start in first.keys() & second.keys()]
    if not pairs:
        raise ValueError("the two have played no start in common")
    n = len(pairs)
    gained = sum(not before and after for before, after in pairs)
    lost = sum(before and not after for before, after in pairs)
    difference = (gained - lost) / n
    reach = float(ndtri((1 + confidence) / 2)) * math.sqrt(max(0.0, gained + lost - (gained - lost) ** 2 / n)) / n
    p = float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0
    return Comparison(n, gained, lost, difference, max(-1.0, difference - reach), min(1.0, difference + reach), p, confidence)
