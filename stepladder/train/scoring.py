"""What a model says about replies that were sampled: log-probabilities of their tokens, and a critic's values. No gradients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from transformers import Qwen3VLForConditionalGeneration

from stepladder.models.forward import Visual, hidden_states, token_logits, token_logprobs
from stepladder.models.heads import ValueHead
from stepladder.models.renderer import Renderer
from stepladder.models.vision import encode_images
from stepladder.train.batch import Batch, collate
from stepladder.train.sample import Sample
from stepladder.types import FloatArray, IntArray


def predicting_states(model: Qwen3VLForConditionalGeneration, batch: Batch, visual: Visual | None) -> Tensor:
    """Hidden states float[N, hidden] that predict the N trained tokens of a batch; `visual` of its distinct pictures."""
    if visual is not None and batch.visual_index is not None:
        visual = (visual[0][batch.visual_index], [feature[batch.visual_index] for feature in visual[1]])
    # flash kernels take no mask; on a CPU there are none, and every row keeps the sums of its own mask
    mask = None if batch.causal and batch.tokens.device.type != "cpu" else batch.attention
    everything = hidden_states(model, batch.tokens, batch.positions.clamp(min=0), mask, visual, batch.image_mask)
    return everything.reshape(-1, everything.shape[-1])[batch.source]


def critic_values(critic: ValueHead, batch: Batch, visual: Visual | None, states: Tensor, autocast: bool = False) -> Tensor:
    """What the critic expects before each of N trained tokens, float[N]. `visual` and `states` are the policy's; with `autocast`
    a trunk of the critic's own computes in bfloat16."""
    if critic.trunk is not None:
        if visual is not None:
            visual = visual[0].detach(), [feature.detach() for feature in visual[1]]
        with torch.autocast(states.device.type, dtype=torch.bfloat16, enabled=autocast):
            states = predicting_states(cast(Qwen3VLForConditionalGeneration, critic.trunk), batch, visual)
    values: Tensor = critic(states)
    return values


@dataclass
class Scorer:
    """Scores samples of one reply each, `chunk` at a time. `temperature` and `banned` are those of sampling; see `Trainer`. The
    logits of `logprobs_of` have a `share` of those of a model that is `mixed_in`."""

    model: Qwen3VLForConditionalGeneration
    renderer: Renderer
    temperature: float = 1.0
    banned: Tensor | None = None
    autocast: bool = False
    critic: ValueHead | None = None
    chunk: int = 32
    mixed_in: Qwen3VLForConditionalGeneration | None = None
    share: float = 0.0

    @torch.no_grad()
    def logprobs(self, samples: Sequence[Sample]) -> list[FloatArray]:
        """float32[C] for the trained tokens of each sample."""
        scores: dict[int, FloatArray] = {}
        for start, batch, _, states in self._passes(samples):
            banned = None if self.banned is None else self.banned.to(states.device)
            scores |= _by_sample(start, batch, token_logprobs(self.model, states, batch.targets, banned, self.temperature))
        return [scores[number] for number in range(len(samples))]

    @torch.no_grad()
    def likeliest(self, samples: Sequence[Sample], count: int | None) -> list[IntArray]:
        """int32[C, K]: the ids of the `count` likeliest tokens (None: of all) at the place of each trained token."""
        found: dict[int, IntArray] = {}
        for start, batch, _, states in self._passes(samples):
            logits = self._logits(self.model, states)
            ids = logits.topk(min(count or logits.shape[-1], logits.shape[-1])).indices
            found |= {number: ids.astype(np.int32) for number, ids in _by_sample(start, batch, ids).items()}
        return [found[number] for number in range(len(samples))]

    @torch.no_grad()
    def logprobs_of(self, samples: Sequence[Sample], ids: Sequence[IntArray]) -> list[FloatArray]:
        """float32[C, K]: the log-probabilities of `ids` int32[C, K] at the place of each trained token of each sample."""
        scores: dict[int, FloatArray] = {}
        for start, batch, _, states in self._passes(samples):
            logits = self._logits(self.model, states)
            if self.mixed_in is not None:
                with torch.autocast(states.device.type, dtype=torch.bfloat16, enabled=self.autocast):
                    others = predicting_states(self.mixed_in, batch, self._look(self.mixed_in, batch))
                logits = logits.lerp(self._logits(self.mixed_in, others.to(states.dtype)), self.share)
            wanted = torch.from_numpy(np.concatenate([ids[start + number] for number in batch.order])).long()
            scores |= _by_sample(start, batch, logits.log_softmax(-1).gather(-1, wanted.to(logits.device)))
        return [scores[number] for number in range(len(samples))]

    @torch.no_grad()
    def values(self, samples: Sequence[Sample]) -> list[FloatArray]:
        """float32[C] of the critic for the trained tokens of each sample."""
        assert self.critic is not None, "this scorer has no critic"
        scores: dict[int, FloatArray] = {}
        for start, batch, visual, states in self._passes(samples):
            scores |= _by_sample(start, batch, critic_values(self.critic, batch, visual, states, self.autocast))
        return [scores[number] for number in range(len(samples))]

    @torch.no_grad()
    def _passes(self, samples: Sequence[Sample]) -> Iterator[tuple[int, Batch, Visual | None, Tensor]]:
        device = self.model.device
        for start in range(0, len(samples), self.chunk):
            batch = collate(samples[start : start + self.chunk], self.renderer).to(device)
            with torch.no_grad(), torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.autocast):
                visual = self._look(self.model, batch)
                states = predicting_states(self.model, batch, visual)
            yield start, batch, visual, states.to(self.model.lm_head.weight.dtype)

    def _logits(self, model: Qwen3VLForConditionalGeneration, states: Tensor) -> Tensor:
        banned = None if self.banned is None else self.banned.to(states.device)
        return token_logits(model, states, banned, self.temperature)

    def _look(self, model: Qwen3VLForConditionalGeneration, batch: Batch) -> Visual | None:
        if batch.pixel_values is None or batch.grid is None:
            return None
        return encode_images(model, batch.pixel_values, batch.grid)


def _by_sample(start: int, batch: Batch, values: Tensor) -> dict[int, Any]:
    """[C, ...] for each of the samples, from [N, ...] of a batch."""
    values = values.detach().float() if values.is_floating_point() else values
    pieces = values.cpu().split(batch.reply_lengths.tolist())
    return {start + number: np.asarray(piece) for number, piece in zip(batch.order, pieces, strict=True)}
