"""One forward pass for the engine and the trainer: embeddings, visual tokens put in their places, the language model.

It calls the submodules of transformers' `Qwen3VLForConditionalGeneration` in the order of its own forward, with the positions, the
attention mask and the picture mask given from outside. So packed rows, shared prefixes and key-value caches all go through here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torch.utils.checkpoint import checkpoint
from transformers import Qwen3VLForConditionalGeneration

from stepladder.models.attention import CAUSAL
from stepladder.models.attention import NAME as ATTENTION
from stepladder.models.renderer import Renderer

Visual = tuple[Tensor, list[Tensor]]
#: Logits that exist at a time, 512 MiB of float32: 883 tokens of Qwen3-VL's vocabulary.
MOST_LOGITS = 1 << 27


def hidden_states(
    model: Qwen3VLForConditionalGeneration,
    tokens: Tensor,
    positions: Tensor,
    mask: Tensor | None,
    visual: Visual | None = None,
    image_mask: Tensor | None = None,
    cache: Any = None,
) -> Tensor:
    """Last hidden states float[B, S, hidden] after the final norm.

    tokens      int64[B, S]
    positions   int64[3, B, S]
    mask        bool[B, 1, S, K] (True: may attend; K = cached + S), or None for plain causal attention
    visual      what `vision.encode_images` gave for the pictures in reading order over the whole batch
    image_mask  bool[B, S], True where a visual token stands. It comes from the recorded spans, not from the ids.
    """
    text = model.model.language_model
    embeddings = text.embed_tokens(tokens)
    deepstack = None
    if visual is not None:
        assert image_mask is not None
        tokens_needed, tokens_given = int(image_mask.sum()), len(visual[0])
        if tokens_needed != tokens_given:
            raise ValueError(f"the batch has places for {tokens_needed} visual tokens, the pictures give {tokens_given}")
        embeddings = embeddings.masked_scatter(image_mask[..., None], visual[0].to(embeddings.dtype))
        deepstack = [feature.to(embeddings.dtype) for feature in visual[1]]
    kind = tokens.device.type
    if mask is not None and torch.is_autocast_enabled(kind):
        dtype = torch.get_autocast_dtype(kind)  # made additive once here, not in every layer
        mask = torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, -1e4)
    if mask is None and cache is not None and text.config._attn_implementation == ATTENTION:
        mask = embeddings.new_empty(CAUSAL)  # otherwise transformers would ask the cache for its sizes, and make a mask
    output = text(
        inputs_embeds=embeddings,
        position_ids=positions,
        attention_mask=mask,
        past_key_values=cache,
        use_cache=cache is not None,
        visual_pos_masks=image_mask if visual is not None else None,
        deepstack_visual_embeds=deepstack,
    )
    states: Tensor = output.last_hidden_state
    return states


def token_logits(
    model: Qwen3VLForConditionalGeneration, states: Tensor, banned: Tensor | None = None, temperature: float = 1.0
) -> Tensor:
    """Logits float32[N, V] (float64 for a float64 model) from hidden states float[N, hidden], divided by the temperature.

    `banned` int64[K] ids have probability 0, as they have when the engine samples.
    """
    logits = model.lm_head(states)
    logits = logits if logits.dtype == torch.float64 else logits.float()
    if banned is not None:
        logits = logits.index_fill(-1, banned, torch.finfo(torch.float32).min)
    return logits if temperature == 1.0 else logits / temperature


def in_pieces(
    model: Qwen3VLForConditionalGeneration, compute: Callable[..., tuple[Tensor, ...]], *rows: Tensor
) -> tuple[Tensor, ...]:
    """`compute(*rows)` for a function that makes logits on its way, row by row of `rows` [N, ...], and gives tensors [N, ...]
    without them. Where the logits of all N would be more than MOST_LOGITS, it is called on pieces, one after the other, and again
    in the backward pass, so that no more exist at any time. An output layer that is divided among ranks is called once all the
    same: ranks with more tokens and with fewer would otherwise wait for each other."""
    count, size = len(rows[0]), max(1, MOST_LOGITS // model.lm_head.out_features)
    if count <= size or isinstance(model.lm_head, FSDPModule):
        return compute(*rows)
    pieces = []
    for start in range(0, count, size):
        piece = [row[start : start + size] for row in rows]
        pieces.append(checkpoint(compute, *piece, use_reentrant=False) if torch.is_grad_enabled() else compute(*piece))
    return tuple(torch.cat(parts) for parts in zip(*pieces, strict=True))


def token_logprobs(
    model: Qwen3VLForConditionalGeneration, states: Tensor, targets: Tensor, banned: Tensor | None = None, temperature: float = 1.0
) -> Tensor:
    """Log-probabilities float32[N] of `targets` int64[N] from hidden states float[N, hidden]; see `token_logits`."""

    def compute(states: Tensor, targets: Tensor) -> tuple[Tensor]:
        return (-F.cross_entropy(token_logits(model, states, banned, temperature), targets, reduction="none"),)

    return in_pieces(model, compute, states, targets)[0]


def banned_ids(model: Qwen3VLForConditionalGeneration, renderer: Renderer) -> Tensor:
    """Ids int64[K] that are never sampled: the renderer's, and rows of the output layer for which the tokenizer has no token."""
    return torch.tensor([*renderer.banned_ids, *range(renderer.vocabulary, model.lm_head.out_features)], dtype=torch.int64)
