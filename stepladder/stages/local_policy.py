"""A checkpoint directory as a policy in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen3VLForConditionalGeneration

from stepladder.config import ConfigError
from stepladder.images import ImageStore
from stepladder.interfaces import Agent
from stepladder.models.attention import use_attention
from stepladder.models.checkpoint import load_checkpoint
from stepladder.models.renderer import Renderer
from stepladder.policies.engine import Engine
from stepladder.policies.local import LocalPolicy
from stepladder.stages.agent_options import AgentOptions
from stepladder.train.devices import AUTOMATIC, check_device, device_of
from stepladder.types import IntArray


def load_policy(
    directory: Path, images: ImageStore, device: torch.device | str = "cpu"
) -> tuple[Qwen3VLForConditionalGeneration, Renderer]:
    """Model, on `device` and with the attention that is quick there, and renderer of a checkpoint. Raises ConfigError for a
    directory that holds no whole checkpoint."""
    try:
        model, processor = load_checkpoint(directory, device=str(device))
    except FileNotFoundError as error:
        raise ConfigError(str(error)) from error
    use_attention(model)
    return model, Renderer(processor, images)


@dataclass(frozen=True)
class EngineSettings:
    """What bounds the memory of an engine here: `max_batch` replies that are written at a time (others wait), `prefill_tokens`
    tokens of prompts in one pass, `prefix_tokens` tokens whose keys and values are kept for prompts that begin with them, and
    `picture_tokens` visual tokens that are kept."""

    max_batch: int = 64
    prefill_tokens: int = 16384
    prefix_tokens: int = 32768
    picture_tokens: int = 65536

    def check(self) -> None:
        """Raises ConfigError for what cannot be."""
        for name, least in (("max_batch", 1), ("prefill_tokens", 1), ("prefix_tokens", 0), ("picture_tokens", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"engine.{name} is {getattr(self, name)}; it must be at least {least}")

    def options(self, environments: int) -> dict[str, Any]:
        """Keywords of an `Engine` that plays so many episodes at a time."""
        return {**asdict(self), **kept_prompts(environments)}


def kept_prompts(environments: int) -> dict[str, Any]:
    """Options of an `Engine` that plays so many episodes at a time. Those that are played one after another are to be the same to
    the bit whatever was played before them: what is read anew and what was kept of an earlier prompt differ in their last bits."""
    return {"prefix_tokens": 0} if environments == 1 else {}


def check_vocabulary(directory: Path, renderer: Renderer, reply: IntArray, prompt: IntArray | None, key: str) -> None:
    """Raises ConfigError where the ids int32[C] and int32[P] of a recorded reply and its prompt are not all in the vocabulary of
    the checkpoint in `directory`; `key` says which reply."""
    largest = max(int(reply.max(initial=0)), 0 if prompt is None else int(prompt.max(initial=0)))
    if largest >= renderer.vocabulary:
        raise ConfigError(
            f"checkpoint: {directory} has {renderer.vocabulary} ids and {key} has id {largest}: "
            "the episodes are those of another vocabulary"
        )


@contextmanager
def open_checkpoint(
    directory: Path, images: ImageStore, name: str, agent: Agent | None = None, device: str = AUTOMATIC
) -> Iterator[tuple[LocalPolicy, Agent]]:
    """The policy, called `name`, and its agent: `agent`, or the one that the checkpoint was trained with. `device` as of
    `train.devices`.

    Raises ConfigError for a directory that holds no whole checkpoint, and for a device that is not there.
    """
    check_device(device)
    engine = Engine(*load_policy(directory, images, device_of(device)))
    try:
        yield LocalPolicy(engine, name), AgentOptions.of_checkpoint(directory).build() if agent is None else agent
    finally:
        engine.close()
