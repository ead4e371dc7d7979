"""What the agents of OSWorld's own action spaces are asked, for each kind of observation that OSWorld has.

The structure is that of OSWorld's PromptAgent: what is observed, how an action is written, the task, then a question beside every
observation. The words are shorter, and say of the action space only what is read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from stepladder.agents import history
from stepladder.agents.marks import marks_text
from stepladder.agents.options import check_choice, check_screenshots
from stepladder.agents.tree_text import tree_text
from stepladder.types import Message, Observation, Step, Task

ObservationType = Literal["screenshot", "a11y_tree", "screenshot_a11y_tree", "som"]
_SEEN = {
    "screenshot": "a screenshot of the screen",
    "a11y_tree": "the accessibility tree of the screen, one element a line",
    "screenshot_a11y_tree": "a screenshot of the screen and its accessibility tree, one element a line",
    "som": "a screenshot on which the elements that can be used are marked with numbers, and a list of these elements",
}
_GIVEN = {
    "screenshot": "Given the screenshot as below.",
    "a11y_tree": "Given the info from accessibility tree as below:",
    "screenshot_a11y_tree": "Given the screenshot and info from accessibility tree as below:",
    "som": "Given the tagged screenshot and the list of its tags as below:",
}
_QUESTION = "What's the next step that you will do to help with the task?"


@dataclass(frozen=True, slots=True)
class OSWorldPrompt:
    """The prompts of an agent. `rules` says how an action is written, `screenshots` is the number of observations in a prompt,
    the current one included, `characters` the length at which a tree is cut. Raises ValueError for options out of range."""

    rules: str
    observation_type: ObservationType
    screenshots: int
    characters: int
    password: str

    def __post_init__(self) -> None:
        check_choice("observation_type", self.observation_type, get_args(ObservationType))
        check_screenshots(self.screenshots)
        if self.characters < 1:
            raise ValueError(f"tree_characters is {self.characters}; it must be at least 1")

    def messages(
        self,
        task: Task,
        steps: Sequence[Step],
        observation: Observation,
        describe: Callable[[Step], str],
        reply: Callable[[Step], str],
    ) -> tuple[Message, ...]:
        """The messages for the next decision; `describe` and `reply` as in `history.window`."""
        if self.observation_type == "a11y_tree":
            steps = [replace(step, observation=replace(step.observation, screenshot=None)) for step in steps]
            observation = replace(observation, screenshot=None)
        window = history.window(
            steps,
            observation,
            screenshots=self.screenshots,
            describe=describe,
            reply=reply,
            opening=self._opening,
            follow_up=self._follow_up,
        )
        return (Message("system", (self._system(task.instruction),)), *window)

    def _system(self, instruction: str) -> str:
        password = f"\nThe computer's password is '{self.password}'; use it when you need sudo rights." if self.password else ""
        return (
            "You are an agent that performs tasks on a desktop computer by mouse and keyboard.\n"
            f"At every step you get {_SEEN[self.observation_type]}. "
            "Places are pixels of the screen, counted from its top left corner.\n"
            f"{self.rules}{password}\n"
            "First reflect shortly on what you see and what was done before, then give the action. Write nothing behind it.\n"
            f"You are asked to complete the following task: {instruction}"
        )

    def _opening(self, lines: list[str], seen: Observation) -> str:
        return "\n".join(["Previous actions:", *lines, self._given(seen)]) if lines else self._given(seen)

    def _follow_up(self, previous: Step, seen: Observation) -> str:
        complaint = f"Your last reply could not be read: {previous.error}\n" if previous.error else ""
        return complaint + self._given(seen)

    def _given(self, seen: Observation) -> str:
        table = ""
        if self.observation_type == "som":
            table = marks_text(seen.tree)
        elif self.observation_type != "screenshot":
            table = tree_text(seen.tree, self.characters)
        return "\n".join(part for part in (_GIVEN[self.observation_type], table, seen.text, _QUESTION) if part)
