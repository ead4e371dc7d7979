"""Scores of perception by kind of question, source and measure, as a table for both formats."""

from __future__ import annotations

from stepladder.report.content import Perceived, Report
from stepladder.report.table import Table
from stepladder.report.words import percent

NOTE = (
    "Questions with known answers about screens, by kind and source; what is held out never occurs in training. Intervals of 95 %: "
    "Wilson's for rates, else from resampling screenshots."
)


def perception_table(data: Report) -> Table | None:
    if not data.perceived:
        return None
    head = ("question", "screens", "measure", "score", "95 % interval", "n")
    return Table("Perception by source", NOTE, head, tuple(map(_row, data.perceived)), frozenset((3, 4, 5)))


def _row(one: Perceived) -> tuple[str, ...]:
    low_high = f"{percent(one.low)} to {percent(one.high)}" if one.n else "–"
    return one.kind, one.source, one.measure.replace("_", " "), percent(one.value), low_high, f"{one.n:,}"
