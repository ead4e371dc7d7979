"""Replies that hold several actions: some dialects (UI-TARS, OpenAI's batches) allow them, most have one.

An agent of such a dialect has, beside `parse` and `format`, two more methods:

    parse_several(text, observation) -> (thought, actions)      at least one action; raises ParseError alone
    format_several(thought, actions, observation) -> text       raises ValueError for what cannot be said

Its `parse` takes replies with one action only. Everybody who reads or writes a reply does so with the functions here.

An agent whose replies end the episode by calling nothing says so by one more method, because such a reply may also be the beginning
of one that was cut off:

    calls_nothing(text) -> whether a reply that can be read has no call
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from stepladder.agents.tool_call import split_thought
from stepladder.interfaces import Agent, ParseError
from stepladder.types import Action, Completion, Observation, Step

#: What is said of a reply that a policy did not bring to its end.
_CUT_OFF = {"length": "the reply was cut off at its limit of tokens", "abort": "the reply was broken off"}


class SeveralActionsAgent(ABC):
    """`parse` and `format` of an agent whose replies may hold several actions."""

    def parse(self, text: str, observation: Observation) -> tuple[str, Action]:
        """(thought, action) of a reply that holds one action. Raises ParseError and nothing else."""
        return one_action(*self.parse_several(text, observation))

    @abstractmethod
    def parse_several(self, text: str, observation: Observation) -> tuple[str, tuple[Action, ...]]:
        """(thought, actions) of a reply. Raises ParseError and nothing else."""

    def format(self, thought: str, action: Action, observation: Observation) -> str:
        """The reply that says `action`. Raises ValueError for an action or a thought that cannot be written in this dialect."""
        return self.format_several(thought, (action,), observation)

    @abstractmethod
    def format_several(self, thought: str, actions: Sequence[Action], observation: Observation) -> str:
        """The reply that says `actions` in order. Raises ValueError as `format` does, and for several that would be read back as
        others."""


def read_reply(agent: Agent, text: str, observation: Observation) -> tuple[str, tuple[Action, ...]]:
    """(thought, actions in order) of a reply. Raises ParseError."""
    parse_several = getattr(agent, "parse_several", None)
    if parse_several is not None:
        thought, actions = parse_several(text, observation)
        return thought, tuple(actions)
    thought, action = agent.parse(text, observation)
    return thought, (action,)


def read_completion(agent: Agent, completion: Completion, observation: Observation) -> tuple[str, tuple[Action, ...]]:
    """As `read_reply`, for a reply as it comes from a policy. One that was cut off is not taken for an end because it calls
    nothing. Raises ParseError, which says so where the reply was cut off."""
    cut = _CUT_OFF.get(completion.finish)
    try:
        thought, actions = read_reply(agent, completion.text, observation)
    except ParseError as error:
        raise (error if cut is None else ParseError(f"{cut}: {error}", error.position)) from None
    calls_nothing = getattr(agent, "calls_nothing", None)
    if cut is not None and calls_nothing is not None and calls_nothing(completion.text):
        raise ParseError(f"{cut} before it called a tool", len(completion.text))
    return thought, actions


def write_reply(agent: Agent, thought: str, actions: Sequence[Action], observation: Observation) -> str:
    """The reply that says `actions`. Raises ValueError for what the dialect cannot say."""
    if len(actions) == 1:
        return agent.format(thought, actions[0], observation)
    format_several = getattr(agent, "format_several", None)
    if format_several is None or not actions:
        raise ValueError(f"a reply of {agent.name} says one action, and not {len(actions)}")
    said: str = format_several(thought, tuple(actions), observation)
    return said


def write_past(agent: Agent, step: Step) -> str:
    """The reply that says what was done in `step`; empty for a step whose reply was no action. Raises ValueError for what the
    dialect cannot say."""
    return write_reply(agent, step.thought, step.actions, step.observation) if step.actions else ""


def thought_length(agent: Agent, step: Step) -> int:
    """How many characters of the reply that says `step` are reasoning: the lines before its "Action:" line and its action. Raises
    ValueError for what the dialect cannot say."""
    reply = write_reply(agent, step.thought, step.actions, step.observation)
    reasoning, line = split_thought(step.thought)
    bare = write_reply(agent, "", step.actions, step.observation)
    length = len(reply) - _common(reply[::-1], bare[::-1])
    if line:
        length = min(length, _common(reply, write_reply(agent, reasoning, step.actions, step.observation)))
    return reply.rfind("\n", 0, length) + 1


def _common(first: str, second: str) -> int:
    """How many characters two texts begin with alike."""
    length = min(len(first), len(second))
    return next((index for index in range(length) if first[index] != second[index]), length)


def one_action(thought: str, actions: Sequence[Action]) -> tuple[str, Action]:
    """What `parse` gives from the answer of `parse_several`. Raises ParseError when there are several actions."""
    if len(actions) != 1:
        raise ParseError(f"the reply holds {len(actions)} actions, and one is wanted here", 0)
    return thought, actions[0]
