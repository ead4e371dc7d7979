"""DAPO: GRPO with a wider trust region upwards, a mean over all tokens, no groups without signal, and long replies discouraged.

Source: Q. Yu et al., arXiv 2503.14476: clip-higher (3.1), dynamic sampling (3.2, done by the RL stage with `keep`), token-level
loss (3.3), soft overlong punishment (3.4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from stepladder.algos import ops
from stepladder.algos.algorithm import reply_lengths
from stepladder.algos.grpo import Grpo
from stepladder.types import Group, Trajectory


@dataclass(frozen=True)
class Dapo(Grpo):
    """A trajectory whose longest reply comes within `overlong_buffer` tokens of `overlong_limit` loses up to `overlong_factor`; a
    buffer of 0 turns this off."""

    clip_high: float = 0.28
    dual_clip: float | None = 10.0
    aggregation: str = "token-mean"
    overlong_limit: int = 128
    overlong_buffer: int = 0
    overlong_factor: float = 1.0

    name: ClassVar[str] = "dapo"

    def keep(self, group: Group) -> bool:
        """Whether some succeeded and others did not; that one was longer than another is no signal (section 3.2)."""
        return Grpo.keep(replace(self, overlong_buffer=0), group)

    def rewards(self, group: Sequence[Trajectory]) -> torch.Tensor:
        rewards = super().rewards(group)
        if not self.overlong_buffer:
            return rewards
        longest = torch.tensor([max(reply_lengths(trajectory), default=0) for trajectory in group], dtype=torch.float64)
        return rewards + ops.overlong_penalty(longest, self.overlong_limit, self.overlong_buffer, self.overlong_factor)
