"""Intervals of a success rate: Wilson's and the exact one for independent episodes, the bootstrap over whole tasks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv, ndtr, ndtri, stdtrit


@dataclass(frozen=True, slots=True)
class Rate:
    """`successes` of `n`; `rate` is their quotient (None for n = 0), `low` and `high` bound it at `confidence`."""

    successes: int
    n: int
    rate: float | None
    low: float
    high: float
    confidence: float = 0.95


def check_confidence(confidence: float) -> None:
    """Raises ValueError."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}; it must lie between 0 and 1")


def wilson_interval(successes: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a binomial proportion; (0, 1) for n = 0, where nothing is known.

    It holds its confidence on average over all rates, and so may fall a little short at one of them.
    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).
    """
    _check_counts(successes, n, confidence)
    if n == 0:
        return 0.0, 1.0
    z = float(ndtri((1 + confidence) / 2))
    rate, shrink = successes / n, 1 + z * z / n
    centre = (rate + z * z / (2 * n)) / shrink
    reach = z * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n)) / shrink
    return (0.0 if successes == 0 else centre - reach), (1.0 if successes == n else centre + reach)


def exact_interval(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact interval of a binomial proportion; (0, 1) for n = 0. It never falls short of its confidence at any rate, and is
    wider than it need be at most of them.

    Source: C. J. Clopper and E. S. Pearson, "The use of confidence or fiducial limits", Biometrika 26 (1934).
    """
    _check_counts(successes, n, confidence)
    if n == 0:
        return 0.0, 1.0
    tail = (1 - confidence) / 2
    low = 0.0 if successes == 0 else float(betaincinv(successes, n - successes + 1, tail))
    high = 1.0 if successes == n else float(betaincinv(successes + 1, n - successes, 1 - tail))
    return low, high


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
    """The pooled rate with an interval from resampling whole tasks with replacement (`mean_interval`).

    `outcomes` maps a task to its episodes. Needs two tasks or more to say anything: with one the interval is (0, 1).
    """
    successes = sum(sum(map(bool, episodes)) for episodes in outcomes.values())
    n = sum(map(len, outcomes.values()))
    low, high = mean_interval({task: list(map(bool, episodes)) for task, episodes in outcomes.items()}, confidence, resamples, seed)
    return Rate(successes, n, successes / n if n else None, low, high, confidence)


def mean_interval(
    scores: Mapping[str, Sequence[float]], confidence: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """An interval of the pooled mean of scores in [0, 1], from resampling whole tasks with replacement; (0, 1) for fewer than two
    tasks. `scores` maps a task to those of its episodes. Where all are 0, or all are 1, resampling would give a point, and the
    interval is Wilson's of as many episodes as there are tasks.

    The percentiles are those of `expanded_tails`. Source: A. C. Davison and D. V. Hinkley, "Bootstrap Methods and their
    Application" (1997), section 3.8.
    """
    check_confidence(confidence)
    sums = np.array([sum(values) for values in scores.values() if len(values)], dtype=np.float64)
    counts = np.array([len(values) for values in scores.values() if len(values)], dtype=np.int64)
    if len(sums) < 2:
        return 0.0, 1.0
    mean = sums.sum() / counts.sum()
    if mean in (0.0, 1.0):
        return wilson_interval(mean * len(sums), len(sums), confidence)
    drawn = np.random.default_rng(seed).integers(0, len(sums), size=(resamples, len(sums)))
    low, high = np.quantile(sums[drawn].sum(1) / counts[drawn].sum(1), expanded_tails(confidence, len(sums)))
    return float(low), float(high)


def expanded_tails(confidence: float, clusters: int) -> tuple[float, float]:
    """The two quantiles of a bootstrap distribution that bound the mean of so many clusters.

    The plain ones, (1 - confidence) / 2 and its complement, give intervals that are too narrow for few clusters, as a normal
    interval with the population's formula for the standard deviation is. Their place is moved outward so that a normal sample gets
    Student's interval. Source: T. C. Hesterberg, "What teachers should know about the bootstrap", The American Statistician 69
    (2015), section 5.
    """
    student = float(stdtrit(clusters - 1, (1 + confidence) / 2))
    tail = float(ndtr(-math.sqrt(clusters / (clusters - 1)) * student))
    return tail, 1 - tail


def _check_counts(successes: float, n: int, confidence: float) -> None:
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} trials cannot be")
    check_confidence(confidence)
