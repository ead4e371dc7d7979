"""Trajectories of the same task side by side."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import Any

from stepladder.compare.divergence import align, divergence
from stepladder.types import Trajectory

MOST_SIDES = 8
#: Steps of an episode that are aligned; time and memory grow with their square.
MOST_STEPS = 2000


def side_by_side(trajectories: Sequence[Trajectory]) -> dict[str, Any]:
    """{"rows", "divergence", "why"}: in every row the positions of the steps that saw the same state as the first trajectory's, one
    entry a trajectory, None where one has no such step; each step of each stands in exactly one row. `divergence` is the first row
    that is not the same in all, None where all are alike; `why` says for each of the others what made it part from the first.
    """
    first, *others = trajectories
    rows: list[list[int | None]] = [[place] for place in range(len(first.steps))]
    for number, other in enumerate(others, start=1):
        rows = _joined(rows, align(first.steps, other.steps), number)
    parted = [divergence(first, other) for other in others]
    first_rows = []
    for number, one in enumerate(parted, start=1):
        if one is not None:
            first_rows.append(_row_of(rows, number, one.row))
    return {
        "rows": rows,
        "divergence": min(first_rows, default=None),
        "why": [None] + [None if one is None else {"reason": one.reason, "basis": one.basis} for one in parted],
    }


def _joined(rows: list[list[int | None]], pairs: Sequence[tuple[int | None, int | None]], width: int) -> list[list[int | None]]:
    """The rows so far, each `width` wide, with a further trajectory that is aligned to the first."""
    found: list[list[int | None]] = []
    left = iter(rows)
    for mine, other in pairs:
        if mine is None:
            found.append([*repeat(None, width), other])
            continue
        for row in left:
            if row[0] == mine:
                found.append([*row, other])
                break
            found.append([*row, None])  # a step that another trajectory alone has
    found += [[*row, None] for row in left]
    return found


def _row_of(rows: Sequence[Sequence[int | None]], number: int, row: int) -> int:
    """Where row `row` of the alignment of trajectory `number` and the first stands among all rows."""
    seen = -1
    for place, entries in enumerate(rows):
        seen += entries[0] is not None or entries[number] is not None
        if seen == row:
            return place
    return max(0, len(rows) - 1)
