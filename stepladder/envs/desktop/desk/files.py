"""Tasks in the file managers thunar and pcmanfm. Typing a name in either selects the file."""

from __future__ import annotations

from collections.abc import AsyncIterator
from random import Random

from stepladder.envs.desktop.actions import Move, done, press, wait, write
from stepladder.envs.desktop.desk.case import Case, DeskTask, Opened
from stepladder.envs.desktop.desk.checks import absent, all_of, holds, present, unchanged
from stepladder.envs.desktop.desk.draw import file_name, sentence, word, words
from stepladder.envs.desktop.look import Look
from stepladder.words import WordPart

_IN = "Documents"


def _files(random: Random, part: WordPart, count: int = 4) -> dict[str, str]:
    """Names and contents of files whose names begin differently."""
    return {f"{first}-{word(random, part)}.txt": sentence(random, part) for first in words(random, part, count)}


def _stored(files: dict[str, str], folder: str = "") -> dict[str, bytes]:
    stored = {f"{_IN}/{name}": text.encode() for name, text in files.items()}
    return stored | ({f"{_IN}/{folder}/.keep": b""} if folder else {})


def _opened(manager: str) -> tuple[Opened, ...]:
    return (Opened(manager, (_IN,)),)


def _select(name: str) -> list[Move]:
    """Typing opens a search that selects the file; escape closes it and keeps the selection."""
    return [write(name, f"Select {name!r} by typing its name."), press("escape", why="Close the search, the file stays selected.")]


async def _enter_name(look: Look, title: str, name: str) -> AsyncIterator[Move]:
    await look.window(title)
    yield press("ctrl", "a", why="Replace the name that is there.")
    yield write(name, "Type the name.")
    yield press("enter", why="Confirm.")
    yield wait(0.3, "Wait until it is done.")


def _rename(manager: str, title: str) -> DeskTask:
    def make(random: Random, part: WordPart) -> Case:
        files = _files(random, part)
        old, new = random.choice(list(files)), file_name(random, part)

        async def solve(look: Look) -> AsyncIterator[Move]:
            for move in _select(old):
                yield move
            yield press("f2", why="Rename it.")
            async for move in _enter_name(look, title, new):
                yield move
            yield done()

        check = all_of(holds(f"{_IN}/{new}", files[old]), absent(f"{_IN}/{old}"), unchanged(files, old, _IN))
        return Case(f"Rename the file “{old}” to “{new}”.", check, solve, _stored(files), _opened(manager))

    return DeskTask(f"{manager}-rename", make, (manager,), tags=("files", "dialog"))


def _new_folder(manager: str, title: str) -> DeskTask:
    def make(random: Random, part: WordPart) -> Case:
        files, name = _files(random, part, 3), "-".join(words(random, part, 2))

        async def solve(look: Look) -> AsyncIterator[Move]:
            yield press("ctrl", "shift", "n", why="Make a folder.")
            async for move in _enter_name(look, title, name):
                yield move
            yield done()

        check = all_of(present(f"{_IN}/{name}/"), unchanged(files, "", _IN))
        return Case(f"Make a new folder “{name}” here.", check, solve, _stored(files), _opened(manager))

    return DeskTask(f"{manager}-new-folder", make, (manager,), tags=("files", "dialog"))


def _transfer(manager: str, key: str, verb: str) -> DeskTask:
    def make(random: Random, part: WordPart) -> Case:
        files = _files(random, part)
        folder = next(one for one in words(random, part, 8) if not any(name.startswith(one) for name in files))
        chosen = random.choice(list(files))

        async def solve(look: Look) -> AsyncIterator[Move]:
            for move in _select(chosen):
                yield move
            yield press("ctrl", key, why=f"{verb} it.")
            for move in _select(folder):
                yield move
            yield press("enter", why="Open the folder.")
            await look.until(lambda: _at(look, folder))
            yield press("ctrl", "v", why="Paste it.")
            yield wait(0.4, "Wait until it is there.")
            yield done()

        there = holds(f"{_IN}/{folder}/{chosen}", files[chosen])
        left = absent(f"{_IN}/{chosen}") if key == "x" else holds(f"{_IN}/{chosen}", files[chosen])
        instruction = f"{verb} the file “{chosen}” into the folder “{folder}”."
        check = all_of(there, left, unchanged(files, chosen, _IN))
        return Case(instruction, check, solve, _stored(files, folder), _opened(manager))

    return DeskTask(f"{manager}-{verb.lower()}", make, (manager,), tags=("files",))


async def _at(look: Look, folder: str) -> bool:
    return any(folder in title for title in await look.titles())


def _delete(random: Random, part: WordPart) -> Case:
    files = _files(random, part)
    chosen = random.choice(list(files))

    async def solve(look: Look) -> AsyncIterator[Move]:
        for move in _select(chosen):
            yield move
        yield press("shift", "delete", why="Delete it for good.")
        yield press("alt", "d", why="Confirm.")
        yield wait(0.3, "Wait until it is done.")
        yield done()

    instruction = f"Delete the file “{chosen}” permanently, and no other."
    check = all_of(absent(f"{_IN}/{chosen}", f".local/share/Trash/files/{chosen}"), unchanged(files, chosen, _IN))
    return Case(instruction, check, solve, _stored(files), _opened("thunar"))


def _trash(random: Random, part: WordPart) -> Case:
    files = _files(random, part)
    chosen = random.choice(list(files))

    async def solve(look: Look) -> AsyncIterator[Move]:
        for move in _select(chosen):
            yield move
        yield press("delete", why="Move it to the trash.")
        yield wait(0.3, "Wait until it is done.")
        if await present(f"{_IN}/{chosen}")(look):
            yield press("enter", why="Confirm.")
        yield done()

    instruction = f"Remove the file “{chosen}” from this folder, and no other."
    return Case(
        instruction, all_of(absent(f"{_IN}/{chosen}"), unchanged(files, chosen, _IN)), solve, _stored(files), _opened("pcmanfm")
    )


def _sort_out(random: Random, part: WordPart) -> Case:
    """Files of one kind among others go into a folder."""
    names = words(random, part, 6)
    files = {f"{name}.{ending}": sentence(random, part) for name, ending in zip(names, ["txt", "log"] * 3, strict=True)}
    chosen = [name for name in files if name.endswith(".log")]

    async def solve(look: Look) -> AsyncIterator[Move]:
        yield press("ctrl", "s", why="Select by a pattern.")
        await look.window("select by pattern")
        yield write("*.log", "All with this ending.")
        yield press("enter", why="Select them.")
        yield wait(0.3, "Wait until the dialog is gone.")
        yield press("ctrl", "x", why="Cut them.")
        for move in _select("zz"):
            yield move
        yield press("enter", why="Open the folder.")
        await look.until(lambda: _at(look, "zz"))
        yield press("ctrl", "v", why="Paste them.")
        yield wait(0.4, "Wait until they are there.")
        yield done()

    moved = [all_of(holds(f"{_IN}/zz/{name}", files[name]), absent(f"{_IN}/{name}")) for name in chosen]
    kept = [holds(f"{_IN}/{name}", text) for name, text in files.items() if name not in chosen]
    instruction = "Move all files that end in “.log” into the folder “zz”, and leave the others where they are."
    return Case(instruction, all_of(*moved, *kept), solve, _stored(files, "zz"), _opened("thunar"))


TASKS = (
    _rename("thunar", "rename"),
    _new_folder("thunar", "folder"),
    _transfer("thunar", "x", "Move"),
    _transfer("thunar", "c", "Copy"),
    DeskTask("thunar-delete", _delete, ("thunar",), tags=("files", "dialog")),
    DeskTask("thunar-sort-out", _sort_out, ("thunar",), max_steps=20, tags=("files", "dialog")),
    _rename("pcmanfm", "rename"),
    _new_folder("pcmanfm", "creat"),
    _transfer("pcmanfm", "c", "Copy"),
    DeskTask("pcmanfm-delete", _trash, ("pcmanfm",), tags=("files",)),
)
