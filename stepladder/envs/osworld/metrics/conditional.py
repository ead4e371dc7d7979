"""Conditional formats of a sheet: which cells they hold for. Formulas are compared and worked out here as far as conditions of
formats go (comparisons, arithmetic, a few functions); one that goes further is named and holds for nothing."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from openpyxl.formula import Tokenizer
from openpyxl.formula.tokenizer import Token
from openpyxl.formula.translate import Translator
from openpyxl.utils import get_column_letter

from stepladder.envs.osworld.metrics.workbooks import Book

_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    **{"=": operator.eq, "<>": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
}
_BY_NAME = {
    **{"equal": "=", "notEqual": "<>", "lessThan": "<", "lessThanOrEqual": "<=", "greaterThan": ">", "greaterThanOrEqual": ">="}
}
_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    **{"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "^": operator.pow}
}
_POWER = {"^": 5, "*": 4, "/": 4, "+": 3, "-": 3, "&": 2, **dict.fromkeys(_COMPARE, 1)}
_CELL = re.compile(r"\$?([A-Z]{1,3})\$?(\d+)")


class NotWorkedOut(ValueError):
    """A formula, or a kind of format, that goes further than what is worked out here."""


def cells_that_differ(book: Book, name: str) -> Iterator[tuple[Any, Any]]:
    """(cell, its differing style) of every cell that a conditional format holds for. Raises NotWorkedOut."""
    sheet = book.sheet(name)
    for held in sheet.conditional_formatting:
        ranges = list(held.cells.ranges)
        first = f"{get_column_letter(ranges[0].min_col)}{ranges[0].min_row}"
        for rule in held.rules:
            for cells in ranges:
                for row, column in cells.cells:
                    place = f"{get_column_letter(column)}{row}"
                    value = book.value(name, place)
                    if value is not None and _active(rule, value, _Place(book, name, first, place)):
                        yield sheet.cell(row=row, column=column), rule.dxf


class _Place:
    """Where a formula is worked out: what it says of the first cell of a format holds for every other one, moved."""

    def __init__(self, book: Book, sheet: str, first: str, place: str) -> None:
        self.book, self.sheet, self.first, self.place = book, sheet, first, place

    def work_out(self, formula: str) -> Any:
        moved = Translator("=" + formula, origin=self.first).translate_formula(self.place)
        return _Formula(moved, self).value()

    def cell(self, reference: str) -> Any:
        match = _CELL.fullmatch(reference)
        if match is None:
            raise NotWorkedOut(f"the reference {reference!r} of a conditional format")
        return self.book.value(self.sheet, match[1] + match[2])


def _active(rule: Any, value: Any, place: _Place) -> bool:
    text = str(rule.text or "").lower()
    shown = _shown(value).lower()
    if rule.type == "cellIs":
        return _compare_to(rule.operator, value, [place.work_out(one) for one in rule.formula])
    if rule.type == "containsText" and text:
        return text in shown
    if rule.type == "notContainsText" and text:
        return text not in shown
    if rule.type == "beginsWith" and text:
        return shown.startswith(text)
    if rule.type == "endsWith" and text:
        return shown.endswith(text)
    if rule.type in ("containsErrors", "notContainsErrors"):
        return _is_error(value) == (rule.type == "containsErrors")
    if rule.type == "expression" and rule.formula:
        return bool(place.work_out(rule.formula[0]))
    raise NotWorkedOut(f"conditional formats of the type {rule.type!r}")


def _compare_to(name: str, value: Any, references: Sequence[Any]) -> bool:
    if name in ("between", "notBetween") and len(references) == 2:
        try:
            low, high = sorted(references)
            return bool(low <= value <= high) == (name == "between")
        except TypeError:
            return False
    if name in _BY_NAME and references:
        return _compared(_BY_NAME[name], value, references[0])
    raise NotWorkedOut(f"conditional formats with the operator {name!r}")


def _compared(sign: str, first: Any, second: Any) -> bool:
    """Texts without regard to case, as spreadsheets do; what is of two kinds is only unequal."""
    if isinstance(first, str) and isinstance(second, str):
        first, second = first.lower(), second.lower()
    elif isinstance(first, str) != isinstance(second, str):
        return sign == "<>"
    return bool(_COMPARE[sign](first or 0, second or 0) if not isinstance(first, str) else _COMPARE[sign](first, second))


def _shown(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _is_error(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("#")


class _Formula:
    """A formula's tokens, worked out from left to right by the strength of their signs."""

    def __init__(self, text: str, place: _Place) -> None:
        self.tokens = [one for one in Tokenizer(text).items if one.type != Token.WSPACE]
        self.place, self.at, self.text = place, 0, text

    def value(self) -> Any:
        found = self._joined(0)
        if self.at != len(self.tokens):
            raise NotWorkedOut(f"the formula {self.text!r}")
        return found

    def _joined(self, least: int) -> Any:
        found = self._operand()
        while self.at < len(self.tokens):
            token = self.tokens[self.at]
            power = _POWER.get(token.value, -1) if token.type == Token.OP_IN else -1
            if power <= least:
                break
            self.at += 1
            found = self._two(token.value, found, self._joined(power))
        return found

    def _two(self, sign: str, first: Any, second: Any) -> Any:
        if sign in _COMPARE:
            return _compared(sign, first, second)
        if sign == "&":
            return _shown(first or "") + _shown(second or "")
        try:
            return _ARITHMETIC[sign](float(first or 0), float(second or 0))
        except (TypeError, ValueError, ZeroDivisionError, OverflowError):
            return "#VALUE!"

    def _operand(self) -> Any:
        if self.at >= len(self.tokens):
            raise NotWorkedOut(f"the formula {self.text!r}")
        token = self.tokens[self.at]
        self.at += 1
        if token.type == Token.OP_PRE:
            value = self._operand()
            return -float(value or 0) if token.value == "-" else value
        if token.type == Token.PAREN and token.subtype == Token.OPEN:
            found = self._joined(0)
            self.at += 1
            return found
        if token.type == Token.FUNC and token.subtype == Token.OPEN:
            return self._call(token.value.rstrip("(").upper())
        if token.type != Token.OPERAND:
            raise NotWorkedOut(f"the formula {self.text!r}")
        return self._literal(token)

    def _literal(self, token: Token) -> Any:
        if token.subtype == Token.NUMBER:
            return float(token.value)
        if token.subtype == Token.TEXT:
            return token.value[1:-1].replace('""', '"')
        if token.subtype == Token.LOGICAL:
            return token.value.upper() == "TRUE"
        if token.subtype == Token.RANGE:
            return self.place.cell(token.value)
        return token.value

    def _call(self, name: str) -> Any:
        if name not in _FUNCTIONS:
            raise NotWorkedOut(f"the function {name} of a conditional format")
        arguments = []
        while self.at < len(self.tokens) and (self.tokens[self.at].type, self.tokens[self.at].subtype) != (Token.FUNC, Token.CLOSE):
            arguments.append(self._joined(0))
            if self.at < len(self.tokens) and self.tokens[self.at].type == Token.SEP:
                self.at += 1
        self.at += 1
        try:
            return _FUNCTIONS[name](*arguments)
        except (TypeError, ValueError, ZeroDivisionError):
            return "#VALUE!"


def _search(part: Any, text: Any, *_: Any) -> Any:
    place = _shown(text or "").lower().find(_shown(part).lower())
    return float(place + 1) if place >= 0 else "#VALUE!"


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "AND": lambda *all_of: all(all_of),
    "OR": lambda *any_of: any(any_of),
    "NOT": lambda value: not value,
    "IF": lambda test, first, second=False: first if test else second,
    "LEN": lambda text: float(len(_shown(text or ""))),
    "LEFT": lambda text, count=1.0: _shown(text or "")[: int(count)],
    "RIGHT": lambda text, count=1.0: _shown(text or "")[-int(count) :],
    "ABS": lambda number: abs(float(number or 0)),
    "MOD": lambda number, divisor: float(number or 0) % float(divisor),
    "ISBLANK": lambda value: value is None,
    "ISNUMBER": lambda value: isinstance(value, float),
    "ISTEXT": lambda value: isinstance(value, str) and not _is_error(value),
    "ISERROR": _is_error,
    "LOWER": lambda text: _shown(text or "").lower(),
    "UPPER": lambda text: _shown(text or "").upper(),
    "TRIM": lambda text: _shown(text or "").strip(),
    "SEARCH": _search,
}
