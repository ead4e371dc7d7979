"""Stepladder's own form of Qwen3-VL's dialect: one `computer_use` tool call a turn, coordinates 0..1000 across the screenshot.

It differs from `qwen3_vl` in what suits a small model that is trained here: prompts of one line, no thought, coarse coordinates.
Its full prompt offers every action there is, also those that Qwen's own prompt lacks.
"""

from __future__ import annotations

from typing import Literal, get_args

from stepladder.agents.computer_use import ComputerUseAgent
from stepladder.agents.coordinates import RelativeCoordinates
from stepladder.agents.options import check_choice
from stepladder.agents.qwen_prompt import declared_functions, opening_text, system_text
from stepladder.agents.thought_levels import LEVELS, REQUESTS, at_level
from stepladder.types import Action, Observation, Task

Thought = Literal["none", "action", "full"]
System = Literal["full", "short", "none"]
#: "trained": nothing is asked for, so that a model does what it was trained to do where nothing is asked.
Asked = Literal["trained", "action", "thought", "observation"]


class QwenVLAgent(ComputerUseAgent):
    """Qwen3-VL's tool calls with prompts as short as one likes.

    `screenshots` is the number of pictures in a prompt, the current one included. `thought` says what is written before the call:
    nothing, the one "Action:" line, or the whole thought. `system` chooses the tool description: Qwen's own, one line, or none;
    with "full" the user's text is Qwen's own too. Coordinates are rounded to multiples of `grid` thousandths of the screen.
    `level` asks for a thought of this level (`thought_levels`), by a line at the end of the user's text, and writes no more than
    that. Raises ValueError for options out of range, and for a level of which `thought` would leave out a part.
    """

    name = "qwen_vl"

    def __init__(
        self,
        screenshots: int = 1,
        thought: Thought = "none",
        system: System = "short",
        grid: int = 1,
        level: Asked = "trained",
    ) -> None:
        check_choice("thought", thought, get_args(Thought))
        check_choice("system", system, get_args(System))
        check_choice("level", level, get_args(Asked))
        if level in LEVELS and thought != "full":
            raise ValueError(f'level is {level!r}, which is for agents that think; thought must be "full" and not {thought!r}')
        self.level = level
        self.system = system
        self.scale = 1000
        super().__init__(screenshots, thought, RelativeCoordinates(self.scale, grid))

    def system_text(self, task: Task, observation: Observation) -> str:
        return system_text(self.system, self.scale, declared_functions(task))

    def opening_text(self, task: Task, lines: list[str], notice: str) -> str:
        asked = "" if self.level == "trained" else REQUESTS[self.level]
        return opening_text(self.system, task.instruction, lines, "\n".join(part for part in (notice, asked) if part))

    def format(self, thought: str, action: Action, observation: Observation) -> str:
        return super().format(thought if self.level == "trained" else at_level(thought, self.level), action, observation)
