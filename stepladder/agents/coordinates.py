"""How a model writes a place on the screen. Published adapters disagree on the scale (999, 1000), so it is an explicit object.

A position counts as inside the screenshot when it lies in 0..width-1 and 0..height-1; whatever lies outside is moved to the nearest
edge. For a position inside, `decode(encode(p))` differs by at most `tolerance` pixels along each axis.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol


class Coordinates(Protocol):
    """Between pixels of a screenshot of `width` x `height` and the numbers that a model writes."""

    def encode(self, x: float, y: float, width: int, height: int) -> tuple[float, float]:
        """Pixels to the numbers that the model writes."""

    def decode(self, x: float, y: float, width: int, height: int) -> tuple[float, float]:
        """The numbers that the model wrote to pixels inside the screenshot."""

    def tolerance(self, width: int, height: int) -> tuple[float, float]:
        """Largest error of a round trip in pixels, along x and along y."""


@dataclass(frozen=True, slots=True)
class RelativeCoordinates:
    """Whole numbers 0..`scale` across the screenshot, whatever its size, written in multiples of `grid`.

    Qwen3-VL says 1000; EvoCUA and OSWorld's adapter of Qwen3-VL read 999. Raises ValueError when `grid` or `scale` is not positive
    or `grid` is larger than `scale`.
    """

    scale: int = 1000
    grid: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.grid <= self.scale:
            raise ValueError(f"grid is {self.grid}; it must lie in 1..{self.scale} (the scale of the coordinates)")

    def encode(self, x: float, y: float, width: int, height: int) -> tuple[int, int]:
        return self._encode_axis(x, width), self._encode_axis(y, height)

    def decode(self, x: float, y: float, width: int, height: int) -> tuple[float, float]:
        return _clamp(x * width / self.scale, width), _clamp(y * height / self.scale, height)

    def tolerance(self, width: int, height: int) -> tuple[float, float]:
        return self.grid * width / self.scale / 2, self.grid * height / self.scale / 2

    def _encode_axis(self, value: float, size: int) -> int:
        cells = round(_clamp(value, size) * self.scale / size / self.grid)
        return min(cells, self.scale // self.grid) * self.grid


@dataclass(frozen=True, slots=True)
class UnitCoordinates:
    """Shares of the width and the height, 0 to 1, with `digits` decimals (AgentNet has four)."""

    digits: int = 4

    def encode(self, x: float, y: float, width: int, height: int) -> tuple[float, float]:
        return round(_clamp(x, width) / width, self.digits), round(_clamp(y, height) / height, self.digits)

    def decode(self, x: float, y: float, width: int, height: int) -> tuple[float, float]:
        return _clamp(x * width, width), _clamp(y * height, height)

    def tolerance(self, width: int, height: int) -> tuple[float, float]:
        half = 10.0**-self.digits / 2
        return half * width + 1e-6, half * height + 1e-6


@dataclass(frozen=True, slots=True)
class AbsoluteCoordinates:
    """Whole pixels of the screenshot itself."""

    def encode(self, x: float, y: float, width: int, height: int) -> tuple[int, int]:
        return round(_clamp(x, width)), round(_clamp(y, height))

    def decode(self, x: float, y: float, width: int, height: int) -> tuple[float, float]:
        return _clamp(x, width), _clamp(y, height)

    def tolerance(self, width: int, height: int) -> tuple[float, float]:
        return 0.5, 0.5


@dataclass(frozen=True, slots=True)
class ResizedCoordinates:
    """Whole pixels of the picture as the model's processor resizes it (Qwen2.5-VL, UI-TARS 1.5, OpenCUA): see `resized`."""

    factor: int = 28
    min_pixels: int = 56 * 56
    max_pixels: int = 14 * 14 * 4 * 1280

    def encode(self, x: float, y: float, width: int, height: int) -> tuple[int, int]:
        wide, high = self.size(width, height)
        return round(_clamp(x, width) * wide / width), round(_clamp(y, height) * high / height)

    def decode(self, x: float, y: float, width: int, height: int) -> tuple[float, float]:
        wide, high = self.size(width, height)
        return _clamp(x * width / wide, width), _clamp(y * height / high, height)

    def tolerance(self, width: int, height: int) -> tuple[float, float]:
        wide, high = self.size(width, height)
        return width / wide / 2, height / high / 2

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of the picture that the model sees."""
        return resized(width, height, self.factor, self.min_pixels, self.max_pixels)


@dataclass(frozen=True, slots=True)
class DisplayCoordinates:
    """Whole pixels of a display of a fixed size, to which screenshots are scaled before they are sent (Anthropic's and OpenAI's
    computer tools)."""

    width: int = 1280
    height: int = 720

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise ValueError(f"the display is {self.width} x {self.height}; it must be at least 1 x 1")

    def encode(self, x: float, y: float, width: int, height: int) -> tuple[int, int]:
        return (
            min(round(_clamp(x, width) * self.width / width), self.width - 1),
            min(round(_clamp(y, height) * self.height / height), self.height - 1),
        )

    def decode(self, x: float, y: float, width: int, height: int) -> tuple[float, float]:
        return _clamp(x * width / self.width, width), _clamp(y * height / self.height, height)

    def tolerance(self, width: int, height: int) -> tuple[float, float]:
        # The last half cell is written as the last pixel of the display.
        return width / self.width, height / self.height


def resized(width: int, height: int, factor: int, min_pixels: int, max_pixels: int) -> tuple[int, int]:
    """Width and height that Qwen's image processors bring a picture to ("smart resize"): multiples of `factor` nearest to its own,
    with `min_pixels` to `max_pixels` pixels in all, the proportions kept as far as that allows.

    Raises ValueError for a picture that is more than 200 times as long as it is wide, as those processors do.
    """
    if width < 1 or height < 1 or max(width, height) > 200 * min(width, height):
        raise ValueError(f"a picture of {width} x {height} pixels cannot be resized; no side may be 200 times the other")
    wide, high = max(factor, round(width / factor) * factor), max(factor, round(height / factor) * factor)
    if wide * high > max_pixels:
        shrink = math.sqrt(width * height / max_pixels)
        wide = max(factor, math.floor(width / shrink / factor) * factor)
        high = max(factor, math.floor(height / shrink / factor) * factor)
    elif wide * high < min_pixels:
        grow = math.sqrt(min_pixels / (width * height))
        wide, high = math.ceil(width * grow / factor) * factor, math.ceil(height * grow / factor) * factor
    return wide, high


def _clamp(value: float, size: int) -> float:
    return min(max(float(value), 0.0), float(size - 1))
