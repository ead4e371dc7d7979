"""Replies that hold several actions: some dialects (UI-TARS, OpenAI's batches) allow them, most have one.

An agent of such a dialect has, beside `parse` and `format`, two more methods:

    parse_several(text, observation) -> (thought, actions)      at least one action; raises ParseError alone
    format_several(thought, actions, observation) -> text       raises ValueError for what cannot be said

Its `parse` takes replies with one action only. Everybody who reads or writes a reply does so with the two functions here.
"""

from __future__ import annotations

from collections.abc import Sequence

from stepladder.agents.tool_call import split_thought
from stepladder.interfaces import Agent, ParseError
from stepladder.types import Action, Observation, Step


def read_reply(agent: Agent, text: str, observation: Observation) -> tuple[str, tuple[Action, ...]]:
    """(thought, actions in order) of a reply. Raises ParseError."""
    parse_several = getattr(agent, "parse_several", None)
    if parse_several is not None:
        thought, actions = parse_several(text, observation)
        return thought, tuple(actions)
    thought, action = agent.parse(text, observation)
    return thought, (action,)


def write_reply(agent: Agent, thought: str, actions: Sequence[Action], observation: Observation) -> str:
    """The reply that says `actions`. Raises ValueError for what the dialect cannot say."""
    if len(actions) == 1:
        return agent.format(thought, actions[0], observation)
    format_several = getattr(agent, "format_several", None)
    if format_several is None or not actions:
        raise ValueError(f"a reply of {agent.name} says one action, and not {len(actions)}")
    said: str = format_several(thought, tuple(actions), observation)
    return said


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
