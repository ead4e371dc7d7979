"""The dialects of EvoCUA: S2, which speaks as Qwen3-VL does, and S1, which speaks as OpenCUA-72B does.

S2  Action: Click the search box
    <tool_call>
    {"name": "computer_use", "arguments": {"action": "left_click", "coordinate": [512, 230]}}
    </tool_call>

S1  ## Thought:
    The search box is empty.
    ## Action:
    Click the search box.
    ## Code:
    ```python
    pyautogui.click(x=512, y=230)
    ```
"""

from __future__ import annotations

from stepladder.agents import computer_use_prompts as prompts
from stepladder.agents.computer_use import ComputerUseAgent
from stepladder.agents.opencua import OpenCUAAgent
from stepladder.agents.qwen3_vl import Places, Thought, qwen3_coordinates, tool_size
from stepladder.agents.qwen_prompt import ACTION_RESPONSE, declared_functions, opening_text
from stepladder.types import Observation, Task

#: What OSWorld's machines are set up with; the prompt of S1 tells it to the model.
OSWORLD_PASSWORD = "osworld-public-evaluation"


class EvoCUAS2Agent(ComputerUseAgent):
    """EvoCUA in the style S2: Qwen3-VL's tool with `key_down` and `key_up`, a prompt that offers them, coordinates read on a scale
    of 999 (its prompt says 1000), and "pixels" that are notches of the wheel.

    Options as those of `Qwen3VLAgent`. `terminate` with success is `done`, `answer` is `done` with a text, `terminate` with failure
    is `fail`. Raises ValueError for options out of range.
    """

    name = "evocua_s2"

    def __init__(
        self,
        screenshots: int = 5,
        thought: Thought = "action",
        coordinates: Places = "relative",
        scale: int = 999,
        pixels_per_notch: int = 1,
    ) -> None:
        super().__init__(screenshots, thought, qwen3_coordinates(coordinates, scale), pixels_per_notch)

    def system_text(self, task: Task, observation: Observation) -> str:
        tool = prompts.evocua(tool_size(self.coordinates, observation))
        return prompts.tools_text(tool, declared_functions(task), response=ACTION_RESPONSE)

    def opening_text(self, task: Task, lines: list[str], notice: str) -> str:
        return opening_text("full", task.instruction, lines, notice)


class EvoCUAS1Agent(OpenCUAAgent):
    """EvoCUA in the style S1: OpenCUA-72B's sections and code, coordinates in pixels of the picture as Qwen2.5-VL's processor
    resizes it, and past steps as their sentence of action.

    `screenshots` is the number of pictures in a prompt, the current one included; `password` is told to the model if there is one.
    Ends and waits are said as in `OpenCUAAgent`. Raises ValueError for options out of range.
    """

    name = "evocua_s1"

    def __init__(self, screenshots: int = 3, password: str = OSWORLD_PASSWORD) -> None:
        super().__init__("l2", "v2", "qwen25", screenshots, "action", password)
