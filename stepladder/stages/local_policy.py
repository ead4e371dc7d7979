"""A checkpoint directory as a policy in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stepladder.agents.qwen_vl import QwenVLAgent
from stepladder.images import ImageStore
from stepladder.models.checkpoint import load_checkpoint
from stepladder.models.renderer import Renderer
from stepladder.policies.engine import Engine
from stepladder.policies.local import LocalPolicy
from stepladder.stages.agent_options import AgentOptions


@contextmanager
def open_checkpoint(directory: Path, images: ImageStore, name: str) -> Iterator[tuple[LocalPolicy, QwenVLAgent]]:
    """The policy, called `name`, and the agent that the checkpoint was trained with. Raises FileNotFoundError, ValueError."""
    model, processor = load_checkpoint(directory)
    engine = Engine(model, Renderer(processor, images))
    try:
        yield LocalPolicy(engine, name), AgentOptions.of_checkpoint(directory).build()
    finally:
        engine.close()
