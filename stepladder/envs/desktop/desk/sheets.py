"""Tasks in LibreOffice Calc."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from random import Random
from typing import Any

from stepladder.envs.desktop.actions import Move, done, press, wait, write
from stepladder.envs.desktop.desk.case import Case, DeskTask, Opened
from stepladder.envs.desktop.desk.checks import choose
from stepladder.envs.desktop.desk.draw import word, words
from stepladder.envs.desktop.desk.office import Cell, in_workbook, priced, save, saving, workbook
from stepladder.envs.desktop.look import Look
from stepladder.words import WordPart

#: A formula that looks at the column of prices.
_PRICES = re.compile(r"=.*\bB\$?[0-9]", re.IGNORECASE | re.DOTALL)


def _name(random: Random, part: WordPart) -> str:
    return f"Documents/{word(random, part)}.xlsx"


def _table(random: Random, part: WordPart, count: int = 5) -> list[list[Cell]]:
    items = words(random, part, count)
    return priced(items, [random.randint(2, 99) for _ in items])


def _values(sheet: Any) -> list[list[Cell]]:
    """What stands in a sheet, without empty rows at its end."""
    rows = [[cell.value for cell in row] for row in sheet.iter_rows()]
    while rows and not any(value is not None for value in rows[-1]):
        rows.pop()
    return rows


def _go(cell: str) -> list[Move]:
    return [
        press("ctrl", "shift", "t", why="Go to the name box."),
        write(cell, f"Name {cell}."),
        press("enter", why="Go there."),
    ]


def _opened(name: str) -> tuple[Opened, ...]:
    return (Opened("calc", (name,)),)


def _set_cell(random: Random, part: WordPart) -> Case:
    name, rows = _name(random, part), _table(random, part)
    row, value = random.randrange(1, len(rows)), random.randint(100, 999)
    wanted = [list(one) for one in rows]
    wanted[row][1] = value
    check = in_workbook(name, lambda book, _: _values(book.active) == wanted)
    solve = saving(name, *_go(f"B{row + 1}"), write(f"{value}\n", "Type the new price."))
    return Case(
        f"Change the price of “{rows[row][0]}” to {value} and save the file.", check, solve, {name: workbook(rows)}, _opened(name)
    )


def _sum(random: Random, part: WordPart) -> Case:
    name, rows = _name(random, part), _table(random, part)
    place, total = f"B{len(rows) + 1}", sum(int(row[1] or 0) for row in rows[1:])

    def holds(formulas: Any, values: Any) -> bool:
        formula = formulas.active[place].value
        adds = isinstance(formula, str) and _PRICES.search(formula) is not None and values.active[place].value == total
        return adds and _values(formulas.active) == [*rows, [None, formula]]

    solve = saving(name, *_go(place), write(f"=SUM(B2:B{len(rows)})\n", "Type the formula."))
    instruction = f"Put a formula into cell {place} that adds up all prices, and save the file."
    return Case(instruction, in_workbook(name, holds), solve, {name: workbook(rows)}, _opened(name))


def _bold(random: Random, part: WordPart) -> Case:
    name, rows = _name(random, part), _table(random, part)

    def holds(book: Any, _: Any) -> bool:
        sheet = book.active
        return _values(sheet) == rows and all(
            bool(cell.font.b) == (cell.row == 1) for row in sheet.iter_rows(max_row=len(rows), max_col=2) for cell in row
        )

    solve = saving(name, *_go("A1:B1"), press("ctrl", "b", why="Make them bold."))
    instruction = "Make the two column titles bold, and nothing else, and save the file."
    return Case(instruction, in_workbook(name, holds), solve, {name: workbook(rows)}, _opened(name))


def _delete_row(random: Random, part: WordPart) -> Case:
    name, rows = _name(random, part), _table(random, part)
    row = random.randrange(1, len(rows))
    wanted = [one for place, one in enumerate(rows) if place != row]
    check = in_workbook(name, lambda book, _: _values(book.active) == wanted)
    remove = [press("shift", "space", why="Select the whole row."), press("ctrl", "minus", why="Delete it.")]
    solve = saving(name, *_go(f"A{row + 1}"), *remove)
    instruction = f"Delete the whole row of “{rows[row][0]}”, so that no empty row is left, and save the file."
    return Case(instruction, check, solve, {name: workbook(rows)}, _opened(name))


def _dearest(random: Random, part: WordPart) -> Case:
    name, rows = _name(random, part), _table(random, part, 8)
    prices = random.sample(range(2, 99), 8)
    for row, price in zip(rows[1:], prices, strict=True):
        row[1] = price
    dearest = str(rows[1 + prices.index(max(prices))][0])
    wanted: list[list[Cell]] = [[*row, None, None] for row in rows]
    wanted[0][3] = dearest
    check = in_workbook(name, lambda book, _: _values(book.active) == wanted)
    solve = saving(name, *_go("D1"), write(f"{dearest}\n", "Type its name."))
    instruction = "Write the name of the item with the highest price into cell D1 and save the file."
    return Case(instruction, check, solve, {name: workbook(rows)}, _opened(name))


def _rename_sheet(random: Random, part: WordPart) -> Case:
    name, rows, title = _name(random, part), _table(random, part), word(random, part).capitalize()
    content = workbook(rows)

    async def solve(look: Look) -> AsyncIterator[Move]:
        async for move in choose(look, "Sheet", "Rename Sheet..."):
            yield move
        await look.window("rename")
        yield press("ctrl", "a", why="Replace the name that is there.")
        yield write(title, "Type the name.")
        yield press("enter", why="Confirm.")
        yield wait(0.4, "Wait until the dialog is gone.")
        async for move in save(look, name, content):
            yield move
        yield done()

    check = in_workbook(name, lambda book, _: book.sheetnames == [title] and _values(book.active) == rows)
    return Case(f"Rename the sheet “Data” to “{title}” and save the file.", check, solve, {name: content}, _opened(name))


TASKS = (
    DeskTask("sheet-set-cell", _set_cell, ("calc",), tags=("office",)),
    DeskTask("sheet-sum", _sum, ("calc",), tags=("office",)),
    DeskTask("sheet-bold-titles", _bold, ("calc",), tags=("office",)),
    DeskTask("sheet-delete-row", _delete_row, ("calc",), tags=("office",)),
    DeskTask("sheet-dearest", _dearest, ("calc",), tags=("office", "reading")),
    DeskTask("sheet-rename", _rename_sheet, ("calc",), tags=("office", "menu", "dialog")),
)
