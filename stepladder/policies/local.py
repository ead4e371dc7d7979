"""A model in this process as a policy."""

from __future__ import annotations

from stepladder.policies.engine import Engine
from stepladder.types import Completion, Message, Prompt, Sampling


class LocalPolicy:
    """Renders messages with the engine's renderer and lets the engine answer. `version` is that of the engine's weights."""

    def __init__(self, engine: Engine, name: str = "local") -> None:
        self.engine = engine
        self.name = name

    @property
    def version(self) -> int:
        return self.engine.version

    async def generate(self, messages: tuple[Message, ...], sampling: Sampling) -> tuple[Prompt, Completion]:
        """Raises ContextFull when the prompt is longer than the model can read."""
        prompt = self.engine.renderer.render(messages)
        return prompt, await self.engine.generate(prompt, sampling)
