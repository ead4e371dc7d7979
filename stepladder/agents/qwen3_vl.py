"""Qwen3-VL's dialect with the prompts that are published for it.

    Action: Click the search box
    <tool_call>
    {"name": "computer_use", "arguments": {"action": "left_click", "coordinate": [512, 230]}}
    </tool_call>

Before the call may stand, by the option `thought`: nothing, that "Action:" line, or before it the reasoning: in a <think> block
(the thinking models), in a <thinking> block (the cookbooks' request for reasoning), behind "Thought:" (the cookbooks' mobile
agent). `qwen_vl` is Stepladder's own short form of the same dialect.
"""

from __future__ import annotations

from typing import Literal, get_args

from stepladder.agents import computer_use_prompts as prompts
from stepladder.agents.computer_use import ComputerUseAgent
from stepladder.agents.coordinates import RelativeCoordinates, ResizedCoordinates
from stepladder.agents.options import check_choice
from stepladder.agents.qwen_arguments import PIXELS_PER_NOTCH
from stepladder.agents.qwen_prompt import ACTION_RESPONSE, declared_functions, opening_text
from stepladder.types import Observation, Task

Wording = Literal["osworld", "cookbook"]
Thought = Literal["none", "action", "full", "thinking", "thought"]
Places = Literal["relative", "absolute"]

#: Qwen3-VL's processor cuts pictures into squares of 32 pixels; OSWorld's agents of the family resize to at most this many pixels.
QWEN3_PICTURE = ResizedCoordinates(factor=32, min_pixels=56 * 56, max_pixels=16 * 16 * 4 * 12800)


def qwen3_coordinates(places: str, scale: int) -> RelativeCoordinates | ResizedCoordinates:
    """The codec for "relative" or "absolute". Raises ValueError for another one, or a scale that nobody publishes."""
    check_choice("coordinates", places, get_args(Places))
    check_choice("scale", scale, (999, 1000))
    return RelativeCoordinates(scale) if places == "relative" else QWEN3_PICTURE


class Qwen3VLAgent(ComputerUseAgent):
    """Qwen3-VL as OSWorld runs it, or as its cookbook does.

    `wording` chooses the prompts: "osworld" or "cookbook". `screenshots` is the number of pictures in a prompt, the current one
    included: by default 5 for OSWorld, 1 for the cookbook. Coordinates run from 0 to `scale` (1000 or 999) across the screen, or
    with "absolute" are pixels of the picture as the model sees it (`QWEN3_PICTURE`). One notch of the wheel is `pixels_per_notch`
    of the call's "pixels". Raises ValueError for options out of range.
    """

    name = "qwen3_vl"

    def __init__(
        self,
        screenshots: int | None = None,
        thought: Thought = "action",
        wording: Wording = "osworld",
        coordinates: Places = "relative",
        scale: int = 1000,
        pixels_per_notch: int = PIXELS_PER_NOTCH,
    ) -> None:
        check_choice("wording", wording, get_args(Wording))
        if screenshots is None:
            screenshots = 5 if wording == "osworld" else 1
        super().__init__(screenshots, thought, qwen3_coordinates(coordinates, scale), pixels_per_notch)
        self.wording = wording

    def system_text(self, task: Task, observation: Observation) -> str:
        size = tool_size(self.coordinates, observation)
        functions = declared_functions(task)
        if self.wording == "osworld":
            response = prompts.THOUGHT_RESPONSE if self.thought == "thought" else ACTION_RESPONSE
            return prompts.tools_text(prompts.qwen3_osworld(size), functions, response=response)
        response = {"action": ACTION_RESPONSE, "thought": prompts.THOUGHT_RESPONSE}.get(self.thought, "")
        return prompts.tools_text(prompts.qwen3_cookbook(size), functions, prompts.GREETING, response)

    def opening_text(self, task: Task, lines: list[str], notice: str) -> str:
        if self.wording == "osworld":
            text = opening_text("full", task.instruction, lines, notice)
        else:
            text = prompts.cookbook_text(task.instruction, lines, notice)
        return f"{text}\n{prompts.THINKING_REQUEST}" if self.thought == "thinking" else text


def tool_size(coordinates: object, observation: Observation) -> tuple[int, int]:
    """The size of the screen as the tool definition gives it: 1000 x 1000 for relative coordinates (also for those that are read on
    a scale of 999), otherwise that of the picture that the model sees."""
    if isinstance(coordinates, ResizedCoordinates) and observation.screenshot is not None:
        return coordinates.size(observation.screenshot.width, observation.screenshot.height)
    return 1000, 1000
