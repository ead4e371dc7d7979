"""Advantages of mean 0 and deviation 1 over all sampled tokens of a batch, wherever its parts are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from stepladder.algos.algorithm import FLAT, GroupCredit, reply_lengths
from stepladder.algos.credit import Credit
from stepladder.types import Group

#: Adds up named numbers over all ranks; every rank must call it with the same names.
Total = Callable[[Mapping[str, float]], Mapping[str, float]]


def alone(values: Mapping[str, float]) -> Mapping[str, float]:
    """The total of a single rank."""
    return values


def whitened(groups: Sequence[Group], credits: Sequence[GroupCredit], total: Total = alone) -> list[GroupCredit]:
    """`credits` of the trajectories in `groups` with whitened advantages. Steps without policy-gradient weight do not count.

    The deviation is the unbiased one (n - 1), as in verl's `masked_whiten`. Fewer than two tokens, or equal advantages, give 0:
    they hold no comparison. With `total` the statistics are those of all ranks, so that their number changes nothing (law 5).
    """
    arrays = list(_advantages(groups, credits))
    sums = total({"n": float(sum(map(len, arrays))), "sum": float(sum(array.sum() for array in arrays))})
    mean = sums["sum"] / max(1.0, sums["n"])
    squares = total({"squares": float(sum(((array - mean) ** 2).sum() for array in arrays))})["squares"]
    deviation = (squares / max(1.0, sums["n"] - 1)) ** 0.5

    def white(credit: Credit) -> Credit:
        if not credit.pg:
            return credit
        advantage = (np.asarray(credit.advantage, dtype=np.float64) - mean) / deviation if deviation > FLAT else 0.0 * mean
        shaped = np.broadcast_to(advantage, np.shape(credit.advantage))
        return replace(credit, advantage=float(shaped) if shaped.ndim == 0 else shaped.astype(np.float32))

    return [[[white(credit) for credit in steps] for steps in group] for group in credits]


def _advantages(groups: Sequence[Group], credits: Sequence[GroupCredit]) -> Iterator[npt.NDArray[np.float64]]:
    """The advantage of every token of every reply that counts, float64[C] each."""
    for group, group_credit in zip(groups, credits, strict=True):
        for trajectory, steps in zip(group, group_credit, strict=True):
            for credit, length in zip(steps, reply_lengths(trajectory), strict=True):
                if credit.pg:
                    yield np.broadcast_to(np.asarray(credit.advantage, dtype=np.float64), (length,))
