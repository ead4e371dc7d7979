"""A small Qwen3-VL: transformers' own `Qwen3VLForConditionalGeneration` with few, narrow layers and random weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase, Qwen3VLConfig, Qwen3VLForConditionalGeneration


@dataclass(frozen=True)
class SmallModel:
    """Sizes. The vision tower sees patches of `patch` pixels and hands the language model one token for merge x merge patches;
    `screen` is the largest screenshot side in pixels that learned positions are made for."""

    hidden: int = 192
    layers: int = 3
    heads: int = 4
    key_value_heads: int = 4
    vision_hidden: int = 128
    vision_layers: int = 3
    vision_heads: int = 4
    patch: int = 16
    merge: int = 2
    screen: int = 224
    context: int = 4096
    rope_theta: float = 10_000.0


def build_model(sizes: SmallModel, tokenizer: PreTrainedTokenizerBase, seed: int = 0) -> Qwen3VLForConditionalGeneration:
    """A float32 model with random weights drawn from `seed`. Word embeddings are tied to the output layer."""
    head = sizes.hidden // sizes.heads
    third = head // 2 // 3
    ids = tokenizer.convert_tokens_to_ids
    grid = sizes.screen // sizes.patch
    config = Qwen3VLConfig(
        architectures=["Qwen3VLForConditionalGeneration"],
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": sizes.hidden,
            "intermediate_size": 3 * sizes.hidden,
            "num_hidden_layers": sizes.layers,
            "num_attention_heads": sizes.heads,
            "num_key_value_heads": sizes.key_value_heads,
            "head_dim": head,
            "max_position_embeddings": sizes.context,
            "rms_norm_eps": 1e-6,
            "tie_word_embeddings": True,
            "pad_token_id": tokenizer.pad_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": sizes.rope_theta,
                "mrope_section": [head // 2 - 2 * third, third, third],
                "mrope_interleaved": True,
            },
        },
        vision_config={
            "depth": sizes.vision_layers,
            "hidden_size": sizes.vision_hidden,
            "intermediate_size": 4 * sizes.vision_hidden,
            "num_heads": sizes.vision_heads,
            "patch_size": sizes.patch,
            "spatial_merge_size": sizes.merge,
            "temporal_patch_size": 2,
            "out_hidden_size": sizes.hidden,
            "num_position_embeddings": grid * grid,
            "deepstack_visual_indexes": [max(0, sizes.vision_layers // 2 - 1)],
        },
        image_token_id=ids("<|image_pad|>"),
        video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"),
        vision_end_token_id=ids("<|vision_end|>"),
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Qwen3VLForConditionalGeneration = Qwen3VLForConditionalGeneration._from_config(config, attn_implementation="sdpa")
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model


def whiten_patches(model: Qwen3VLForConditionalGeneration, patches: torch.Tensor, seed: int = 0) -> None:
    """Start the patch embedding as a random rotation of the whitened principal components of real patches.

    `patches` float32[N, channels * time * patch * patch] as the processor makes them. Blank patches are left out: they would
    dominate the covariance. Without this start a small vision tower learned to read far more slowly.
    """
    chosen = patches[patches.std(1) > 0.02]
    if len(chosen) < 64:
        raise ValueError(f"whitening needs at least 64 patches with content, got {len(chosen)}")
    generator = torch.Generator().manual_seed(seed)
    chosen = chosen[torch.randperm(len(chosen), generator=generator)[:6000]].float()
    mean = chosen.mean(0)
    _, singular, components = torch.linalg.svd(chosen - mean, full_matrices=False)
    deviation = singular / len(chosen) ** 0.5
    projection = model.model.visual.patch_embed.proj
    width = projection.weight.shape[0]
    kept = min(width, len(components))
    rotation = torch.linalg.qr(torch.randn(width, width, generator=generator))[0][:, :kept]
    weight = rotation @ (components[:kept] / (deviation[:kept, None] + 0.1 * deviation[kept // 4]))
    with torch.no_grad():
        projection.weight.copy_(weight.view_as(projection.weight))
        projection.bias.copy_(-(weight @ mean))
