"""Random clicks: what a task gives to chance."""

from __future__ import annotations

import random
import re

from stepladder.interfaces import Agent
from stepladder.policies.scripted import last_observation
from stepladder.types import Action, Completion, Message, Prompt, Sampling

_WORD = re.compile(r"[^\s\"'“”.,:;!?()\[\]]+")


class RandomPolicy:
    """Clicks anywhere with equal probability, in the dialect of `agent`.

    With probability `typing` it types a word of the text it was shown instead. Where no picture is shown there is nothing to click
    on, and it answers with one of these words. The choice depends on `Sampling.seed` alone when that is set, otherwise on a
    generator that starts from `seed`. Raises ValueError when `typing` is no probability.
    """

    name = "random"

    def __init__(self, agent: Agent, seed: int = 0, typing: float = 0.0) -> None:
        if not 0.0 <= typing <= 1.0:
            raise ValueError(f"typing is {typing}; it must be a probability in 0..1")
        self.version = 0
        self._agent = agent
        self._typing = typing
        self._generator = random.Random(seed)

    async def generate(self, messages: tuple[Message, ...], sampling: Sampling) -> tuple[Prompt, Completion]:
        generator = self._generator if sampling.seed is None else random.Random(sampling.seed)
        observation = last_observation(messages)
        words = _WORD.findall(next((message.text for message in messages if message.role == "user"), ""))
        if observation.screenshot is None:
            action = Action("done", text=generator.choice(words) if words else "")
        elif words and generator.random() < self._typing:
            action = Action("type", text=generator.choice(words))
        else:
            x = generator.uniform(0, observation.screenshot.width - 1)
            action = Action("click", x, generator.uniform(0, observation.screenshot.height - 1))
        return Prompt(messages), Completion(self._agent.format("", action, observation))
