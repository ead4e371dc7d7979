"""How many groups to play so that enough of them have a signal (RLCS, GLM-4.1V-Thinking, arXiv 2507.01006)."""

from __future__ import annotations

import math
from dataclasses import dataclass


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
