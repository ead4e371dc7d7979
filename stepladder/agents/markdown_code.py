"""What OpenCUA, EvoCUA S1 and Kimi share: headed sections, a block of pyautogui code behind them, and the past as such sections.

done    computer.terminate(status='success'), with answer='...' for a text
fail    computer.terminate(status='failure'), with answer='...' for a reason
wait    computer.wait() for 20 seconds, as the models are told; time.sleep(s) for others
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence

from stepladder.agents.coordinates import Coordinates
from stepladder.agents.folding import check_folded
from stepladder.agents.markdown_reply import Sections, check_sections, read_reply
from stepladder.agents.opencua_prompt import instruction_text
from stepladder.agents.options import check_screenshots
from stepladder.agents.places import Places
from stepladder.agents.pyautogui_calls import Words, in_short, read_actions, write_actions
from stepladder.agents.replies import SeveralActionsAgent
from stepladder.agents.step_history import step_history
from stepladder.types import Action, Message, Observation, Step, Task

#: What `computer.wait()` means, in seconds.
WAIT_SECONDS = 20.0


class MarkdownCodeAgent(SeveralActionsAgent):
    """`prompt`, `parse` and `format` of such a dialect.

    `words` are those of its own in the code, `coordinates` is how places are written. `screenshots` is the number of pictures in a
    prompt, the current one included; `password` is told to the model if there is one. Raises ValueError for options out of range.
    """

    name: str
    stop: tuple[str, ...] = ()

    def __init__(self, words: Words, coordinates: Coordinates, screenshots: int, password: str) -> None:
        check_screenshots(screenshots)
        self.words = words
        self.coordinates = coordinates
        self.screenshots = screenshots
        self.password = password

    def prompt(self, task: Task, steps: Sequence[Step], observation: Observation) -> tuple[Message, ...]:
        """The messages for the next decision; see `Agent.prompt`."""
        messages = step_history(
            steps,
            observation,
            screenshots=self.screenshots,
            instruction=instruction_text(task.instruction),
            tell=self._tell,
            answer=self.answer,
        )
        return (Message("system", (self.system_text(),)), *messages)

    def parse_several(self, text: str, observation: Observation) -> tuple[str, tuple[Action, ...]]:
        """(thought, actions) of a reply. Raises ParseError and nothing else."""
        return self.parse_pointing(text, observation, {})

    def parse_pointing(
        self, text: str, observation: Observation, names: Mapping[str, Sequence[float]]
    ) -> tuple[str, tuple[Action, ...]]:
        """As `parse_several`, where the code may also point by `names`, such as {"tag_3": (40, 50)} in pixels."""
        sections, code, offset = read_reply(text)
        return sections.text, read_actions(code, offset, self._places(observation), self.words.wait_seconds, names)

    def format_several(self, thought: str, actions: Sequence[Action], observation: Observation) -> str:
        """The reply that says `actions` in order. Raises ValueError as `format` does, and for two that would be read as one."""
        sections = Sections.of(thought)
        check_sections(sections)
        check_folded(actions)
        return self.write_sections(sections) + _code(write_actions(actions, self._places(observation), self.words))

    def answer(self, number: int, step: Step) -> Message:
        """The assistant's message of step `number` of those whose pictures are shown: as it is told, without its code."""
        return Message("assistant", (self._tell(number, step),))

    @abstractmethod
    def system_text(self) -> str:
        """The system message."""

    @abstractmethod
    def write_sections(self, sections: Sections) -> str:
        """What stands before the code of a reply."""

    @abstractmethod
    def tell_sections(self, sections: Sections) -> str:
        """What is told of a past step; `sections` has an action in any case."""

    def _places(self, observation: Observation) -> Places:
        return Places(self.coordinates, observation.screenshot)

    def _tell(self, number: int, step: Step) -> str:
        sections = Sections.of(step.thought)
        action = sections.action or in_short(step, self._places(step.observation), self.words)
        return f"# Step {number}:\n{self.tell_sections(Sections(sections.observation, sections.thought, action))}"


def _code(code: str) -> str:
    """The section of the code; what `computer` does itself stands in a block of its own kind."""
    kind = "code" if code.startswith(("computer.wait", "computer.terminate")) else "python"
    return f"## Code:\n```{kind}\n{code}\n```"
