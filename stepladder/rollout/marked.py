"""An environment that draws numbered boxes around the elements on the screen (set of marks), for agents that point by number."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from stepladder.agents.marks import Mark, marks
from stepladder.drawing import DEFAULT_FONT, bundled_fonts
from stepladder.images import ImageStore, Pixels
from stepladder.interfaces import Environment
from stepladder.types import Action, Observation, Task

_BOX = (255, 0, 0)
_LABEL = (0, 0, 0)
_TEXT = (255, 255, 255)


class MarkedEnvironment:
    """Shows what `environment` shows, with the marks of the accessibility tree drawn on the screenshot.

    The tree stays in the observation: the agent lists the same marks, and reads their numbers as places. An observation without a
    tree or a screenshot is shown as it is. Everything else is the inner environment's own, its further attributes included.
    """

    def __init__(self, environment: Environment, images: ImageStore) -> None:
        self._environment = environment
        self._images = images

    async def reset(self, task: Task, seed: int) -> Observation:
        """See `Environment.reset`."""
        return await self._marked(await self._environment.reset(task, seed))

    async def step(self, action: Action) -> Observation:
        """See `Environment.step`."""
        return await self._marked(await self._environment.step(action))

    async def evaluate(self) -> float:
        """See `Environment.evaluate`."""
        return await self._environment.evaluate()

    async def close(self) -> None:
        """See `Environment.close`."""
        await self._environment.close()

    def __getattr__(self, name: str) -> Any:
        """What an environment may have beside the contract, such as `task`, `solve` and its deadlines."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._environment, name)

    async def _marked(self, seen: Observation) -> Observation:
        found = marks(seen.tree)
        if seen.screenshot is None or not found:
            return seen
        pixels = self._images.load(seen.screenshot)
        drawn = await asyncio.to_thread(draw_marks, pixels, found)
        return replace(seen, screenshot=self._images.put_pixels(drawn))


def draw_marks(pixels: Pixels, found: list[Mark]) -> Pixels:
    """A copy of uint8[height, width, 3] with a red box around every mark and its number at the box's lower left corner."""
    image = Image.fromarray(pixels).convert("RGB")
    draw = ImageDraw.Draw(image)
    font = ImageFont.truetype(str(bundled_fonts()[DEFAULT_FONT.name]), round(DEFAULT_FONT.size))
    for mark in found:
        left, top, width, height = mark.box
        draw.rectangle((left, top, left + width, top + height), outline=_BOX)
    for mark in found:  # above all boxes
        left, top, _, height = mark.box
        _, label_top, label_right, _ = draw.textbbox((0, 0), str(mark.number), font=font, anchor="lb")
        # A label that would leave the screen stands at its edge.
        place = (min(max(left, 0), image.width - label_right), min(max(top + height, -label_top), image.height))
        draw.rectangle(draw.textbbox(place, str(mark.number), font=font, anchor="lb"), fill=_LABEL)
        draw.text(place, str(mark.number), fill=_TEXT, font=font, anchor="lb")
    return np.asarray(image)
