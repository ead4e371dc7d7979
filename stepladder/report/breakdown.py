"""What a result is made of: domains against the best trivial baseline, tasks that can and cannot be done, repeats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from stepladder.results import Result, TaskResult, rate_of
from stepladder.stats import Rate, Repeats, exchange_test, holm, summarise_repeats

#: Baselines that look at nothing. What they reach is no skill.
TRIVIAL = ("random", "idle", "give_up")


@dataclass(frozen=True, slots=True)
class DomainRow:
    """The tasks of one domain, or of all. `baseline` is the trivial baseline with the highest rate on them (None where none was
    measured) and `baseline_rate` that rate. On the `compared` starts that both have played, the result is `difference` better. `p`
    is the probability of a difference at least as large by chance (`stepladder.stats.exchange_test` over starts, which for single
    trials is McNemar's exact test), `adjusted` the same after Holm's correction over all domains."""

    domain: str
    tasks: int
    rate: Rate
    baseline: str | None = None
    baseline_rate: float | None = None
    compared: int = 0
    difference: float | None = None
    p: float | None = None
    adjusted: float | None = None


def domain_rows(result: Result, baselines: Mapping[str, Result]) -> tuple[DomainRow, ...]:
    """A row for each domain, the largest first. The p-values of one result are corrected for being so many."""
    names = dict.fromkeys(part.domain for part in result.tasks if part.domain)
    rows = [_row(name, result, [part for part in result.tasks if part.domain == name], baselines) for name in names]
    tested = [row for row in rows if row.p is not None]
    corrected = iter(holm([row.p for row in tested if row.p is not None]))
    rows = [replace(row, adjusted=next(corrected)) if row.p is not None else row for row in rows]
    return tuple(sorted(rows, key=lambda row: (-row.tasks, row.domain)))


def overall_row(result: Result, baselines: Mapping[str, Result]) -> DomainRow:
    """All tasks against the trivial baseline that does best on all of them; a single comparison, not corrected."""
    return _row("all tasks", result, result.tasks, baselines)


def feasible_rates(result: Result) -> tuple[Rate, Rate] | None:
    """The rates without the tasks that cannot be done, and on these alone; None where no task is marked as one."""
    if not any(part.infeasible for part in result.tasks):
        return None
    return rate_of(result, lambda part: not part.infeasible), rate_of(result, lambda part: part.infeasible)


def repeats_of(result: Result) -> Repeats | None:
    """pass@k, pass^k and the flip rate; None where no start has two graded trials."""
    starts = {part.task: [trials for trials in part.outcomes if trials] for part in result.tasks}
    return summarise_repeats(starts, result.confidence)


def _row(name: str, result: Result, parts: Sequence[TaskResult], baselines: Mapping[str, Result]) -> DomainRow:
    tasks = {part.task for part in parts}
    row = DomainRow(name, len(parts), rate_of(result, lambda part: part.task in tasks))
    rates = {one: rate_of(baselines[one], lambda part: part.task in tasks).rate for one in TRIVIAL if one in baselines}
    measured = {one: rate for one, rate in rates.items() if rate is not None}
    if not measured:
        return row
    best = max(measured, key=lambda one: measured[one])
    mine = result.starts(parts)
    theirs = baselines[best].starts(part for part in baselines[best].tasks if part.task in tasks)
    differences = [_mean(mine[start]) - _mean(theirs[start]) for start in mine if start in theirs]
    row = replace(row, baseline=best, baseline_rate=measured[best], compared=len(differences))
    return row if not differences else replace(row, difference=_mean(differences), p=exchange_test(differences))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
