"""Trials of two policies at the same starts, none of one belonging to any of the other: a table of two by two for each start."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from stepladder.stats.intervals import wilson_interval

#: Of one start: successes and trials of the first, successes and trials of the second.
Table = tuple[int, int, int, int]
#: Probabilities count as alike when they differ by no more than this share, as in scipy.
_ALIKE = 1e-7


def stratified_test(tables: Sequence[Table]) -> float:
    """The two-sided probability of a split of the successes at least as unlikely as the one seen, if at each start both had the
    same chance. Raises ValueError for counts that cannot be.

    The exact form of the test of Mantel and Haenszel: at each start all ways to give the successes to the trials are as likely,
    and the successes of the second are summed over starts. With one start it is Fisher's exact test, with one trial of each at
    every start McNemar's. Trials must be independent; it speaks of these starts and no others. Source: M. W. Birch, "The detection
    of partial association, I: the 2 x 2 case", Journal of the Royal Statistical Society B 26 (1964).
    """
    from scipy.stats import hypergeom  # here, for loading it would delay every command

    chances = np.ones(1)
    seen = 0
    for first, of_first, second, of_second in tables:
        if not (0 <= first <= of_first and 0 <= second <= of_second):
            raise ValueError(f"{first} successes of {of_first} trials and {second} of {of_second} cannot be")
        successes = first + second
        fewest, most = max(0, successes - of_first), min(successes, of_second)
        own = hypergeom.pmf(np.arange(fewest, most + 1), of_first + of_second, successes, of_second)
        chances = np.convolve(chances, own)
        seen += second - fewest
    return min(1.0, float(chances[chances <= chances[seen] * (1 + _ALIKE)].sum()))


def difference_interval(table: Table, confidence: float = 0.95) -> tuple[float, float]:
    """The interval of the second's rate less the first's, of independent trials. Raises ValueError.

    Newcombe's, from Wilson's intervals of both rates; it does not shrink to a point where both are 0 or 1. Source:
    R. G. Newcombe, "Interval estimation for the difference between independent proportions", Statistics in Medicine 17 (1998).
    """
    first, of_first, second, of_second = table
    (low, high), (other_low, other_high) = (
        wilson_interval(first, of_first, confidence),
        wilson_interval(second, of_second, confidence),
    )
    if not of_first or not of_second:
        return -1.0, 1.0
    rate, other = first / of_first, second / of_second
    difference = other - rate
    return difference - math.hypot(other - other_low, high - rate), difference + math.hypot(other_high - other, rate - low)
