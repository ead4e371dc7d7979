"""Qwen3-VL at its published sizes with random weights, and what it costs to compute, for `bench/gpu.py`.

Floating point operations, of which a multiplication and an addition are two. Forwards, a token through a matrix [m, n] takes 2 m n,
so a token through N weights takes 2 N; for one query, attention with K keys takes 4 K (query heads x head size). Counted are

- the language model: every token of prompt and reply through all layers, and as many pairs of query and key as are not masked;
- the output layer: only the tokens that are predicted;
- the vision tower: every patch through all layers, patches of one picture with each other, and the mergers.

Embeddings, norms, rotations and softmax are left out. Backwards, what learns costs twice as much again (6 N a token in all), what
is frozen nothing: it stands below everything that learns. What is computed a second time to save memory is not counted. So the
model FLOP utilisation is (these operations) / (seconds x peak of the device).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

from stepladder.models.attention import use_attention
from stepladder.models.renderer import Renderer
from stepladder.models.vision import use_batched_vision
from stepladder.train.sample import Sample
from stepladder.types import Prompt

#: Numbers of one patch: colours, pictures in time, rows and columns.
PATCH = 3 * 2 * 16 * 16


@dataclass(frozen=True)
class Shape:
    """Sizes of a model and of what it is shown: prompts with `screenshots` pictures of `screen` (width, height) pixels, and replies
    of `reply` tokens."""

    hidden: int
    layers: int
    heads: int
    key_value_heads: int
    head: int
    inner: int
    vocabulary: int
    tied: bool
    vision_hidden: int
    vision_layers: int
    vision_heads: int
    vision_inner: int
    deepstack: tuple[int, ...]
    positions: int = 48 * 48
    screen: tuple[int, int] = (1920, 1080)
    screenshots: int = 4
    reply: int = 64


SHAPES = {
    "2b": Shape(2048, 28, 16, 8, 128, 6144, 151936, True, 1024, 24, 16, 4096, (5, 11, 17)),
    "8b": Shape(4096, 36, 32, 8, 128, 12288, 151936, False, 1152, 27, 16, 4304, (8, 16, 24)),
    "small": Shape(128, 4, 4, 2, 32, 384, 4096, False, 64, 3, 4, 256, (0, 1), 64, (192, 128), 2, 6),
}


def build(shape: Shape, renderer: Renderer, dtype: torch.dtype, device: torch.device) -> Qwen3VLForConditionalGeneration:
    """The model with random weights, made where it will stand. The ids of its special tokens are those of the renderer."""
    half = shape.head // 2
    third = 5 * half // 16
    ids = renderer.processor.tokenizer.convert_tokens_to_ids
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": shape.vocabulary,
            "hidden_size": shape.hidden,
            "intermediate_size": shape.inner,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads,
            "num_key_value_heads": shape.key_value_heads,
            "head_dim": shape.head,
            "max_position_embeddings": 262144,
            "tie_word_embeddings": shape.tied,
            "pad_token_id": renderer.pad_id,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 5e6,
                "mrope_section": [half - 2 * third, third, third],
                "mrope_interleaved": True,
            },
        },
        vision_config={
            "depth": shape.vision_layers,
            "hidden_size": shape.vision_hidden,
            "intermediate_size": shape.vision_inner,
            "num_heads": shape.vision_heads,
            "out_hidden_size": shape.hidden,
            "num_position_embeddings": shape.positions,
            "deepstack_visual_indexes": list(shape.deepstack),
        },
        image_token_id=renderer.image_id,
        video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"),
        vision_end_token_id=ids("<|vision_end|>"),
        tie_word_embeddings=shape.tied,
    )
    torch.manual_seed(0)
    with device:
        model: Qwen3VLForConditionalGeneration = Qwen3VLForConditionalGeneration._from_config(
            config, dtype=dtype, attn_implementation="sdpa"
        )
    model.generation_config.eos_token_id = None  # no reply ends early
    model.generation_config.pad_token_id = renderer.pad_id
    ours(model)
    return model.eval()


def ours(model: Qwen3VLForConditionalGeneration) -> None:
    """Give the model the vision tower and the attention of Stepladder."""
    use_batched_vision(model)
    use_attention(model)


def as_transformers(model: Qwen3VLForConditionalGeneration) -> None:
    """Give the model transformers' own code again."""
    tower = model.model.visual
    for module in (tower.patch_embed, *(block.attn for block in tower.blocks)):
        module.__dict__.pop("forward", None)
    model.model.language_model.config._attn_implementation = "sdpa"


@dataclass(frozen=True)
class Learns:
    """What learns: the `last` layers of the language model, all of it with its embeddings, and the vision tower where `vision`."""

    last: int
    vision: bool


@dataclass(frozen=True)
class Work:
    """What a pass computes: `tokens` of the language model, `pairs` of query and key, `predicted` tokens, and the patches of
    each picture."""

    tokens: int
    pairs: int
    predicted: int
    pictures: tuple[int, ...]

    def __add__(self, other: Work) -> Work:
        return Work(
            self.tokens + other.tokens,
            self.pairs + other.pairs,
            self.predicted + other.predicted,
            self.pictures + other.pictures,
        )


def work_of_prompt(renderer: Renderer, prompt: Prompt, known: int = 0) -> Work:
    """Reading it, except its first `known` tokens, and predicting one token."""
    assert prompt.tokens is not None
    length = len(prompt.tokens)
    return Work(length - known, (length * (length + 1) - known * (known + 1)) // 2, 1, _patches(renderer, prompt.images))


def work_of_sample(renderer: Renderer, sample: Sample) -> Work:
    """A trunk of T tokens, and branches that see it and themselves."""
    trunk = int((sample.segments == 0).sum())
    pairs = trunk * (trunk + 1) // 2
    for segment in range(1, int(sample.segments.max()) + 1):
        length = int((sample.segments == segment).sum())
        pairs += length * trunk + length * (length + 1) // 2
    return Work(len(sample), pairs, int(sample.trained.sum()), _patches(renderer, sample.images))


def _patches(renderer: Renderer, images: Sequence[object]) -> tuple[int, ...]:
    return tuple(int(renderer.visual_tokens(image)) * renderer.merge**2 for image in images)  # type: ignore[arg-type]


def operations(shape: Shape, work: Work, learns: Learns | None = None) -> float:
    """Floating point operations of a forward pass; with `learns` of the backward pass too."""
    attention, width = shape.heads * shape.head, shape.hidden
    matrices = 2 * width * attention + 2 * width * shape.key_value_heads * shape.head + 3 * width * shape.inner
    layer = 2.0 * matrices * work.tokens + 4 * attention * work.pairs
    output = 2.0 * width * shape.vocabulary * work.predicted
    vision = _vision(shape, work.pictures)
    forward = shape.layers * layer + output + vision
    if learns is None:
        return forward
    return forward + 2 * (learns.last * layer + output + (vision if learns.vision else 0.0))


def _vision(shape: Shape, pictures: Sequence[int]) -> float:
    width, patches = shape.vision_hidden, sum(pictures)
    layer = 2.0 * (4 * width * width + 2 * width * shape.vision_inner) * patches + 4 * width * sum(count**2 for count in pictures)
    # four patches become one token; once at the end, once for every layer of DeepStack
    merger = 2.0 * (4 * width * 4 * width + 4 * width * shape.hidden) * patches / 4
    return shape.vision_layers * layer + 2.0 * width * PATCH * patches + (1 + len(shape.deepstack)) * merger
