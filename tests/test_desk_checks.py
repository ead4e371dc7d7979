"""What the checks of `desk` say of made-up homes: the wanted state is right, and one with more changed than that is not."""

from __future__ import annotations

import asyncio
import io
import zipfile
from collections.abc import Callable
from random import Random
from typing import Any, cast

import openpyxl
import pptx
import pytest

from stepladder.envs.desktop.desk import catalogue
from stepladder.envs.desktop.desk.case import Case, Check
from stepladder.envs.desktop.desk.checks import absent, all_of, holds, present
from stepladder.envs.desktop.look import Look


class Home(Look):
    """The files of a home, as `Look` shows them."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.complaints: list[str] = []

    async def file(self, name: str) -> bytes | None:
        return self.files.get(name)

    async def text(self, name: str) -> str | None:
        content = self.files.get(name)
        return None if content is None else content.decode()

    async def names(self, name: str = "") -> list[str]:
        below = [path.removeprefix(f"{name}/") for path in self.files if path.startswith(f"{name}/")]
        return sorted({one.partition("/")[0] + "/" * ("/" in one) for one in below})

    async def entry(self, name: str) -> str | None:
        path = name.rstrip("/")
        if path in self.files:
            return path.rpartition("/")[2]
        return f"{path.rpartition('/')[2]}/" if any(one.startswith(f"{path}/") for one in self.files) else None


def case(name: str, seed: int = 0) -> Case:
    return catalogue.desk_task(name).make(Random(seed), "train")


def right(made: Case, files: dict[str, bytes]) -> bool:
    return asyncio.run(made.check(Home(files)))


def complaints(check: Check, files: dict[str, bytes]) -> list[str]:
    home = Home(files)
    return [] if asyncio.run(check(home)) else home.complaints


def changed(content: bytes, change: Callable[[Any], None]) -> bytes:
    """A workbook with something else in it."""
    book = openpyxl.load_workbook(io.BytesIO(content))
    change(book.active)
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


def computed(content: bytes, cell: str, formula: str, value: int, change: Callable[[Any], None] = lambda sheet: None) -> bytes:
    """A workbook with a formula and its result, as an office saves it."""
    written = changed(content, lambda sheet: (change(sheet), sheet.__setitem__(cell, formula)))  # type: ignore[func-returns-value]
    source, target = io.BytesIO(written), io.BytesIO()
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            data = old.read(entry)
            if entry.filename == "xl/worksheets/sheet1.xml":
                shown = formula.removeprefix("=")
                assert f"<f>{shown}</f>".encode() in data
                data = data.replace(f"<f>{shown}</f><v></v>".encode(), f"<f>{shown}</f><v>{value}</v>".encode())
                data = data.replace(f"<f>{shown}</f><v />".encode(), f"<f>{shown}</f><v>{value}</v>".encode())
            new.writestr(entry, data)
    return target.getvalue()


@pytest.mark.parametrize("seed", range(3))
def test_the_dearest_item_stands_in_its_cell_and_nothing_else_has_changed(seed: int) -> None:
    made = case("sheet-dearest", seed)
    ((name, content),) = made.files.items()
    rows = list(openpyxl.load_workbook(io.BytesIO(content)).active.iter_rows(values_only=True))  # type: ignore[union-attr]
    dearest = max(rows[1:], key=lambda row: cast(int, row[1]))[0]

    def put(sheet: Any, **cells: Any) -> None:
        for cell, value in cells.items():
            sheet[cell] = value

    assert right(made, {name: changed(content, lambda sheet: put(sheet, D1=dearest))})
    for wrong in (
        {"D1": dearest, "D2": "q7"},
        {"D1": dearest, "B3": 1000},
        {"D1": dearest, "A2": None},
        {"D1": rows[1][0], "D2": 1},
    ):
        assert not right(made, {name: changed(content, lambda sheet, wrong=wrong: put(sheet, **wrong))}), wrong
    assert not right(made, {name: content})


def test_a_sum_is_a_formula_over_the_prices_and_nothing_else_has_changed() -> None:
    made = case("sheet-sum")
    ((name, content),) = made.files.items()
    rows = list(openpyxl.load_workbook(io.BytesIO(content)).active.iter_rows(values_only=True))  # type: ignore[union-attr]
    prices = [cast(int, row[1]) for row in rows[1:]]
    place, total = f"B{len(rows) + 1}", sum(prices)
    added = "=" + "+".join(f"B{number}" for number in range(2, len(rows) + 1))
    for formula in (f"=SUM(B2:B{len(rows)})", f"=SUM($B$2:$B${len(rows)})", added):
        assert right(made, {name: computed(content, place, formula, total)}), formula
    constant = "=" + "+".join(map(str, prices))
    assert not right(made, {name: computed(content, place, constant, total)}), "it adds up numbers and no cells"
    assert not right(made, {name: computed(content, place, f"=SUM(B2:B{len(rows)})", total + 1)})

    def stray(sheet: Any) -> None:
        sheet["A9"] = "q7"

    assert not right(made, {name: computed(content, place, f"=SUM(B2:B{len(rows)})", total, stray)})


def test_a_title_has_no_empty_line_below_it() -> None:
    made = case("slides-title")
    ((name, content),) = made.files.items()
    title = made.instruction.partition("“")[2].partition("”")[0]

    def titled(text: str) -> bytes:
        shown = pptx.Presentation(io.BytesIO(content))
        shown.slides[0].shapes.title.text = text
        buffer = io.BytesIO()
        shown.save(buffer)
        return buffer.getvalue()

    assert right(made, {name: titled(title)})
    for wrong in (f"{title}\n", f"{title} more", title.upper()):
        assert not right(made, {name: titled(wrong)}), wrong


@pytest.mark.parametrize("manager", ["thunar", "pcmanfm"])
def test_a_file_manager_leaves_the_other_files_alone(manager: str) -> None:
    for task in (f"{manager}-new-folder", f"{manager}-rename", f"{manager}-copy"):
        made = case(task)
        files = dict(made.files)
        quoted = made.instruction.split("“")[1:]
        names = [part.partition("”")[0] for part in quoted]
        if task.endswith("new-folder"):
            files[f"Documents/{names[0]}/.keep"] = b""
        elif task.endswith("rename"):
            files[f"Documents/{names[1]}"] = files.pop(f"Documents/{names[0]}")
        else:
            files[f"Documents/{names[1]}/{names[0]}"] = files[f"Documents/{names[0]}"]
        assert right(made, files), task
        other = next(name for name in made.files if name in files and not any(one in name for one in names))
        assert not right(made, {name: content for name, content in files.items() if name != other}), f"{task}: another is gone"
        assert not right(made, {**files, other: b"something else"}), f"{task}: another has changed"
        assert not right(made, dict(made.files)), task


def test_a_new_folder_holds_what_was_asked_for_and_nothing_more() -> None:
    made = case("terminal-folders")
    outer, first, second = (part.partition("”")[0] for part in made.instruction.split("“")[1:])
    wanted = {f"{outer}/{first}/.keep": b"", f"{outer}/{second}/.keep": b""}
    assert right(made, wanted)
    assert not right(made, {**wanted, f"{outer}/more/.keep": b""})
    assert not right(made, {f"{outer}/{first}/.keep": b""})
    assert not right(made, {})


def test_doing_what_a_note_says_leaves_the_other_files_alone() -> None:
    made = case("across-note-to-files")
    files = dict(made.files)
    old, new = files["note.txt"].decode().removeprefix("Please rename ").strip().split(" to ")
    files[f"Documents/{new}"] = files.pop(f"Documents/{old}")
    assert right(made, files)
    other = next(name for name in made.files if name.startswith("Documents/") and name != f"Documents/{old}")
    assert not right(made, {name: content for name, content in files.items() if name != other})


def test_a_check_says_what_is_wrong_and_not_what_would_be_right() -> None:
    check = all_of(holds("a.txt", "secret"), present("new/"), absent("old.txt"))
    done = {"a.txt": b"secret\n", "new/x": b""}
    assert complaints(check, done) == []
    assert complaints(check, {}) == ["there is no text file a.txt"]
    assert complaints(check, done | {"a.txt": b"other"}) == ["a.txt does not hold what it should"]
    assert complaints(check, {"a.txt": b"secret"}) == ["not there: new/"]
    assert complaints(check, done | {"old.txt": b""}) == ["still there: old.txt"]
