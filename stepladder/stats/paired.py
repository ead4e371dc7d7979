"""Two policies on the same tasks and seeds: who is better, by how much, and how surely.

Single episodes of each start are compared by McNemar's test (`compare_paired`), several of them by their means for each task
(`paired_bootstrap`).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar

import numpy as np
from scipy.special import ndtri

from stepladder.stats.intervals import check_confidence, expanded_tails

#: What names a start, such as (task, seed).
Start = TypeVar("Start", bound=Hashable)
McNemarMethod = Literal["exact", "mid-p", "chi2", "chi2 corrected"]
#: Up to so many differences all exchanges are tried, beyond it some at random.
ENUMERATED = 12


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


class PairedDifference(NamedTuple):
    """The second's mean less the first's, the bounds of what it would be on other tasks of this kind, and the probability of one at
    least as large if both were equally good."""

    difference: float
    low: float
    high: float
    p: float


def compare_paired(first: Mapping[Start, bool], second: Mapping[Start, bool], confidence: float = 0.95) -> Comparison:
    """Compare two policies on the starts (task and seed) that both have played. Raises ValueError when there are none.

    The test is McNemar's in its exact form (`mcnemar`), the interval Tango's (`paired_interval`). Both take starts as independent:
    they speak of other seeds of these tasks.
    """
    pairs = [(first[start], second[start]) for start in first.keys() & second.keys()]
    if not pairs:
        raise ValueError("the two have played no start in common")
    n = len(pairs)
    gained = sum(not before and after for before, after in pairs)
    lost = sum(before and not after for before, after in pairs)
    low, high = paired_interval(gained, lost, n, confidence)
    return Comparison(n, gained, lost, (gained - lost) / n, low, high, mcnemar(gained, lost), confidence)


def mcnemar(gained: int, lost: int, method: McNemarMethod = "exact") -> float:
    """The probability of a split at least as uneven as `gained` to `lost` if both were equally good. Raises ValueError.

    "exact" is the sign test on the pairs that differ and never rejects too often; "mid-p" counts the split itself by half and
    comes closer to its level; "chi2" is the asymptotic form, for some 25 such pairs or more, and "chi2 corrected" that with the
    continuity correction. Sources: Q. McNemar, Psychometrika 12 (1947); M. W. Fagerland, S. Lydersen and P. Laake, "The McNemar
    test for binary matched-pairs data", BMC Medical Research Methodology 13 (2013).
    """
    if gained < 0 or lost < 0:
        raise ValueError(f"{gained} gained and {lost} lost pairs cannot be")
    from scipy.stats import binom, binomtest, chi2  # here, for loading it would delay every command

    n, fewer = gained + lost, min(gained, lost)
    if n == 0:
        return 1.0
    if method == "exact":
        return float(binomtest(gained, n).pvalue)
    if method == "mid-p":
        own = float(binom.pmf(fewer, n, 0.5))
        return 1 - own / 2 if gained == lost else float(2 * binom.cdf(fewer, n, 0.5)) - own
    if method not in ("chi2", "chi2 corrected"):
        raise ValueError(f"McNemar's test has no method {method!r}; there are exact, mid-p, chi2, chi2 corrected")
    uneven = max(0, abs(gained - lost) - (method == "chi2 corrected"))
    return float(chi2.sf(uneven**2 / n, 1))


def paired_interval(gained: int, lost: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The interval of (gained - lost) / n, the difference of two rates on the same `n` starts. Raises ValueError.

    Tango's score interval: it leaves out 0 just where McNemar's asymptotic test rejects, and unlike Wald's does not shrink to a
    point where all pairs are alike. Source: T. Tango, "Equivalence test and confidence interval for the difference in
    proportions for the paired-sample design", Statistics in Medicine 17 (1998).
    """
    check_confidence(confidence)
    if gained < 0 or lost < 0 or gained + lost > n or n < 1:
        raise ValueError(f"{gained} gained and {lost} lost of {n} pairs cannot be")
    z = float(ndtri((1 + confidence) / 2))
    return _lower(gained, lost, n, z), -_lower(lost, gained, n, z)


def _lower(gained: int, lost: int, n: int, z: float) -> float:
    """The smallest difference that is less than `z` standard errors, as they would be under it, below the one that was seen."""
    from scipy.optimize import brentq  # here, for loading it would delay every command

    seen = (gained - lost) / n
    if lost == n:
        return -1.0

    def beyond(assumed: float) -> float:
        b = (2 * n - gained + lost) * assumed - gained - lost
        c = -lost * assumed * (1 - assumed)
        only_lost = (math.sqrt(max(0.0, b * b - 8 * n * c)) - b) / (4 * n)
        variance = max(0.0, n * (2 * only_lost + assumed * (1 - assumed)))
        return gained - lost - n * assumed - z * math.sqrt(variance)

    # Just below what was seen, for there the standard error may be 0 and the end of the bracket a root that is none.
    return float(brentq(beyond, -1.0, seen - 1e-12, xtol=1e-13))


def exchange_test(differences: Sequence[float], resamples: int = 10_000, seed: int = 0) -> float:
    """The two-sided probability of a sum at least as far from 0 if each difference could as well have had the other sign: the
    randomisation test for pairs, exact whatever the differences are distributed like.

    Differences of one size give the sign test, up to 12 of different sizes are tried in all combinations of signs, more of them in
    `resamples` random ones. Source: R. A. Fisher, "The Design of Experiments" (1935), section 21.
    """
    values = np.array([value for value in differences if value != 0], dtype=np.float64)
    if len(values) == 0:
        return 1.0
    sizes = np.abs(values)
    if np.ptp(sizes) <= 1e-9 * sizes[0]:
        return mcnemar(int((values > 0).sum()), int((values < 0).sum()))
    seen = abs(values.sum()) - 1e-9 * sizes.sum()
    if len(values) <= ENUMERATED:
        signs = 1 - 2 * (np.arange(2 ** len(values))[:, None] >> np.arange(len(values)) & 1)
        return float((np.abs(signs @ values) >= seen).mean())
    generator = np.random.default_rng(seed)
    reached = 0
    for begin in range(0, resamples, 1000):  # in blocks, for there may be thousands of differences
        count = min(1000, resamples - begin)
        signs = generator.integers(0, 2, size=(count, len(values)), dtype=np.int8) * 2 - 1
        reached += int((np.abs(signs @ values) >= seen).sum())
    return (1 + reached) / (1 + resamples)


def paired_bootstrap(
    first: Mapping[str, Sequence[float]],
    second: Mapping[str, Sequence[float]],
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> PairedDifference:
    """The difference of the pooled means of two policies on the tasks that both have played; `first` and `second` map a task to the
    scores in [0, 1] of its episodes. Raises ValueError where they have no task in common.

    Tasks are drawn with replacement, each with the episodes of both, and the interval is that of `expanded_tails`; fewer than two
    tasks say nothing, (-1, 1). Where all tasks show the same difference of 0, 1 or -1, resampling would give a point, and the
    interval is `paired_interval`'s of as many starts as there are tasks. `p` is that of `exchange_test`, the two exchanged within
    whole tasks: a bootstrap's own would be far too small for a handful of tasks. Both speak of other tasks of this kind.
    """
    check_confidence(confidence)
    tasks = [task for task in first if task in second and len(first[task]) and len(second[task])]
    if not tasks:
        raise ValueError("the two have played no task in common")
    sums = np.array([[sum(scores[task]) for task in tasks] for scores in (first, second)], dtype=np.float64)
    counts = np.array([[len(scores[task]) for task in tasks] for scores in (first, second)], dtype=np.float64)
    means = sums.sum(1) / counts.sum(1)
    difference = float(means[1] - means[0])
    # What each task adds to the difference of the pooled means.
    p = exchange_test(list(sums[1] / counts[1].sum() - sums[0] / counts[0].sum()), resamples, seed)
    if len(tasks) < 2:
        return PairedDifference(difference, -1.0, 1.0, p)
    each = sums[1] / counts[1] - sums[0] / counts[0]
    if each[0] in (-1.0, 0.0, 1.0) and (each == each[0]).all():
        gained, lost = len(tasks) * (each[0] == 1), len(tasks) * (each[0] == -1)
        return PairedDifference(difference, *paired_interval(int(gained), int(lost), len(tasks), confidence), p)
    drawn = np.random.default_rng(seed).integers(0, len(tasks), size=(resamples, len(tasks)))
    before, after = (sums[side][drawn].sum(1) / counts[side][drawn].sum(1) for side in (0, 1))
    low, high = np.quantile(after - before, expanded_tails(confidence, len(tasks)))
    return PairedDifference(difference, float(low), float(high), p)
