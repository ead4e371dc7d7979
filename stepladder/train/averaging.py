"""Means of weights: of several checkpoints, of the last snapshots of a training, or with exponentially falling shares.

Sums are in float32. Tensors that are no floating-point numbers are not averaged and have to be equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from stepladder.config import ConfigError

AverageKind = Literal["none", "last", "ema"]


@dataclass
class WeightedSum:
    """Sum of share_k * weights_k over everything that was added, by tensor name."""

    total: dict[str, Tensor] = field(default_factory=dict)

    def add(self, weights: Mapping[str, Tensor], share: float) -> None:
        """Raises ValueError that names a tensor of whole numbers which is not what it was."""
        if not self.total:
            self.total = {n: v.float() * share if v.is_floating_point() else v.clone() for n, v in weights.items()}
            return
        for name, value in weights.items():
            if value.is_floating_point():
                self.total[name].add_(value.float(), alpha=share)
            elif not torch.equal(self.total[name], value):
                raise ValueError(f"{name} holds other whole numbers; it cannot be averaged")

    def scale(self, share: float) -> None:
        """Multiply the sum so far."""
        for value in self.total.values():
            if value.is_floating_point():
                value.mul_(share)


@dataclass(frozen=True)
class Averaging:
    """Which mean of a training's weights is kept. `last`: the plain mean of the `count` last snapshots, `every` updates apart, the
    last of them the end (stochastic weight averaging, P. Izmailov et al., arXiv 1803.05407). `ema`: after every update
    mean = decay * mean + (1 - decay) * weights, begun at the first weights. `none`: the last weights themselves. Raises
    ConfigError for numbers that cannot be."""

    kind: AverageKind = "none"
    count: int = 4
    every: int = 10
    decay: float = 0.99

    def __post_init__(self) -> None:
        if self.count < 1 or self.every < 1:
            raise ConfigError(f"an average of {self.count} snapshots, {self.every} updates apart: both must be at least 1")
        if not 0 <= self.decay < 1:
            raise ConfigError(f"the decay of an average is {self.decay}; it must be at least 0 and below 1")


class WeightAverage:
    """The mean of a training of `steps` updates, taken in as it goes. Its state is saved with the trainer's."""

    def __init__(self, averaging: Averaging, steps: int) -> None:
        self.averaging, self.steps = averaging, steps
        self.sum, self.count = WeightedSum(), 0

    @property
    def weights(self) -> dict[str, Tensor] | None:
        """The mean by tensor name, in float32; None while nothing was taken in."""
        return self.sum.total or None

    def update(self, step: int, weights: Mapping[str, Tensor]) -> None:
        """Take in the weights after `step` updates, where they belong to the mean."""
        kind, decay = self.averaging.kind, self.averaging.decay
        if kind == "ema":
            share = 1 - decay if self.count else 1.0
        elif kind == "last" and self._is_snapshot(step):
            share = 1 / (self.count + 1)
        else:
            return
        if self.count:
            self.sum.scale(1 - share)
        self.sum.add(weights, share)
        self.count += 1

    def _is_snapshot(self, step: int) -> bool:
        snapshots, left = divmod(self.steps - step, self.averaging.every)
        return left == 0 and 0 <= snapshots < self.averaging.count

    def state(self) -> dict[str, Any]:
        """What a resumed training needs."""
        return {"total": self.sum.total, "count": self.count}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.sum, self.count = WeightedSum(dict(state["total"])), int(state["count"])
