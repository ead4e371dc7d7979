"""Starting an application and waiting until it is ready: its window is painted and, where it has one, its tree answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import numpy as np

from stepladder.envs.desktop.applications import Application
from stepladder.envs.desktop.desktop import Desktop, Settling
from stepladder.envs.desktop.xserver import Window
from stepladder.interfaces import EnvironmentTimeout

#: A window is painted when it has at least so many colours; a blank one has one or two.
_COLOURS = 8
#: How long nothing may happen before an application that was started counts as ready.
_READY = Settling(quiet=0.1, longest=5.0)


async def launch(desktop: Desktop, application: Application, arguments: Sequence[str] = (), seconds: float = 30.0) -> Window:
    """Start an application (with files to open, as paths inside) and return its window once it is ready.

    Raises EnvironmentFailure when it cannot be started and EnvironmentTimeout when it is not ready in time."""
    began = time.monotonic()
    application.version()
    before = {window.id for window in await desktop.windows()}
    await desktop.launch([*application.command, *arguments], application.environment)
    window = await desktop.wait_for_window(lambda window: window.id not in before and application.owns(window), seconds)
    while True:
        await desktop.settle(_READY)
        window = await desktop.wait_for_window(lambda window: window.id not in before and application.owns(window), seconds)
        if _painted(desktop, window) and await _answers(desktop, application):
            return window
        if time.monotonic() - began > seconds:
            raise EnvironmentTimeout(
                f"{application.name} was not ready within {seconds:g} s: its window {window.title!r} stays blank"
            )
        await asyncio.sleep(0.02)


def _painted(desktop: Desktop, window: Window) -> bool:
    """Whether there is something in the window's part of the screen."""
    left, top, width, height = window.box
    part = desktop.pixels()[max(0, top) : top + height : 3, max(0, left) : left + width : 3]
    if part.size == 0:
        return False
    colours = part[..., 0].astype(np.uint32) << 16 | part[..., 1].astype(np.uint32) << 8 | part[..., 2]
    return len(np.unique(colours)) >= _COLOURS


async def _answers(desktop: Desktop, application: Application) -> bool:
    """Whether the application's tree has something on the screen."""
    if not application.accessible:
        return True
    nodes = (await desktop.tree(nodes=60, characters=0, depth=4))["nodes"]
    return any(node["box"] is not None for node in nodes)
