"""Looking at a desktop's state, for checks and for solutions: files, windows, what is written where on the screen."""

from __future__ import annotations

import asyncio
import posixpath
import time
from collections.abc import Callable, Mapping
from typing import Any

from stepladder.envs.desktop.desktop import Desktop
from stepladder.envs.desktop.guest_client import Ran
from stepladder.envs.desktop.sandbox import HOME
from stepladder.envs.desktop.xserver import Window
from stepladder.interfaces import EnvironmentFailure, EnvironmentTimeout

Node = Mapping[str, Any]
#: Seconds that the accessibility tree may take.
TREE_SECONDS = 10.0
#: Seconds that a solution waits for something to appear.
PATIENCE = 6.0


class Look:
    """One desktop and its home. Paths are below the home unless they begin with a slash. `complaints` is what checks that failed
    have to say; it names what is wrong and never what would have been right."""

    def __init__(self, desktop: Desktop) -> None:
        self.desktop = desktop
        self.complaints: list[str] = []

    def holds(self, found: bool, complaint: str) -> bool:
        """`found`; where that is False the complaint is kept."""
        if not found:
            self.complaints.append(complaint)
        return found

    def path(self, name: str) -> str:
        """What programs inside call a file."""
        return self.desktop.inside(posixpath.join(HOME, name))

    async def file(self, name: str) -> bytes | None:
        """The content of a file, None where there is none."""
        return await self.desktop.guest.read(self.path(name))

    async def text(self, name: str) -> str | None:
        """The content of a text file, None where there is none or it is no text."""
        content = await self.file(name)
        if content is None:
            return None
        try:
            return content.decode()
        except UnicodeDecodeError:
            return None

    async def names(self, name: str = "") -> list[str]:
        """Names in a directory, those of directories with a slash, hidden ones left out."""
        found = await self.desktop.guest.names(self.path(name))
        return [one for one in found or [] if not one.startswith(".")]

    async def entry(self, name: str) -> str | None:
        """How the directory lists a file or directory, the latter with a slash; None when it is not there."""
        directory, _, last = name.rstrip("/").rpartition("/")
        return next((one for one in await self.names(directory) if one.rstrip("/") == last), None)

    async def run(self, *argv: str) -> Ran:
        """Run a program inside, for what cannot be seen otherwise."""
        return await self.desktop.guest.run(argv, cwd=self.path(""))

    async def titles(self) -> list[str]:
        """Titles of the windows, the topmost last."""
        return [window.title for window in await self.desktop.windows()]

    async def nodes(self) -> list[Node]:
        """Every node of the accessibility tree that is on the screen. Raises EnvironmentTimeout rather than to leave some out."""
        found = await self.desktop.tree(seconds=TREE_SECONDS)
        if found["cut"] == "time":
            raise EnvironmentTimeout(f"the accessibility tree could not be read within {TREE_SECONDS:g} s")
        return [node for node in found["nodes"] if node["box"] is not None]

    async def node(self, matches: Callable[[Node], bool], seconds: float = PATIENCE) -> Node:
        """The first node that matches, once there is one. Raises EnvironmentFailure when none comes."""
        until = time.monotonic() + seconds
        while True:
            nodes = await self.nodes()
            found = next((node for node in nodes if matches(node)), None)
            if found is not None:
                return found
            if time.monotonic() > until:
                seen = ", ".join(f"{node['role']} {node['name']!r}" for node in nodes if node["name"])
                raise EnvironmentFailure(f"what the solution looks for is not on the screen; there is: {seen[:1500]}")
            await asyncio.sleep(0.1)

    async def place(self, role: str, name: str, seconds: float = PATIENCE) -> tuple[int, int]:
        """The middle of the node with this role and name (a mnemonic's underscore and dots at the end do not count)."""
        node = await self.node(lambda node: node["role"] == role and plain(node["name"]) == plain(name), seconds)
        left, top, width, height = node["box"]
        return left + width // 2, top + height // 2

    async def window(self, *words: str, seconds: float = PATIENCE) -> Window:
        """The topmost window whose title has all the words, once there is one. Raises EnvironmentTimeout."""
        return await self.desktop.wait_for_window(
            lambda window: all(word.lower() in window.title.lower() for word in words), seconds
        )

    async def until(self, holds: Callable[[], Any], seconds: float = PATIENCE) -> bool:
        """Wait until an asynchronous condition holds; whether it came to hold."""
        until = time.monotonic() + seconds
        while not await holds():
            if time.monotonic() > until:
                return False
            await asyncio.sleep(0.05)
        return True


def plain(name: str) -> str:
    """What a label says, without the mark of its shortcut and the dots after it."""
    return name.replace("_", "").strip(".… ").lower()
