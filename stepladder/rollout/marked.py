"""An environment that draws numbered boxes around the elements on the screen (set of marks), for agents that point by number."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from stepladder.agents.marks import Mark, marks
from stepladder.drawing import DEFAULT_FONT, bundled_fonts
from stepladder.images import ImageStore, Pixels
from stepladder.interfaces import Environment
from stepladder.rollout.wrapped import WrappedEnvironment
from stepladder.types import Action, Observation

_BOX = (255, 0, 0)
_LABEL = (0, 0, 0)
_TEXT = (255, 255, 255)


class MarkedEnvironment(WrappedEnvironment):
    """Shows what `environment` shows, with the marks of the accessibility tree drawn on the screenshot.

    The tree stays in the observation: the agent lists the same marks, and reads their numbers as places. An observation without a
    tree or a screenshot is shown as it is. Everything else is the inner environment's own, its further attributes included.
    """

    def __init__(self, environment: Environment, images: ImageStore) -> None:
        super().__init__(environment)
        self._images = images

    async def shown(self, seen: Observation, action: Action | None) -> Observation:
        """With marks, where there are any."""
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
