"""How far a judge of two answers agrees with the truth: counts, rates, and their intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stepladder.stats.intervals import check_confidence, expanded_tails, wilson_interval

Counts = npt.NDArray[np.float64]
#: (judged, true) of one episode.
Pair = tuple[bool, bool]


@dataclass(frozen=True, slots=True)
class Confusion:
    """How many were judged a success that are one, a success that are none, a failure that are a success, a failure that are
    none."""

    true_positive: int = 0
    false_positive: int = 0
    false_negative: int = 0
    true_negative: int = 0

    @property
    def n(self) -> int:
        return self.true_positive + self.false_positive + self.false_negative + self.true_negative


@dataclass(frozen=True, slots=True)
class Estimate:
    """`value` is None where it is 0 divided by 0; `low` and `high` bound it at the confidence asked for, None where nothing
    bounds it. `n` is what the value is a share of, or for F1 and kappa all episodes."""

    value: float | None
    low: float | None
    high: float | None
    n: int


def confusion(pairs: Sequence[Pair]) -> Confusion:
    """Count (judged, true)."""
    return Confusion(
        sum(judged and true for judged, true in pairs),
        sum(judged and not true for judged, true in pairs),
        sum(not judged and true for judged, true in pairs),
        sum(not judged and not true for judged, true in pairs),
    )


def agreement(
    pairs: Mapping[str, Sequence[Pair]], confidence: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> dict[str, Estimate]:
    """ "accuracy", "precision", "recall", "f1" and "kappa" (J. Cohen, "A coefficient of agreement for nominal scales", Educational
    and Psychological Measurement 20, 1960) of (judged, true) by task.

    Shares have Wilson's intervals, which take tasks as fixed and episodes as independent. F1 and kappa are no shares: theirs come
    from resampling whole tasks, as in `cluster_bootstrap`, or the episodes where there is only one task. Resamples in which the
    value is not defined are left out; where the value is an extreme one in all of them, there is no interval. Raises ValueError.
    """
    check_confidence(confidence)
    table = confusion([pair for of_task in pairs.values() for pair in of_task])
    hits, n = table.true_positive, table.n
    shares = {
        "accuracy": (hits + table.true_negative, n),
        "precision": (hits, hits + table.false_positive),
        "recall": (hits, hits + table.false_negative),
    }
    found = {name: _share(right, of, confidence) for name, (right, of) in shares.items()}
    drawn, clusters = _resampled(pairs, resamples, seed)
    whole = _row(table)
    for name, statistic in (("f1", _f1), ("kappa", _kappa)):
        value = float(statistic(whole[None])[0])
        found[name] = _bootstrapped(value, statistic(drawn) if len(drawn) else whole[:0], n, clusters, confidence)
    return found


def _share(right: int, of: int, confidence: float) -> Estimate:
    if not of:
        return Estimate(None, None, None, 0)
    return Estimate(right / of, *wilson_interval(right, of, confidence), of)


def _bootstrapped(value: float, drawn: Counts, n: int, clusters: int, confidence: float) -> Estimate:
    if math.isnan(value):
        return Estimate(None, None, None, n)
    defined = drawn[~np.isnan(drawn)]
    if clusters < 2 or len(defined) < 2 or defined.min() == defined.max():
        return Estimate(value, None, None, n)
    low, high = np.quantile(defined, expanded_tails(confidence, clusters))
    return Estimate(value, float(low), float(high), n)


def _resampled(pairs: Mapping[str, Sequence[Pair]], resamples: int, seed: int) -> tuple[Counts, int]:
    """Counts [R, 4] of resampled tasks (of resampled episodes where there is one task), and how many there are to draw from."""
    rows = [_row(confusion(of_task)) for of_task in pairs.values() if len(of_task)]
    random = np.random.default_rng(seed)
    if len(rows) == 1:
        n = int(rows[0].sum())
        return random.multinomial(n, rows[0] / n, size=resamples).astype(np.float64), n
    if not rows:
        return np.zeros((0, 4)), 0
    table = np.stack(rows)
    weights = random.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=resamples)
    return weights @ table, len(rows)


def _row(table: Confusion) -> Counts:
    return np.array(
        [table.true_positive, table.false_positive, table.false_negative, table.true_negative],
        dtype=np.float64,
    )


def _f1(counts: Counts) -> Counts:
    hits, wrong, missed, _ = counts.T
    return _divided(2 * hits, 2 * hits + wrong + missed)


def _kappa(counts: Counts) -> Counts:
    hits, wrong, missed, rest = counts.T
    n = counts.sum(1)
    seen = _divided(hits + rest, n)
    by_chance = _divided((hits + wrong) * (hits + missed) + (rest + missed) * (rest + wrong), n * n)
    return _divided(seen - by_chance, 1 - by_chance)


def _divided(above: Counts, below: Counts) -> Counts:
    """NaN for 0 / 0."""
    return np.divide(above, below, out=np.full_like(above, np.nan), where=np.abs(below) > 1e-12)
