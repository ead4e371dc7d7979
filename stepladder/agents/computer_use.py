"""What the dialects with a `computer_use` tool share: Qwen3-VL, Qwen2.5-VL, EvoCUA. One tool call a turn.

    Action: Click the search box
    <tool_call>
    {"name": "computer_use", "arguments": {"action": "left_click", "coordinate": [512, 230]}}
    </tool_call>

A function that the task declares (`task.setup["functions"]`) is called in the same way, by its own name. What is written is always
this form. What is read may also stand on one line, lack the closing tag or both tags, begin with a
<think> block, use other names for actions and keys, or leave out the outer object.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from stepladder.agents import history
from stepladder.agents.coordinates import Coordinates
from stepladder.agents.options import check_choice, check_count
from stepladder.agents.qwen_arguments import PIXELS_PER_NOTCH, ArgumentError, from_arguments, to_arguments
from stepladder.agents.qwen_prompt import TOOL_NAME
from stepladder.agents.replies import write_past
from stepladder.agents.tool_call import CLOSE, LEVELS, read_call, split_thought, write_call, write_thought
from stepladder.interfaces import ParseError
from stepladder.types import Action, Message, Observation, Step, Task


class ComputerUseAgent:
    """`prompt`, `parse` and `format` of such a dialect; those that use it say what stands in the prompt.

    `screenshots` is the number of pictures in a prompt, the current one included. `thought` says what is written before the call
    (`tool_call.write_thought`). `coordinates` is how places are written, `pixels_per_notch` how far one notch of the wheel scrolls.

    `terminate` with success is `done`, `answer` is `done` with a text, `terminate` with failure is `fail`; its reason stands in
    "text". Raises ValueError for options out of range.
    """

    name = TOOL_NAME
    stop = (CLOSE,)

    def __init__(self, screenshots: int, thought: str, coordinates: Coordinates, pixels_per_notch: int = PIXELS_PER_NOTCH) -> None:
        check_choice("thought", thought, LEVELS)
        self.screenshots = check_count("screenshots", screenshots)
        self.thought = thought
        self.coordinates = coordinates
        self.pixels_per_notch = check_count("pixels_per_notch", pixels_per_notch)

    def prompt(self, task: Task, steps: Sequence[Step], observation: Observation) -> tuple[Message, ...]:
        """The messages for the next decision; see `Agent.prompt`."""
        messages = history.window(
            steps,
            observation,
            screenshots=self.screenshots,
            describe=self._describe,
            reply=partial(write_past, self),
            opening=lambda lines, seen: self.opening_text(task, lines, seen.text),
            follow_up=_follow_up,
        )
        system = self.system_text(task, observation)
        return (Message("system", (system,)), *messages) if system else messages

    def system_text(self, task: Task, observation: Observation) -> str:
        """The system message; there is none where it is empty."""
        return ""

    def opening_text(self, task: Task, lines: list[str], notice: str) -> str:
        """The user's text beside the first picture; `lines` are the older steps, `notice` what the environment says."""
        return "\n".join(part for part in (task.instruction, *lines, notice) if part)

    def parse(self, text: str, observation: Observation) -> tuple[str, Action]:
        """(thought, action) of a reply. Raises ParseError and nothing else."""
        call = read_call(text)
        if call.name not in (None, TOOL_NAME):
            if not is_function(call.name, call.arguments):
                raise ParseError(
                    f"unknown tool {call.name!r}; it must be {TOOL_NAME!r}, or a function that was declared", call.start
                )
            return call.thought, Action("call", name=call.name, args=call.arguments)
        try:
            action = from_arguments(call.arguments, self.coordinates, observation.screenshot, self.pixels_per_notch)
        except ArgumentError as error:
            raise ParseError(str(error), max(text.find(f'"{error.field}"', call.start), call.start)) from None
        return call.thought, action

    def format(self, thought: str, action: Action, observation: Observation) -> str:
        """The reply that says `action`. Raises ValueError for an action or a thought that cannot be written in this dialect."""
        return write_thought(thought, self.thought) + write_call(*self._call(action, observation))

    def _call(self, action: Action, observation: Observation) -> tuple[str, dict[str, Any]]:
        """The name of the tool and its arguments."""
        if action.kind == "call":
            arguments = dict(action.args)
            if not is_function(action.name, arguments):
                raise ValueError(f"a call of {action.name!r} with {arguments} cannot be said")
            return action.name, arguments
        return TOOL_NAME, to_arguments(action, self.coordinates, observation.screenshot, self.pixels_per_notch)

    def _describe(self, step: Step) -> str:
        """One line for a step that is no longer shown: its "Action:" line, or the call in short."""
        if step.action is None:
            return f"unreadable reply ({step.error})"
        line = split_thought(step.thought)[1].removeprefix("Action:").strip()
        if line and self.thought != "none":
            return line
        return "; ".join(self._in_short(action, step.observation) for action in step.actions)

    def _in_short(self, action: Action, observation: Observation) -> str:
        name, arguments = self._call(action, observation)
        if action.kind == "call":
            return f"{name} {json.dumps(arguments, ensure_ascii=False)}"
        return " ".join(_short(field, value, action.kind) for field, value in arguments.items())


def is_function(name: str, arguments: Mapping[str, Any]) -> bool:
    """Whether this can be a call of a declared function: a plain name, arguments that are JSON, none of them "action", which only
    the computer itself takes."""
    if name == TOOL_NAME or not re.fullmatch(r"[A-Za-z_][\w.-]{0,63}", name) or "action" in arguments:
        return False
    try:
        return bool(json.loads(json.dumps(arguments, allow_nan=False)) == arguments)
    except (TypeError, ValueError, RecursionError):
        return False


def _follow_up(previous: Step, observation: Observation) -> str:
    """What stands beside a picture after the first: a complaint about the reply before it, and what the environment says."""
    complaint = f"Your last reply could not be read: {previous.error}" if previous.error else ""
    return "\n".join(part for part in (complaint, observation.text) if part)


def _short(field: str, value: object, kind: str) -> str:
    if field == "keys" and isinstance(value, list):
        return "+".join(value)
    if field == "text" and kind in ("type", "done", "fail"):
        return json.dumps(value, ensure_ascii=False)
    return str(value)
