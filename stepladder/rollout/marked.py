"""An environment that draws numbered boxes around the elements on the screen (set of marks), for agents that point by number."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from stepladder.agents.marks import marks
from stepladder.drawing import number_boxes
from stepladder.images import ImageStore
from stepladder.interfaces import Environment
from stepladder.rollout.wrapped import WrappedEnvironment
from stepladder.types import Action, Observation


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
        drawn = await asyncio.to_thread(number_boxes, pixels, [(mark.number, mark.box) for mark in found])
        return replace(seen, screenshot=self._images.put_pixels(drawn))
