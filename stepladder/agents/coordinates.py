"""How a model writes a place on the screen. Published adapters disagree on the scale (999, 1000), so it is an explicit object."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RelativeCoordinates:
    """Whole numbers 0..`scale` across the screenshot, whatever its size, written in multiples of `grid`.

    A position counts as inside the screenshot when it lies in 0..width-1 and 0..height-1; whatever lies outside is moved to
    the nearest edge. For a position inside, `decode(encode(p))` differs by at most `tolerance` pixels along each axis.
    Raises ValueError when `grid` or `scale` is not positive or `grid` is larger than `scale`.
    """

    scale: int = 1000
    grid: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.grid <= self.scale:
            raise ValueError(f"grid is {self.grid}; it must lie in 1..{self.scale} (the scale of the coordinates)")

    def encode(self, x: float, y: float, width: int, height: int) -> tuple[int, int]:
        """Pixels to the numbers that the model writes."""
        return self._encode_axis(x, width), self._encode_axis(y, height)

    def decode(self, x: float, y: float, width: int, height: int) -> tuple[float, float]:
        """The numbers that the model wrote to pixels inside the screenshot."""
        return _clamp(x * width / self.scale, width), _clamp(y * height / self.scale, height)

    def tolerance(self, width: int, height: int) -> tuple[float, float]:
        """Largest error of a round trip in pixels, along x and along y: half a cell of the grid."""
        return self.grid * width / self.scale / 2, self.grid * height / self.scale / 2

    def _encode_axis(self, value: float, size: int) -> int:
        cells = round(_clamp(value, size) * self.scale / size / self.grid)
        return min(cells, self.scale // self.grid) * self.grid


def _clamp(value: float, size: int) -> float:
    return min(max(float(value), 0.0), float(size - 1))
