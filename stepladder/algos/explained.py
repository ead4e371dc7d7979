"""How good a critic is: the share of the returns' variance that its answers explain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from stepladder.algos.algorithm import GroupCredit
from stepladder.algos.whitening import Total, alone
from stepladder.types import FloatArray


def explained_variance(credits: Sequence[GroupCredit], total: Total = alone) -> dict[str, float]:
    """{"explained_variance": 1 - Var(return - value) / Var(return)} over all tokens at which the critic learns, on all ranks.

    1: every return is foreseen; 0: no better than a constant; below: worse. Empty where all returns are equal, or there are none:
    then there is nothing to explain.
    """
    pairs = list(_pairs(credits))
    sums = {"n": 0.0, "returns": 0.0, "errors": 0.0}
    for returns, values in pairs:
        sums["n"] += len(returns)
        sums["returns"] += float(returns.sum())
        sums["errors"] += float((returns - values).sum())
    sums = dict(total(sums))
    count = max(1.0, sums["n"])
    squares = {"returns": 0.0, "errors": 0.0}
    for returns, values in pairs:
        squares["returns"] += float(((returns - sums["returns"] / count) ** 2).sum())
        squares["errors"] += float(((returns - values - sums["errors"] / count) ** 2).sum())
    squares = dict(total(squares))
    if squares["returns"] <= 1e-9 * count:
        return {}
    return {"explained_variance": 1 - squares["errors"] / squares["returns"]}


def _pairs(credits: Sequence[GroupCredit]) -> Iterator[tuple[FloatArray, FloatArray]]:
    for group in credits:
        for steps in group:
            for credit in steps:
                if credit.returns is not None and credit.values is not None:
                    known = np.isfinite(credit.returns)
                    yield credit.returns[known].astype(np.float64), credit.values[known].astype(np.float64)
