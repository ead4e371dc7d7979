"""Tasks in the text editor mousepad."""

from __future__ import annotations

from collections.abc import AsyncIterator
from random import Random

from stepladder.envs.desktop.actions import Move, click, done, press, wait, write
from stepladder.envs.desktop.desk.case import Case, DeskTask, Opened
from stepladder.envs.desktop.desk.checks import all_of, choose, holds, moves, name_file
from stepladder.envs.desktop.desk.draw import file_name, lines, sentence, word, words
from stepladder.envs.desktop.look import Look
from stepladder.words import WordPart

SAVE = press("ctrl", "s", why="Save the document.")
TOP = press("ctrl", "home", why="Go to the beginning.")
END = press("ctrl", "end", why="Go to the end.")


def _name(random: Random, part: WordPart) -> str:
    return f"Documents/{file_name(random, part)}"


def _opened(name: str) -> tuple[Opened, ...]:
    return (Opened("mousepad", (name,)),)


def _write(random: Random, part: WordPart) -> Case:
    name, text = _name(random, part), sentence(random, part)
    instruction = f"Write the text “{text}” into the open document and save it."
    return Case(instruction, holds(name, text), moves(write(text), SAVE), {name: b""}, _opened(name))


def _append(random: Random, part: WordPart) -> Case:
    name, old, new = _name(random, part), lines(random, part, 4), sentence(random, part, 3)
    instruction = f"Add “{new}” as the last line of the open document and save it."
    files = {name: "\n".join([*old, ""]).encode()}
    return Case(instruction, holds(name, "\n".join([*old, new])), moves(END, write(new), SAVE), files, _opened(name))


def _prepend(random: Random, part: WordPart) -> Case:
    name, old, new = _name(random, part), lines(random, part, 4), sentence(random, part, 2)
    instruction = f"Insert the line “{new}” at the very top of the open document and save it."
    files = {name: "\n".join([*old, ""]).encode()}
    return Case(instruction, holds(name, "\n".join([new, *old])), moves(TOP, write(f"{new}\n"), SAVE), files, _opened(name))


def _delete_line(random: Random, part: WordPart) -> Case:
    name, old = _name(random, part), lines(random, part, 5)
    place = random.randrange(len(old))
    instruction = f"Delete the line “{old[place]}” from the open document, so that no empty line is left in its place, and save it."
    down = [press("down", why="Go down one line.")] * place
    select = [press("shift", "down", why="Select the line."), press("delete", why="Delete it.")]
    left = [line for line in old if line != old[place]]
    files = {name: "\n".join([*old, ""]).encode()}
    return Case(instruction, holds(name, "\n".join(left)), moves(TOP, *down, *select, SAVE), files, _opened(name))


def _replace(random: Random, part: WordPart) -> Case:
    name, (old, new, *rest) = _name(random, part), words(random, part, 7)
    text = "\n".join(f"{rest[i]} {old} {rest[i + 1]}" for i in range(4))

    async def solve(look: Look) -> AsyncIterator[Move]:
        yield press("ctrl", "r", why="Open the dialog that replaces.")
        await look.window("find and replace")
        yield write(old, "Say what is looked for.")
        label = await look.node(lambda node: node["name"] == "Replace with:")
        left, top, width, height = label["box"]
        yield click((left + width + 60, top + height // 2), "Go to the field for the new word.")
        yield write(new, "Say what comes in its place.")
        yield click(await look.place("check box", "Replace all in:"), "Replace all of them at once.")
        yield click(await look.place("push button", "Replace All"), "Replace.")
        yield click(await look.place("push button", "Close"), "Close the dialog.")
        yield SAVE
        yield done()

    instruction = f"Replace every “{old}” in the open document by “{new}” and save it."
    return Case(instruction, holds(name, text.replace(old, new)), solve, {name: f"{text}\n".encode()}, _opened(name))


def _save_as(random: Random, part: WordPart) -> Case:
    name, text = _name(random, part), "\n".join(lines(random, part, 3))
    copy = file_name(random, part)

    async def solve(look: Look) -> AsyncIterator[Move]:
        yield press("ctrl", "shift", "s", why="Open the dialog that saves under another name.")
        async for move in name_file(look, "save as", look.path(f"Downloads/{copy}"), "Save"):
            yield move
        yield done()

    instruction = f"Save a copy of the open document as “{copy}” in the folder Downloads."
    check = all_of(holds(f"Downloads/{copy}", text), holds(name, text))
    return Case(instruction, check, solve, {name: f"{text}\n".encode()}, _opened(name))


def _new(random: Random, part: WordPart) -> Case:
    name, text = _name(random, part), sentence(random, part, 3)

    async def solve(look: Look) -> AsyncIterator[Move]:
        yield write(text)
        yield SAVE
        async for move in name_file(look, "save as", look.path(name), "Save"):
            yield move
        yield done()

    instruction = f"Write “{text}” and save it as the new file “{name.removeprefix('Documents/')}” in the folder Documents."
    return Case(instruction, holds(name, text), solve, {}, (Opened("mousepad"),))


def _capitals(random: Random, part: WordPart) -> Case:
    name, text = _name(random, part), "\n".join(lines(random, part, 3))

    async def solve(look: Look) -> AsyncIterator[Move]:
        yield press("ctrl", "a", why="Select everything.")
        async for move in choose(look, "Edit", "Convert", "To Uppercase"):
            yield move
        yield SAVE
        yield done()

    instruction = "Change all of the open document to capital letters and save it."
    return Case(instruction, holds(name, text.upper()), solve, {name: f"{text}\n".encode()}, _opened(name))


def _duplicate(random: Random, part: WordPart) -> Case:
    name, old = _name(random, part), lines(random, part, 4)
    place = random.randrange(len(old) - 1)
    wanted = [*old[: place + 1], old[place], *old[place + 1 :]]

    async def solve(look: Look) -> AsyncIterator[Move]:
        yield TOP
        for _ in range(place):
            yield press("down", why="Go down one line.")
        async for move in choose(look, "Edit", "Duplicate Line / Selection"):
            yield move
        yield SAVE
        yield done()

    instruction = f"Make the line “{old[place]}” stand twice, one below the other, in the open document, and save it."
    files = {name: "\n".join([*old, ""]).encode()}
    return Case(instruction, holds(name, "\n".join(wanted)), solve, files, _opened(name))


def _line_numbers(random: Random, part: WordPart) -> Case:
    name, text = _name(random, part), "\n".join(lines(random, part, 6))

    async def check(look: Look) -> bool:
        kept = await look.text(".config/glib-2.0/settings/keyfile")
        return kept is not None and "show-line-numbers=true" in kept

    async def solve(look: Look) -> AsyncIterator[Move]:
        async for move in choose(look, "View", "Line Numbers"):
            yield move
        yield wait(why="Wait until the setting is kept.")
        yield done()

    instruction = "Let the editor show line numbers."
    return Case(instruction, check, solve, {name: f"{text}\n".encode()}, _opened(name))


def _two_files(random: Random, part: WordPart) -> Case:
    first, second = _name(random, part), _name(random, part)
    secret = f"{word(random, part)}{random.randrange(100, 999)}"
    old = lines(random, part, 2)

    async def solve(look: Look) -> AsyncIterator[Move]:
        yield press("ctrl", "o", why="Open the other document.")
        await look.window("open file")
        yield write("/", "Begin a path.")
        async for move in name_file(look, "open file", look.path(second), "Open"):
            yield move
        await look.window(second.removeprefix("Documents/"))
        yield END
        yield write(secret)
        yield SAVE
        yield done()

    instruction = (
        f"The open document holds a code. Write it as the last line of the file “{second.removeprefix('Documents/')}” in the "
        "folder Documents, and save that file."
    )
    files = {first: f"The code is {secret}\n".encode(), second: "\n".join([*old, ""]).encode()}
    return Case(instruction, holds(second, "\n".join([*old, secret])), solve, files, _opened(first))


def _cannot(random: Random, part: WordPart) -> Case:
    name, text = _name(random, part), "\n".join(lines(random, part, 3))

    async def check(look: Look) -> bool:
        return False

    chosen = word(random, part)
    instruction = f"Protect the open document with the password “{chosen}”, with the editor's own encryption."
    return Case(instruction, check, None, {name: f"{text}\n".encode()}, _opened(name))


TASKS = (
    DeskTask("editor-write", _write, ("mousepad",)),
    DeskTask("editor-append", _append, ("mousepad",)),
    DeskTask("editor-insert-top", _prepend, ("mousepad",)),
    DeskTask("editor-delete-line", _delete_line, ("mousepad",)),
    DeskTask("editor-replace", _replace, ("mousepad",), tags=("dialog",)),
    DeskTask("editor-save-as", _save_as, ("mousepad",), tags=("dialog",)),
    DeskTask("editor-new-file", _new, ("mousepad",), tags=("dialog",)),
    DeskTask("editor-capitals", _capitals, ("mousepad",), tags=("menu",)),
    DeskTask("editor-duplicate-line", _duplicate, ("mousepad",), tags=("menu",)),
    DeskTask("editor-line-numbers", _line_numbers, ("mousepad",), tags=("menu", "settings")),
    DeskTask("editor-copy-code", _two_files, ("mousepad",), tags=("dialog", "reading")),
    DeskTask("editor-password", _cannot, ("mousepad",), tags=("infeasible",)),
)
