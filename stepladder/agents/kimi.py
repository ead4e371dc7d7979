"""Kimi K2.5's dialect: OpenCUA's sections and code, with the thought before the reply or in it, and places as shares of the
screen.

    ◁think▷The dialog asks for a name.◁/think▷## Action:
    Click the name field.
    ## Code:
    ```python
    pyautogui.click(x=0.3187, y=0.3148)
    ```

done, fail and wait are said as OpenCUA says them; see `opencua`. A triple click is `pyautogui.tripleClick`.
"""

from __future__ import annotations

from collections.abc import Sequence

from stepladder.agents.code_coordinates import SharesOrPixels
from stepladder.agents.folding import check_folded
from stepladder.agents.markdown_reply import Sections, check_sections, read_reply
from stepladder.agents.opencua import WAIT_SECONDS, write_code
from stepladder.agents.opencua_prompt import instruction_text, kimi_system
from stepladder.agents.options import check_screenshots
from stepladder.agents.places import Places
from stepladder.agents.pyautogui_calls import Words, in_short, read_actions, terminate, write_actions
from stepladder.agents.replies import one_action
from stepladder.agents.step_history import step_history
from stepladder.types import Action, Message, Observation, Step, Task

_BLANK_LINE = "\n\n"
WORDS = Words("pyautogui.tripleClick", "computer.wait()", WAIT_SECONDS, terminate)


class KimiAgent:
    """The dialect of Kimi K2.5.

    `thinking` says whether the thought comes before the reply, between ◁think▷ and ◁/think▷, or as a section of it. `screenshots`
    is the number of pictures in a prompt, the current one included; `password` is told to the model if there is one. Past steps
    are shown by thought and action, as the model was trained to read them. Raises ValueError for options out of range.
    """

    name = "kimi"
    stop: tuple[str, ...] = ()

    def __init__(self, thinking: bool = True, screenshots: int = 3, password: str = "") -> None:
        check_screenshots(screenshots)
        self.thinking = thinking
        self.screenshots = screenshots
        self.password = password
        self.coordinates = SharesOrPixels()

    def prompt(self, task: Task, steps: Sequence[Step], observation: Observation) -> tuple[Message, ...]:
        """The messages for the next decision; see `Agent.prompt`."""
        messages = step_history(
            steps,
            observation,
            screenshots=self.screenshots,
            instruction=instruction_text(task.instruction),
            tell=self._tell,
            answer=lambda number, step: Message("assistant", (self._tell(number, step),)),
        )
        return (Message("system", (kimi_system(self.thinking, self.password),)), *messages)

    def parse(self, text: str, observation: Observation) -> tuple[str, Action]:
        """(thought, action) of a reply that holds one action. Raises ParseError and nothing else."""
        return one_action(*self.parse_several(text, observation))

    def parse_several(self, text: str, observation: Observation) -> tuple[str, tuple[Action, ...]]:
        """(thought, actions) of a reply. Raises ParseError and nothing else."""
        sections, code, offset = read_reply(text)
        return sections.text, read_actions(code, offset, self._places(observation), WAIT_SECONDS)

    def format(self, thought: str, action: Action, observation: Observation) -> str:
        """The reply that says `action`. Raises ValueError for an action or a thought that cannot be written in this dialect."""
        return self.format_several(thought, (action,), observation)

    def format_several(self, thought: str, actions: Sequence[Action], observation: Observation) -> str:
        """The reply that says `actions` in order. Raises ValueError as `format` does, and for two that would be read as one."""
        sections = Sections.of(thought)
        check_sections(sections)
        check_folded(actions)
        code = write_actions(actions, self._places(observation), WORDS)
        return self._thought(sections, "\n") + (f"## Action:\n{sections.action}\n" if sections.action else "") + write_code(code)

    def _places(self, observation: Observation) -> Places:
        return Places(self.coordinates, observation.screenshot)

    def _thought(self, sections: Sections, gap: str) -> str:
        if not sections.thought:
            return ""
        return f"◁think▷{sections.thought}◁/think▷" if self.thinking else f"## Thought:\n{sections.thought}{gap}"

    def _tell(self, number: int, step: Step) -> str:
        sections = Sections.of(step.thought)
        action = sections.action or in_short(step, self._places(step.observation), WORDS)
        return f"# Step {number}:\n{self._thought(sections, _BLANK_LINE)}## Action:\n{action}\n"
