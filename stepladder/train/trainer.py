"""The trainer: weighted sums of per-token losses over global counts, and nothing that knows an algorithm.

    loss = sum_k weight_k * (sum of loss k over all tokens of the update) / (count of k over all tokens of the update)

"All tokens of the update" means over every micro-batch and every rank, so the gradient depends neither on micro-batch size, packing
and accumulation nor on the number of ranks (law 5). The counts are known before the first forward pass.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from transformers import Qwen3VLForConditionalGeneration

from stepladder.models.forward import Visual, hidden_states, token_logprobs
from stepladder.models.heads import PerceptionHead, VisualTargets
from stepladder.models.vision import encode_images
from stepladder.train.batch import Batch
from stepladder.train.optimizer import OptimizerConfig, Schedule, build_optimizers, set_rate


@dataclass
class MicroBatch:
    """What one forward and backward pass sees: packed tokens, and targets for the distinct pictures' visual tokens if there are
    any. `text` False leaves the language model out (a perception step on pictures alone)."""

    batch: Batch
    visual: VisualTargets | None = None
    text: bool = True

    def counts(self) -> dict[str, float]:
        counts = {"ce": float(self.batch.w_ce.sum())} if self.text else {}
        return counts | (self.visual.counts() if self.visual is not None else {})


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms: `ce` on reply tokens; `word`, `letters` and `centre` of the perception head."""

    ce: float = 1.0
    word: float = 0.0
    letters: float = 0.0
    centre: float = 0.0


@dataclass
class Trainer:
    """Owns the weights that learn, the optimizers and the step count.

    `trainable` lists name prefixes ("model.visual", "model.language_model", "heads"); the rest is frozen. `autocast` runs the
    forward pass in bfloat16.
    """

    model: Qwen3VLForConditionalGeneration
    head: PerceptionHead | None
    schedule: Schedule
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    weights: LossWeights = field(default_factory=LossWeights)
    trainable: tuple[str, ...] = ("model", "lm_head", "heads")
    autocast: bool = True
    step_count: int = 0

    def __post_init__(self) -> None:
        self.world = dist.get_world_size() if dist.is_initialized() else 1
        learning = []
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name.startswith(self.trainable))
            if parameter.requires_grad:
                learning.append((name, parameter))
        if not learning:
            raise ValueError(f"nothing to train: no parameter name starts with any of {', '.join(self.trainable)}")
        self._learning = learning
        self.optimizers = build_optimizers(learning, self.optimizer)

    def named_parameters(self) -> Iterable[tuple[str, nn.Parameter]]:
        """Every parameter of model and head; names of the head begin with "heads."."""
        yield from self.model.named_parameters()
        if self.head is not None:
            yield from ((f"heads.{name}", parameter) for name, parameter in self.head.named_parameters())

    def step(self, micro_batches: Sequence[MicroBatch]) -> dict[str, float]:
        """One update from all micro-batches of this rank (and of all other ranks). Returns the global mean of each loss, the
        gradient norm and the learning-rate factor. Raises FloatingPointError when the gradient is not finite; the weights stay as
        they were."""
        counts = self._global_counts(micro_batches)
        for _, parameter in self._learning:
            parameter.grad = None
        sums = dict.fromkeys(counts, 0.0)
        for micro_batch in micro_batches:
            terms = self._forward(micro_batch)
            loss = sum(
                (getattr(self.weights, name) * value / counts[name] for name, value in terms.items() if counts[name]),
                torch.zeros(()),
            )
            if loss.requires_grad:
                loss.backward()
            for name, value in terms.items():
                sums[name] += float(value.detach())
        norm = self._reduce_gradients()
        if not torch.isfinite(norm):
            raise FloatingPointError(f"the gradient of update {self.step_count} is not finite; losses {sums}")
        factor = self.schedule.factor(self.step_count)
        set_rate(self.optimizers, factor)
        for optimizer in self.optimizers:
            optimizer.step()
        self.step_count += 1
        means = {name: value / counts[name] for name, value in self.sum_over_ranks(sums).items() if counts[name]}
        return {**means, "grad_norm": float(norm), "rate": factor}

    def encode(self, batch: Batch) -> Visual | None:
        """The visual tokens of the batch's distinct pictures; without gradient when the vision tower is frozen."""
        if batch.pixel_values is None or batch.grid is None:
            return None
        frozen = not any(name.startswith("model.visual") for name, _ in self._learning)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
            return encode_images(self.model, batch.pixel_values, batch.grid)

    def states(self, batch: Batch, visual: Visual | None) -> Tensor:
        """Hidden states float[N, hidden] that predict the N trained tokens."""
        if visual is not None and batch.visual_index is not None:
            visual = (visual[0][batch.visual_index], [feature[batch.visual_index] for feature in visual[1]])
        everything = hidden_states(
            self.model, batch.tokens, batch.positions.clamp(min=0), batch.attention, visual, batch.image_mask
        )
        return everything.reshape(-1, everything.shape[-1])[batch.source]

    def _forward(self, micro_batch: MicroBatch) -> dict[str, Tensor]:
        batch = micro_batch.batch
        terms: dict[str, Tensor] = {}
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.autocast):
            visual = self.encode(batch)
            if micro_batch.visual is not None and self.head is not None and visual is not None:
                embeddings = self.model.model.language_model.embed_tokens.weight
                terms |= self.head.losses(visual[0], embeddings, micro_batch.visual)
            if micro_batch.text:
                logprobs = token_logprobs(self.model, self.states(batch, visual), batch.targets)
                terms["ce"] = -(batch.w_ce * logprobs).sum()
        return terms

    @torch.no_grad()
    def logprobs(self, batch: Batch, banned: Tensor | None = None) -> Tensor:
        """Log-probabilities float32[N] of the trained tokens under the present weights."""
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.autocast):
            return token_logprobs(self.model, self.states(batch, self.encode(batch)), batch.targets, banned)

    @torch.no_grad()
    def most_probable(self, batch: Batch) -> Tensor:
        """int64[N]: the most probable id at the place of each trained token."""
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.autocast):
            return self.model.lm_head(self.states(batch, self.encode(batch))).argmax(-1)

    @torch.no_grad()
    def look(self, batch: Batch) -> Tensor:
        """Visual tokens float[V, hidden] of the batch's distinct pictures."""
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.autocast):
            visual = self.encode(batch)
        assert visual is not None, "the batch has no pictures"
        return visual[0]

    # ------------------------------------------------------------------ ranks

    def _global_counts(self, micro_batches: Sequence[MicroBatch]) -> dict[str, float]:
        counts = dict.fromkeys(("ce", "word", "letters", "centre"), 0.0)
        for micro_batch in micro_batches:
            for name, count in micro_batch.counts().items():
                counts[name] += count
        return self.sum_over_ranks(counts)

    def sum_over_ranks(self, values: Mapping[str, float]) -> dict[str, float]:
        """The sum of each value over all ranks, which must name the same values."""
        if self.world == 1:
            return dict(values)
        names = sorted(values)
        total = torch.tensor([values[name] for name in names], dtype=torch.float64)
        dist.all_reduce(total)
        return dict(zip(names, total.tolist(), strict=True))

    def _reduce_gradients(self) -> Tensor:
        """Sum the gradients over ranks, clip them, and return their norm before clipping."""
        for _, parameter in self._learning:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for _, parameter in self._learning if parameter.grad is not None]
        if self.world > 1:
            flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
            dist.all_reduce(flat)
            for gradient, piece in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
                gradient.copy_(piece.view_as(gradient))
        return nn.utils.clip_grad_norm_([p for _, p in self._learning], self.optimizer.max_grad_norm)

    # ------------------------------------------------------------------ resume

    def state(self) -> dict[str, Any]:
        """Everything that an exact continuation needs."""
        return {
            "step": self.step_count,
            "decay_from": self.schedule.decay_from,
            "model": self.model.state_dict(),
            "head": self.head.state_dict() if self.head is not None else None,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue exactly where `state` was taken."""
        self.step_count = state["step"]
        self.schedule.decay_from = state["decay_from"]
        self.model.load_state_dict(state["model"])
        if self.head is not None:
            self.head.load_state_dict(state["head"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write atomically: a kill leaves the old file or the new one, never a half."""
    temporary = path.with_name(f"{path.name}.partial")
    with temporary.open("wb") as file:
        torch.save(dict(state), file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
