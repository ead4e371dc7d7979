"""What a model says about replies that were sampled: log-probabilities of their tokens, and a critic's values. No gradients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import Qwen3VLForConditionalGeneration

from stepladder.models.forward import Visual, hidden_states, token_logits
from stepladder.models.heads import ValueHead
from stepladder.models.renderer import Renderer
from stepladder.models.vision import encode_images
from stepladder.train.batch import Batch, collate
from stepladder.train.sample import Sample
from stepladder.types import FloatArray


def predicting_states(model: Qwen3VLForConditionalGeneration, batch: Batch, visual: Visual | None) -> Tensor:
    """Hidden states float[N, hidden] that predict the N trained tokens of a batch; `visual` of its distinct pictures."""
    if visual is not None and batch.visual_index is not None:
        visual = (visual[0][batch.visual_index], [feature[batch.visual_index] for feature in visual[1]])
    # flash kernels take no mask; on a CPU there are none, and every row keeps the sums of its own mask
    mask = None if batch.causal and batch.tokens.device.type != "cpu" else batch.attention
    everything = hidden_states(model, batch.tokens, batch.positions.clamp(min=0), mask, visual, batch.image_mask)
    return everything.reshape(-1, everything.shape[-1])[batch.source]


@dataclass
class Scorer:
    """Scores samples of one reply each, `chunk` at a time. `temperature` and `banned` are those of sampling; see `Trainer`."""

    model: Qwen3VLForConditionalGeneration
    renderer: Renderer
    temperature: float = 1.0
    banned: Tensor | None = None
    autocast: bool = False
    critic: ValueHead | None = None
    chunk: int = 32

    @torch.no_grad()
    def logprobs(self, samples: Sequence[Sample]) -> list[FloatArray]:
        """float32[C] for the trained tokens of each sample."""
        scores: dict[int, FloatArray] = {}
        for start, batch, states in self._passes(samples):
            banned = None if self.banned is None else self.banned.to(states.device)
            logits = token_logits(self.model, states, banned, self.temperature)
            chosen = logits.log_softmax(-1).gather(-1, batch.targets[:, None])[:, 0]
            scores |= _by_sample(start, batch, chosen)
        return [scores[number] for number in range(len(samples))]

    @torch.no_grad()
    def values(self, samples: Sequence[Sample]) -> list[FloatArray]:
        """float32[C] of the critic for the trained tokens of each sample."""
        assert self.critic is not None, "this scorer has no critic"
        scores: dict[int, FloatArray] = {}
        for start, batch, states in self._passes(samples):
            scores |= _by_sample(start, batch, self.critic(states))
        return [scores[number] for number in range(len(samples))]

    @torch.no_grad()
    def _passes(self, samples: Sequence[Sample]) -> Iterator[tuple[int, Batch, Tensor]]:
        device = self.model.device
        for start in range(0, len(samples), self.chunk):
            batch = collate(samples[start : start + self.chunk], self.renderer).to(device)
            with torch.no_grad(), torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.autocast):
                visual = None
                if batch.pixel_values is not None and batch.grid is not None:
                    visual = encode_images(self.model, batch.pixel_values, batch.grid)
                states = predicting_states(self.model, batch, visual)
            yield start, batch, states.to(self.model.lm_head.weight.dtype)


def _by_sample(start: int, batch: Batch, values: Tensor) -> dict[int, FloatArray]:
    pieces = values.detach().float().cpu().split(batch.reply_lengths.tolist())
    return {start + number: np.asarray(piece) for number, piece in zip(batch.order, pieces, strict=True)}
