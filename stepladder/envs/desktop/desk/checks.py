"""Checks and solutions that many tasks share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping

from stepladder.envs.desktop.actions import Move, click, done, press, wait, write
from stepladder.envs.desktop.desk.case import Check, Solve
from stepladder.envs.desktop.look import Look, Node, plain


def holds(name: str, wanted: str) -> Check:
    """The file is this text; an end of line more or less at its end makes no difference."""

    async def check(look: Look) -> bool:
        content = await look.text(name)
        if content is None:
            return look.holds(False, f"there is no text file {name}")
        return look.holds(content.rstrip("\n") == wanted.rstrip("\n"), f"{name} does not hold what it should")

    return check


def all_of(*checks: Check) -> Check:
    """Every one of the checks holds."""

    async def check(look: Look) -> bool:
        for one in checks:
            if not await one(look):
                return False
        return True

    return check


def present(*names: str) -> Check:
    """These files or directories (with a slash at the end) are there."""

    async def check(look: Look) -> bool:
        missing = [
            name for name in names if await look.entry(name) != name.rstrip("/").rpartition("/")[2] + "/" * name.endswith("/")
        ]
        return look.holds(not missing, f"not there: {', '.join(missing)}")

    return check


def absent(*names: str) -> Check:
    """None of these is there, neither as a file nor as a directory."""

    async def check(look: Look) -> bool:
        left = [name for name in names if await look.entry(name)]
        return look.holds(not left, f"still there: {', '.join(left)}")

    return check


def unchanged(texts: Mapping[str, str], but: str, folder: str) -> Check:
    """The text files of a folder are as they were, except for one."""
    return all_of(*(holds(f"{folder}/{name}", text) for name, text in texts.items() if name != but))


def moves(*given: Move) -> Solve:
    """A solution that is a fixed list of moves."""

    async def solve(look: Look) -> AsyncIterator[Move]:
        for move in given:
            yield move
        yield done()

    return solve


async def choose(look: Look, *path: str) -> AsyncIterator[Move]:
    """Clicks through a menu: its name in the menu bar, then the items."""
    for depth, name in enumerate(path, 1):
        role = "menu item" if depth == len(path) else "menu"
        left, top, width, height = (await look.node(_named(role, name)))["box"]
        yield click((left + min(width, 120) // 2, top + height // 2), f"Choose {name!r} in the menu.")


def _named(role: str, name: str) -> Callable[[Node], bool]:
    return lambda node: node["role"].endswith(role) and plain(node["name"]) == plain(name)


async def name_file(look: Look, title: str, path: str, button: str) -> AsyncIterator[Move]:
    """Types a path into the file dialog with this title, and closes it. Enter may only close the list of proposals."""
    await look.window(title)
    yield press("ctrl", "a", why="Replace the name that is there.")
    yield write(path, "Type the whole path.")
    yield press("enter", why="Confirm.")
    if any(title.lower() in one.lower() for one in await look.titles()):
        yield click(await look.place("push button", button), f"The dialog is still there: click {button!r}.")
    yield wait(why="Wait until it is done.")
