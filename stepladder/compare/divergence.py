"""Two trajectories of the same task side by side: which steps belong together, and where the two part.

Steps belong together when they saw the same state. What tells a state is the same for all steps of both trajectories: the state
key where every step has one, else the screenshot where every step has one, else what was done.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from stepladder.types import Observation, Step, Trajectory

Basis = Literal["state_key", "screenshot", "actions"]
Reason = Literal["start", "actions", "environment"]
#: Of an alignment: positions of the two steps that stand side by side, None where one of them has none.
Row = tuple[int | None, int | None]


@dataclass(frozen=True, slots=True)
class Divergence:
    """Where two trajectories part.

    `row` is the first row of their alignment (`align`) that is not the same in both. `decided` is the position, the same in both,
    of the last step before it at which they did different things in the same state: what was done there made them part, if not at
    once, as where a state does not tell all. `reason` is then "actions". It is "environment" where they did the same things, and
    these led elsewhere or ended one of the episodes; `decided` is then the last step that saw the same state in both. It is "start"
    where already their first states differ, and `decided` None. `basis` is what tells a state.
    """

    decided: int | None
    row: int
    reason: Reason
    basis: Basis


def basis_of(first: Sequence[Step], second: Sequence[Step]) -> Basis:
    """What tells whether a step of one and a step of the other saw the same state."""
    seen = [step.observation for step in (*first, *second)]
    if all(observation.state_key for observation in seen):
        return "state_key"
    if all(observation.screenshot is not None for observation in seen):
        return "screenshot"
    return "actions"


def align(first: Sequence[Step], second: Sequence[Step]) -> list[Row]:
    """Rows (position in the first, position in the second), in order, each step of both in exactly one of them. A row with two
    positions is a state that both saw; the number of those is the largest possible, and what both begin with stands side by side.

    Time and memory grow with the product of the numbers of steps.
    """
    basis = basis_of(first, second)
    ones, others = _numbered(first, second, basis)
    common = _common_prefix(ones, others)
    rows: list[Row] = [(position, position) for position in range(common)]
    i, j = common, common
    left = _left(ones[common:], others[common:])
    while i < len(ones) and j < len(others):
        here = left[i - common, j - common]
        if ones[i] == others[j] and here == left[i - common + 1, j - common + 1] + 1:
            rows.append((i, j))
            i, j = i + 1, j + 1
        elif here == left[i - common + 1, j - common]:
            rows.append((i, None))
            i += 1
        else:
            rows.append((None, j))
            j += 1
    rows += [(rest, None) for rest in range(i, len(ones))]
    rows += [(None, rest) for rest in range(j, len(others))]
    return rows


def divergence(first: Trajectory, second: Trajectory) -> Divergence | None:
    """Where the two part; None when they saw and did the same from the first step to the last screen."""
    basis = basis_of(first.steps, second.steps)
    common = _common_prefix(*_numbered(first.steps, second.steps, basis))
    lengths = len(first.steps), len(second.steps)
    if basis == "actions" and common < min(lengths):
        return Divergence(common, common, "actions", basis)
    if common == 0 and max(lengths) > 0:
        return Divergence(None, 0, "start", basis)
    choices = [step for step in range(common) if first.steps[step].actions != second.steps[step].actions]
    if common < max(lengths):
        decided = choices[-1] if choices else common - 1
        return Divergence(decided, common, "actions" if choices else "environment", basis)
    if choices:  # the same states throughout, but not the same answer
        return Divergence(choices[-1], choices[-1], "actions", basis)
    if common and _parted(first.final, second.final, basis):
        return Divergence(common - 1, common - 1, "environment", basis)
    return None


def _key(step: Step, basis: Basis) -> Hashable:
    if basis == "state_key":
        return step.observation.state_key
    if basis == "screenshot":
        assert step.observation.screenshot is not None
        return step.observation.screenshot.sha256
    return repr(step.actions)  # the arguments of a call cannot be hashed


def _parted(first: Observation | None, second: Observation | None, basis: Basis) -> bool:
    """Whether two last screens differ, as far as both tell."""
    if first is None or second is None or basis == "actions":
        return False
    if basis == "state_key":
        return bool(first.state_key and second.state_key) and first.state_key != second.state_key
    return first.screenshot is not None and second.screenshot is not None and first.screenshot != second.screenshot


def _numbered(first: Sequence[Step], second: Sequence[Step], basis: Basis) -> tuple[np.ndarray, np.ndarray]:
    """int64[len(first)] and int64[len(second)]: equal numbers are equal states."""
    numbers: dict[Hashable, int] = {}
    ones, others = (
        np.array([numbers.setdefault(_key(step, basis), len(numbers)) for step in steps], dtype=np.int64)
        for steps in (first, second)
    )
    return ones, others


def _common_prefix(ones: np.ndarray, others: np.ndarray) -> int:
    shortest = min(len(ones), len(others))
    differing = np.flatnonzero(ones[:shortest] != others[:shortest])
    return int(differing[0]) if len(differing) else shortest


def _left(ones: np.ndarray, others: np.ndarray) -> np.ndarray:
    """int32[len(ones) + 1, len(others) + 1]: how many pairs the rests from these positions on can still have."""
    left = np.zeros((len(ones) + 1, len(others) + 1), dtype=np.int32)
    for i in range(len(ones) - 1, -1, -1):
        taken = np.maximum(left[i + 1, :-1], left[i + 1, 1:] + (others == ones[i]))
        left[i, :-1] = np.maximum.accumulate(taken[::-1])[::-1]
    return left
