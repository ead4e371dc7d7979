"""What the dialects of the APIs' computer tools share. A reply is a JSON list of blocks; see `api_blocks`.

done    a reply without a call: its last text is the answer
fail    a reply without a call that says "[INFEASIBLE]": what stands around it is the reason
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from stepladder.agents.api_blocks import Block, read_blocks, read_end, thought_of, write_end
from stepladder.agents.coordinates import DisplayCoordinates
from stepladder.agents.json_text import encode
from stepladder.agents.options import check_screenshots
from stepladder.agents.places import Places
from stepladder.agents.replies import SeveralActionsAgent
from stepladder.interfaces import ParseError
from stepladder.pyautogui.parts import MOST_ACTIONS
from stepladder.types import Action, Observation, Step
from stepladder.values import check_text


class ComputerToolAgent(SeveralActionsAgent):
    """`parse` and `format` of such a dialect.

    Screenshots are scaled to `width` x `height` pixels, in which places are said. `screenshots` is at least 1, and `password` is
    told to the model if there is one. Raises ValueError for options out of range.
    """

    name: str
    stop: tuple[str, ...] = ()
    #: The types of the blocks that call a tool.
    call_types: tuple[str, ...]

    def __init__(self, width: int, height: int, screenshots: int, password: str) -> None:
        check_screenshots(screenshots)
        self.screenshots = screenshots
        self.password = password
        self.coordinates = DisplayCoordinates(width, height)

    @abstractmethod
    def tool(self) -> dict[str, Any]:
        """The definition of the tool in a request."""

    def calls_nothing(self, text: str) -> bool:
        """Whether a reply has no call, so that it ends the episode; see `replies`. Raises ParseError."""
        return not self._calls(read_blocks(text))

    def parse_several(self, text: str, observation: Observation) -> tuple[str, tuple[Action, ...]]:
        """(thought, actions) of a reply. Raises ParseError and nothing else."""
        blocks = read_blocks(text)
        reasoning, texts = self.said(blocks)
        calls = self._calls(blocks)
        if not calls:
            others, action = read_end(texts)
            return thought_of([*reasoning, *others]), (action,)
        actions: list[Action] = []
        begin = 0
        for call in calls:
            begin = max(text.find(f'"{call["type"]}"', begin), begin)
            actions += self.read_call(call, text, begin, observation)
            begin += 1
            if len(actions) > MOST_ACTIONS:
                raise ParseError(f"more than {MOST_ACTIONS} actions in one reply", begin)
        return thought_of([*reasoning, *texts]), tuple(actions)

    def format_several(self, thought: str, actions: Sequence[Action], observation: Observation) -> str:
        """The reply that says `actions` in order. Raises ValueError as `format` does, and for two that would be read as one."""
        return self.write(thought, actions, observation, 0)

    def write(self, thought: str, actions: Sequence[Action], observation: Observation, number: int) -> str:
        """As `format_several`, for step `number`, so that no two calls of an episode have one id."""
        thought = check_text(thought).strip()
        if len(actions) == 1 and actions[0].kind in ("done", "fail"):
            check_text(actions[0].text)
            reasoning, texts = write_end(thought, actions[0])
            return encode([*self.reasoning_blocks(reasoning, number), *map(self.text_block, texts)])
        # Reasoning goes back to an API only as it came from there; a thought of ours is a text.
        blocks = [self.text_block(thought)] if thought else []
        return encode([*blocks, *self.write_calls(actions, observation, number)])

    def past(self, step: Step, number: int) -> str:
        """The reply of a past step that has no completion."""
        return self.write(step.thought, step.actions, step.observation, number) if step.actions else encode([])

    def places(self, observation: Observation) -> Places:
        """How places of this observation are written."""
        return Places(self.coordinates, observation.screenshot)

    @abstractmethod
    def said(self, blocks: Sequence[Block]) -> tuple[list[str], list[str]]:
        """(reasoning, texts) of a reply. Raises ParseError."""

    @abstractmethod
    def read_call(self, call: Block, text: str, begin: int, observation: Observation) -> list[Action]:
        """The actions of a call, which stands behind `begin` of the reply `text`. Raises ParseError."""

    @abstractmethod
    def reasoning_blocks(self, reasoning: str, number: int) -> list[Block]:
        """The blocks of a reasoning, none for an empty one."""

    @abstractmethod
    def text_block(self, text: str) -> Block:
        """The block of a text."""

    @abstractmethod
    def write_calls(self, actions: Sequence[Action], observation: Observation, number: int) -> list[Block]:
        """The blocks that call the tools. Raises ValueError for what cannot be said."""

    def _calls(self, blocks: Sequence[Block]) -> list[Block]:
        return [block for block in blocks if block["type"] in self.call_types]
