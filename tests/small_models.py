"""A small model, tokenizer and pictures for tests; quick to build, nothing hidden in it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from transformers import Qwen3VLForConditionalGeneration

from stepladder.images import ImageStore
from stepladder.models.processor import ImageTextProcessor, image_processor
from stepladder.models.renderer import Renderer
from stepladder.models.small import SmallModel, build_model
from stepladder.models.tokenizer import build_tokenizer
from stepladder.models.vision import use_batched_vision
from stepladder.train.sample import ROW, Sample
from stepladder.types import ImageRef

SIZES = SmallModel(hidden=48, layers=2, heads=2, key_value_heads=1, vision_hidden=32, vision_layers=2, vision_heads=2, screen=96)
FRAGMENTS = (
    '<tool_call>\n{"name": "computer_use", "arguments": {"action": "',
    '", "coordinate": [',
    "]}}\n</tool_call>",
    "left_click",
)


def with_fields(sample: Sample, **rows: Any) -> Sample:
    """The sample with other values, for every token or for all of them the same, in the rows that are named."""
    fields = sample.fields.copy()
    for name, values in rows.items():
        fields[ROW[name]] = values
    return replace(sample, fields=fields)


def renderer(images: ImageStore | None = None) -> Renderer:
    corpus = ["click the button user assistant system hello world previous actions step"] * 5
    tokenizer = build_tokenizer(corpus, 500, FRAGMENTS)
    return Renderer(ImageTextProcessor(image_processor(), tokenizer, tokenizer.chat_template), images)


def model_for(render: Renderer, seed: int = 0) -> Qwen3VLForConditionalGeneration:
    model = build_model(SIZES, render.processor.tokenizer, seed)
    use_batched_vision(model)
    return model.eval()


def picture(images: ImageStore, seed: int = 0, width: int = 64, height: int = 96) -> ImageRef:
    return images.put_pixels(np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8))
