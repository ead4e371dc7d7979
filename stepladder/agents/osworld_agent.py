"""What the dialects of OSWorld's own action spaces share: the prompt, and actions in blocks behind a thought."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import partial

from stepladder.agents.coordinates import AbsoluteCoordinates
from stepladder.agents.fenced import check_lead
from stepladder.agents.folding import check_folded
from stepladder.agents.osworld_prompt import ObservationType, OSWorldPrompt
from stepladder.agents.places import Places
from stepladder.agents.replies import SeveralActionsAgent, write_past
from stepladder.types import Action, Message, Observation, Step, Task

#: What WAIT means: the pause of OSWorld's `step`, in seconds.
WAIT_SECONDS = 2.0


class OSWorldAgent(SeveralActionsAgent):
    """`prompt` and `format` of such a dialect, whose places are pixels.

    `rules` says how an action is written. `observation_type` is what the model is shown: "screenshot", "a11y_tree" (the
    accessibility tree as a table), both in "screenshot_a11y_tree", or "som" (marks drawn by `stepladder.rollout.marked` and the
    list of them). `screenshots` is the number of observations in a prompt, the current one included; a tree is cut after
    `tree_characters`; `password` is told to the model if there is one. Raises ValueError for options out of range.
    """

    name: str
    stop: tuple[str, ...] = ()

    def __init__(
        self, rules: str, observation_type: ObservationType, screenshots: int, tree_characters: int, password: str
    ) -> None:
        self.coordinates = AbsoluteCoordinates()
        self.observation_type = observation_type
        self._prompt = OSWorldPrompt(rules, observation_type, screenshots, tree_characters, password)

    def prompt(self, task: Task, steps: Sequence[Step], observation: Observation) -> tuple[Message, ...]:
        """The messages for the next decision; see `Agent.prompt`."""
        return self._prompt.messages(task, steps, observation, describe=self.describe, reply=partial(write_past, self))

    def format_several(self, thought: str, actions: Sequence[Action], observation: Observation) -> str:
        """The reply that says `actions` in order. Raises ValueError as `format` does, and for two that would be read as one."""
        check_folded(actions)
        before = check_lead(thought)
        written = self.write_blocks(actions, observation)
        return f"{before}\n{written}" if before else written

    def places(self, observation: Observation) -> Places:
        """How places of this observation are written."""
        return Places(self.coordinates, observation.screenshot)

    @abstractmethod
    def describe(self, step: Step) -> str:
        """One line for a step that is no longer shown."""

    @abstractmethod
    def write_blocks(self, actions: Sequence[Action], observation: Observation) -> str:
        """The blocks that say `actions`. Raises ValueError for what cannot be said."""
