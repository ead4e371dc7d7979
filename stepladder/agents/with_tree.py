"""Any agent, shown the accessibility tree as text beside the screenshot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

from stepladder.agents import agent_class
from stepladder.agents.marks import marks_text
from stepladder.agents.options import check_choice
from stepladder.agents.replies import read_reply, write_reply
from stepladder.agents.tree_text import tree_text
from stepladder.interfaces import Agent
from stepladder.types import Action, Message, Observation, Step, Task

Shown = Literal["a11y_tree", "som"]
_TITLES = {"a11y_tree": "Accessibility tree:", "som": "Marked elements:"}


class TreeAgent:
    """The agent `agent` (a name or `package.module:Class`, constructed with `options`), which also reads the tree.

    `shown` is "a11y_tree", the tree as OSWorld's table, or "som", the list of the marks that `stepladder.rollout.marked` draws.
    The text stands where the agent puts what the environment says. Of a table that is longer than `tree_characters` the beginning
    is shown. Replies are the agent's own: places are numbers, not marks. Raises ValueError for options out of range.
    """

    def __init__(self, agent: str = "qwen_vl", shown: Shown = "a11y_tree", tree_characters: int = 40_000, **options: Any) -> None:
        check_choice("shown", shown, get_args(Shown))
        if tree_characters < 1:
            raise ValueError(f"tree_characters is {tree_characters}; it must be at least 1")
        self.shown = shown
        self.tree_characters = tree_characters
        self.agent: Agent = agent_class(agent)(**options)

    @property
    def name(self) -> str:
        return f"{self.agent.name}+{self.shown}"

    @property
    def stop(self) -> tuple[str, ...]:
        return self.agent.stop

    def __getattr__(self, name: str) -> Any:
        """What an agent may have beside the contract, such as `coordinates`, `tool` and `beta`."""
        if name.startswith("_") or name == "agent":
            raise AttributeError(name)
        return getattr(self.agent, name)

    def prompt(self, task: Task, steps: Sequence[Step], observation: Observation) -> tuple[Message, ...]:
        """The agent's messages, with the tree in every observation; see `Agent.prompt`."""
        told = [replace(step, observation=self._told(step.observation)) for step in steps]
        return self.agent.prompt(task, told, self._told(observation))

    def parse(self, text: str, observation: Observation) -> tuple[str, Action]:
        """See `Agent.parse`."""
        return self.agent.parse(text, observation)

    def format(self, thought: str, action: Action, observation: Observation) -> str:
        """See `Agent.format`."""
        return self.agent.format(thought, action, observation)

    def parse_several(self, text: str, observation: Observation) -> tuple[str, tuple[Action, ...]]:
        """See `replies`."""
        return read_reply(self.agent, text, observation)

    def format_several(self, thought: str, actions: Sequence[Action], observation: Observation) -> str:
        """See `replies`."""
        return write_reply(self.agent, thought, actions, observation)

    def _told(self, seen: Observation) -> Observation:
        if seen.tree is None:
            return seen
        table = marks_text(seen.tree) if self.shown == "som" else tree_text(seen.tree, self.tree_characters)
        return replace(seen, text="\n".join(part for part in (seen.text, f"{_TITLES[self.shown]}\n{table}") if part))
