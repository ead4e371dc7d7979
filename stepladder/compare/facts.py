"""What a comparison was measured on, without which its figures are no result: one line a fact, for the page and for the text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from stepladder.compare.comparison import Comparison
from stepladder.compare.pairing import Overall, Paired
from stepladder.compare.sides import Baseline, Side
from stepladder.report.words import BASELINE_NAMES, counted, percent, points, seed_words


def facts(data: Comparison) -> list[tuple[str, str]]:
    """(what, in words) of both sides, the starts in common, those left out, the infeasible tasks and the baselines."""
    return [
        ("First", _side_words(data.first)),
        ("Second", _side_words(data.second)),
        ("Starts", f"{counted(len(data.tasks), 'task')}; seeds {seed_words(data.seeds)}"),
        *_left_out(data),
        ("Without infeasible tasks", _without_infeasible(data)),
        *(
            (f"Baselines of the {order}", _baselines(side, found))
            for order, side, found in zip(("first", "second"), (data.first, data.second), data.baselines, strict=True)
        ),
        *([("Other tasks", task_words(data.overall))] if data.overall.task_p is not None else []),
    ]


def task_words(total: Overall) -> str:
    """The interval and the probability from taking whole tasks as what is drawn; empty for a single task."""
    if total.task_low is None or total.task_high is None or total.task_p is None:
        return ""
    return f"{points(total.task_low)} to {points(total.task_high)} points, p = {total.task_p:.2g} (exchange of tasks)"


def _side_words(side: Side) -> str:
    if side.asked is None:
        which = "all graded episodes count, for there are no settings that say which were asked for"
    else:
        seeds, trials = side.asked
        last = "" if trials == 1 else f" {trials}"
        which = f"seeds {seed_words(seeds)} were asked for, of each start the last{last} graded count{'s' if trials == 1 else ''}"
    return f"{side.policy}: {side.store_path}, task set {side.task_set or 'not known'}; {which}"


def _left_out(data: Comparison) -> Iterator[tuple[str, str]]:
    for name, alone in (("first", data.only_first), ("second", data.only_second)):
        if alone:
            reasons = ", ".join(f"{count:,} {reason} by the other" for reason, count in alone.items())
            yield f"Only the {name}", f"{counted(sum(alone.values()), 'start')} left out: {reasons}"
    if data.neither:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in data.neither.items())
        yield "Neither", f"{counted(sum(data.neither.values()), 'start')} left out of which neither has a grade: {reasons}"


def _without_infeasible(data: Comparison) -> str:
    if data.infeasible is None:
        return "the same: none of the tasks is marked as infeasible"
    alone = f"on the infeasible alone {_rates(data.infeasible)}"
    return f"none is left; {alone}" if data.feasible is None else f"{_paired(data.feasible)}; {alone}"


def _paired(found: Paired) -> str:
    return f"{_rates(found)}, difference {points(found.difference)} points, p = {found.p:.2g} ({found.method})"


def _rates(found: Paired) -> str:
    return f"{percent(found.first)} and {percent(found.second)}, n = {found.n:,}"


def _baselines(side: Side, found: Mapping[str, Baseline]) -> str:
    rates = [f"{BASELINE_NAMES[name]} {percent(one.rate)} (n = {one.n:,})" for name, one in found.items()]
    absent = [title for name, title in BASELINE_NAMES.items() if name not in found and name != side.policy]
    return "; ".join(filter(None, [", ".join(rates), f"not measured: {', '.join(absent)}" if absent else ""]))
