"""The language model on one new token of every sequence: what decoding does again and again.

It is the arithmetic of transformers' `Qwen3VLTextModel`, whose submodules hold the weights and are called, adapters too. Left out
is what one token does not need: pictures, masks that must be made, three position axes that differ; and many small steps, which
cost more than the arithmetic where the batch is small.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import Qwen3VLForConditionalGeneration

from stepladder.models.attention import attend_with_one


def next_states(
    model: Qwen3VLForConditionalGeneration, tokens: Tensor, positions: Tensor, mask: Tensor | None, cache: Any
) -> Tensor:
    """Last hidden states float[B, hidden] after the final norm, of `tokens` int64[B] at `positions` int64[B].

    mask    float[B, 1, 1, K] that is added to the scores of the K columns which `cache.append(key, value, layer)` gives back, or
            None where each sequence may attend to all of them. Keys and values there are [B, key heads, 1, head].
    """
    text = model.model.language_model
    states = text.embed_tokens(tokens)
    cosine, sine = _rotation(text.rotary_emb, states, positions)
    for layer in text.layers:
        states = states + _attend(layer.self_attn, _norm(layer.input_layernorm, states), cosine, sine, mask, cache)
        normed, mlp = _norm(layer.post_attention_layernorm, states), layer.mlp
        states = states + mlp.down_proj(mlp.act_fn(mlp.gate_proj(normed)) * mlp.up_proj(normed))
    return _norm(text.norm, states)


def _rotation(rotary: nn.Module, states: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines [B, 1, head], those of the first half of the sines negative, so that a half's turn to the side and two
    products rotate. A token of text has the same position on all three axes."""
    cosine, sine = rotary(states, positions.expand(3, 1, -1))
    half = sine.shape[-1] // 2
    return cosine[0, :, None], torch.cat([-sine[0, :, None, :half], sine[0, :, None, half:]], -1)


def _attend(attention: Any, states: Tensor, cosine: Tensor, sine: Tensor, mask: Tensor | None, cache: Any) -> Tensor:
    batch, head = len(states), attention.head_dim
    query = _norm(attention.q_norm, attention.q_proj(states).view(batch, -1, head))
    key = _norm(attention.k_norm, attention.k_proj(states).view(batch, -1, head))
    query, key = _rotate(query, cosine, sine), _rotate(key, cosine, sine)
    value = attention.v_proj(states).view(batch, -1, 1, head)
    keys, values = cache.append(key[:, :, None], value, attention.layer_idx)
    mixed = attend_with_one(query[:, :, None], keys, values, mask, attention.scaling)
    output: Tensor = attention.o_proj(mixed.reshape(batch, -1))
    return output


def _rotate(heads: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    return torch.addcmul(heads * cosine, heads.roll(heads.shape[-1] // 2, -1), sine)


def _norm(norm: Any, states: Tensor) -> Tensor:
    """x / sqrt(mean(x^2) + epsilon) * weight (RMSNorm, B. Zhang and R. Sennrich, arXiv 1910.07467, equation 4) in half of the
    module's steps. Half precision is left to the module, which rounds before it multiplies with the weight."""
    if states.dtype != torch.float32 or norm.weight.dtype != torch.float32:
        output: Tensor = norm(states)
        return output
    length = torch.linalg.vector_norm(states, dim=-1, keepdim=True)
    scale = (length * length).mul_(1 / states.shape[-1]).add_(norm.variance_epsilon).rsqrt_()
    return (states * scale).mul_(norm.weight)
