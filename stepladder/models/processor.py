"""Qwen3-VL's processor without torchvision and without video.

Transformers' `Qwen3VLProcessor` insists on a video processor, which insists on torchvision. `ImageTextProcessor` is the same class
with the video part left out; it loads from, and saves to, an ordinary checkpoint directory.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase, Qwen3VLProcessor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.processing_utils import ProcessorMixin

IMAGE_TOKEN = "<|image_pad|>"
VIDEO_TOKEN = "<|video_pad|>"


class ImageTextProcessor(Qwen3VLProcessor):
    """`processor(text=[...], images=[...])` and `apply_chat_template`, as of Qwen3-VL, for pictures only."""

    @classmethod
    def get_attributes(cls) -> list[str]:
        return ["image_processor", "tokenizer"]

    def __init__(
        self,
        image_processor: Qwen2VLImageProcessorPil | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        chat_template: str | None = None,
        **unused: Any,
    ) -> None:
        if tokenizer is None:
            raise ValueError("ImageTextProcessor needs a tokenizer")
        self.image_token, self.video_token = IMAGE_TOKEN, VIDEO_TOKEN
        self.vision_start_token, self.vision_end_token = "<|vision_start|>", "<|vision_end|>"
        ids = tokenizer.convert_tokens_to_ids
        self.image_token_id, self.video_token_id = ids(IMAGE_TOKEN), ids(VIDEO_TOKEN)
        self.vision_start_token_id, self.vision_end_token_id = ids("<|vision_start|>"), ids("<|vision_end|>")
        self.video_processor = None
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template or tokenizer.chat_template)


def image_processor(patch: int = 16, merge: int = 2, max_pixels: int = 16384 * 1024) -> Qwen2VLImageProcessorPil:
    """Qwen3-VL's picture preprocessing on Pillow: sides rounded to multiples of patch * merge, values in [-1, 1]."""
    return Qwen2VLImageProcessorPil(
        patch_size=patch,
        merge_size=merge,
        temporal_patch_size=2,
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
        size={"shortest_edge": (patch * merge) ** 2, "longest_edge": max_pixels},
    )


def load_processor(directory: Path | str) -> ImageTextProcessor:
    """The processor of a checkpoint directory (one of ours or a published Qwen3-VL)."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(directory)
    return ImageTextProcessor(Qwen2VLImageProcessorPil.from_pretrained(directory), tokenizer, tokenizer.chat_template)
