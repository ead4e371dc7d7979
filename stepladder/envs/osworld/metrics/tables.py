"""Metrics of spreadsheets: compare_table with its kinds of rules, and a column of cities."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import openpyxl
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.cell_range import MultiCellRange
from rapidfuzz import fuzz

from stepladder.envs.osworld.getters.state import Got
from stepladder.envs.osworld.lacking import Lacks
from stepladder.envs.osworld.metrics import workbooks
from stepladder.envs.osworld.metrics.conditional import NotWorkedOut, cells_that_differ
from stepladder.envs.osworld.metrics.frames import frame
from stepladder.envs.osworld.metrics.reading import left, reference
from stepladder.envs.osworld.metrics.rules import holds
from stepladder.envs.osworld.metrics.workbooks import Book

_UNREADABLE = object()


@dataclass(frozen=True)
class Sheet:
    """One sheet of a book; `of_task` when it is of the book that the task compares with."""

    book: Book
    name: str
    of_task: bool

    @property
    def written(self) -> Any:
        return self.book.sheet(self.name)


def compare_table(result: Got | None, expected: Got | None = None, **options: Any) -> float:
    """1 when every rule of `rules` holds. Sheets are named by place or name in either book: 0 and "RI0" are the first sheet of
    what the agent left, "RNSales" the one called Sales, "EI0" and "ENSales" are those of what it is compared with.

    sheet_name                         the books have the same sheets, in order
    sheet_data                         the same values, numbers rounded to `precision` digits (4)
    sheet_print                        the same lines of CSV, which the task fetched with the books (`ignore_case`)
    sheet_fuzzy                        cells of `range` by exact_match, includes, included_by or fuzzy_match above `threshold`
    style                              the same `props` of every cell's style, conditional formats counted in
    chart, pivot_table, filter, sparkline, freeze, row_props, col_props      the same properties
    zoom, data_validation, check_cell  properties as {method, ref} say
    """
    found = left(result, lambda _: workbooks.open_book(result)) if result is not None else None
    if found is None:
        return 0.0
    wanted = None if expected is None else reference(expected, lambda _: workbooks.open_book(expected))
    for rule in options["rules"]:
        check = _RULES.get(rule["type"])
        if check is None:
            raise ValueError(f"compare_table has no rule {rule['type']!r}; known: {', '.join(_RULES)}")
        if not check(rule, found, wanted):
            return 0.0
    return 1.0


def compare_conference_city_in_order(result: Got | None, rules: Mapping[str, Any]) -> float:
    """Each of C2 to C22 names the city that is expected there, or one of several names of it."""
    book = left(result, openpyxl.load_workbook)
    if book is None:
        return 0.0
    cells = [cell.value for row in book.active["C2:C22"] for cell in row]
    for found, wanted in zip(cells, rules["expected"], strict=False):
        names = [_plain(one) for one in (wanted if isinstance(wanted, list) else [wanted])]
        if not any(name and name in _plain(found) for name in names):
            return 0.0
    return float(len(rules["expected"]) >= len(cells))


def _plain(text: Any) -> str:
    """Small letters and digits, without accents."""
    spread = unicodedata.normalize("NFKD", "" if text is None else str(text))
    letters = "".join(sign for sign in spread if not unicodedata.combining(sign))
    return re.sub(r"[^a-z0-9]+", " ", letters.lower()).strip()


# ------------------------------------------------------------------------------------------------------------------- sheets


def _sheet(index: int | str, found: Book, wanted: Book | None) -> Sheet | None:
    """The sheet that a rule names; None when what the agent left has none there. Raises ValueError for one of the task's own."""
    text = f"RI{index}" if isinstance(index, int) else index
    if not re.fullmatch(r"[RE](I\d+|N.*)", text):
        raise ValueError(f"the sheet {index!r} is none: it is a number, or RI, RN, EI or EN and a number or name")
    of_task = text[0] == "E"
    if of_task and wanted is None:
        raise ValueError(f"the sheet {index!r} is of a book that the task does not name")
    book = wanted if of_task and wanted is not None else found
    named = text[1] == "N"
    name = text[2:] if named else next(iter(book.names[int(text[2:]) :]), None)
    if name in book.names and name is not None:
        return Sheet(book, name, of_task)
    if of_task:
        raise ValueError(f"the book {book.file.name!r} to compare with has no sheet {index!r}")
    return None


def _pair(rule: Mapping[str, Any], found: Book, wanted: Book | None) -> tuple[Sheet, Sheet] | None:
    first, second = (_sheet(rule[name], found, wanted) for name in ("sheet_idx0", "sheet_idx1"))
    return None if first is None or second is None else (first, second)


def _same(read: Callable[[Sheet, Mapping[str, Any]], Any]) -> Callable[[Mapping[str, Any], Book, Book | None], bool]:
    """A rule that asks whether something of two sheets is the same."""

    def check(rule: Mapping[str, Any], found: Book, wanted: Book | None) -> bool:
        pair = _pair(rule, found, wanted)
        if pair is None:
            return False
        try:
            first = read(pair[0], rule)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            first = _UNREADABLE  # what the agent left; were the rule at fault, the other sheet could not be read either
        return bool(read(pair[1], rule) == first)

    return check


def _sheet_names(_: Mapping[str, Any], found: Book, wanted: Book | None) -> bool:
    if wanted is None:
        raise ValueError("the rule sheet_name needs a book to compare with")
    return found.names == wanted.names


def _data(sheet: Sheet, rule: Mapping[str, Any]) -> Any:
    return frame(sheet.book.rows(sheet.name) or [], int(rule.get("precision", 4)))


def _print(rule: Mapping[str, Any], found: Book, wanted: Book | None) -> bool:
    """The sheets as CSV have the names of sheets, which need not be those of the books."""
    texts = []
    for name in ("sheet_idx0", "sheet_idx1"):
        index = rule[name]
        named = isinstance(index, str) and index[1:2] == "N"
        sheet = None if named else _sheet(index, found, wanted)
        of_task = str(index).startswith("E")
        book = wanted if of_task else found
        title = str(index)[2:] if named else (sheet.name if sheet is not None else "")
        lines = None if book is None else book.printed(title)
        if lines is None and of_task:
            raise ValueError(f"the sheet {index!r} as CSV is not among the files to compare with")
        texts.append(lines if lines is None or not rule.get("ignore_case", False) else [line.lower() for line in lines])
    return texts[0] is not None and texts[0] == texts[1]


def _fuzzy(rule: Mapping[str, Any], found: Book, wanted: Book | None) -> bool:
    pair = _pair(rule, found, wanted)
    return pair is not None and all(_fuzzy_cells(one, *pair) for one in rule["rules"])


def _fuzzy_cells(rule: Mapping[str, Any], first: Sheet, second: Sheet) -> bool:
    compare = _FUZZY.get(rule["type"])
    if compare is None:
        raise ValueError(f"sheet_fuzzy has no type {rule['type']!r}; known: {', '.join(_FUZZY)}")
    for cells in MultiCellRange(" ".join(rule["range"])).ranges:
        for row, column in cells.cells:
            place = f"{get_column_letter(column)}{row}"
            one, other = (_trimmed(str(sheet.book.value(sheet.name, place)), rule) for sheet in (first, second))
            if not compare(one, other, rule):
                return False
    return True


def _trimmed(text: str, rule: Mapping[str, Any]) -> str:
    for old, new in rule.get("normalization", []):
        text = text.replace(old, new)
    if "trim_leadings" in rule:
        text = text.lstrip(rule["trim_leadings"])
    if "trim_trailings" in rule:
        text = text.rstrip(rule["trim_trailings"])
    text = "".join(sign for sign in text if sign not in rule.get("ignore_chars", ""))
    return text.lower() if rule.get("ignore_case", False) else text


_FUZZY: dict[str, Callable[[str, str, Mapping[str, Any]], bool]] = {
    "exact_match": lambda first, second, _: first == second,
    "includes": lambda first, second, _: second in first,
    "included_by": lambda first, second, _: first in second,
    "fuzzy_match": lambda first, second, rule: fuzz.ratio(first, second) >= rule.get("threshold", 85.0),
}


def _styles(sheet: Sheet, rule: Mapping[str, Any]) -> dict[str, list[Any]]:
    names: Sequence[str] = rule.get("props", [])
    found = {cell.coordinate: [workbooks.style(name, cell) for name in names] for cell in workbooks.cells_of(sheet.written)}
    try:
        for cell, differing in cells_that_differ(sheet.book, sheet.name):
            found[cell.coordinate] = [workbooks.style(name, cell, differing) for name in names]
    except NotWorkedOut as error:
        if sheet.of_task:
            raise Lacks(f"metric compare_table with {error}") from error
    return found


def _zoom(rule: Mapping[str, Any], found: Book, wanted: Book | None) -> bool:
    sheet = _sheet(rule["sheet_idx"], found, wanted)
    return sheet is not None and holds(sheet.written.sheet_view.zoomScale or 100, rule)


def _validation(rule: Mapping[str, Any], found: Book, wanted: Book | None) -> bool:
    """As many validations as are asked for, or more, and every one as one of `dv_props` says."""
    sheet = _sheet(rule["sheet_idx"], found, wanted)
    if sheet is None:
        return False
    held = sheet.written.data_validations.dataValidation
    return len(held) >= len(rule["dv_props"]) and all(
        any(all(holds(getattr(one, name), wish) for name, wish in wishes.items()) for wishes in rule["dv_props"]) for one in held
    )


def _cell(rule: Mapping[str, Any], found: Book, wanted: Book | None) -> bool:
    sheet = _sheet(rule["sheet_idx"], found, wanted)
    if sheet is None:
        return False
    cell = sheet.written[rule["coordinate"]]
    for name, wish in rule["props"].items():
        value = sheet.book.value(sheet.name, rule["coordinate"]) if name == "value" else workbooks.style(name, cell)
        if not holds(value, wish):
            return False
    return True


_RULES: dict[str, Callable[[Mapping[str, Any], Book, Book | None], bool]] = {
    "sheet_name": _sheet_names,
    "sheet_data": _same(_data),
    "sheet_print": _print,
    "sheet_fuzzy": _fuzzy,
    "sparkline": _same(lambda sheet, _: workbooks.sparklines(sheet.book, sheet.name)),
    "chart": _same(lambda sheet, rule: workbooks.charts(sheet.written, rule.get("chart_props", []))),
    "style": _same(_styles),
    "freeze": _same(lambda sheet, _: workbooks.frozen(sheet.written)),
    "zoom": _zoom,
    "data_validation": _validation,
    "row_props": _same(lambda sheet, rule: workbooks.dimensions(sheet.written, "row", rule.get("props", []))),
    "col_props": _same(lambda sheet, rule: workbooks.dimensions(sheet.written, "column", rule.get("props", []))),
    "filter": _same(lambda sheet, _: workbooks.filters(sheet.written)),
    "pivot_table": _same(lambda sheet, rule: workbooks.pivot_tables(sheet.written, rule.get("pivot_props", []))),
    "check_cell": _cell,
}
