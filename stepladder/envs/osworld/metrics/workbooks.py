"""What compare_table reads of a workbook: values, styles, charts, pivot tables, filters, sparklines."""

from __future__ import annotations

import datetime
import io
import itertools
import posixpath
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import openpyxl
from openpyxl.cell.cell import MergedCell
from openpyxl.utils import coordinate_to_tuple
from openpyxl.utils.datetime import time_to_days, to_excel

from stepladder.envs.osworld.getters.state import Got

_MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_SPARK = "{http://schemas.microsoft.com/office/spreadsheetml/2009/9/main}"
_FORMULA = "{http://schemas.microsoft.com/office/excel/2006/main}"
_RELATIONS = "{http://schemas.openxmlformats.org/package/2006/relationships}"
_RELATION = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"


@dataclass(frozen=True)
class Book:
    """A workbook as it is written, as it was last worked out, and the file itself."""

    file: Got
    written: Any
    worked_out: Any

    @property
    def names(self) -> list[str]:
        return list(self.written.sheetnames)

    def sheet(self, name: str) -> Any:
        """The sheet as it is written; None when there is none of this name."""
        return self.written[name] if name in self.written.sheetnames else None

    def rows(self, name: str) -> list[list[Any]] | None:
        """The values of a sheet, an error being a missing one; None when there is no such sheet."""
        if name not in self.worked_out.sheetnames:
            return None
        rows = self.worked_out[name].iter_rows()
        return [[None if cell.data_type == "e" else cell.value for cell in row] for row in rows]

    def value(self, name: str, coordinate: str) -> Any:
        """A cell as the file has it: every number a float, dates too; texts and errors are texts. None when it has none."""
        if name not in self.worked_out.sheetnames:
            return None
        value = self.worked_out[name][coordinate].value
        if isinstance(value, bool):
            return None
        if isinstance(value, (datetime.datetime, datetime.date)):
            return float(to_excel(value, self.worked_out.epoch))
        if isinstance(value, (datetime.time, datetime.timedelta)):
            return float(time_to_days(value) if isinstance(value, datetime.time) else value.total_seconds() / 86400)
        return float(value) if isinstance(value, (int, float)) else value

    def printed(self, name: str) -> list[str] | None:
        """The lines of a sheet as LibreOffice prints it, from the CSV that the task fetched with the workbook."""
        content = self.file.beside.get(f"{posixpath.splitext(self.file.name)[0]}-{name}.csv")
        if content is None:
            return None
        lines = [line.strip() for line in _text(content).splitlines()]
        while lines and not lines[-1]:
            lines.pop()
        return lines


def open_book(file: Got) -> Book:
    """Raises whatever openpyxl does when it is no workbook."""
    written = openpyxl.load_workbook(io.BytesIO(file.content))
    return Book(file, written, openpyxl.load_workbook(io.BytesIO(file.content), data_only=True))


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


# ------------------------------------------------------------------------------------------------------------------- styles


def style(name: str, cell: Any, differing: Any = None) -> Any:
    """A property of a cell's style, or of the conditional format that holds for it. Raises ValueError for an unknown name."""
    source = differing or cell
    if name == "merge":
        return isinstance(cell, MergedCell)
    if name in ("bgcolor", "fgcolor"):
        fill = source.fill
        return None if fill is None else _color(fill.bgColor if differing is not None else getattr(fill, "fgColor", None))
    if name == "fill_type":
        return getattr(source.fill, "tagname", None)
    if name not in _OF_VALUES:
        raise ValueError(f"the style {name!r} is not known; known: merge, bgcolor, fgcolor, fill_type, {', '.join(_OF_VALUES)}")
    return None if cell.value is None else _OF_VALUES[name](cell, differing)


def _color(color: Any) -> Any:
    """Red, green and blue after a transparency, as eight hexadecimal digits; colours of the theme and its palette count as one."""
    if color is None:
        return None
    return color.rgb if color.type == "rgb" else "of the theme"


def _number_format(cell: Any, differing: Any) -> Any:
    if cell.data_type != "n":
        return None
    return cell.number_format if differing is None else getattr(differing.numFmt, "formatCode", None)


def _of_font(name: str) -> Callable[[Any, Any], Any]:
    def read(cell: Any, differing: Any) -> Any:
        font = (differing or cell).font
        found = getattr(font, name, None)
        return _color(found) if name == "color" else found

    return read


_OF_VALUES: dict[str, Callable[[Any, Any], Any]] = {
    "number_format": _number_format,
    "font_name": _of_font("name"),
    "font_family": _of_font("family"),
    "font_color": _of_font("color"),
    "font_bold": _of_font("bold"),
    "font_italic": _of_font("italic"),
    "font_underline": _of_font("underline"),
    "font_size": _of_font("size"),
    "hyperlink": lambda cell, _: "" if cell.hyperlink is None else (cell.hyperlink.target or cell.hyperlink.location or ""),
}

# ------------------------------------------------------------------------------------------------------ parts of the sheets


def frozen(sheet: Any) -> tuple[Any, ...]:
    """How many columns and rows are frozen, wherever the sheet is scrolled to."""
    pane = sheet.sheet_view.pane
    if pane is None:
        return ("none",)
    split = (int(pane.xSplit or 0), int(pane.ySplit or 0))
    if str(pane.state or "").lower() in ("frozen", "frozensplit"):
        return ("frozen", *split)
    return ("other", *split, pane.topLeftCell)


def dimensions(sheet: Any, kind: str, properties: Sequence[str]) -> dict[Any, dict[str, Any]]:
    """Properties of the rows or columns that have any of their own: hidden, height, width..."""
    held = getattr(sheet, f"{kind}_dimensions")
    return {place: {name: getattr(one, name) for name in properties} for place, one in held.items()}


def charts(sheet: Any, properties: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Properties of the charts by what they show."""
    return {_series(one): {name: _CHART[name](one) for name in properties} for one in sheet._charts}


def _series(chart: Any) -> str:
    return ";".join(f"{_source(one.val)},{_source(one.cat)}" for one in chart.series)


def _source(data: Any) -> str:
    for kind in ("numRef", "strRef"):
        found = getattr(getattr(data, kind, None), "f", None)
        if found is not None:
            return str(found)
    return ""


def _title(*path: str) -> Callable[[Any], Any]:
    def read(chart: Any) -> Any:
        found = chart
        try:
            for name in (*path, "title", "tx", "rich"):
                found = getattr(found, name)
            return found.p[0].r[0].t
        except (AttributeError, IndexError, TypeError):
            return None

    return read


def _anchor(chart: Any) -> Any:
    place = chart.anchor
    if isinstance(place, str) or not hasattr(place, "to"):
        return place if isinstance(place, str) else type(place).__name__
    start, end = place._from, place.to
    return [place.editAs, start.col, start.row, end.col, end.row]


_CHART: dict[str, Callable[[Any], Any]] = {
    "title": _title(),
    "xtitle": _title("x_axis"),
    "ytitle": _title("y_axis"),
    "ztitle": _title("z_axis"),
    "legend": lambda chart: None if chart.legend is None else chart.legend.position,
    "anchor": _anchor,
    "width": lambda chart: chart.width,
    "height": lambda chart: chart.height,
    "type": lambda chart: chart.tagname,
    "direction": lambda chart: getattr(chart, "barDir", None),
}


def pivot_tables(sheet: Any, properties: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Properties of the pivot tables by the cells that they are made of. Columns of the source at either end that no field of
    the table uses count as not there, so that a table of a wider source is the same."""
    return dict(_pivot_table(one, frozenset(properties)) for one in sheet._pivots)


def _pivot_table(table: Any, wanted: frozenset[str]) -> tuple[str, dict[str, Any]]:
    chosen = [[(item.h, item.x) for item in one.items if item.x is not None] for one in table.pivotFields]
    used = [place for place, items in enumerate(chosen) if items]
    left = used[0] if used else len(chosen)
    right = len(chosen) - 1 - used[-1] if used else 0
    source = table.cache.cacheSource
    first, last = (coordinate_to_tuple(one) for one in source.worksheetSource.ref.split(":"))
    cells = ((first[0], first[1] + left), (last[0], last[1] - right))
    info: dict[str, Any] = {
        name: read(table) for name, read in _PIVOT.items() if name in wanted and name not in ("row_fields", "col_fields")
    }
    if wanted & {"filter", "selection"}:
        kept = chosen[left : len(chosen) - right]
        info["selection"] = kept if "ordered" in wanted else [set(one) for one in kept]
    if "filter" in wanted:
        info["filter_fields"] = {one.fld for one in table.pageFields}
    for name in ("row_fields", "col_fields"):
        if name in wanted:
            info[name] = [one.x - left for one in _PIVOT[name](table)]
    if "data_fields" in wanted:
        names = "data_fields_name" in wanted
        info["data_fields"] = [
            (one.fld - left, one.name if names else "", one.subtotal, one.showDataAs) for one in table.dataFields
        ]
    return f"{source.type};{cells[0]}:{cells[1]};{source.worksheetSource.sheet}", info


_PIVOT: dict[str, Callable[[Any], Any]] = {
    "name": lambda table: table.name,
    "show_total": lambda table: table.visualTotals,
    "show_empty_row": lambda table: table.showEmptyRow,
    "show_empty_col": lambda table: table.showEmptyCol,
    "show_headers": lambda table: table.showHeaders,
    "location": lambda table: table.location,
    "row_fields": lambda table: table.rowFields,
    "col_fields": lambda table: table.colFields,
}


def filters(sheet: Any) -> dict[str, Any]:
    """The filter of a sheet: its cells, what each column lets through, how it sorts."""
    found = sheet.auto_filter
    columns = sorted((_filter_column(one) for one in found.filterColumn), key=lambda one: one["column"])
    sorting = found.sortState
    order = None
    if sorting is not None:
        fields = ("descending", "sortBy", "ref", "customList", "dxfId", "iconSet", "iconId")
        conditions = [tuple(getattr(one, name) for name in fields) for one in sorting.sortCondition]
        order = (sorting.columnSort, sorting.caseSensitive, sorting.sortMethod, sorting.ref, conditions)
    return {"ref": found.ref, "columns": columns, "order": order}


def _filter_column(column: Any) -> dict[str, Any]:
    found = {"column": column.colId, "hidden_button": column.hiddenButton, "show_button": column.showButton}
    if column.filters is not None:
        found |= {"blank": column.filters.blank, "values": set(column.filters.filter)}
    if column.customFilters is not None:
        own = column.customFilters
        found |= {"and": own._and, "conditions": {(one.operator, one.val) for one in own.customFilter}}
    return found


def sparklines(book: Book, name: str) -> dict[str, str]:
    """The cells that each small chart in a cell shows, by its cell: {"F3": "Sheet1!C3:E3"}."""
    with zipfile.ZipFile(io.BytesIO(book.file.content)) as archive:
        part = _parts(archive).get(name)
        root = None if part is None else ElementTree.fromstring(archive.read(part))
    found = [] if root is None else root.iter(f"{_SPARK}sparkline")
    return {one.findtext(f"{_FORMULA}sqref", ""): one.findtext(f"{_FORMULA}f", "") for one in found}


def _parts(archive: zipfile.ZipFile) -> Mapping[str, str]:
    """The files of the sheets within a workbook, by their names."""
    relations = ElementTree.fromstring(archive.read("xl/_rels/workbook.xml.rels"))
    targets = {one.get("Id"): one.get("Target", "") for one in relations.iter(f"{_RELATIONS}Relationship")}
    sheets = ElementTree.fromstring(archive.read("xl/workbook.xml")).iter(f"{_MAIN}sheet")
    return {one.get("name", ""): posixpath.join("xl", targets.get(one.get(_RELATION), "")).lstrip("/") for one in sheets}


def cells_of(sheet: Any) -> Iterator[Any]:
    """Every cell of the used part of a sheet."""
    return itertools.chain.from_iterable(sheet.iter_cols())
