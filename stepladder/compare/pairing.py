"""Starts that both sides have played, and what they say about the difference of the two."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from stepladder.compare.sides import Episode, Start
from stepladder.stats import compare_paired, difference_interval, holm, paired_bootstrap, stratified_test

Method = Literal["McNemar, exact", "Fisher, exact", "Mantel-Haenszel, exact", "exchange of tasks"]


@dataclass(frozen=True, slots=True)
class Pair:
    """A start that both have played, with the graded episodes of each side."""

    start: Start
    first: tuple[Episode, ...]
    second: tuple[Episode, ...]

    @property
    def before(self) -> float:
        """The share of the first side's episodes that succeeded."""
        return _share(self.first)

    @property
    def after(self) -> float:
        """The share of the second side's episodes that succeeded."""
        return _share(self.second)


@dataclass(frozen=True, slots=True)
class Paired:
    """`n` starts: the mean success rates of both, the second's less the first's as `difference`, and at how many starts the second
    succeeded more often (`gained`) or less often (`lost`).

    `p` is the probability of a difference at least as large, either way, if both were equally good: by McNemar's test where every
    start was played once by each side, else by exchanging the two sides within whole tasks. Where all starts are of one task there
    is no other to exchange, and trials are exchanged within starts: Fisher's test for a single start, Mantel and Haenszel's for
    several. That speaks of these very starts. `adjusted` is p after Holm's correction for the rows of the same table, None outside
    of one.
    """

    name: str
    n: int
    first: float
    second: float
    difference: float
    gained: int
    lost: int
    p: float
    method: Method
    adjusted: float | None = None


@dataclass(frozen=True, slots=True)
class Overall:
    """`paired` over all starts, its difference bounded by `low` and `high` at `confidence`: what other seeds of these tasks would
    give where every start was played once, and what further trials would give where there is a single start. `task_low`,
    `task_high` and `task_p` take whole tasks as what is drawn: what other tasks like these would give; None for a single task. With
    several trials and several tasks they are the same as `low`, `high`, `p`."""

    paired: Paired
    low: float
    high: float
    task_low: float | None
    task_high: float | None
    task_p: float | None
    confidence: float


def overall(pairs: Sequence[Pair], confidence: float = 0.95) -> Overall:
    """All starts together. `pairs` must hold at least one."""
    paired = paired_result("all", pairs)
    resampled = None
    if len({pair.start[0] for pair in pairs}) > 1:
        resampled = paired_bootstrap(*_scores(pairs, _task), confidence=confidence)
    task_low, task_high, task_p = resampled[1:] if resampled is not None else (None, None, None)
    if single_trials(pairs):
        found = compare_paired(*_outcomes(pairs), confidence)
        low, high = found.low, found.high
    elif resampled is not None:
        _, low, high, _ = resampled
    elif len(pairs) == 1:
        low, high = difference_interval(_table(pairs[0]), confidence)
    else:
        _, low, high, _ = paired_bootstrap(*_scores(pairs, _seed), confidence=confidence)
    return Overall(paired, low, high, task_low, task_high, task_p, confidence)


def by_group(pairs: Sequence[Pair], group: Callable[[Pair], str]) -> tuple[Paired, ...]:
    """One row a group in order of appearance, with Holm's correction over them."""
    groups: dict[str, list[Pair]] = {}
    for pair in pairs:
        groups.setdefault(group(pair), []).append(pair)
    rows = [paired_result(name, members) for name, members in groups.items()]
    return tuple(replace(row, adjusted=p) for row, p in zip(rows, holm([row.p for row in rows]), strict=True))


def single_trials(pairs: Sequence[Pair]) -> bool:
    """Whether every start was played once by each side."""
    return all(len(pair.first) == len(pair.second) == 1 for pair in pairs)


def paired_result(name: str, pairs: Sequence[Pair]) -> Paired:
    """One row. `pairs` must hold at least one."""
    first = sum(pair.before for pair in pairs) / len(pairs)
    second = sum(pair.after for pair in pairs) / len(pairs)
    p, method = _test(pairs)
    return Paired(
        name=name,
        n=len(pairs),
        first=first,
        second=second,
        difference=second - first,
        gained=sum(pair.after > pair.before for pair in pairs),
        lost=sum(pair.after < pair.before for pair in pairs),
        p=p,
        method=method,
    )


def _test(pairs: Sequence[Pair]) -> tuple[float, Method]:
    if single_trials(pairs):
        return compare_paired(*_outcomes(pairs)).p, "McNemar, exact"
    if len({pair.start[0] for pair in pairs}) > 1:
        return paired_bootstrap(*_scores(pairs, _task))[3], "exchange of tasks"
    return stratified_test([_table(pair) for pair in pairs]), "Fisher, exact" if len(pairs) == 1 else "Mantel-Haenszel, exact"


def _table(pair: Pair) -> tuple[int, int, int, int]:
    return (
        *(sum(episode.success for episode in pair.first), len(pair.first)),
        *(sum(episode.success for episode in pair.second), len(pair.second)),
    )


def _outcomes(pairs: Sequence[Pair]) -> tuple[dict[Start, bool], dict[Start, bool]]:
    return {pair.start: pair.first[0].success for pair in pairs}, {pair.start: pair.second[0].success for pair in pairs}


def _scores(pairs: Sequence[Pair], unit: Callable[[Pair], str]) -> tuple[Mapping[str, list[float]], Mapping[str, list[float]]]:
    """The rate of each start, gathered by what is resampled as a whole."""
    before: dict[str, list[float]] = {}
    after: dict[str, list[float]] = {}
    for pair in pairs:
        before.setdefault(unit(pair), []).append(pair.before)
        after.setdefault(unit(pair), []).append(pair.after)
    return before, after


def _task(pair: Pair) -> str:
    return pair.start[0]


def _seed(pair: Pair) -> str:
    return str(pair.start[1])


def _share(episodes: Sequence[Episode]) -> float:
    return sum(episode.success for episode in episodes) / len(episodes)
