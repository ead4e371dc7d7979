"""Optimizers and learning-rate schedules.

Muon for the hidden matrices, AdamW for embeddings, norms, biases and
heads. On the small model Muon learned to read in about half the steps of AdamW alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from stepladder.train.muon import SharedMuon
from stepladder.train.shard import is_sharded

NOT_FOR_MUON = ("embed_tokens", "pos_embed", "lm_head", "heads.", "critic.")


@dataclass(frozen=True)
class OptimizerConfig:
    """`lr` is Muon's when Muon is on, scaled so that its updates have AdamW's size; AdamW gets min(lr, adam_lr)."""

    kind: Literal["muon", "adamw"] = "muon"
    lr: float = 3e-3
    adam_lr: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.98
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0


def is_for_muon(name: str, parameter: Tensor) -> bool:
    """Whether Muon takes the parameter of this name where it is on."""
    return parameter.ndim == 2 and not any(part in name for part in NOT_FOR_MUON)


def build_optimizers(parameters: Iterable[tuple[str, Tensor]], config: OptimizerConfig) -> list[Optimizer]:
    """One or two optimizers over the named parameters. Every parameter group remembers its full rate in "base_lr"."""
    named = list(parameters)
    matrices = [p for name, p in named if config.kind == "muon" and is_for_muon(name, p)]
    chosen = {id(p) for p in matrices}
    rest = [p for _, p in named if id(p) not in chosen]
    optimizers: list[Optimizer] = []
    if matrices:
        optimizers.append(SharedMuon(matrices, lr=config.lr, weight_decay=config.weight_decay))
    if rest:
        rate = min(config.lr, config.adam_lr) if config.kind == "muon" else config.lr
        betas = (config.beta1, config.beta2)
        # Divided and whole weights are not taken in one call.
        for part in ([p for p in rest if not is_sharded(p)], [p for p in rest if is_sharded(p)]):
            if part:
                optimizers.append(torch.optim.AdamW(part, lr=rate, betas=betas, weight_decay=config.weight_decay, fused=True))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["base_lr"] = group["lr"]
    return optimizers


def set_rate(optimizers: Iterable[Optimizer], factor: float) -> None:
    """Every group's learning rate becomes `factor` times its full rate."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor


@dataclass
class Schedule:
    """Warm-up, a stable stretch, then a linear decay that begins when a goal was reached or the ceiling is near.

    With `steps` as the ceiling and `decay` the share of steps spent decaying, the decay begins at step (1 - decay) * steps at the
    latest. `finish_early(step)` begins it at `step` and shortens the whole run: a phase that has learned its thing stops.
    """

    steps: int
    warmup: int = 30
    decay: float = 0.4
    floor: float = 0.05
    decay_from: int | None = None

    def finish_early(self, step: int) -> bool:
        """Begin the decay at `step`; False when it has begun already."""
        if self.decay_from is not None or step >= self._latest_decay():
            return False
        self.decay_from = step
        return True

    @property
    def last_step(self) -> int:
        """The step after which the run ends."""
        return self._decay_start() + self._decay_steps()

    def factor(self, step: int) -> float:
        """Share of the full learning rate at `step`, counted from 0."""
        progress = (step - self._decay_start()) / max(1, self._decay_steps())
        return min(1.0, (step + 1) / max(1, self.warmup)) * (1.0 if progress <= 0 else max(self.floor, 1.0 - progress))

    def _latest_decay(self) -> int:
        return self.steps - round(self.decay * self.steps)

    def _decay_start(self) -> int:
        return self._latest_decay() if self.decay_from is None else self.decay_from

    def _decay_steps(self) -> int:
        # a run that ends early decays over the same share of its own, shorter, length
        start = self._decay_start()
        return self.steps - start if self.decay_from is None else max(1, round(start * self.decay / (1 - self.decay)))
