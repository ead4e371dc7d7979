"""How the models that write pyautogui code may write a place: exactly one way is written, some others are read."""

from __future__ import annotations

from dataclasses import dataclass

from stepladder.agents.coordinates import AbsoluteCoordinates, ResizedCoordinates, UnitCoordinates


@dataclass(frozen=True)
class Shares(UnitCoordinates):
    """Shares of the screenshot and nothing else: `decode` raises ValueError for a number beyond 1, which is no click at the
    edge."""

    def decode(self, x: float, y: float, width: int, height: int) -> tuple[float, float]:
        if not _are_shares(x, y):
            raise ValueError(f"({x:g}, {y:g}) is no place; relative coordinates lie in 0..1")
        return UnitCoordinates.decode(self, x, y, width, height)


@dataclass(frozen=True)
class SharesOrPixels(UnitCoordinates):
    """Shares of the screenshot; where a number is beyond 1, both are read as pixels of the screenshot (Kimi K2.5)."""

    def decode(self, x: float, y: float, width: int, height: int) -> tuple[float, float]:
        if _are_shares(x, y):
            return UnitCoordinates.decode(self, x, y, width, height)
        return AbsoluteCoordinates().decode(x, y, width, height)


@dataclass(frozen=True)
class ResizedOrShares(ResizedCoordinates):
    """Pixels of the resized picture; two numbers in 0..1, not both of them whole, are read as shares of the screenshot
    (OpenCUA)."""

    def decode(self, x: float, y: float, width: int, height: int) -> tuple[float, float]:
        if _are_shares(x, y) and not (float(x).is_integer() and float(y).is_integer()):
            return UnitCoordinates().decode(x, y, width, height)
        return ResizedCoordinates.decode(self, x, y, width, height)


def _are_shares(x: float, y: float) -> bool:
    return 0 <= x <= 1 and 0 <= y <= 1
