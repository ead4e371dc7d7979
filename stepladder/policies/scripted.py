"""Policies that do not look: a fixed list of replies, doing nothing, giving up. The last two are baselines for every result."""

from __future__ import annotations

from collections.abc import Sequence

from stepladder.interfaces import Agent
from stepladder.types import Action, Completion, ImageRef, Message, Observation, Prompt, Sampling


class ScriptedPolicy:
    """Answers with `replies` in order, whatever it is asked. Raises IndexError when none is left."""

    def __init__(self, replies: Sequence[str], name: str = "scripted") -> None:
        self.name = name
        self.version = 0
        self._replies = list(replies)
        self._next = 0

    async def generate(self, messages: tuple[Message, ...], sampling: Sampling) -> tuple[Prompt, Completion]:
        if self._next >= len(self._replies):
            raise IndexError(f"the script has {len(self._replies)} replies and was asked for one more")
        reply = self._replies[self._next]
        self._next += 1
        return Prompt(messages), Completion(reply)


class FixedActionPolicy:
    """Says the same action again and again, in the dialect of `agent`."""

    def __init__(self, agent: Agent, action: Action, name: str) -> None:
        self.name = name
        self.version = 0
        self._agent = agent
        self._action = action

    async def generate(self, messages: tuple[Message, ...], sampling: Sampling) -> tuple[Prompt, Completion]:
        return Prompt(messages), Completion(self._agent.format("", self._action, last_observation(messages)))


class IdlePolicy(FixedActionPolicy):
    """Waits a second at every step: what a task gives to an agent that does nothing."""

    def __init__(self, agent: Agent) -> None:
        super().__init__(agent, Action("wait", seconds=1.0), "idle")


class GiveUpPolicy(FixedActionPolicy):
    """Declares every task impossible at once."""

    def __init__(self, agent: Agent) -> None:
        super().__init__(agent, Action("fail"), "give_up")


def last_observation(messages: tuple[Message, ...]) -> Observation:
    """What the last picture of a prompt shows, for `Agent.format`."""
    images: list[ImageRef] = [image for message in messages for image in message.images]
    return Observation(screenshot=images[-1] if images else None)
