"""Whether two actions on the same screen come to the same."""

from __future__ import annotations

import math
from collections.abc import Sequence

from stepladder.thoughts.wording import element_of, elements
from stepladder.types import Action, Observation, Region

#: Places on no known element are the same up to this share of the screen's diagonal.
NEAR = 0.03


def same_actions(first: Sequence[Action], second: Sequence[Action], seen: Observation, regions: Sequence[Region]) -> bool:
    """As many, and each the same as the other."""
    return len(first) == len(second) and all(same_action(one, two, seen, regions) for one, two in zip(first, second, strict=True))


def same_action(first: Action, second: Action, seen: Observation, regions: Sequence[Region]) -> bool:
    """Same kind, text, keys, name, arguments and direction of scrolling; places on the same element, or where none is known close
    to each other."""
    for name in ("kind", "keys", "name"):
        if getattr(first, name) != getattr(second, name):
            return False
    if dict(first.args) != dict(second.args) or first.text.strip() != second.text.strip():
        return False
    if (first.amount > 0) != (second.amount > 0) or (first.amount < 0) != (second.amount < 0):
        return False
    if (first.x is None) != (second.x is None) or (first.x2 is None) != (second.x2 is None):
        return False
    if first.x is None or first.y is None or second.x is None or second.y is None:
        return True
    if first.x2 is None or first.y2 is None or second.x2 is None or second.y2 is None:
        return _same_place((first.x, first.y), (second.x, second.y), seen, regions)
    begin = _same_place((first.x, first.y), (second.x, second.y), seen, regions)
    return begin and _same_place((first.x2, first.y2), (second.x2, second.y2), seen, regions)


def _same_place(first: tuple[float, float], second: tuple[float, float], seen: Observation, regions: Sequence[Region]) -> bool:
    found = elements(seen, regions)
    here, there = (element_of(Action("click", *place), found) for place in (first, second))
    if here is not None or there is not None:
        return here is there
    size = (1.0, 1.0) if seen.screenshot is None else (seen.screenshot.width, seen.screenshot.height)
    return math.dist(first, second) <= NEAR * math.hypot(*size)
