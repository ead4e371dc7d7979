"""Many comparisons at once: of twenty true null hypotheses one is rejected at 5 % by chance alone.

Both functions give adjusted p-values in the order of those they are given, to be held against the level itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def holm(probabilities: Sequence[float]) -> list[float]:
    """Adjusted so that the chance of a single false rejection among all of them stays below the level, however they depend on each
    other. Raises ValueError for what is no probability.

    Source: S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6 (1979).
    """
    values, order = _sorted(probabilities)
    steps = np.maximum.accumulate(values * np.arange(len(values), 0, -1))
    return _unsorted(steps, order)


def benjamini_hochberg(probabilities: Sequence[float]) -> list[float]:
    """Adjusted so that of the rejected ones at most the level's share is false, on average, for tests that are independent or
    positively dependent. Raises ValueError for what is no probability.

    Source: Y. Benjamini and Y. Hochberg, "Controlling the false discovery rate", JRSS B 57 (1995).
    """
    values, order = _sorted(probabilities)
    count = len(values)
    steps = np.minimum.accumulate((values * count / np.arange(1, count + 1))[::-1])[::-1]
    return _unsorted(steps, order)


def _sorted(probabilities: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """The values in ascending order, and where each of them stood."""
    values = np.asarray(probabilities, dtype=np.float64)
    wrong = [value for value in values if not 0 <= value <= 1]
    if wrong:
        raise ValueError(f"{wrong[0]} is no probability; it must lie between 0 and 1")
    order = np.argsort(values, kind="stable")
    return values[order], order


def _unsorted(values: np.ndarray, order: np.ndarray) -> list[float]:
    found = np.empty_like(values)
    found[order] = np.minimum(values, 1.0)
    return [float(value) for value in found]
