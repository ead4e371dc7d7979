"""Qwen2.5-VL's dialect: `computer_use` tool calls in pixels of the picture as the model's processor resizes it.

<tool_call>
{"name": "computer_use", "arguments": {"action": "left_click", "coordinate": [674, 155]}}
</tool_call>
"""

from __future__ import annotations

from typing import get_args

from stepladder.agents import computer_use_prompts as prompts
from stepladder.agents.computer_use import ComputerUseAgent
from stepladder.agents.coordinates import ResizedCoordinates
from stepladder.agents.options import check_choice, check_count
from stepladder.agents.qwen3_vl import Thought, Wording, tool_size
from stepladder.agents.qwen_arguments import PIXELS_PER_NOTCH
from stepladder.agents.qwen_prompt import declared_functions, opening_text
from stepladder.types import Observation, Task

#: Most pixels of a picture, by who shows it: OSWorld's agent, and the processor as it is published.
MAX_PIXELS: dict[str, int] = {"osworld": 14 * 14 * 4 * 1280, "cookbook": 28 * 28 * 16384}


class Qwen25VLAgent(ComputerUseAgent):
    """Qwen2.5-VL as OSWorld runs it, or as its cookbook does.

    `wording` chooses the prompts. `screenshots` is the number of pictures in a prompt, the current one included: by default 5 for
    OSWorld, 1 for the cookbook. `max_pixels` is the size to which the model's processor, or the server, shrinks pictures (by
    default `MAX_PIXELS`): coordinates are pixels of that picture, so a wrong value shifts every click. Thoughts as in
    `Qwen3VLAgent`. Raises ValueError for options out of range.
    """

    name = "qwen25_vl"

    def __init__(
        self,
        screenshots: int | None = None,
        thought: Thought = "action",
        wording: Wording = "osworld",
        max_pixels: int | None = None,
        pixels_per_notch: int = PIXELS_PER_NOTCH,
    ) -> None:
        check_choice("wording", wording, get_args(Wording))
        if screenshots is None:
            screenshots = 5 if wording == "osworld" else 1
        pixels = MAX_PIXELS[wording] if max_pixels is None else check_count("max_pixels", max_pixels, least=56 * 56)
        super().__init__(screenshots, thought, ResizedCoordinates(28, 56 * 56, pixels), pixels_per_notch)
        self.wording = wording

    def system_text(self, task: Task, observation: Observation) -> str:
        size = tool_size(self.coordinates, observation)
        functions = declared_functions(task)
        if self.wording == "osworld":
            return prompts.tools_text(prompts.qwen25_osworld(size), functions, prompts.GREETING_WITHOUT_STOP)
        return prompts.tools_text(prompts.qwen25_cookbook(size), functions, prompts.GREETING)

    def opening_text(self, task: Task, lines: list[str], notice: str) -> str:
        if self.wording == "osworld":
            text = opening_text("full", task.instruction, lines, notice)
        else:
            text = prompts.cookbook_text(task.instruction, lines, notice)
        return f"{text}\n{prompts.THINKING_REQUEST}" if self.thought == "thinking" else text
