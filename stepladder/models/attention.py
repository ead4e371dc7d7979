"""Attention for training in bfloat16 on a CPU.

PyTorch's fused attention is quick forwards, but its bfloat16 backward pass on a CPU takes longer than plain matrix products and a
softmax at the sizes of a small model. So: products in bfloat16 on the CPU, PyTorch's fused kernel for the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import Qwen3VLForConditionalGeneration
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

NAME = "stepladder"


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
    if query.device.type == "cpu" and torch.is_autocast_enabled("cpu"):  # norms and rotations give back float32
        query, key, value = (tensor.to(torch.get_autocast_dtype("cpu")) for tensor in (query, key, value))
    if query.dtype != torch.bfloat16 or query.device.type != "cpu" or query.shape[2] == 1:
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)
    with torch.autocast("cpu", enabled=False):
        scores = torch.matmul(query * scale, key.transpose(-1, -2))
        if mask is not None:
            scores = scores.masked_fill(~mask, -1e4) if mask.dtype == torch.bool else scores + mask
        return torch.matmul(torch.softmax(scores, -1), value)


def use_attention(model: Qwen3VLForConditionalGeneration) -> None:
    """Let the language model of this model use `attend`. Adds one name to transformers' table of attention functions."""
    ALL_ATTENTION_FUNCTIONS.register(NAME, _transformers_attention)
    ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, sdpa_mask)
    model.model.language_model.config._attn_implementation = NAME


def _transformers_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, scaling: float, **unused: Any
) -> tuple[Tensor, None]:
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    watched: Watched | None = getattr(module, "watched", None)
    if watched is not None:
        watched.query, watched.key, watched.scale = query, key, scaling
    if attention_mask is None and query.shape[2] > 1:
        rows, columns = query.shape[2], key.shape[2]
        attention_mask = torch.ones(rows, columns, dtype=torch.bool).tril(columns - rows)[None, None]
    return attend(query, key, value, attention_mask, scaling).transpose(1, 2).contiguous(), None
