"""Any agent, shown the accessibility tree as text beside the screenshot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal, get_args

from stepladder.agents import agent_class
from stepladder.agents.coordinates import AbsoluteCoordinates, Coordinates
from stepladder.agents.marks import marked_places, marks_text
from stepladder.agents.options import check_choice
from stepladder.agents.replies import one_action, read_reply, write_reply
from stepladder.agents.tree_text import tree_text, whole_pixels
from stepladder.interfaces import Agent
from stepladder.types import Action, Box, ImageRef, Message, Observation, Step, Task

Shown = Literal["a11y_tree", "som"]
_TITLES = {"a11y_tree": "Accessibility tree:", "som": "Marked elements:"}
#: Of a length that is a share of the screen.
_DECIMALS = 4
_POINTING = "Marked elements; tag_1, tag_2 and so on can stand in the place of x and y:"


class TreeAgent:
    """The agent `agent` (a name or `package.module:Class`, constructed with `options`), which also reads the tree.

    `shown` is "a11y_tree", the tree as OSWorld's table, or "som", the list of the marks that `stepladder.rollout.marked` draws.
    The text stands where the agent puts what the environment says, places in it are in the numbers that the agent says. Of a table
    that is longer than `tree_characters` the beginning is shown. Replies are the agent's own. An agent with a method
    `parse_pointing` (those that write code) can also point at a mark, by `tag_3` in the place of x and y; for others places are
    numbers. Raises ValueError for options out of range.
    """

    def __init__(self, agent: str = "qwen_vl", shown: Shown = "a11y_tree", tree_characters: int = 40_000, **options: Any) -> None:
        check_choice("shown", shown, get_args(Shown))
        if tree_characters < 1:
            raise ValueError(f"tree_characters is {tree_characters}; it must be at least 1")
        self.shown = shown
        self.tree_characters = tree_characters
        self.agent: Agent = agent_class(agent)(**options)
        self._parse_pointing = getattr(self.agent, "parse_pointing", None) if shown == "som" else None

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
        return one_action(*self.parse_several(text, observation)) if self._parse_pointing else self.agent.parse(text, observation)

    def format(self, thought: str, action: Action, observation: Observation) -> str:
        """See `Agent.format`."""
        return self.agent.format(thought, action, observation)

    def parse_several(self, text: str, observation: Observation) -> tuple[str, tuple[Action, ...]]:
        """See `replies`."""
        if self._parse_pointing is None:
            return read_reply(self.agent, text, observation)
        thought, actions = self._parse_pointing(text, observation, marked_places(observation.tree))
        return thought, actions

    def format_several(self, thought: str, actions: Sequence[Action], observation: Observation) -> str:
        """See `replies`."""
        return write_reply(self.agent, thought, actions, observation)

    def _told(self, seen: Observation) -> Observation:
        if seen.tree is None:
            return seen
        if self.shown == "som":
            table = marks_text(seen.tree)
        else:
            table = tree_text(seen.tree, self.tree_characters, partial(self._in_units, seen.screenshot))
        title = _TITLES[self.shown] if self._parse_pointing is None else _POINTING
        return replace(seen, text="\n".join(part for part in (seen.text, f"{title}\n{table}") if part))

    def _in_units(self, screenshot: ImageRef | None, box: Box) -> Box:
        """A box in pixels as the agent says places."""
        coordinates: Coordinates | None = getattr(self.agent, "coordinates", None)
        if screenshot is None or coordinates is None or isinstance(coordinates, AbsoluteCoordinates):
            return whole_pixels(box)
        size = screenshot.width, screenshot.height
        left, top = coordinates.encode(box[0], box[1], *size)
        right, bottom = coordinates.encode(box[0] + box[2], box[1] + box[3], *size)
        return left, top, round(right - left, _DECIMALS), round(bottom - top, _DECIMALS)
