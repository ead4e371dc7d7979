"""The name of the colour that most of a part of a picture has."""

from __future__ import annotations

import colorsys

import numpy as np

from stepladder.images import Pixels
from stepladder.types import Box

#: Hues in degrees that everybody calls so; what lies between two of them has no name here.
HUES = {
    "red": (-12.0, 10.0),
    "orange": (20.0, 38.0),
    "yellow": (50.0, 66.0),
    "green": (85.0, 150.0),
    "blue": (200.0, 250.0),
    "purple": (265.0, 290.0),
    "pink": (310.0, 338.0),
}
#: The most frequent colour must cover so much of a part to be its colour.
COVERS = 0.4
#: Colours are counted in steps of so many levels.
_STEP = 8


def colour_name(pixels: Pixels, box: Box) -> str | None:
    """The colour of most of `box` in uint8[height, width, 3] by name; None where no colour prevails, or it has no name of its own.

    Grey, black and white are names too. The outermost pixels, which may be a border, are left out.
    """
    left, top = max(0, round(box[0]) + 1), max(0, round(box[1]) + 1)
    right, bottom = round(box[0] + box[2]) - 1, round(box[1] + box[3]) - 1
    part = pixels[top:bottom, left:right].reshape(-1, 3)
    if not len(part):
        return None
    steps, counts = np.unique(part // _STEP, axis=0, return_counts=True)
    most = int(counts.argmax())
    if counts[most] < COVERS * len(part):
        return None
    same = part[(part // _STEP == steps[most]).all(1)]
    red, green, blue = (float(value) for value in same.mean(0) / 255)
    return name_of(red, green, blue)


def name_of(red: float, green: float, blue: float) -> str | None:
    """The name of a colour of parts in 0..1; None for one that people call differently."""
    hue, saturation, value = colorsys.rgb_to_hsv(red, green, blue)
    if value < 0.16:
        return "black"
    if saturation < 0.08:
        return "white" if value > 0.97 else "grey" if 0.3 < value < 0.9 else None
    if saturation < 0.4 or value < 0.35:
        return None
    degrees = hue * 360
    for name, (low, high) in HUES.items():
        if low <= degrees <= high or low <= degrees - 360 <= high:
            return name
    return None
