"""What a model says about replies that were sampled: log-probabilities of their tokens, and a critic's values. No gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
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
from stepladder.train.parallel import gather
from stepladder.train.sample import Sample
from stepladder.train.shard import Pass
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


def empty_pass(model: Qwen3VLForConditionalGeneration, autocast: bool = False) -> Tensor:
    """0, by a pass over two tokens: a part in what other ranks compute, where weights are divided among them."""
    tokens = torch.zeros((1, 2), dtype=torch.int64, device=model.device)
    with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=autocast):
        states = hidden_states(model, tokens, torch.zeros((3, 1, 2), dtype=torch.int64, device=model.device), None)
    return token_logits(model, states[0].to(model.lm_head.weight.dtype)).sum() * 0.0


@dataclass
class Scorer:
    """Scores samples of one reply each, `chunk` at a time. `temperature` and `banned` are those of sampling; see `Trainer`. The
    logits of `logprobs_of` have a `share` of those of a model that is `mixed_in`. `sharded` is that of a model whose weights are
    divided among ranks; then all ranks must call every method, with as many samples as they have."""

    model: Qwen3VLForConditionalGeneration
    renderer: Renderer
    temperature: float = 1.0
    banned: Tensor | None = None
    autocast: bool = False
    critic: ValueHead | None = None
    chunk: int = 32
    mixed_in: Qwen3VLForConditionalGeneration | None = None
    share: float = 0.0
    sharded: Pass | None = None

    def logprobs(self, samples: Sequence[Sample]) -> list[FloatArray]:
        """float32[C] for the trained tokens of each sample."""

        def score(start: int, batch: Batch, visual: Visual | None, states: Tensor) -> Tensor:
            banned = None if self.banned is None else self.banned.to(states.device)
            return token_logprobs(self.model, states, batch.targets, banned, self.temperature)

        return self._scores(samples, score)

    def likeliest(self, samples: Sequence[Sample], count: int | None) -> list[IntArray]:
        """int32[C, K]: the ids of the `count` likeliest tokens (None: of all) at the place of each trained token."""

        def score(start: int, batch: Batch, visual: Visual | None, states: Tensor) -> Tensor:
            logits = self._logits(self.model, states)
            return logits.topk(min(count or logits.shape[-1], logits.shape[-1])).indices

        return [ids.astype(np.int32) for ids in self._scores(samples, score)]

    def logprobs_of(self, samples: Sequence[Sample], ids: Sequence[IntArray]) -> list[FloatArray]:
        """float32[C, K]: the log-probabilities of `ids` int32[C, K] at the place of each trained token of each sample."""

        def score(start: int, batch: Batch, visual: Visual | None, states: Tensor) -> Tensor:
            logits = self._logits(self.model, states)
            if self.mixed_in is not None:
                with torch.autocast(states.device.type, dtype=torch.bfloat16, enabled=self.autocast):
                    others = predicting_states(self.mixed_in, batch, self._look(self.mixed_in, batch))
                logits = logits.lerp(self._logits(self.mixed_in, others.to(states.dtype)), self.share)
            wanted = torch.from_numpy(np.concatenate([ids[start + number] for number in batch.order])).long()
            return logits.log_softmax(-1).gather(-1, wanted.to(logits.device))

        return self._scores(samples, score)

    def values(self, samples: Sequence[Sample]) -> list[FloatArray]:
        """float32[C] of the critic for the trained tokens of each sample."""
        critic = self.critic
        assert critic is not None, "this scorer has no critic"
        return self._scores(
            samples, lambda start, batch, visual, states: critic_values(critic, batch, visual, states, self.autocast)
        )

    @torch.no_grad()
    def _scores(self, samples: Sequence[Sample], score: Callable[[int, Batch, Visual | None, Tensor], Tensor]) -> list[Any]:
        """[C, ...] for each of the samples, from what `score` gives for the N trained tokens of the batch that begins with sample
        `start`: [N, ...]."""
        starts = range(0, len(samples), self.chunk)
        more = 0 if self.sharded is None else max(gather(len(starts))) - len(starts)
        found: dict[int, Any] = {}
        for start in starts:
            batch = collate(samples[start : start + self.chunk], self.renderer).to(self.model.device)
            found |= _by_sample(start, batch, self._pass(partial(self._forward, start, batch, score)))
        for _ in range(more):
            self._pass(lambda: empty_pass(self.model, self.autocast))
        return [found[number] for number in range(len(samples))]

    def _forward(self, start: int, batch: Batch, score: Callable[[int, Batch, Visual | None, Tensor], Tensor]) -> Tensor:
        with torch.autocast(self.model.device.type, dtype=torch.bfloat16, enabled=self.autocast):
            visual = self._look(self.model, batch)
            states = predicting_states(self.model, batch, visual)
        return score(start, batch, visual, states.to(self.model.lm_head.weight.dtype))

    def _pass(self, compute: Callable[[], Tensor]) -> Tensor:
        return compute() if self.sharded is None else self.sharded(compute)

    def _logits(self, model: Qwen3VLForConditionalGeneration, states: Tensor) -> Tensor:
        banned = None if self.banned is None else self.banned.to(states.device)
        return token_logits(model, states, banned, self.temperature)

    def _look(self, model: Qwen3VLForConditionalGeneration, batch: Batch) -> Visual | None:
        pixels = batch.pixels()
        return None if pixels is None or batch.grid is None else encode_images(model, pixels, batch.grid)


def _by_sample(start: int, batch: Batch, values: Tensor) -> dict[int, Any]:
    """[C, ...] for each of the samples, from [N, ...] of a batch."""
    values = values.detach().float() if values.is_floating_point() else values
    pieces = values.cpu().split(batch.reply_lengths.tolist())
    return {start + number: np.asarray(piece) for number, piece in zip(batch.order, pieces, strict=True)}
