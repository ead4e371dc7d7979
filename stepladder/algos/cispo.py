"""CISPO: the importance weight is clipped and held constant; no token loses its gradient, as it does where PPO clips.

Source: MiniMax-M1, arXiv 2506.13585, section 3.1. Bounds are distances from 1: the weight stays within 1 - clip_low and
1 + clip_high.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from stepladder.algos.grpo import Grpo


@dataclass(frozen=True)
class Cispo(Grpo):
    clip_low: float = 1.0
    clip_high: float = 4.0
    aggregation: str = "token-mean"

    name: ClassVar[str] = "cispo"
    loss_kind: ClassVar[str] = "cispo"
