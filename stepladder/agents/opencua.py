"""OpenCUA's dialect: headed sections and a block of pyautogui code.

    ## Thought:
    The dialog asks for a name, so I type it.
    ## Action:
    Click the name field.
    ## Code:
    ```python
    pyautogui.click(x=612, y=340)
    ```

The thought becomes the sections; see `markdown_reply`.

done    computer.terminate(status='success'), with answer='...' for a text
fail    computer.terminate(status='failure'), with answer='...' for a reason
wait    computer.wait() for 20 seconds, as the model is told; time.sleep(s) for others
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from stepladder.agents.code_coordinates import ResizedOrShares, Shares
from stepladder.agents.coordinates import Coordinates
from stepladder.agents.folding import check_folded
from stepladder.agents.markdown_reply import Sections, check_sections, read_reply
from stepladder.agents.opencua_prompt import instruction_text, opencua_system
from stepladder.agents.options import check_choice, check_screenshots
from stepladder.agents.places import Places
from stepladder.agents.pyautogui_calls import Words, in_short, read_actions, terminate, write_actions
from stepladder.agents.replies import one_action, write_reply
from stepladder.agents.step_history import step_history
from stepladder.types import Action, Message, Observation, Step, Task

Level = Literal["l1", "l2", "l3"]
Version = Literal["v1", "v2"]
Grid = Literal["qwen25", "relative"]
History = Literal["action", "thought", "observation", "reply"]
#: What `computer.wait()` means, in seconds.
WAIT_SECONDS = 20.0
WORDS = Words("computer.triple_click", "computer.wait()", WAIT_SECONDS, terminate)
_SECTIONS = {"l1": ("action",), "l2": ("thought", "action"), "l3": ("observation", "thought", "action")}
_HISTORY = {"action": "l1", "thought": "l2", "observation": "l3", "reply": "l2"}


class OpenCUAAgent:
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
    stop: tuple[str, ...] = ()

    def __init__(
        self,
        level: Level = "l2",
        version: Version = "v2",
        coordinates: Grid = "qwen25",
        screenshots: int = 3,
        history: History = "thought",
        password: str = "",
    ) -> None:
        check_screenshots(screenshots)
        check_choice("level", level, get_args(Level))
        check_choice("version", version, get_args(Version))
        check_choice("coordinates", coordinates, get_args(Grid))
        check_choice("history", history, get_args(History))
        self.level = level
        self.version = version
        self.screenshots = screenshots
        self.history = history
        self.password = password
        self.coordinates: Coordinates = ResizedOrShares(28, 3136, 12_845_056) if coordinates == "qwen25" else Shares()

    def prompt(self, task: Task, steps: Sequence[Step], observation: Observation) -> tuple[Message, ...]:
        """The messages for the next decision; see `Agent.prompt`."""
        messages = step_history(
            steps,
            observation,
            screenshots=self.screenshots,
            instruction=instruction_text(task.instruction),
            tell=self._tell,
            answer=self._answer,
        )
        return (Message("system", (opencua_system(self.version, self.level, self.password),)), *messages)

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
        written = [f"## {name.capitalize()}:\n{text}\n" for name, text in _chosen(sections, self.level)]
        return "".join(written) + write_code(write_actions(actions, self._places(observation), WORDS))

    def _places(self, observation: Observation) -> Places:
        return Places(self.coordinates, observation.screenshot)

    def _tell(self, number: int, step: Step) -> str:
        sections = Sections.of(step.thought)
        action = sections.action or in_short(step, self._places(step.observation), WORDS)
        chosen = _chosen(Sections(sections.observation, sections.thought, action), _HISTORY[self.history])
        return f"# Step {number}:\n" + "\n".join(f"## {name.capitalize()}:\n{text}\n" for name, text in chosen)

    def _answer(self, number: int, step: Step) -> Message:
        if self.history != "reply":
            return Message("assistant", (self._tell(number, step),))
        if step.completion is not None:
            return Message("assistant", (step.completion.text,), tokens=step.completion.tokens)
        said = write_reply(self, step.thought, step.actions, step.observation) if step.actions else ""
        return Message("assistant", (said,))


def write_code(code: str) -> str:
    """The section of the code; what `computer` does itself stands in a block of its own kind."""
    kind = "code" if code.startswith(("computer.wait", "computer.terminate")) else "python"
    return f"## Code:\n```{kind}\n{code}\n```"


def _chosen(sections: Sections, level: str) -> list[tuple[str, str]]:
    return [(name, text) for name in _SECTIONS[level] if (text := getattr(sections, name))]
