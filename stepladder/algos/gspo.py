"""Group sequence policy optimisation: GRPO whose probability ratio is that of the whole reply, per token (a geometric mean).

Source: C. Zheng et al., arXiv 2507.18071. A sequence is one reply (turn). The ratio of a sequence moves far less than that of a
token, so the clip range is three orders of magnitude smaller than GRPO's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from stepladder.algos.grpo import Grpo


@dataclass(frozen=True)
class Gspo(Grpo):
    clip_low: float = 3e-4
    clip_high: float = 4e-4
    aggregation: str = "seq-mean-token-mean"

    name: ClassVar[str] = "gspo"
    loss_kind: ClassVar[str] = "gspo"
