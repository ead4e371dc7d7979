"""How many groups to play so that enough of them have a signal (RLCS, GLM-4.1V-Thinking, arXiv 2507.01006)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random


@dataclass
class Expansion:
    """Plays wanted / (1 - share of groups without signal) groups; the share is a moving mean, to which an update adds `rate`.

    At most `most` times as many groups as wanted are asked for at once.
    """

    rate: float = 0.3
    most: float = 4.0
    flat_share: float = 0.0

    def groups(self, wanted: int) -> int:
        return math.ceil(wanted * min(self.most, 1 / max(1e-9, 1 - self.flat_share)))

    def update(self, flat: int, played: int) -> None:
        """Take in that `flat` of `played` groups had no signal."""
        if played:
            self.flat_share = (1 - self.rate) * self.flat_share + self.rate * flat / played


def balanced(means: Mapping[str, float], wanted: int, random: Random, levels: int = 4) -> set[str]:
    """`wanted` of the groups whose mean rewards, in [0, 1], are `means`: as far as can be equally many of each level.

    Levels are equal parts of [0, 1]. They take turns, the order of the first turn and of the groups within a level being drawn; one
    that has no group left lets the others go on. Fewer groups than `wanted` are all kept.
    """
    by_level: dict[int, list[str]] = {}
    for group in sorted(means):
        by_level.setdefault(min(levels - 1, int(means[group] * levels)), []).append(group)
    for groups in by_level.values():
        random.shuffle(groups)
    turns = sorted(by_level)
    random.shuffle(turns)
    kept: set[str] = set()
    while len(kept) < wanted and any(by_level.values()):
        for level in turns:
            if by_level[level] and len(kept) < wanted:
                kept.add(by_level[level].pop())
    return kept
