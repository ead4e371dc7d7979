"""Attention that takes the quickest way on each kind of machine.

PyTorch's fused attention is quick forwards, but its bfloat16 backward pass on a CPU takes longer than plain matrix products and a
softmax at the sizes of a small model. So: products in bfloat16 on the CPU, PyTorch's fused kernels for the rest. Of those the flash
kernels take no mask, so causal attention without gaps is said and not masked, and the keys of several query heads are repeated for
them only where a kernel needs it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention.bias import causal_lower_right
from transformers import Qwen3VLForConditionalGeneration
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

NAME = "stepladder"
#: The shape of a mask that hides nothing but what is later. Transformers hands masks of four dimensions on as they are.
CAUSAL = (1, 1, 0, 0)


@dataclass
class Watched:
    """What the last forward pass through a watched layer attended with: queries and keys [B, heads, S, head], after the rotation,
    keys repeated for every query head; and the scale of their products."""

    query: Tensor | None = None
    key: Tensor | None = None
    scale: float = 1.0


@contextmanager
def watch(model: Qwen3VLForConditionalGeneration, layer: int = -1) -> Iterator[Watched]:
    """Keep the queries and keys of one layer of the language model, of a model that `use_attention` was called on."""
    module = model.model.language_model.layers[layer].self_attn
    module.watched = Watched()
    try:
        yield module.watched
    finally:
        del module.watched


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """softmax(scale * query key^T + mask) value for [B, heads, S, head] tensors; `mask` bool or additive, [B or 1, 1, S, K]."""
    query, key, value = _in_autocast(query, key, value)
    if query.dtype != torch.bfloat16 or query.device.type != "cpu" or query.shape[2] == 1:
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)
    with torch.autocast("cpu", enabled=False):
        scores = torch.matmul(query * scale, key.transpose(-1, -2))
        if mask is not None:
            scores = scores.masked_fill(~mask, -1e4) if mask.dtype == torch.bool else scores + mask
        return torch.matmul(torch.softmax(scores, -1), value)


def attend_causally(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """`attend` for query [B, heads, S, head] and the keys and values [B, key heads, K, head] of the K tokens that end with the
    queries' own, without a mask: query s attends to the first K - S + s + 1 of them."""
    rows, columns = query.shape[2], key.shape[2]
    if query.device.type == "cpu":
        mask = torch.ones(rows, columns, dtype=torch.bool).tril(columns - rows)[None, None]
        return attend(query, *_for_every_head(query, key, value), mask, scale)
    query, key, value = _in_autocast(query, key, value)
    bias = causal_lower_right(rows, columns)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=scale, enable_gqa=query.shape[1] > key.shape[1])


def attend_with_one(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """`attend` for one query [B, heads, 1, head] a sequence and keys and values [B, key heads, K, head], which are read once for
    all query heads that share them; `mask` [B or 1, 1, 1, K]."""
    batch, heads, _, size = query.shape
    together = query.reshape(batch, key.shape[1], heads // key.shape[1], size)
    return attend(together, key, value, mask, scale).reshape(batch, heads, 1, size)


def _in_autocast(*tensors: Tensor) -> tuple[Tensor, ...]:
    """In the type of autocast where it is on: norms and rotations give back float32."""
    kind = tensors[0].device.type
    if not torch.is_autocast_enabled(kind):
        return tensors
    return tuple(tensor.to(torch.get_autocast_dtype(kind)) for tensor in tensors)


def _for_every_head(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    groups = query.shape[1] // key.shape[1]
    return (key, value) if groups == 1 else (key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1))


def use_attention(model: Qwen3VLForConditionalGeneration) -> None:
    """Let the language model of this model use `attend`. Adds one name to transformers' table of attention functions."""
    ALL_ATTENTION_FUNCTIONS.register(NAME, _transformers_attention)
    ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, sdpa_mask)
    model.model.language_model.config._attn_implementation = NAME


def _transformers_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, scaling: float, **unused: Any
) -> tuple[Tensor, None]:
    watched: Watched | None = getattr(module, "watched", None)
    if watched is not None:
        watched.query, watched.key, watched.scale = query, _for_every_head(query, key, value)[0], scaling
    if query.shape[2] == 1:
        mixed = attend_with_one(query, key, value, attention_mask, scaling)
    elif attention_mask is None or not attention_mask.numel():
        mixed = attend_causally(query, key, value, scaling)
    else:
        mixed = attend(query, *_for_every_head(query, key, value), attention_mask, scaling)
    return mixed.transpose(1, 2).contiguous(), None
