"""A model of this run as a policy: an engine answers, in this process or at a server."""

from __future__ import annotations

from typing import Protocol

from stepladder.models.renderer import Renderer
from stepladder.types import Completion, Message, Prompt, Sampling


class Answering(Protocol):
    """What a policy needs of an engine: `policies.engine.Engine`, `policies.served_engine.ServedEngine`."""

    renderer: Renderer
    version: int

    async def generate(self, prompt: Prompt, sampling: Sampling) -> Completion:
        """The sampled reply to a prompt that was rendered."""


class LocalPolicy:
    """Renders messages with the engine's renderer and lets the engine answer. `version` is that of the engine's weights."""

    def __init__(self, engine: Answering, name: str = "local") -> None:
        self.engine = engine
        self.name = name

    @property
    def version(self) -> int:
        return self.engine.version

    async def generate(self, messages: tuple[Message, ...], sampling: Sampling) -> tuple[Prompt, Completion]:
        """Raises ContextFull when the prompt is longer than the model can read."""
        prompt = self.engine.renderer.render(messages)
        return prompt, await self.engine.generate(prompt, sampling)
