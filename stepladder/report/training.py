"""What a training has that an evaluation has not: scores on the way, alarms, changed settings; as tables for both formats."""

from __future__ import annotations

from stepladder.report.content import Measured, Report
from stepladder.report.table import Table
from stepladder.report.words import percent

VALIDATION_NOTE = (
    "Shares of right outcomes on what training does not learn from, with Wilson intervals where it is known of how many. "
    "They choose weights and end trainings, so that the best of them flatters; an evaluation looks at seeds that nothing else uses."
)
DOMAINS_NOTE = (
    "Sampled episodes of each domain over the first and the last tenth of the updates in which it was played, the domain that "
    "gained least first. Rewards of several domains are learned from together: one that can be had without the task spoils all."
)
ALARM_NOTE = (
    "Signs that something else is learned than was meant, with the episodes that show them best. An alarm is a reason to look and "
    "decides nothing."
)
SETTINGS_NOTE = "What differs from the defaults; config.json has all settings."


def validation_table(data: Report) -> Table | None:
    if not data.validation:
        return None
    head = ("of", "at", "success", "95 % interval", "n")
    return Table("Validation", VALIDATION_NOTE, head, tuple(map(_measured, data.validation)), frozenset((2, 3, 4)))


def trained_domains_table(data: Report) -> Table | None:
    if not data.domains:
        return None
    rows = tuple(
        (
            one.domain,
            f"{one.episodes:,}",
            _span(one.first, one.last),
            f"{one.first_reward:.3f} → {one.last_reward:.3f}",
            f"{percent(one.first_success)} → {percent(one.last_success)}",
        )
        for one in data.domains
    )
    head = ("domain", "episodes", "updates", "task reward", "success")
    return Table("Domains", DOMAINS_NOTE, head, rows, frozenset((1, 2, 3, 4)))


def _span(first: tuple[int, int], last: tuple[int, int]) -> str:
    return " → ".join(f"{start}" if start == end else f"{start}-{end}" for start, end in (first, last))


def _measured(one: Measured) -> tuple[str, ...]:
    low_high = "–" if one.low is None or one.high is None else f"{percent(one.low)} to {percent(one.high)}"
    return one.name, one.at, percent(one.rate), low_high, "–" if one.n is None else f"{one.n:,}"


def alarm_table(data: Report) -> Table | None:
    if not data.alarms:
        return None
    rows = tuple(
        (
            f"{one.step}",
            one.kind.replace("_", " "),
            one.message,
            ", ".join(f"{store}: {name}" for store, name in one.trajectories) or "–",
        )
        for one in data.alarms
    )
    return Table("Alarms", ALARM_NOTE, ("update", "kind", "what", "episodes"), rows, frozenset((0,)))


def settings_table(data: Report) -> Table | None:
    if not data.settings:
        return None
    rows = tuple((name, value, default) for name, (value, default) in data.settings.items())
    return Table("Settings", SETTINGS_NOTE, ("setting", "here", "default"), rows)
