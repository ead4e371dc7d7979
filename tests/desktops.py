"""A small desktop environment for tests: an editor with a file, or a program of the test's own."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from stepladder.envs.desktop.applications import APPLICATIONS, Application
from stepladder.envs.desktop.environment import DesktopEnvironment
from stepladder.envs.desktop.guest.processes import descendants, states
from stepladder.envs.desktop.launch import launch
from stepladder.envs.desktop.sandbox import HOME
from stepladder.types import Action, Task

NOTE = f"{HOME}/note.txt"
#: What the processes of a desktop are called.
SESSION = ("bwrap", "Xvfb", "openbox", "mousepad", "dbus-daemon")
WRITE = Task("write", "", "editor", {"application": "mousepad"}, max_steps=5)


class EditorEnvironment(DesktopEnvironment):
    """The task: write "word <seed>" into the open file and save it."""

    def _applications(self, task: Task) -> Sequence[Application]:
        return (APPLICATIONS["mousepad"],)

    async def _start(self, task: Task, seed: int) -> Task:
        self.wanted = f"word {seed}"
        await self.desktop.guest.write(self.desktop.inside(NOTE), b"")
        await launch(self.desktop, APPLICATIONS["mousepad"], [self.desktop.inside(NOTE)])
        return replace(task, instruction=f"Write “{self.wanted}” into the document and save it.")

    async def _score(self) -> float:
        content = await self.desktop.guest.read(self.desktop.inside(NOTE))
        return float(content is not None and content.decode().strip() == self.wanted)

    async def solve(self) -> AsyncIterator[tuple[str, Action]]:
        yield "", Action("type", text=self.wanted)
        yield "", Action("key", keys=("ctrl", "s"))
        yield "", Action("done")


def sandboxed() -> set[int]:
    """Pids of this machine that are a bubblewrap or an X server started by this process or its children."""
    found = set[int]()
    for pid in descendants(os.getpid()):
        if any(one.state not in "ZX" and one.name in SESSION for one in states(pid)):
            found.add(pid)
    return found
