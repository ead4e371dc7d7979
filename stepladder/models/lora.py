"""Low-rank adapters (LoRA, E. Hu et al., arXiv 2106.09685) in the language model, by peft: its weights stay as they are, and what
is added to them learns."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import Qwen3VLForConditionalGeneration

from stepladder.config import ConfigError

#: The adapters alone, as peft and vLLM load them, in a directory of this name in a checkpoint, whose own weights have them added.
#: They belong to the weights that the training began with, which adapter_config.json names.
ADAPTER_DIRECTORY = "adapter"
_NAME, _MARK, _BASE = "default", ".lora_", ".base_layer."


@dataclass(frozen=True)
class LoraSettings:
    """With a `rank` above 0 a product B A of that rank, scaled by `alpha` / `rank`, is added to each linear layer of the language
    model that `targets` names, and of the model nothing else learns. B is 0 at the start: the model begins as it was."""

    rank: int = 0
    alpha: float = 32.0
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

    def check(self) -> None:
        """Raises ConfigError for what cannot be."""
        if self.rank < 0:
            raise ConfigError(f"lora.rank is {self.rank}; it must be at least 1, or 0 for no adapters")
        if self.rank and not self.alpha > 0:
            raise ConfigError(f"lora.alpha is {self.alpha}; it must be above 0")
        if self.rank and not self.targets:
            raise ConfigError("lora.targets names no layer")


def add_adapters(model: Qwen3VLForConditionalGeneration, settings: LoraSettings, seed: int) -> None:
    """Put adapters into `model`, A drawn from `seed`; nothing with rank 0. Raises ConfigError where no layer has such a name, and
    where peft is not installed."""
    settings.check()
    if not settings.rank:
        return
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ModuleNotFoundError as error:
        raise ConfigError("lora.rank: adapters need peft; pip install 'stepladder[train]' has it") from error
    language_model = model.model.language_model
    known = {name.rsplit(".", 1)[-1] for name, module in language_model.named_modules() if isinstance(module, nn.Linear)}
    unknown = [name for name in settings.targets if name not in known]
    if unknown:
        raise ConfigError(f"lora.targets: the language model has no layer {unknown[0]!r}; there are {', '.join(sorted(known))}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # The vision tower has layers of other names, so that the names alone would do; peft writes the pattern into its file.
        config = LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,
            base_model_name_or_path=model.name_or_path,
            target_modules=rf".*language_model\.layers\..*\.({'|'.join(settings.targets)})$",
        )
        inject_adapter_in_model(config, model, adapter_name=_NAME)


def has_adapters(model: nn.Module) -> bool:
    """Whether `add_adapters` was called on it, with a rank."""
    return any(_MARK in name for name, _ in model.named_parameters())


def is_adapter(name: str) -> bool:
    """Whether a parameter of this name is that of an adapter."""
    return _MARK in name


def learned_state(model: nn.Module) -> dict[str, Tensor]:
    """What training changes: the adapters where there are any, else all weights."""
    state: dict[str, Tensor] = model.state_dict()
    adapters = {name: value for name, value in state.items() if is_adapter(name)}
    return adapters or state


def load_learned(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Take over what `learned_state` gave. Raises RuntimeError for that of another model, or of one with other adapters."""
    missing, unexpected = model.load_state_dict(state, strict=False)
    lacking = [name for name in missing if is_adapter(name) or not has_adapters(model)]
    if lacking or unexpected:
        raise RuntimeError(f"the saved weights are those of another model: {[*lacking, *unexpected][0]}")


@torch.no_grad()
def merged_state(model: Qwen3VLForConditionalGeneration, state: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """The weights of the same model without adapters, which answers alike: W + alpha / rank * B A. `state` is the model's own state
    dict where that has to be gathered first."""
    state = model.state_dict() if state is None else state
    merged = {name.replace(_BASE, "."): value for name, value in state.items() if not is_adapter(name)}
    for name, down in state.items():
        if f"{_MARK}A." in name:
            layer, up = name.split(_MARK)[0], state[name.replace(f"{_MARK}A.", f"{_MARK}B.")]
            weight = merged[f"{layer}.weight"]
            given = model.peft_config[_NAME]
            merged[f"{layer}.weight"] = weight + (given.lora_alpha / given.r * (up.float() @ down.float())).to(weight.dtype)
    return merged


def save_adapters(directory: Path, model: Qwen3VLForConditionalGeneration, state: Mapping[str, Tensor] | None = None) -> None:
    """Write adapter_config.json and adapter_model.safetensors; nothing for a model without adapters. `state` as of
    `merged_state`."""
    if not has_adapters(model):
        return
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    model.peft_config[_NAME].save_pretrained(str(directory))
    state = model.state_dict() if state is None else state
    adapters = {f"base_model.model.{name.replace(f'.{_NAME}.', '.')}": value for name, value in state.items() if is_adapter(name)}
    save_file({name: value.contiguous().cpu() for name, value in adapters.items()}, directory / "adapter_model.safetensors")
