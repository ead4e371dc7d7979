"""Several trials of the same start: how often at least one succeeds, how often all do, how often two of them disagree.

All three are estimated without bias from n trials of which some number succeeded, and averaged over starts; intervals come from
resampling whole tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import comb

from stepladder.stats.intervals import mean_interval

#: More trials than this are shown at powers of two only.
SHOWN = 8


@dataclass(frozen=True, slots=True)
class Mean:
    """The mean over `n` starts, bounded by `low` and `high`: what other tasks of this kind would give."""

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Repeats:
    """Of starts that were tried several times. `pass_at` and `pass_hat` map a number k of trials to the share of starts of which at
    least one, or every one, of k trials succeeds, over the starts with k graded trials or more; `flips` is the share of pairs of
    trials of one start that end differently."""

    trials: int
    pass_at: Mapping[str, Mean]
    pass_hat: Mapping[str, Mean]
    flips: Mean
    confidence: float = 0.95


def pass_at_k(successes: int, n: int, k: int) -> float:
    """The chance that at least one of k trials succeeds, from `successes` of n: 1 - C(n - successes, k) / C(n, k).

    Raises ValueError unless 1 <= k <= n. Source: M. Chen et al., "Evaluating large language models trained on code",
    arXiv:2107.03374 (2021), section 2.1.
    """
    _check(successes, n, k)
    return 1 - comb(n - successes, k) / comb(n, k)


def pass_hat_k(successes: int, n: int, k: int) -> float:
    """The chance that all of k trials succeed, from `successes` of n: C(successes, k) / C(n, k), written pass^k.

    Raises ValueError unless 1 <= k <= n. Source: S. Yao et al., "tau-bench: a benchmark for tool-agent-user interaction in
    real-world domains", arXiv:2406.12045 (2024), section 3.
    """
    _check(successes, n, k)
    return comb(successes, k) / comb(n, k)


def flip_rate(successes: int, n: int) -> float:
    """The chance that two trials end differently, from `successes` of n: the share of such pairs among all pairs, at most about
    one half. Raises ValueError for fewer than two trials."""
    _check(successes, n, 2)
    return successes * (n - successes) / comb(n, 2)


def summarise_repeats(starts: Mapping[str, Sequence[Sequence[bool]]], confidence: float = 0.95) -> Repeats | None:
    """`starts` maps a task to its starts, each the outcomes of its graded trials. None where no start has two of them."""
    counts = {task: [(sum(map(bool, trials)), len(trials)) for trials in of_task] for task, of_task in starts.items()}
    most = max((n for of_task in counts.values() for _, n in of_task), default=0)
    if most < 2:
        return None
    shown = [k for k in range(1, most + 1) if most <= SHOWN or k & (k - 1) == 0 or k == most]

    def mean(k: int, estimate: Callable[[int, int, int], float]) -> Mean:
        estimates = {task: [estimate(c, n, k) for c, n in of_task if n >= k] for task, of_task in counts.items()}
        values = [value for of_task in estimates.values() for value in of_task]
        return Mean(sum(values) / len(values), *mean_interval(estimates, confidence), len(values))

    return Repeats(
        trials=most,
        pass_at={str(k): mean(k, pass_at_k) for k in shown},
        pass_hat={str(k): mean(k, pass_hat_k) for k in shown},
        flips=mean(2, lambda c, n, _: flip_rate(c, n)),
        confidence=confidence,
    )


def _check(successes: int, n: int, k: int) -> None:
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} trials cannot be")
    if not 1 <= k <= n:
        raise ValueError(f"k is {k} with {n} trials; it must lie between 1 and their number")
