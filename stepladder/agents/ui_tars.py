"""The dialects of UI-TARS 1.0, 1.5 and 2: a thought and one or several calls.

    Thought: The search box is empty. I will click on it.
    Action: click(start_box='<|box_start|>(512,230)<|box_end|>')

UI-TARS 1.0 counts places from 0 to 1000 across the screen, 1.5 in pixels of the resized picture, 2 again from 0 to 1000 and as
point='<point>512 230</point>', with a <think> block before. Each reads the spellings of all. Several calls are written one below
the other with an empty line between.

`type` with a line break at its end presses Enter after the text: it is read as two actions, `type` and `key` enter, and these two
are written so. A text that ends with a line break but for that cannot be said alone. `wait` takes 5 seconds and `scroll` goes
5 notches; others cannot be said. `finished` is `done` (its content the answer), `call_user` and `error_env` are `fail` (their
content the reason).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import Literal, get_args

from stepladder.agents import history, ui_tars_prompt
from stepladder.agents.coordinates import Coordinates, RelativeCoordinates, ResizedCoordinates
from stepladder.agents.options import check_choice, check_count
from stepladder.agents.replies import SeveralActionsAgent, write_past
from stepladder.agents.step_history import notes
from stepladder.agents.tool_call import split_thought
from stepladder.agents.ui_tars_actions import Wording, read_actions, write_calls
from stepladder.agents.ui_tars_calls import ACTION, read_calls
from stepladder.interfaces import ParseError
from stepladder.types import Action, Message, Observation, Step, Task

Points = Literal["box", "point"]
_BARE_CALL = re.compile(r"^(?:```\w*\s*\n)?[ \t`]*(?=[A-Za-z_]\w*\()", re.MULTILINE)
_THINK = re.compile(r"\s*<think(?:ing)?>")
_THINK_END = re.compile(r"</think(?:ing)?>")
_LABEL = re.compile(r"\s*(?:Thought|Reflection|Action_Summary)\s*[:：]\s*")
_SUMMARY = re.compile(r"Action_Summary\s*[:：]")
_MARKUP = ("<think>", "</think>", "<thinking>", "</thinking>")
#: UI-TARS 1.5 sees pictures in squares of 28 pixels.
UI_TARS_PICTURE = ResizedCoordinates(factor=28, min_pixels=100 * 28 * 28, max_pixels=16384 * 28 * 28)


class UITARSAgent(SeveralActionsAgent):
    """What the three versions share. `screenshots` is the number of pictures in a prompt, the current one included; the replies to
    older ones stay. `thought` asks for a thought, `language` is that of the thought, `notches` how far `scroll` goes. Raises
    ValueError for options out of range."""

    name = "ui_tars"
    #: The end of the reply alone ends a reply: a call can be followed by another.
    stop: tuple[str, ...] = ()
    #: Whether the first message is a system message.
    system = True
    #: Whether the thought is written as a <think> block and a one-line "Thought:".
    thinking = False

    def __init__(
        self,
        coordinates: Coordinates,
        points: Points,
        screenshots: int,
        language: str,
        thought: bool,
        call_user: bool,
        notches: int,
    ) -> None:
        check_choice("points", points, get_args(Points))
        if not isinstance(language, str) or not language.strip():
            raise ValueError(f"language is {language!r}; it must be the name of one, such as 'English'")
        self.screenshots = check_count("screenshots", screenshots)
        self.coordinates = coordinates
        self.points = points
        self.language = language
        self.thought = thought
        self.call_user = call_user
        self.wording = Wording(points, check_count("notches", notches), press_holds=self.thinking)

    def prompt(self, task: Task, steps: Sequence[Step], observation: Observation) -> tuple[Message, ...]:
        """The instruction, then every reply that was given, the last of them with the pictures they answer; see `Agent.prompt`."""
        messages = [Message("system", (ui_tars_prompt.SYSTEM,))] if self.system else []
        messages.append(Message("user", (self.instruction_text(task),)))
        first = len(steps) - (self.screenshots - 1)
        for index, step in enumerate(steps):
            if index >= first:
                messages.append(history.user_message(step.observation, notes(steps, index, step.observation)))
            messages.append(history.assistant_message(step, partial(write_past, self)))
        messages.append(history.user_message(observation, notes(steps, len(steps), observation)))
        return tuple(messages)

    def instruction_text(self, task: Task) -> str:
        """The first message of the user."""
        if self.points == "point":
            return ui_tars_prompt.point_prompt(
                task.instruction, language=self.language, thinking=self.thinking and self.thought, call_user=self.call_user
            )
        return ui_tars_prompt.box_prompt(
            task.instruction, language=self.language, thought=self.thought, answer=self.answers, call_user=self.call_user
        )

    #: Whether the prompt says that `finished` takes a content.
    answers = True

    def parse_several(self, text: str, observation: Observation) -> tuple[str, tuple[Action, ...]]:
        """(thought, actions) of a reply. Raises ParseError and nothing else."""
        reasoning, begin = _read_block(text)
        found = ACTION.search(text, begin) or _BARE_CALL.search(text, begin)
        if found is None:
            raise ParseError("there is no action in the reply, such as: Action: click(start_box='(x,y)')", len(text))
        thought = _read_thought(reasoning, text[begin : found.start()])
        calls = read_calls(text, found.end())
        return thought, read_actions(calls, self.wording, self.coordinates, observation.screenshot)

    def format_several(self, thought: str, actions: Sequence[Action], observation: Observation) -> str:
        """The reply that says `actions`. Raises ValueError for what cannot be said."""
        calls = write_calls(actions, self.wording, self.coordinates, observation.screenshot)
        return f"{self._write_thought(thought)}Action: " + "\n\n".join(calls)

    def _write_thought(self, thought: str) -> str:
        """The thought, without the label of its "Action:" line: UI-TARS says its next action at the end of the thought."""
        if not self.thought:
            return ""
        reasoning, line = split_thought(thought)
        summary = line.removeprefix("Action:").strip()
        for markup in _MARKUP:
            if markup in thought:
                raise ValueError(f"a thought cannot contain {markup!r}")
        if ACTION.search(f"{reasoning}\n{summary}\n"):
            raise ValueError("a thought cannot contain 'Action:' with a call behind it")
        if self.thinking:
            block = f"<think>{reasoning}</think>\n" if reasoning else ""
            return block + (f"Thought: {summary}\n" if summary else "")
        written = "\n".join(part for part in (reasoning, summary) if part)
        return f"Thought: {written}\n" if written else ""


class UITARS1Agent(UITARSAgent):
    """UI-TARS 1.0 (2B to 72B, from Qwen2-VL): boxes from 0 to 1000. It gives up with `call_user`, which its prompt offers."""

    name = "ui_tars_1"
    answers = False

    def __init__(
        self, screenshots: int = 5, language: str = "English", thought: bool = True, call_user: bool = True, notches: int = 5
    ) -> None:
        super().__init__(RelativeCoordinates(1000), "box", screenshots, language, thought, call_user, notches)


class UITARS15Agent(UITARSAgent):
    """UI-TARS 1.5 (7B, from Qwen2.5-VL): pixels of the picture as its processor resizes it, to `max_pixels` at most.

    `points` chooses OSWorld's prompt with boxes or that of UI-TARS' repository with points. Its published prompt does not offer
    `call_user`, so the model never gives up unless `call_user` adds it.
    """

    name = "ui_tars_1_5"

    def __init__(
        self,
        screenshots: int = 5,
        language: str = "English",
        thought: bool = True,
        call_user: bool = False,
        notches: int = 5,
        points: Points = "box",
        max_pixels: int = UI_TARS_PICTURE.max_pixels,
    ) -> None:
        check_count("max_pixels", max_pixels, least=UI_TARS_PICTURE.min_pixels)
        coordinates = ResizedCoordinates(UI_TARS_PICTURE.factor, UI_TARS_PICTURE.min_pixels, max_pixels)
        super().__init__(coordinates, points, screenshots, language, thought, call_user, notches)


class UITARS2Agent(UITARSAgent):
    """UI-TARS 2 and the Doubao models of its kind: points from 0 to 1000, a <think> block (not without `thought`), no system
    message.

    Its thought is the <think> block and, as "Action:" line, the sentence behind "Thought:". `press` holds a key down until
    `release`.
    """

    name = "ui_tars_2"
    system = False
    thinking = True

    def __init__(
        self, screenshots: int = 5, language: str = "English", thought: bool = True, call_user: bool = False, notches: int = 5
    ) -> None:
        super().__init__(RelativeCoordinates(1000), "point", screenshots, language, thought, call_user, notches)


def _read_block(text: str) -> tuple[str, int]:
    """The reasoning in a <think> block at the beginning, and the offset behind it. A chat template may have opened the block."""
    opened = _THINK.match(text)
    begin = opened.end() if opened else 0
    closed = _THINK_END.search(text, begin)
    if closed is None or (opened is None and ACTION.search(text, 0, closed.start())):
        return "", begin
    return text[begin : closed.start()].strip(), closed.end()


def _read_thought(reasoning: str, lead: str) -> str:
    """The thought in front of the calls: `reasoning` of a block, then "Thought:", "Reflection:" and "Action_Summary:", or text."""
    label = _LABEL.match(lead)
    said = lead[label.end() :].strip() if label else lead.strip()
    summarized = bool(reasoning)
    if label and "Reflection" in label.group() and (marker := _SUMMARY.search(said)):
        reasoning, said, summarized = said[: marker.start()].strip(), said[marker.end() :].strip(), True
    elif label and "Action_Summary" in label.group():
        summarized = True
    line = f"Action: {said}" if summarized and said and "\n" not in said else said
    return "\n".join(part for part in (reasoning, line) if part)
