"""The vision tower made quick for many screenshots of one size.

Transformers runs the attention of every picture in a Python loop and the patch embedding as a 3-D convolution. When all pictures
of a batch have the same number of patches (an environment's screenshots do) one batched attention call gives the same numbers,
and the convolution, whose stride is its kernel, is a matrix product. Other batches go through transformers' own code.
"""

from __future__ import annotations

import types
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import Qwen3VLForConditionalGeneration
from transformers.models.qwen3_vl.modeling_qwen3_vl import apply_rotary_pos_emb_vision

from stepladder.models.attention import attend


def use_batched_vision(model: Qwen3VLForConditionalGeneration) -> None:
    """Give this model (not the class) the quick paths. The weights and the results stay what they were."""
    tower = model.model.visual
    tower.patch_embed.forward = types.MethodType(_patch_embed, tower.patch_embed)
    for block in tower.blocks:
        block.attn.forward = types.MethodType(_attention, block.attn)


def encode_images(model: Qwen3VLForConditionalGeneration, pixel_values: Tensor, grid: Tensor) -> tuple[Tensor, list[Tensor]]:
    """(visual tokens [V, hidden], the features that DeepStack adds to the first layers, each [V, hidden]) of the pictures
    `pixel_values` float[N, channels * time * patch * patch] with `grid` int64[pictures, 3]."""
    output = model.model.visual(pixel_values.to(model.model.visual.dtype), grid_thw=grid, return_dict=True)
    return output.pooler_output, list(output.deepstack_features)


def _patch_embed(self: Any, hidden_states: Tensor) -> Tensor:
    weight = self.proj.weight
    return F.linear(
        hidden_states.view(hidden_states.shape[0], -1).to(weight.dtype), weight.view(self.embed_dim, -1), self.proj.bias
    )


def _attention(
    self: Any,
    hidden_states: Tensor,
    cu_seqlens: Tensor,
    position_embeddings: tuple[Tensor, Tensor] | None = None,
    max_seqlen: int | None = None,
    **kwargs: Any,
) -> Tensor:
    pictures = cu_seqlens.numel() - 1
    lengths = torch.diff(cu_seqlens)
    if not bool((lengths == lengths[0]).all()):
        return type(self).forward(self, hidden_states, cu_seqlens, position_embeddings, max_seqlen, **kwargs)
    assert position_embeddings is not None
    total = hidden_states.shape[0]
    query, key, value = self.qkv(hidden_states).reshape(total, 3, self.num_heads, -1).permute(1, 0, 2, 3).unbind(0)
    query, key = apply_rotary_pos_emb_vision(query, key, *position_embeddings)

    def per_picture(x: Tensor) -> Tensor:
        return x.reshape(pictures, total // pictures, self.num_heads, -1).transpose(1, 2)

    mixed = attend(per_picture(query), per_picture(key), per_picture(value), None, self.scaling)
    return self.proj(mixed.transpose(1, 2).reshape(total, -1))
