"""Tasks across two applications, and tasks for which functions may be called."""

from __future__ import annotations

from collections.abc import AsyncIterator
from random import Random

from stepladder.envs.desktop.actions import Move, call, done, press, wait, write
from stepladder.envs.desktop.desk.case import Case, DeskTask, Opened
from stepladder.envs.desktop.desk.checks import absent, all_of, holds, unchanged
from stepladder.envs.desktop.desk.draw import file_name, lines, sentence, word, words
from stepladder.envs.desktop.desk.editor import END, SAVE
from stepladder.envs.desktop.desk.office import in_workbook, priced, save, workbook
from stepladder.envs.desktop.look import Look
from stepladder.words import WordPart


async def _switch(look: Look, *title: str) -> AsyncIterator[Move]:
    """Goes to another window."""
    for _ in range(4):
        windows = await look.titles()
        if windows and all(part.lower() in windows[-1].lower() for part in title):
            return
        yield press("alt", "tab", why="Go to the other window.")


def _note_to_sheet(random: Random, part: WordPart) -> Case:
    items, prices = words(random, part, 4), random.sample(range(2, 99), 4)
    row, new = random.randrange(4), random.randint(100, 999)
    rows = priced(items, prices)
    wanted = [list(one) for one in rows]
    wanted[row + 1][1] = new
    content = workbook(rows)
    files = {"note.txt": f"New price of {items[row]}: {new}\n".encode(), "prices.xlsx": content}

    async def solve(look: Look) -> AsyncIterator[Move]:
        async for move in _switch(look, "calc"):
            yield move
        yield press("ctrl", "shift", "t", why="Go to the name box.")
        yield write(f"B{row + 2}", "Name the cell.")
        yield press("enter", why="Go there.")
        yield write(f"{new}\n", "Type the new price.")
        async for move in save(look, "prices.xlsx", content):
            yield move
        yield done()

    def right(book: object, _: object) -> bool:
        return [[cell.value for cell in line] for line in book.active.iter_rows()] == wanted  # type: ignore[attr-defined]

    instruction = "The note in the editor tells a new price. Put it into the spreadsheet and save that."
    opened = (Opened("mousepad", ("note.txt",)), Opened("calc", ("prices.xlsx",)))
    return Case(instruction, in_workbook("prices.xlsx", right), solve, files, opened)


def _sheet_to_note(random: Random, part: WordPart) -> Case:
    items, prices = words(random, part, 6), random.sample(range(2, 99), 6)
    cheapest = items[prices.index(min(prices))]
    rows = priced(items, prices)
    old = lines(random, part, 2)
    files = {"note.txt": "\n".join([*old, ""]).encode(), "prices.xlsx": workbook(rows)}

    async def solve(look: Look) -> AsyncIterator[Move]:
        async for move in _switch(look, "mousepad"):
            yield move
        yield END
        yield write(cheapest)
        yield SAVE
        yield done()

    instruction = "Write the name of the cheapest item of the spreadsheet as the last line of the note, and save the note."
    opened = (Opened("calc", ("prices.xlsx",)), Opened("mousepad", ("note.txt",)))
    return Case(instruction, holds("note.txt", "\n".join([*old, cheapest])), solve, files, opened)


def _terminal_to_note(random: Random, part: WordPart) -> Case:
    code = f"{word(random, part)}-{random.randrange(1000, 9999)}"
    files = {"note.txt": b"", "secret.txt": f"{code}\n".encode()}

    async def solve(look: Look) -> AsyncIterator[Move]:
        async for move in _switch(look, "xterm"):
            yield move
        yield write("cat secret.txt\n", "Look at the file.")
        async for move in _switch(look, "mousepad"):
            yield move
        yield write(code)
        yield SAVE
        yield done()

    instruction = (
        "Find out with the terminal what the file “secret.txt” in your home says, write just that into the open note and save it."
    )
    opened = (Opened("mousepad", ("note.txt",)), Opened("xterm"))
    return Case(instruction, holds("note.txt", code), solve, files, opened)


def _web_to_note(random: Random, part: WordPart) -> Case:
    names, codes = words(random, part, 5), random.sample(range(1000, 9999), 5)
    chosen = random.randrange(5)
    rows = "".join(f"<p>{name}: <b>{code}</b>" for name, code in zip(names, codes, strict=True))
    files = {"note.txt": b"", "page.html": f"<!doctype html><title>Codes</title><h1>Codes</h1>{rows}".encode()}

    async def solve(look: Look) -> AsyncIterator[Move]:
        async for move in _switch(look, "mousepad"):
            yield move
        yield write(str(codes[chosen]))
        yield SAVE
        yield done()

    instruction = (
        f"The page in the browser lists codes. Write the code of “{names[chosen]}” into the note in the editor and save it."
    )
    opened = (Opened("mousepad", ("note.txt",)), Opened("chromium", ("page.html",)))
    return Case(instruction, holds("note.txt", str(codes[chosen])), solve, files, opened)


def _note_to_files(random: Random, part: WordPart) -> Case:
    names = [f"{one}.txt" for one in words(random, part, 4)]
    old, new = random.choice(names), file_name(random, part)
    texts = {name: sentence(random, part) for name in names}
    files = {"note.txt": f"Please rename {old} to {new}\n".encode()}
    files |= {f"Documents/{name}": text.encode() for name, text in texts.items()}

    async def solve(look: Look) -> AsyncIterator[Move]:
        async for move in _switch(look, "thunar"):
            yield move
        yield write(old, f"Select {old!r} by typing its name.")
        yield press("escape", why="Close the search, the file stays selected.")
        yield press("f2", why="Rename it.")
        await look.window("rename")
        yield press("ctrl", "a", why="Replace the name that is there.")
        yield write(new, "Type the name.")
        yield press("enter", why="Confirm.")
        yield wait(0.3, "Wait until it is done.")
        yield done()

    check = all_of(holds(f"Documents/{new}", texts[old]), absent(f"Documents/{old}"), unchanged(texts, old, "Documents"))
    opened = (Opened("mousepad", ("note.txt",)), Opened("thunar", ("Documents",)))
    return Case("Do in the file manager what the note in the editor says.", check, solve, files, opened)


def _tool_run(random: Random, part: WordPart) -> Case:
    count = random.choice([number for number in range(11, 60) if (number % 7 == 3) == (part == "heldout")])
    files = {f"data/{number:03}.txt": b"x" for number in range(count)} | {"note.txt": b""}

    async def solve(look: Look) -> AsyncIterator[Move]:
        yield call("run", command="ls data | wc -l")
        yield write(str(count))
        yield SAVE
        yield done()

    instruction = "Write into the open note how many files the folder “data” in your home has, as a bare number, and save it."
    return Case(instruction, holds("note.txt", str(count)), solve, files, (Opened("mousepad", ("note.txt",)),))


def _tool_cell(random: Random, part: WordPart) -> Case:
    items, prices = words(random, part, 6), random.sample(range(100, 999), 6)
    chosen = random.randrange(6)
    rows = priced(items, prices)

    async def solve(look: Look) -> AsyncIterator[Move]:
        yield call("read_cell", path="prices.xlsx", cell=f"B{chosen + 2}")
        yield write(str(prices[chosen]))
        yield SAVE
        yield done()

    instruction = (
        f"Write into the open note what stands in cell B{chosen + 2} of the file “prices.xlsx” in your home, and save the note."
    )
    files = {"note.txt": b"", "prices.xlsx": workbook(rows)}
    return Case(instruction, holds("note.txt", str(prices[chosen])), solve, files, (Opened("mousepad", ("note.txt",)),))


def _tool_open(random: Random, part: WordPart) -> Case:
    name, old, new = f"Documents/{file_name(random, part)}", lines(random, part, 3), sentence(random, part, 3)

    async def solve(look: Look) -> AsyncIterator[Move]:
        yield call("open_file", path=name)
        yield END
        yield write(new)
        yield SAVE
        yield done()

    instruction = f"Add “{new}” as the last line of the file “{name}” in your home."
    files = {name: "\n".join([*old, ""]).encode()}
    return Case(instruction, holds(name, "\n".join([*old, new])), solve, files)


TASKS = (
    DeskTask("across-note-to-sheet", _note_to_sheet, ("calc", "mousepad"), tags=("two_applications", "office", "reading")),
    DeskTask("across-sheet-to-note", _sheet_to_note, ("calc", "mousepad"), tags=("two_applications", "office", "reading")),
    DeskTask("across-terminal-to-note", _terminal_to_note, ("mousepad", "xterm"), tags=("two_applications", "reading")),
    DeskTask("across-web-to-note", _web_to_note, ("chromium", "mousepad"), tags=("two_applications", "web", "reading")),
    DeskTask("across-note-to-files", _note_to_files, ("mousepad", "thunar"), tags=("two_applications", "files", "reading")),
    DeskTask("tool-run", _tool_run, ("mousepad",), tools=("run",)),
    DeskTask("tool-read-cell", _tool_cell, ("mousepad",), tools=("read_cell",)),
    DeskTask("tool-open-file", _tool_open, ("mousepad",), tools=("open_file", "run")),
)
