"""Screens that can be recorded: a pocket desktop, and an X display of the user's own."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import numpy as np
import numpy.typing as npt
from Xlib import X, display, error

from stepladder.envs.desktop.desktop import Desktop
from stepladder.envs.desktop.tree import elements
from stepladder.envs.desktop.xserver import open_display
from stepladder.interfaces import EnvironmentFailure
from stepladder.types import Element


class DesktopScreen:
    """A pocket desktop."""

    def __init__(self, desktop: Desktop) -> None:
        self.desktop = desktop

    def connect(self) -> display.Display:
        return open_display(self.desktop.display_socket)

    async def pixels(self) -> npt.NDArray[np.uint8]:
        return self.desktop.pixels()

    async def tree(self) -> tuple[Element, ...] | None:
        return elements((await self.desktop.tree())["nodes"])


class DisplayScreen:
    """An X display by its name, such as ":0". Only the first screen with 24 bits of colour; no accessibility tree."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._display = self.connect()
        self._root = self._display.screen().root
        size = self._root.get_geometry()
        self.width, self.height = size.width, size.height

    def connect(self) -> display.Display:
        try:
            return display.Display(self.name)
        except (error.DisplayError, error.ConnectionClosedError, OSError) as failure:
            raise EnvironmentFailure(f"the display {self.name!r} cannot be opened: {failure}") from failure

    async def pixels(self) -> npt.NDArray[np.uint8]:
        return await asyncio.get_running_loop().run_in_executor(None, self._grab)

    async def tree(self) -> tuple[Element, ...] | None:
        return None

    def close(self) -> None:
        with suppress(error.ConnectionClosedError, OSError):
            self._display.close()

    def _grab(self) -> npt.NDArray[np.uint8]:
        try:
            image = self._root.get_image(0, 0, self.width, self.height, X.ZPixmap, 0xFFFFFFFF)
        except (error.ConnectionClosedError, error.XError, OSError) as failure:
            raise EnvironmentFailure(f"the display {self.name!r} does not show itself: {failure}") from failure
        data = image.data if isinstance(image.data, bytes) else image.data.encode("latin-1")
        if image.depth not in (24, 32) or len(data) != 4 * self.width * self.height:
            raise EnvironmentFailure(f"the display {self.name!r} has {image.depth} bits of colour; 24 are needed")
        pixels = np.frombuffer(data, np.uint8).reshape(self.height, self.width, 4)
        return np.ascontiguousarray(pixels[:, :, 2::-1])
