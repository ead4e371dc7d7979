"""One recording: what was done, and what was on the screen before each of it."""

from __future__ import annotations

import asyncio
import queue
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from stepladder.images import ImageStore
from stepladder.interfaces import EnvironmentFailure
from stepladder.recorder.merge import Deed, InputEvent, Merger
from stepladder.recorder.x11 import Connect, Listener
from stepladder.types import Action, Element, Observation, Step

#: Seconds between two looks at the screen; after so many without a change on it the accessibility tree is read.
LOOK, QUIET = 0.05, 0.3
#: Screens that are kept until it is known what was done on them. The longest text may take long to type.
MOST_SCREENS = 64
Pixels = npt.NDArray[np.uint8]


class Screen(Protocol):
    """What is recorded."""

    async def pixels(self) -> Pixels:
        """uint8[height, width, 3]. Raises EnvironmentFailure."""

    async def tree(self) -> tuple[Element, ...] | None:
        """The accessibility tree, None where there is none."""


@dataclass(frozen=True)
class _Shown:
    """A screen from `since` on; `tree` is what was read of it, if it lasted."""

    since: float
    pixels: Pixels
    tree: tuple[Element, ...] | None = None


class Session:
    """Records from `start` to `stop`. `on_step` is called with each step as soon as it is known."""

    def __init__(self, screen: Screen, connect: Connect, images: ImageStore, on_step: Callable[[Step], None] | None = None) -> None:
        self.steps: list[Step] = []
        self._screen, self._images = screen, images
        self._on_step = on_step or (lambda step: None)
        self._events: queue.SimpleQueue[InputEvent] = queue.SimpleQueue()
        self._listener = Listener(connect, self._events.put)
        self._merger = Merger()
        self._shown: deque[_Shown] = deque(maxlen=MOST_SCREENS)
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Raises EnvironmentFailure."""
        await self._look()
        self._listener.start()
        self._watching = asyncio.create_task(self._watch())

    async def stop(self) -> list[Step]:
        """The steps of the whole recording. Raises what the screen has raised."""
        watching, self._watching = self._watching, None
        await asyncio.get_running_loop().run_in_executor(None, self._listener.stop)
        if watching is None:
            return self.steps
        if watching.done():
            watching.result()
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        self._take_events()
        self._keep(list(self._merger.finish()))
        return self.steps

    async def observe(self) -> Observation:
        """The screen now."""
        await self._look()
        last = self._shown[-1]
        return Observation(self._images.put_pixels(last.pixels), await self._screen.tree())

    @property
    def failed(self) -> BaseException | None:
        """Why nothing is recorded any more."""
        watching = self._watching
        return watching.exception() if watching is not None and watching.done() and not watching.cancelled() else None

    async def _watch(self) -> None:
        read = -1.0
        while True:
            await asyncio.sleep(LOOK)
            self._take_events()
            await self._look()
            last = self._shown[-1]
            if last.since != read and time.monotonic() - last.since >= QUIET:
                read = last.since
                tree = await self._screen.tree()
                if self._shown[-1] is last:
                    self._shown[-1] = _Shown(last.since, last.pixels, tree)

    def _take_events(self) -> None:
        while True:
            try:
                event = self._events.get_nowait()
            except queue.Empty:
                break
            self._keep(list(self._merger.take(event)))
        self._keep(list(self._merger.until(time.monotonic())))

    async def _look(self) -> None:
        began = time.monotonic()
        pixels = await self._screen.pixels()
        if not self._shown or not np.array_equal(pixels, self._shown[-1].pixels):
            self._shown.append(_Shown(began, pixels))

    def _keep(self, deeds: Sequence[Deed]) -> None:
        for deed in deeds:
            before = next((shown for shown in reversed(self._shown) if shown.since < deed.began), self._shown[0])
            tree = before.tree
            if tree is None:  # an action that came before the screen was quiet: the last tree that is known
                tree = next((one.tree for one in reversed(self._shown) if one.since < deed.began and one.tree is not None), None)
            observation = Observation(self._images.put_pixels(before.pixels), tree)
            step = Step(observation, _inside(deed.action, before.pixels), seconds={"environment": deed.ended - deed.began})
            self.steps.append(step)
            self._on_step(step)


def _inside(action: Action, pixels: Pixels) -> Action:
    """Places as they are on the picture: a pointer can rest on its last pixel, not beyond."""
    height, width = pixels.shape[:2]
    for x, y in ((action.x, action.y), (action.x2, action.y2)):
        if x is not None and y is not None and not (0 <= x < width and 0 <= y < height):
            raise EnvironmentFailure(f"the pointer is at ({x:g}, {y:g}), outside of the picture of {width} x {height}")
    return action
