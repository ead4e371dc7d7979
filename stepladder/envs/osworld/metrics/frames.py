"""A sheet as a table of typed columns, and when two such tables are the same: what `sheet_data` of compare_table means.

OSWorld reads sheets with pandas and asks whether the frames are equal. So the first row has the names of the columns, blanks and
words like "N/A" are missing values, texts that all are numbers count as numbers, and numbers are rounded unless their column also
has something else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy

#: Texts that stand for a missing value.
MISSING = frozenset(
    [
        *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA", "NULL"),
        *("NaN", "None", "n/a", "nan", "null"),
    ]
)


_TRUTHS = {**dict.fromkeys(("True", "TRUE", "true"), True), **dict.fromkeys(("False", "FALSE", "false"), False)}


@dataclass(frozen=True)
class Column:
    """A column's name, its kind (int, float, bool, object) and its values; None is a missing one."""

    name: Any
    kind: str
    values: tuple[Any, ...]


def frame(rows: Iterable[Sequence[Any]], digits: int) -> list[Column]:
    """The columns of a sheet's rows, numbers rounded to so many digits after the point."""
    kept = [list(row) for row in rows]
    while kept and all(_empty(value) for value in kept[-1]):
        kept.pop()
    width = max((place + 1 for row in kept for place, value in enumerate(row) if not _empty(value)), default=0)
    if not width:
        return []
    for row in kept:
        row.extend([None] * (width - len(row)))
    return [_column(name, [row[place] for row in kept[1:]], digits) for place, name in enumerate(_names(kept[0][:width]))]


def _names(cells: Sequence[Any]) -> list[Any]:
    """Names of columns: one that is not there is named by its place, one that comes again by its number."""
    found: list[Any] = []
    seen: dict[Any, int] = {}
    for place, cell in enumerate(cells):
        name = f"Unnamed: {place}" if _empty(cell) else cell
        count = seen.get(name, 0)
        seen[name] = count + 1
        found.append(f"{name}.{count}" if count else name)
    return found


def _column(name: Any, cells: Sequence[Any], digits: int) -> Column:
    values = [None if _missing(value) else value for value in cells]
    present = [value for value in values if value is not None]
    whole = bool(present) and len(present) == len(values)
    if whole and all(isinstance(value, bool) for value in present):
        return Column(name, "bool", tuple(values))
    numbers = [_number(value) for value in values]
    if any(value is not None and number is None for value, number in zip(values, numbers, strict=True)):
        if all(isinstance(value, bool) or value in _TRUTHS for value in present):
            values = [_TRUTHS[value] if isinstance(value, str) else value for value in values]
            return Column(name, "bool" if whole else "object", tuple(values))
        return Column(name, "object", tuple(values))
    if whole and all(isinstance(number, int) for number in numbers):
        return Column(name, "int", tuple(numbers))
    return Column(name, "float", tuple(None if one is None else float(numpy.round(float(one), digits)) for one in numbers))


def _number(value: Any) -> int | float | None:
    """A whole number stays one, however it is written in the file; what is true is 1 among numbers."""
    if isinstance(value, str):
        try:
            return int(value) if value.strip().lstrip("+-").isdigit() else float(value)
        except ValueError:
            return None
    if isinstance(value, bool):
        return int(value)
    if not isinstance(value, (int, float)):
        return None
    return int(value) if value == int(value) else value


def _empty(value: Any) -> bool:
    return value is None or value == ""


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value in MISSING)
