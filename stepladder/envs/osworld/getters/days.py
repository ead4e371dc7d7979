"""Getters of rules with days in them: "next Friday", as the machine's calendar says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from stepladder.envs.osworld.getters.state import State
from stepladder.interfaces import EnvironmentFailure

_WEEK = {"Monday": 0, "Friday": 4, "Saturday": 5, "Sunday": 6}
_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"),
)
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_LATER = {"first monday four months later": 4, "first monday eight months later": 8}


async def rule_relativeTime(state: State, described: Mapping[str, Any]) -> Any:
    """The rules, with days written where `expected` has placeholders. `relativeTime` names the day `from`, and maybe a day `to`;
    today is the machine's, or that of `timezone`."""
    rules = dict(described["rules"])
    named, today = rules["relativeTime"], await _today(state, rules.get("timezone"))
    start = day_of(named["from"], today)
    expected = dict(rules["expected"])
    if "to" not in named:
        _write(expected, ("time",), start)
    else:
        end = day_of(named["to"], today, named["from"], start)
        _write(expected, ("puDay", "puMonth", "puYear") if named["from"].endswith(" split") else ("from",), start)
        _write(expected, ("doDay", "doMonth", "doYear") if named["to"].endswith(" split") else ("to",), end)
    return {**rules, "expected": expected}


async def time_diff_range(_: State, described: Mapping[str, Any]) -> Any:
    return described["diff_range_in_minutes"]


def day_of(name: str, today: date, after: str = "", start: date | None = None) -> date:
    """The day that a task calls so. A Friday or Sunday that ends what begins with `after`, at `start`, is of the same week.
    Raises EnvironmentFailure for a name that is not known."""
    plain = name.removesuffix(" split")
    month = re.fullmatch(r"(\d+)th next month", plain)
    when, _, day = plain.rpartition(" ")
    if plain == "tomorrow":
        return today + timedelta(days=1)
    if plain == "this month":
        return today
    if month is not None:
        return _first(today, 1).replace(day=int(month[1]))
    if plain in _LATER:
        first = _first(today, _LATER[plain])
        return first + timedelta(days=-first.weekday() % 7)
    if day not in _WEEK or when not in ("this", "next", "next week"):
        raise EnvironmentFailure(f"the day {name!r} is not known")
    if when == "this":
        return today + timedelta(days=_WEEK[day] - today.weekday())
    if when == "next week":
        return today + timedelta(days=7 - today.weekday() + _WEEK[day])
    same_week = {"Friday": ("next Monday",), "Sunday": ("next Friday", "next Saturday")}.get(day, ())
    if start is not None and after.removesuffix(" split") in same_week:
        return start + timedelta(days=_WEEK[day] - start.weekday())
    return today + timedelta(days=(_WEEK[day] - today.weekday()) % 7 or 7)


def written(text: str, day: date) -> str:
    """A text with its placeholders filled: {Year}, {Month} (Jan), {MonthFull}, {month} (january), {MonthD}, {Month0D}, {DayD},
    {Day0D}, {DoW} (Mon)."""
    name = _MONTHS[day.month - 1]
    values = {
        **{"Year": str(day.year), "Month": name[:3], "MonthFull": name, "month": name.lower(), "MonthD": str(day.month)},
        **{"Month0D": f"{day.month:02}", "DayD": str(day.day), "Day0D": f"{day.day:02}", "DoW": _DAYS[day.weekday()]},
    }
    return re.sub(r"\{(\w+)\}", lambda found: values.get(found[1], found[0]), text)


def _write(expected: dict[str, Any], fields: tuple[str, ...], day: date) -> None:
    for field in fields:
        value = expected[field]
        expected[field] = [written(one, day) for one in value] if isinstance(value, list) else written(value, day)


def _first(today: date, months: int) -> date:
    """The first day of the month so many months later."""
    years, month = divmod(today.month - 1 + months, 12)
    return date(today.year + years, month + 1, 1)


async def _today(state: State, zone: str | None) -> date:
    ran = await state.machine.execute(["date", "+%s %z"], False)
    match = re.fullmatch(r"(\d+) ([+-])(\d\d)(\d\d)", ran.output.strip())
    if match is None:
        raise EnvironmentFailure(f"the machine does not tell its time: {ran.output[:100]!r} {ran.error[:100]!r}")
    offset = timedelta(hours=int(match[3]), minutes=int(match[4])) * (1 if match[2] == "+" else -1)
    now = datetime.fromtimestamp(int(match[1]), UTC)
    if zone is None:
        return now.astimezone(timezone(offset)).date()
    try:
        return now.astimezone(ZoneInfo(zone)).date()
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise EnvironmentFailure(f"the time zone {zone!r} of the task is not known here") from error
