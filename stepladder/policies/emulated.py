"""Emulated fine-tuning: a large model decodes as if it had been fine-tuned as a small one was, token by token.

    log p(y) = log p_large(y) + scale (log p_tuned(y) - log p_small(y)) - log Z

`small` is the model before and `tuned` after fine-tuning, and Z makes the probabilities of the next token sum to 1. With `scale` 0
it is the large model itself, and where large and small are the same model, 1 gives the tuned one. The large model brings its
knowledge and the small pair the behaviour (up-scaling); with a small `large` and a large pair it is down-scaling.

Source: E. Mitchell et al., An Emulator for Fine-Tuning Large Language Models using Small Language Models, arXiv 2310.12962,
section 3. The scale is 1 there; another one moves along the direction of the fine-tuning, as in proxy tuning (arXiv 2401.08565).
Temperature and top-p of sampling apply to the distribution above, and its log-probabilities are the ones that are recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from transformers import Qwen3VLForConditionalGeneration

from stepladder.models.renderer import Renderer
from stepladder.policies.decoder import Decoder, Reply


def emulated_logprobs(large: Tensor, tuned: Tensor, small: Tensor, scale: float = 1.0) -> Tensor:
    """log p float[B, V] of the next token from the logits float[B, V] of three models. A vocabulary may be padded: rows beyond
    those that all models have are the large model's alone."""
    shared = min(large.shape[-1], tuned.shape[-1], small.shape[-1])
    mixed = large.float().log_softmax(-1)
    learned = tuned[..., :shared].float().log_softmax(-1) - small[..., :shared].float().log_softmax(-1)
    mixed[..., :shared] += scale * learned
    return mixed.log_softmax(-1)


class EmulatedDecoder(Decoder):
    """A `Decoder` of the large model whose tokens are chosen with those of the two others in mind. Each of the three reads every
    prompt and every token once, with keys and values of its own. `decoder` are the keywords of `Decoder`.

    Raises ValueError for a scale that is no number from 0 on."""

    def __init__(
        self,
        model: Qwen3VLForConditionalGeneration,
        renderer: Renderer,
        *,
        tuned: Qwen3VLForConditionalGeneration,
        small: Qwen3VLForConditionalGeneration,
        scale: float = 1.0,
        **decoder: Any,
    ) -> None:
        if not 0 <= scale < float("inf"):
            raise ValueError(f"scale is {scale}; it must be a number from 0 on")
        super().__init__(model, renderer, **decoder)
        self._scale = scale
        self._others = [_Follower(other.eval(), renderer, **decoder) for other in (tuned, small)]

    def drop(self, reply: Reply) -> None:
        for other in self._others:
            other.leave(reply)
        super().drop(reply)

    def forget(self) -> None:
        for other in self._others:
            other.forget()
        super().forget()

    def _logits(self, states: Tensor, replies: Sequence[Reply]) -> Tensor:
        large = super()._logits(states, replies)
        tuned, small = (other.follow(replies).to(large.device) for other in self._others)
        return emulated_logprobs(large, tuned, small, self._scale)


class _Follower(Decoder):
    """Reads what another decoder samples, and says what it would have said next."""

    def __init__(self, model: Qwen3VLForConditionalGeneration, renderer: Renderer, **decoder: Any) -> None:
        super().__init__(model, renderer, **decoder)
        self._own: dict[Reply, Reply] = {}
        self._said: dict[Reply, Tensor] = {}

    def follow(self, replies: Sequence[Reply]) -> Tensor:
        """Logits float[B, V] of the next token of each; either all of them are new, or all that are known have one token more."""
        new = [reply for reply in replies if reply not in self._own]
        for reply in new:
            self._own[reply] = replace(reply, tokens=[], logprobs=[], entropies=[], on_token=None)
        for reply in replies:
            self._own[reply].tokens[:] = reply.tokens
        if new:
            self.start([self._own[reply] for reply in new])
        else:
            self.step()
        return torch.stack([self._said[self._own[reply]] for reply in replies])

    def leave(self, reply: Reply) -> None:
        """Stop following a reply; what was read and written of one that is complete is kept for the next turn's prompt."""
        own = self._own.pop(reply, None)
        if own is not None and own in self.replies:
            if reply.finish is not None and own.one_version:
                own.tokens[:] = reply.tokens
                self._keep(own)
            self.drop(own)
            self._said.pop(own, None)

    def forget(self) -> None:
        self._own.clear()
        self._said.clear()
        super().forget()

    def _sample(self, states: Tensor, replies: Sequence[Reply]) -> None:
        self._said |= dict(zip(replies, self._logits(states, replies), strict=True))
