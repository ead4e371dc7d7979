"""OSWorld's metrics of spreadsheets, kind of rule by kind."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import office_files as office
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl.chart import BarChart, LineChart, Reference
from openpyxl.formatting.rule import CellIsRule, FormulaRule, Rule
from openpyxl.styles import Color, Font, PatternFill
from openpyxl.styles.differential import DifferentialStyle
from openpyxl.worksheet.datavalidation import DataValidation

from stepladder.envs.osworld.getters import Got
from stepladder.envs.osworld.lacking import Lacks
from stepladder.envs.osworld.metrics import metric
from stepladder.envs.osworld.metrics.frames import frame

table = metric("compare_table")
PAIR = {"sheet_idx0": 0, "sheet_idx1": "EI0"}


def sheet(change: Callable[[Any], Any]) -> Callable[[Any], None]:
    """A change of a book's first sheet."""
    return lambda book: change(book.active)


def compared(kind: str, first: Got, second: Got | None = None, **rule: Any) -> float:
    pair = PAIR if kind not in ("zoom", "check_cell", "data_validation") else {"sheet_idx": 0}
    return table(first, *([] if second is None else [second]), rules=[{"type": kind, **pair, **rule}])


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (office.ROWS, 1),
        ((("City", "Sales"), ("Rome", 1.50001), ("Oslo", 2.0)), 1),
        ((("City", "Sales"), ("Rome", "1.5"), ("Oslo", "2")), 1),
        ((*office.ROWS, ("", "")), 1),
        ((("City", "Sales"), ("Rome", 1.6), ("Oslo", 2)), 0),
        ((("City", "Sale"), ("Rome", 1.5), ("Oslo", 2)), 0),
        ((("City", "Sales"), ("Oslo", 2), ("Rome", 1.5)), 0),
        ((("City", "Sales"), ("Rome", 1.5)), 0),
        ((("City", "Sales", "x"), ("Rome", 1.5, 1), ("Oslo", 2, 1)), 0),
    ],
)
def test_data_are_compared_as_columns(rows: Any, expected: float) -> None:
    assert compared("sheet_data", office.xlsx(rows), office.xlsx()) == expected


def test_numbers_are_rounded_as_the_rule_says() -> None:
    near = office.xlsx((("City", "Sales"), ("Rome", 1.54), ("Oslo", 2)))
    assert compared("sheet_data", near, office.xlsx()) == 0
    assert compared("sheet_data", near, office.xlsx(), precision=0) == 1


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ([1, None, 3], ["1", "N/A", 3.0], True),
        ([1, 2], [1.0, 2.0], True),
        ([True, False], [1, 0], False),
        ([1, "x"], [1.00001, "x"], False),
        ([1, 2], [1, 2.00001], False),  # whole numbers are another kind of column
        ([1, None], [1, 0], False),
        ([datetime.date(2024, 1, 1)], [datetime.date(2024, 1, 1)], True),
    ],
)
def test_columns_have_kinds(first: list[Any], second: list[Any], same: bool) -> None:
    one, other = (frame([["a"], *[[value] for value in values]], 4) for values in (first, second))
    assert (one == other) is same


def test_columns_without_names_and_with_the_same_name_are_told_apart() -> None:
    assert [column.name for column in frame([["a", None, "a"], [1, 2, 3]], 4)] == ["a", "Unnamed: 1", "a.1"]
    assert frame([], 4) == frame([[None, ""]], 4) == []


cells = st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | st.sampled_from(["", "Rome", "1", "NA", "x y"])


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(cells, min_size=2, max_size=2), max_size=4))
def test_a_book_is_the_same_as_itself(rows: list[list[Any]]) -> None:
    book = office.xlsx([("a", "b"), *rows])
    rules = [
        {"type": kind, **PAIR} for kind in ("sheet_name", "sheet_data", "freeze", "filter", "sparkline", "chart", "pivot_table")
    ]
    rules += [{"type": kind, "props": ["hidden"], **PAIR} for kind in ("row_props", "col_props")]
    rules += [{"type": "style", "props": ["bgcolor", "font_bold", "number_format"], **PAIR}]
    assert table(book, book, rules=rules) == 1


def test_sheets_are_named_by_place_or_name_in_either_book() -> None:
    two = office.xlsx(change=lambda book: book.create_sheet("Sheet2"))
    rule = {"type": "sheet_data", "sheet_idx1": "ENSheet1"}
    assert [table(two, two, rules=[{**rule, "sheet_idx0": one}]) for one in (0, "RI0", "RNSheet1", "EI0")] == [1, 1, 1, 1]
    assert [table(two, two, rules=[{**rule, "sheet_idx0": one}]) for one in (1, "RI7", "RNOther")] == [0, 0, 0]
    with pytest.raises(ValueError, match="has no sheet 'ENOther'"):
        table(two, two, rules=[{**rule, "sheet_idx0": 0, "sheet_idx1": "ENOther"}])
    with pytest.raises(ValueError, match="the sheet 'XY' is none"):
        table(two, two, rules=[{**rule, "sheet_idx0": "XY"}])
    with pytest.raises(ValueError, match="does not name"):
        table(two, rules=[{**rule, "sheet_idx0": "EI0"}])


def test_what_the_agent_left_may_be_anything_and_what_it_is_compared_with_may_not() -> None:
    rules = [{"type": "sheet_data", **PAIR}]
    assert table(None, office.xlsx(), rules=rules) == table(Got("a.xlsx", b"PK"), office.xlsx(), rules=rules) == 0
    with pytest.raises(ValueError, match=r"b.xlsx.* to compare with cannot be read"):
        table(office.xlsx(), Got("b.xlsx", b"PK"), rules=rules)
    with pytest.raises(ValueError, match="no rule 'dream'"):
        table(office.xlsx(), office.xlsx(), rules=[{"type": "dream"}])


def test_names_of_sheets() -> None:
    assert table(office.xlsx(), office.xlsx(), rules=[{"type": "sheet_name"}]) == 1
    assert (
        table(office.xlsx(change=sheet(lambda one: setattr(one, "title", "B"))), office.xlsx(), rules=[{"type": "sheet_name"}]) == 0
    )


def test_printed_sheets_are_those_that_were_fetched_with_the_book() -> None:
    def book(name: str, text: bytes) -> Got:
        return Got(f"{name}.xlsx", office.xlsx().content, {f"{name}-Sheet1.csv": text})

    names = {"sheet_idx0": "RNSheet1", "sheet_idx1": "ENSheet1"}
    gold = book("gold", b"City,Sales\nRome,1.50\n\n")
    assert compared("sheet_print", book("a", b"City,Sales \nRome,1.50"), gold, **names) == 1
    assert compared("sheet_print", book("a", "City,Sales\r\nRome,1.50".encode("utf-8-sig")), gold) == 1
    assert compared("sheet_print", book("a", b"city,sales\nrome,1.50"), gold, **names) == 0
    assert compared("sheet_print", book("a", b"city,sales\nrome,1.50"), gold, **names, ignore_case=True) == 1
    assert compared("sheet_print", office.xlsx(), gold, **names) == 0
    with pytest.raises(ValueError, match="as CSV is not among"):
        compared("sheet_print", book("a", b"x"), office.xlsx(), **names)


@pytest.mark.parametrize(
    ("found", "rule", "expected"),
    [
        ("Rome", {"type": "exact_match"}, 1),
        ("rome", {"type": "exact_match"}, 0),
        ("rome", {"type": "exact_match", "ignore_case": True}, 1),
        (" Rome.", {"type": "exact_match", "trim_leadings": " ", "trim_trailings": "."}, 1),
        ("R-o-m-e", {"type": "exact_match", "ignore_chars": "-"}, 1),
        ("Old Rome", {"type": "includes"}, 1),
        ("Ro", {"type": "includes"}, 0),
        ("Ro", {"type": "included_by"}, 1),
        ("Romes", {"type": "fuzzy_match"}, 1),
        ("Romes", {"type": "fuzzy_match", "threshold": 95}, 0),
        ("Rome", {"type": "exact_match", "normalization": [["Rome", "Roma"]]}, 1),
    ],
)
def test_fuzzy_cells(found: str, rule: dict[str, Any], expected: float) -> None:
    rows = (("City", "Sales"), (found, 1.5))
    assert compared("sheet_fuzzy", office.xlsx(rows), office.xlsx(), rules=[{"range": ["A1:A2", "B1"], **rule}]) == expected


def test_a_fuzzy_rule_of_an_unknown_type_is_named() -> None:
    with pytest.raises(ValueError, match="no type 'near'"):
        compared("sheet_fuzzy", office.xlsx(), office.xlsx(), rules=[{"range": ["A1"], "type": "near"}])


RED = PatternFill("solid", fgColor="FFFF0000")


@pytest.mark.parametrize(
    ("names", "change"),
    [
        (["bgcolor"], lambda one: setattr(one["A2"], "fill", RED)),
        (["fgcolor"], lambda one: setattr(one["A2"], "fill", RED)),
        (["font_color"], lambda one: setattr(one["A2"], "font", Font(color="FFFF0000"))),
        (["font_name"], lambda one: setattr(one["A2"], "font", Font(name="Arial"))),
        (["font_bold"], lambda one: setattr(one["A2"], "font", Font(bold=True))),
        (["font_italic"], lambda one: setattr(one["A2"], "font", Font(italic=True))),
        (["font_underline"], lambda one: setattr(one["A2"], "font", Font(underline="single"))),
        (["font_size"], lambda one: setattr(one["A2"], "font", Font(size=20))),
        (["font_family"], lambda one: setattr(one["A2"], "font", Font(family=3))),
        (["number_format"], lambda one: setattr(one["B2"], "number_format", "0.00")),
        (["hyperlink"], lambda one: setattr(one["A2"], "hyperlink", "https://example.org")),
        (["merge"], lambda one: one.merge_cells("A2:B2")),
    ],
)
def test_styles(names: list[str], change: Callable[[Any], Any]) -> None:
    changed, plain = office.xlsx(change=sheet(change)), office.xlsx()
    assert compared("style", changed, changed, props=names) == 1
    assert compared("style", changed, plain, props=names) == 0
    assert compared("style", changed, plain, props=[]) == 1


def test_an_unknown_style_is_named() -> None:
    with pytest.raises(ValueError, match="the style 'taste' is not known"):
        compared("style", office.xlsx(), office.xlsx(), props=["taste"])


DIFFERING = DifferentialStyle(font=Font(color="FFFF0000"), fill=PatternFill(bgColor="FFFF0000"))


@pytest.mark.parametrize(
    ("rule", "cells"),
    [
        (CellIsRule(operator="greaterThan", formula=["1.7"]), ["B3"]),
        (CellIsRule(operator="lessThanOrEqual", formula=["B2"]), ["B2", "B3"]),  # moved: B3 is compared with B3
        (CellIsRule(operator="lessThanOrEqual", formula=["$B$2"]), ["B2"]),
        (CellIsRule(operator="between", formula=["1", "1.9"]), ["B2"]),
        (CellIsRule(operator="notEqual", formula=["2"]), ["B2"]),
        (FormulaRule(formula=["AND(B2>1,MOD(B2,2)=0)"]), ["B3"]),
        (FormulaRule(formula=['$A2="rome"']), ["B2"]),
        (FormulaRule(formula=["LEN($A2)+1<6-B2*0.2"]), ["B2", "B3"]),
        (FormulaRule(formula=["-(B2-3)^2=1"]), ["B3"]),
        (FormulaRule(formula=['ISNUMBER(SEARCH("os",$A2))']), ["B3"]),
        (FormulaRule(formula=["IF(B2>=2,TRUE,FALSE)"]), ["B3"]),
        (Rule(type="containsText", operator="containsText", text="1.", formula=["x"]), ["B2"]),
        (Rule(type="beginsWith", operator="beginsWith", text="2", formula=["x"]), ["B3"]),
    ],
)
def test_conditional_formats_count_as_styles(rule: Rule, cells: list[str]) -> None:
    """The rule stands at B2:B3, which hold 1.5 and 2."""
    rule.dxf = DIFFERING

    def by_hand(one: Any) -> None:
        for place in cells:
            one[place].fill = PatternFill("solid", fgColor="FFFF0000")

    by_rule = office.xlsx(change=sheet(lambda one: one.conditional_formatting.add("B2:B3", rule)))
    assert compared("style", by_rule, office.xlsx(change=sheet(by_hand)), props=["bgcolor"]) == 1
    other = office.xlsx(change=sheet(lambda one: setattr(one["A2"], "fill", RED)))
    assert compared("style", by_rule, other, props=["bgcolor"]) == 0


def test_a_formula_that_goes_further_is_lacking_in_the_tasks_book_and_no_match_in_the_agents() -> None:
    rule = FormulaRule(formula=["VLOOKUP(B2,A1:B3,2)"], fill=RED)
    book = office.xlsx(change=sheet(lambda one: one.conditional_formatting.add("B2:B3", rule)))
    marked = office.xlsx(change=sheet(lambda one: setattr(one["B2"], "fill", RED)))
    assert compared("style", book, marked, props=["bgcolor"]) == 0
    with pytest.raises(Lacks, match="the function VLOOKUP of a conditional format"):
        compared("style", marked, book, props=["bgcolor"])


def bar(title: str = "Sales", column: int = 2, kind: type = BarChart, direction: str = "col") -> Callable[[Any], None]:
    def change(one: Any) -> None:
        chart = kind()
        chart.title = title
        if kind is BarChart:
            chart.type = direction
        chart.add_data(Reference(one, min_col=column, min_row=2, max_row=3))
        chart.x_axis.title = "City"
        one.add_chart(chart, "D2")

    return sheet(change)


@pytest.mark.parametrize(
    ("names", "other", "expected"),
    [
        (["type", "title"], bar(), 1),
        (["title"], bar("Other"), 0),
        (["type"], bar("Other"), 1),
        (["type"], bar(kind=LineChart), 0),
        (["direction"], bar(direction="bar"), 0),
        (["xtitle", "ytitle", "ztitle", "legend", "width", "height", "anchor"], bar(), 1),
        (["type"], bar(column=1), 0),
        (["type"], lambda book: None, 0),
    ],
)
def test_charts(names: list[str], other: Callable[[Any], Any], expected: float) -> None:
    assert compared("chart", office.xlsx(change=other), office.xlsx(change=bar()), chart_props=names) == expected


def test_pivot_tables() -> None:
    names = ["col_fields", "filter", "row_fields", "data_fields", "show_headers", "name"]
    places = {"sheet_idx0": "RNSheet2", "sheet_idx1": "ENSheet2"}
    assert compared("pivot_table", office.pivot(), office.pivot(), pivot_props=names, **places) == 1
    for other in (office.pivot(hidden=True), office.pivot(subtotal="count"), office.pivot(row=1)):
        assert compared("pivot_table", other, office.pivot(), pivot_props=names, **places) == 0
    assert compared("pivot_table", office.pivot(subtotal="count"), office.pivot(), pivot_props=["row_fields"], **places) == 1
    assert compared("pivot_table", office.xlsx(), office.pivot(), pivot_props=names, **places) == 0


def filtered(values: list[str], ref: str = "A1:B3") -> Got:
    def change(one: Any) -> None:
        one.auto_filter.ref = ref
        one.auto_filter.add_filter_column(0, values)
        one.auto_filter.add_sort_condition("B2:B3", descending=True)

    return office.xlsx(change=sheet(change))


def test_filters() -> None:
    assert compared("filter", filtered(["Rome", "Oslo"]), filtered(["Oslo", "Rome"])) == 1
    assert compared("filter", filtered(["Rome"]), filtered(["Oslo"])) == 0
    assert compared("filter", filtered(["Rome"], "A1:A3"), filtered(["Rome"])) == 0
    assert compared("filter", office.xlsx(), filtered(["Rome"])) == 0


def sparkline(cell: str) -> Got:
    spark = "http://schemas.microsoft.com/office/spreadsheetml/2009/9/main"
    formula = "http://schemas.microsoft.com/office/excel/2006/main"
    part = (
        f'<extLst><ext uri="{{05C60535-1F16-4fd2-B633-F4F36F0B64E0}}" xmlns:x14="{spark}">'
        f'<x14:sparklineGroups xmlns:xm="{formula}"><x14:sparklineGroup><x14:sparklines>'
        f"<x14:sparkline><xm:f>Sheet1!A1:B1</xm:f><xm:sqref>{cell}</xm:sqref></x14:sparkline>"
        "</x14:sparklines></x14:sparklineGroup></x14:sparklineGroups></ext></extLst></worksheet>"
    )
    return office.with_part(office.xlsx(), "xl/worksheets/sheet1.xml", lambda xml: xml.replace("</worksheet>", part))


def test_sparklines() -> None:
    assert compared("sparkline", sparkline("C1"), sparkline("C1")) == 1
    assert compared("sparkline", sparkline("C2"), sparkline("C1")) == 0
    assert compared("sparkline", office.xlsx(), sparkline("C1")) == 0


def test_what_is_frozen_does_not_depend_on_where_the_sheet_is_scrolled_to() -> None:
    frozen = office.xlsx(change=sheet(lambda one: setattr(one, "freeze_panes", "B2")))

    def scrolled(one: Any) -> None:
        one.freeze_panes = "B2"
        one.sheet_view.pane.topLeftCell = "D9"

    assert compared("freeze", office.xlsx(change=sheet(scrolled)), frozen) == 1
    assert compared("freeze", office.xlsx(change=sheet(lambda one: setattr(one, "freeze_panes", "A2"))), frozen) == 0
    assert compared("freeze", office.xlsx(), frozen) == 0


def test_rows_columns_and_zoom() -> None:
    hidden = office.xlsx(change=sheet(lambda one: setattr(one.row_dimensions[2], "hidden", True)))
    narrow = office.xlsx(change=sheet(lambda one: setattr(one.column_dimensions["A"], "width", 3)))
    assert compared("row_props", hidden, hidden, props=["hidden"]) == compared("col_props", narrow, narrow, props=["width"]) == 1
    assert compared("row_props", office.xlsx(), hidden, props=["hidden"]) == 0
    assert compared("col_props", office.xlsx(), narrow, props=["width"]) == 0
    zoomed = office.xlsx(change=sheet(lambda one: setattr(one.sheet_view, "zoomScale", 260)))
    assert compared("zoom", zoomed, method="gt", ref=250) == compared("zoom", office.xlsx(), method="eq", ref=100) == 1
    assert compared("zoom", office.xlsx(), method="gt", ref=250) == 0


def test_validations_of_cells() -> None:
    def with_list(ref: str, choices: str) -> Got:
        def change(one: Any) -> None:
            validation = DataValidation(type="list", formula1=f'"{choices}"')
            validation.add(ref)
            one.add_data_validation(validation)

        return office.xlsx(change=sheet(change))

    wanted = {
        "ranges": {"method": "spreadsheet_range", "ref": ["D2:D29", "D1:D1048576"]},
        "type": {"method": "eq", "ref": "list"},
        "formula1": {"method": "str_set_eq", "ref": ["Pass", "Fail"]},
    }
    assert compared("data_validation", with_list("D2:D40", "Fail,Pass"), dv_props=[wanted]) == 1
    assert compared("data_validation", with_list("D3:D40", "Fail,Pass"), dv_props=[wanted]) == 0
    assert compared("data_validation", with_list("D2:D40", "Pass"), dv_props=[wanted]) == 0
    assert compared("data_validation", office.xlsx(), dv_props=[wanted]) == 0


@pytest.mark.parametrize(
    ("place", "wishes", "expected"),
    [
        ("A2", {"value": {"method": "eq", "ref": "Rome"}}, 1),
        ("B2", {"value": {"method": "approx:0.1", "ref": 1.45}}, 1),
        ("B2", {"value": {"method": "approx:0.01", "ref": 1.45}}, 0),
        ("A2", {"value": {"method": "approx:0.1", "ref": 1.45}}, 0),
        ("C9", {"value": {"method": "eq", "ref": None}}, 1),
        ("A2", {"merge": {"method": "eq", "ref": False}, "font_bold": {"method": "eq", "ref": True}}, 0),
        ("A1", {"bgcolor": {"method": "eq", "ref": "FFFF0000"}, "font_bold": {"method": "eq", "ref": True}}, 1),
    ],
)
def test_single_cells(place: str, wishes: dict[str, Any], expected: float) -> None:
    def change(one: Any) -> None:
        one["A1"].font, one["A1"].fill = Font(bold=True), RED

    assert compared("check_cell", office.xlsx(change=sheet(change)), coordinate=place, props=wishes) == expected


def test_every_number_of_a_cell_is_one_and_a_date_too() -> None:
    book = office.xlsx([[datetime.datetime(1900, 1, 2), 3, True]])
    found = [
        compared("check_cell", book, coordinate=place, props={"value": {"method": "eq", "ref": ref}})
        for place, ref in (("A1", 2.0), ("B1", 3.0), ("C1", None))
    ]
    assert found == [1, 1, 1]


def test_colours_of_a_theme_count_as_one() -> None:
    def book(color: Color) -> Got:
        return office.xlsx(change=sheet(lambda one: setattr(one["A1"], "font", Font(color=color))))

    found = [book(one) for one in (Color(theme=4), Color(theme=5), Color(rgb="FFFF0000"))]
    assert [compared("style", one, found[0], props=["font_color"]) for one in found] == [1, 1, 0]


def test_cities_in_order() -> None:
    cities = metric("compare_conference_city_in_order")
    names = [f"City {number}" for number in range(21)]
    rules = {"expected": [*names[:20], ["Zürich", "Zuerich"]]}
    assert cities(office.xlsx([["", "", "h"], *[["", "", name] for name in [*names[:20], "ZURICH, Switzerland"]]]), rules) == 1
    assert cities(office.xlsx([["", "", "h"], *[["", "", name] for name in reversed(names)]]), rules) == 0
    assert cities(office.xlsx([["", "", "h"]]), rules) == cities(Got("a", b""), rules) == 0
