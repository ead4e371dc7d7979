"""ARPO: GRPO with a wide trust region upwards and no KL, on groups that a past success completes where all of them fail.

Source: F. Lu et al., arXiv 2505.16282. Its replay buffer and its selection of tasks are settings of the RL stage (`replay` and
`solved_in` of `RlConfig`), which any algorithm may use.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from stepladder.algos.grpo import Grpo


@dataclass(frozen=True)
class Arpo(Grpo):
    clip_high: float = 0.3
    dual_clip: float | None = 3.0
    aggregation: str = "token-mean"

    name: ClassVar[str] = "arpo"
