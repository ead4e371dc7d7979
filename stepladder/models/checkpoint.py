"""Ordinary Hugging Face checkpoint directories: ours and published ones go through the same two functions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from transformers import Qwen3VLForConditionalGeneration

from stepladder.models.lora import ADAPTER_DIRECTORY, has_adapters, merged_state, save_adapters
from stepladder.models.processor import ImageTextProcessor, load_processor
from stepladder.models.vision import use_batched_vision


def save_checkpoint(
    directory: Path | str,
    model: Qwen3VLForConditionalGeneration,
    processor: ImageTextProcessor,
    state: Mapping[str, Tensor] | None = None,
) -> None:
    """Write config, safetensors, tokenizer, chat template and preprocessor_config.json. Adapters are added to the weights; alone
    they are in the directory `adapter`. `state` is the model's state dict where that is divided among ranks and was gathered."""
    if has_adapters(model):
        model.save_pretrained(directory, state_dict=merged_state(model, state))
        save_adapters(Path(directory) / ADAPTER_DIRECTORY, model, state)
    else:
        model.save_pretrained(directory, state_dict=None if state is None else dict(state))
    processor.tokenizer.save_pretrained(directory)
    processor.image_processor.save_pretrained(directory)


def load_checkpoint(
    directory: Path | str, dtype: torch.dtype = torch.float32, device: str = "cpu"
) -> tuple[Qwen3VLForConditionalGeneration, ImageTextProcessor]:
    """Model (in evaluation mode) and processor. Raises FileNotFoundError that says what is missing in `directory`."""
    path = Path(directory)
    if path.exists():
        missing = [name for name in ("config.json", "tokenizer.json", "preprocessor_config.json") if not (path / name).exists()]
        if missing:
            raise FileNotFoundError(f"{path} is no checkpoint directory: it lacks {', '.join(missing)}")
    model = Qwen3VLForConditionalGeneration.from_pretrained(directory, dtype=dtype, attn_implementation="sdpa").to(device)
    use_batched_vision(model)
    return model.eval(), load_processor(directory)
