"""Weights and adapters as files that a server reads: whole or not at all, the newest alone."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from huggingface_hub import save_torch_state_dict
from torch import Tensor
from transformers import Qwen3VLForConditionalGeneration

from stepladder.config import ConfigError
from stepladder.models.lora import has_adapters, merged_state, save_adapters

#: What directories are called; all of them belong to the `WeightFiles` that wrote last.
PREFIX = "stepladder-"
_LARGEST_FILE = "2GB"
_OUTPUT_LAYER, _EMBEDDINGS = "lm_head.weight", "model.language_model.embed_tokens.weight"


class WeightFiles:
    """Directories below `directory`, which nobody else writes to. With `bfloat16` full weights are rounded, to half the size.

    Raises ConfigError where adapters are asked for and `model` has none.
    """

    def __init__(
        self, directory: Path, model: Qwen3VLForConditionalGeneration, what: Literal["lora", "weights"], bfloat16: bool = False
    ) -> None:
        if what == "lora" and not has_adapters(model):
            raise ConfigError("update is 'lora' and the model has no adapters; set lora.rank, or update to 'weights'")
        self._directory, self._model, self._what, self._bfloat16 = directory.resolve(), model, what, bfloat16

    def write(self, weights: Mapping[str, Tensor] | None, version: int) -> Path:
        """A directory of a name that was never used before. `weights` are the model's state dict or its adapters alone; None takes
        what the model has now. Raises OSError."""
        final = self._directory / f"{PREFIX}{version}-{secrets.token_hex(4)}"
        partial = final.with_name(f".{final.name}.partial")
        partial.mkdir(parents=True)
        try:
            if self._what == "lora":
                save_adapters(partial, self._model, weights)
            else:
                self._write_all(partial, weights)
            partial.replace(final)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        return final

    def keep(self, newest: Path | None) -> None:
        """Remove all others."""
        for pattern in (f"{PREFIX}*", f".{PREFIX}*.partial"):
            for one in self._directory.glob(pattern):
                if one != newest:
                    shutil.rmtree(one, ignore_errors=True)

    @torch.no_grad()
    def _write_all(self, directory: Path, weights: Mapping[str, Tensor] | None) -> None:
        """The names are those of a Hugging Face checkpoint. An output layer that is the word embeddings is written all the same:
        vLLM has a copy of it on processors, which would stay as it was."""
        state: dict[str, Tensor] = self._model.state_dict()
        state = merged_state(self._model, {**state, **(weights or {})}) if has_adapters(self._model) else dict(weights or state)
        if _OUTPUT_LAYER not in state or state[_OUTPUT_LAYER].data_ptr() == state[_EMBEDDINGS].data_ptr():
            state[_OUTPUT_LAYER] = state[_EMBEDDINGS].clone()
        if self._bfloat16:
            state = {name: value.to(torch.bfloat16) if value.is_floating_point() else value for name, value in state.items()}
        save_torch_state_dict(state, directory, max_shard_size=_LARGEST_FILE)
        self._model.config.save_pretrained(directory)
