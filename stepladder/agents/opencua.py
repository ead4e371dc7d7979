"""OpenCUA's dialect: headed sections and a block of pyautogui code.

    ## Thought:
    The dialog asks for a name, so I type it.
    ## Action:
    Click the name field.
    ## Code:
    ```python
    pyautogui.click(x=612, y=340)
    ```

The thought becomes the sections; see `markdown_reply`. How done, fail and wait are said stands in `markdown_code`.
"""

from __future__ import annotations

from functools import partial
from typing import Literal, get_args

from stepladder.agents.code_coordinates import ResizedOrShares, Shares
from stepladder.agents.coordinates import Coordinates
from stepladder.agents.history import assistant_message
from stepladder.agents.markdown_code import WAIT_SECONDS, MarkdownCodeAgent
from stepladder.agents.markdown_reply import Sections
from stepladder.agents.opencua_prompt import opencua_system
from stepladder.agents.options import check_choice
from stepladder.agents.pyautogui_calls import Words, terminate
from stepladder.agents.replies import write_past
from stepladder.types import Message, Step

Level = Literal["l1", "l2", "l3"]
Version = Literal["v1", "v2"]
Grid = Literal["qwen25", "relative"]
History = Literal["action", "thought", "observation", "reply"]
WORDS = Words("computer.triple_click", "computer.wait()", WAIT_SECONDS, terminate)
_SECTIONS = {"l1": ("action",), "l2": ("thought", "action"), "l3": ("observation", "thought", "action")}
_HISTORY = {"action": "l1", "thought": "l2", "observation": "l3", "reply": "l2"}


class OpenCUAAgent(MarkdownCodeAgent):
    """The dialect of OpenCUA.

    `level` says what is written before the code: l1 the action in words, l2 a thought before it, l3 an observation before both.
    `version` is that of the system text, "v1" for OpenCUA-7B and 32B, "v2" for 72B; `password` is told to the model if there is
    one. `coordinates` are "qwen25", pixels of the picture as Qwen2.5-VL's processor resizes it (7B, 32B, 72B), or "relative",
    shares 0..1 with four decimals (AgentNet's data, OpenCUA-Qwen2-7B, OpenCUA-A3B). `screenshots` is the number of pictures in a
    prompt, the current one included. `history` says how the steps between them stand there: the published models were shown their
    action, thought or observation again, without the code; "reply" shows the reply itself with its token ids. Raises ValueError
    for options out of range.
    """

    name = "opencua"

    def __init__(
        self,
        level: Level = "l2",
        version: Version = "v2",
        coordinates: Grid = "qwen25",
        screenshots: int = 3,
        history: History = "thought",
        password: str = "",
    ) -> None:
        check_choice("level", level, get_args(Level))
        check_choice("version", version, get_args(Version))
        check_choice("coordinates", coordinates, get_args(Grid))
        check_choice("history", history, get_args(History))
        places: Coordinates = ResizedOrShares(28, 3136, 12_845_056) if coordinates == "qwen25" else Shares()
        super().__init__(WORDS, places, screenshots, password)
        self.level = level
        self.version = version
        self.history = history

    def system_text(self) -> str:
        return opencua_system(self.version, self.level, self.password)

    def write_sections(self, sections: Sections) -> str:
        return "".join(f"## {name.capitalize()}:\n{text}\n" for name, text in _chosen(sections, self.level))

    def tell_sections(self, sections: Sections) -> str:
        chosen = _chosen(sections, _HISTORY[self.history])
        return "\n".join(f"## {name.capitalize()}:\n{text}\n" for name, text in chosen)

    def answer(self, number: int, step: Step) -> Message:
        if self.history != "reply":
            return super().answer(number, step)
        return assistant_message(step, partial(write_past, self))


def _chosen(sections: Sections, level: str) -> list[tuple[str, str]]:
    return [(name, text) for name in _SECTIONS[level] if (text := getattr(sections, name))]
