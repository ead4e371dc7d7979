"""Kimi K2.5's dialect: OpenCUA's sections and code, with the thought before the reply or in it, and places as shares of the
screen.

    ◁think▷The dialog asks for a name.◁/think▷## Action:
    Click the name field.
    ## Code:
    ```python
    pyautogui.click(x=0.3187, y=0.3148)
    ```

done, fail and wait are said as OpenCUA says them; see `markdown_code`. A triple click is `pyautogui.tripleClick`.
"""

from __future__ import annotations

from stepladder.agents.code_coordinates import SharesOrPixels
from stepladder.agents.markdown_code import WAIT_SECONDS, MarkdownCodeAgent
from stepladder.agents.markdown_reply import Sections
from stepladder.agents.opencua_prompt import kimi_system
from stepladder.agents.pyautogui_calls import Words, terminate

_BLANK_LINE = "\n\n"
WORDS = Words("pyautogui.tripleClick", "computer.wait()", WAIT_SECONDS, terminate)


class KimiAgent(MarkdownCodeAgent):
    """The dialect of Kimi K2.5.

    `thinking` says whether the thought comes before the reply, between ◁think▷ and ◁/think▷, or as a section of it. `screenshots`
    is the number of pictures in a prompt, the current one included; `password` is told to the model if there is one. Past steps
    are shown by thought and action, as the model was trained to read them. Raises ValueError for options out of range.
    """

    name = "kimi"

    def __init__(self, thinking: bool = True, screenshots: int = 3, password: str = "") -> None:
        super().__init__(WORDS, SharesOrPixels(), screenshots, password)
        self.thinking = thinking

    def system_text(self) -> str:
        return kimi_system(self.thinking, self.password)

    def write_sections(self, sections: Sections) -> str:
        return self._thought(sections, "\n") + (f"## Action:\n{sections.action}\n" if sections.action else "")

    def tell_sections(self, sections: Sections) -> str:
        return f"{self._thought(sections, _BLANK_LINE)}## Action:\n{sections.action}\n"

    def _thought(self, sections: Sections, gap: str) -> str:
        if not sections.thought:
            return ""
        return f"◁think▷{sections.thought}◁/think▷" if self.thinking else f"## Thought:\n{sections.thought}{gap}"
