"""A small desktop environment for tests: an editor with a file, or a program of the test's own."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

from stepladder.envs.desktop.applications import APPLICATIONS, Application
from stepladder.envs.desktop.environment import DesktopEnvironment
from stepladder.envs.desktop.launch import launch
from stepladder.envs.desktop.sandbox import HOME
from stepladder.types import Action, Task

NOTE = f"{HOME}/note.txt"
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
    own, found = {os.getpid()}, set[int]()
    parents: dict[int, int] = {}
    names: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                head, _, rest = (entry / "stat").read_text().rpartition(")")
            except OSError:
                continue
            fields = rest.split()
            if fields[0] not in "ZX":
                parents[int(entry.name)], names[int(entry.name)] = int(fields[1]), head.partition("(")[2]
    grown = True
    while grown:
        grown = False
        for pid, parent in parents.items():
            if parent in own and pid not in own:
                own.add(pid)
                grown = True
    for pid in own:
        if names.get(pid) in ("bwrap", "Xvfb", "openbox", "mousepad", "dbus-daemon"):
            found.add(pid)
    return found
