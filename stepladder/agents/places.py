"""Places and keys between canonical actions and what a model writes, with the complaints that all dialects share."""

from __future__ import annotations

import math
from dataclasses import dataclass

from stepladder.agents.coordinates import AbsoluteCoordinates, Coordinates
from stepladder.keys import MODIFIERS, canonical_key
from stepladder.types import Action, ImageRef
from stepladder.values import check_text, finite, number


@dataclass(frozen=True, slots=True)
class Places:
    """The places of one screenshot in the numbers of one dialect.

    Without a screenshot (a task that is shown as text alone) only pixels can be said, and they are taken as they stand.
    """

    coordinates: Coordinates
    screenshot: ImageRef | None

    def write(self, x: float | None, y: float | None) -> tuple[float, float] | None:
        """The numbers for a place in pixels, None for "at the pointer". Raises ValueError for half a place and for no number."""
        if x is None or y is None:
            if x is not y:
                raise ValueError("an action needs both x and y, or neither")
            return None
        x, y = finite(x, "x"), finite(y, "y")
        if self.screenshot is not None:
            return self.coordinates.encode(x, y, self.screenshot.width, self.screenshot.height)
        if isinstance(self.coordinates, AbsoluteCoordinates):
            return max(round(x), 0), max(round(y), 0)
        raise ValueError("a place on the screen cannot be written without a screenshot")

    def write_needed(self, x: float | None, y: float | None, what: str) -> tuple[float, float]:
        """As `write`, for an action that must have a place. Raises ValueError that names `what`."""
        written = self.write(x, y)
        if written is None:
            raise ValueError(f"{what} needs a place in this dialect, x and y")
        return written

    def read(self, x: object, y: object) -> tuple[float, float]:
        """Pixels inside the screenshot. Raises ValueError for what is no place."""
        across, down = number(x, "x"), number(y, "y")
        if self.screenshot is not None:
            return self.coordinates.decode(across, down, self.screenshot.width, self.screenshot.height)
        if isinstance(self.coordinates, AbsoluteCoordinates):
            return max(across, 0.0), max(down, 0.0)
        raise ValueError("a place needs a screenshot, and none was shown")

    def inside(self, x: float, y: float) -> tuple[float, float]:
        """A place in pixels, moved to the nearest edge of the screenshot where it lies beyond it."""
        return Places(AbsoluteCoordinates(), self.screenshot).read(x, y)


def check_keys(keys: tuple[str, ...]) -> tuple[str, ...]:
    """The keys of a key action. Raises ValueError for none and for names that are not canonical."""
    if not keys:
        raise ValueError("a key action needs keys")
    for key in keys:
        if canonical_key(key) != key:
            raise ValueError(f"{key!r} is no canonical key name; write {canonical_key(key)!r}")
    return keys


def check_modifiers(keys: tuple[str, ...]) -> tuple[str, ...]:
    """The keys that are held during a pointer action. Raises ValueError for others than modifiers, and for one that is
    repeated."""
    for key in keys:
        if key not in MODIFIERS:
            raise ValueError(f"{key!r} is no modifier; it must be one of {', '.join(MODIFIERS)}")
    if len(set(keys)) < len(keys):
        raise ValueError(f"a key cannot be held twice: {', '.join(keys)}")
    return keys


def check_action(action: Action) -> None:
    """What every dialect asks of an action that it says. Raises ValueError."""
    check_text(action.text)
    if action.kind in ("key", "key_down", "key_up"):
        check_keys(action.keys)
    else:
        check_modifiers(action.keys)
    if action.kind == "scroll" and action.name not in ("", "horizontal"):
        raise ValueError(f"a scroll's name is {action.name!r}; it must be empty or 'horizontal'")
    if action.kind == "scroll":
        finite(action.amount, "amount")
    if action.kind == "wait" and not 0 <= action.seconds < math.inf:
        raise ValueError(f"a wait of {action.seconds} seconds cannot be said; it must be 0 or more")
    if action.kind == "move" and action.x is None:
        raise ValueError("a move needs x and y")
    if action.kind == "drag" and (action.x2 is None or action.y2 is None):
        raise ValueError("a drag needs x2 and y2")
