"""Rules of the task files: {"method": ..., "ref": ...} against a value, and patterns of records."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from openpyxl.worksheet.cell_range import MultiCellRange

_ORDERS: dict[str, Callable[[Any, Any], Any]] = {name: getattr(operator, name) for name in ("lt", "le", "gt", "ge")}


def holds(value: Any, rule: Mapping[str, Any]) -> bool:
    """Whether a value is as a rule says. What cannot be compared is not; an unknown method raises ValueError.

    eq, ne, lt, le, gt, ge             against `ref`
    re, re.I, re.S, ...                the pattern `ref` is somewhere in it
    approx:0.1                         a number within this of `ref`
    range.te                           between the two of `ref`; t or e at either end: less than, or equal too
    spreadsheet_range                  ranges of cells that hold the first of `ref` and lie in the second
    str_list_eq, str_set_eq            what commas separate, in this order or in any
    in                                 one of `ref`
    """
    method, ref = str(rule["method"]), rule["ref"]
    if method in ("eq", "ne"):
        return bool((value == ref) == (method == "eq"))
    if method in _ORDERS:
        return _ordered(value, ref) and bool(_ORDERS[method](value, ref))
    if method == "re" or method.startswith("re."):
        flags = re.RegexFlag(0)
        for name in method.split(".")[1:]:
            flags |= re.RegexFlag[name]
        return isinstance(value, str) and re.search(ref, value, flags) is not None
    if method.startswith("approx:"):
        number = _number(value)
        return number is not None and abs(number - ref) <= float(method.partition(":")[2])
    if method.startswith("range."):
        low, high = method[6], method[7]
        return _ordered(value, ref[0]) and bool(_ORDERS["l" + low](ref[0], value) and _ORDERS["l" + high](value, ref[1]))
    if method == "spreadsheet_range":
        least, most = MultiCellRange(ref[0]), MultiCellRange(ref[1])
        return isinstance(value, MultiCellRange) and _within(least, value) and _within(value, most)
    if method in ("str_list_eq", "str_set_eq"):
        kind: Callable[[Any], Any] = list if method == "str_list_eq" else set
        return isinstance(value, str) and bool(kind(value.strip("\"'").split(",")) == kind(ref))
    if method == "in":
        return value in ref
    raise ValueError(f"the method {method!r} of a rule is not known")


def same_record(pattern: Mapping[str, Any], record: Mapping[str, Any]) -> bool:
    """Whether a record has every field of the pattern."""
    return all(name in record and record[name] == value for name, value in pattern.items())


def records_match(records: list[Mapping[str, Any]], rules: Mapping[str, Any]) -> bool:
    """Every pattern of `expect` fits some record, none of `unexpect` any."""
    expected = all(any(same_record(one, record) for record in records) for one in rules.get("expect", []))
    return expected and not any(same_record(one, record) for one in rules.get("unexpect", []) for record in records)


def _within(inner: MultiCellRange, outer: MultiCellRange) -> bool:
    return all(any(one.issubset(other) for other in outer.ranges) for one in inner.ranges)


def _ordered(value: Any, ref: Any) -> bool:
    """Whether the two have an order."""
    return type(value) is type(ref) or (_is_number(value) and _is_number(ref))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
