"""Boxes on a screenshot, (left, top, width, height) in pixels: where they lie, whether they meet, what a click in them reaches."""

from __future__ import annotations

import math
from collections.abc import Sequence

from stepladder.types import Box, ImageRef, Region

#: (left, top, right, bottom) in thousandths of the screenshot's width and height: how places are written in questions and answers.
Thousandths = tuple[int, int, int, int]


def center(box: Box) -> tuple[float, float]:
    return box[0] + box[2] / 2, box[1] + box[3] / 2


def inside(x: float, y: float, box: Box) -> bool:
    return box[0] <= x < box[0] + box[2] and box[1] <= y < box[1] + box[3]


def contains(outer: Box, inner: Box, margin: float = 1.0) -> bool:
    """Whether `inner` lies in `outer`, or sticks out by at most `margin` pixels."""
    return (
        outer[0] <= inner[0] + margin
        and outer[1] <= inner[1] + margin
        and outer[0] + outer[2] >= inner[0] + inner[2] - margin
        and outer[1] + outer[3] >= inner[1] + inner[3] - margin
    )


def same_place(first: Box, second: Box) -> bool:
    """A part and the whole (a link in a tab) are the same place."""
    return contains(first, second) or contains(second, first)


def common(first: Box, second: Box) -> tuple[float, float]:
    """How far two boxes overlap across and down, in pixels; 0 where they do not."""
    across = min(first[0] + first[2], second[0] + second[2]) - max(first[0], second[0])
    down = min(first[1] + first[3], second[1] + second[3]) - max(first[1], second[1])
    return max(0.0, across), max(0.0, down)


def overlap(first: Box, second: Box) -> float:
    """Intersection over union, 0..1; 0 where neither has an area."""
    across, down = common(first, second)
    shared = across * down
    union = first[2] * first[3] + second[2] * second[3] - shared
    return shared / union if union > 0 else 0.0


def on_screen(image: ImageRef, box: Box) -> bool:
    """Whether the centre of a box that is at least a pixel wide and high lies on the screenshot."""
    x, y = center(box)
    return 0 <= x < image.width and 0 <= y < image.height and box[2] >= 1 and box[3] >= 1


def reachable(image: ImageRef, box: Box, regions: Sequence[Region]) -> bool:
    """Whether a click at the centre of the box meets what the box stands for, and nothing that lies across it."""
    if not on_screen(image, box):
        return False
    x, y = center(box)
    return not any(inside(x, y, other) and not same_place(box, other) for other in (r.target or r.box for r in regions))


def in_thousandths(image: ImageRef, box: Box, grid: int) -> Thousandths:
    """The smallest box on a grid of so many thousandths that holds all of `box` that is on the screenshot."""
    left, right = (_clipped(x * 1000 / image.width, grid) for x in (box[0], box[0] + box[2]))
    top, bottom = (_clipped(y * 1000 / image.height, grid) for y in (box[1], box[1] + box[3]))
    return _down(left, grid), _down(top, grid), _up(right, grid), _up(bottom, grid)


def _clipped(value: float, grid: int) -> float:
    return min(max(value / grid, 0.0), 1000 / grid)


def _down(steps: float, grid: int) -> int:
    return math.floor(steps + 1e-6) * grid


def _up(steps: float, grid: int) -> int:
    return min(1000, math.ceil(steps - 1e-6) * grid)


def of_thousandths(box: Thousandths) -> Box:
    """(left, top, width, height) in thousandths."""
    left, top, right, bottom = box
    return float(left), float(top), float(right - left), float(bottom - top)
