"""Anthropic's computer tool. A reply is the content of an answer of the Messages API, a JSON list of blocks as the API gave them.

    [{"type": "text", "text": "I click the name field."},
     {"type": "tool_use", "id": "toolu_...", "name": "computer", "input": {"action": "left_click", "coordinate": [408, 227]}}]

done    a reply without a tool: its last text is the answer
fail    a reply without a tool that says "[INFEASIBLE]": what stands around it is the reason
wait    of 0 seconds for the requests to look (`screenshot`, `cursor_position`, `zoom`): the screen is shown anyway.
        A zoom keeps its region as `args["region"]`, [left, top, right, bottom] in pixels of the screenshot, and "zoom" as `name`,
        so that whoever shows the next picture can cut it out
`hold_key` is key_down, wait, key_up. Another tool than "computer" is a `call` of that name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal, get_args

from stepladder.agents import history
from stepladder.agents.anthropic_actions import read_input, write_inputs
from stepladder.agents.api_agent import ComputerToolAgent
from stepladder.agents.api_blocks import Block, identifier, notes, system_text, text_of
from stepladder.agents.folding import check_folded, fold
from stepladder.agents.json_text import encode, place_of, place_of_fault
from stepladder.agents.options import check_choice
from stepladder.interfaces import ParseError
from stepladder.types import Action, ImageRef, Message, Observation, Step, Task
from stepladder.values import check_text, show

Version = Literal["20241022", "20250124", "20251124"]
TOOL_NAME = "computer"
_BETAS = {
    "20241022": "computer-use-2024-10-22",
    "20250124": "computer-use-2025-01-24",
    "20251124": "computer-use-2025-11-24",
}
_FUNCTION = re.compile(r"[A-Za-z0-9_-]{1,128}")


class AnthropicAgent(ComputerToolAgent):
    """The dialect of Claude.

    `version` is that of the tool; screenshots are scaled to `width` x `height` pixels, in which places are said. `screenshots` is
    the number of latest pictures that stand in a prompt, beside all that was said; older ones are left out `chunk` at a time, so
    that a cached prompt stays the beginning of the next one for `chunk` steps. `zoom` offers the zoom of version 20251124, which
    `policies.anthropic` answers with that part of the screenshot. `password` is told to the model if there is one. Raises
    ValueError for options out of range.
    """

    name = "anthropic"
    call_types = ("tool_use",)

    def __init__(
        self,
        version: Version = "20251124",
        width: int = 1280,
        height: int = 720,
        screenshots: int = 10,
        chunk: int = 10,
        zoom: bool = False,
        password: str = "",
    ) -> None:
        check_choice("version", version, get_args(Version))
        super().__init__(width, height, screenshots, password)
        if chunk < 1:
            raise ValueError(f"chunk is {chunk}; it must be at least 1")
        if zoom and version != "20251124":
            raise ValueError(f"zoom is offered by version 20251124 alone, not by {version}")
        self.version = version
        self.chunk = chunk
        self.zoom = zoom

    @property
    def beta(self) -> str:
        """The flag of the API's beta in which this version of the tool is offered."""
        return _BETAS[self.version]

    def tool(self) -> dict[str, Any]:
        """The definition of the tool in a request."""
        definition: dict[str, Any] = {
            "type": f"computer_{self.version}",
            "name": TOOL_NAME,
            "display_width_px": self.coordinates.width,
            "display_height_px": self.coordinates.height,
        }
        return {**definition, "enable_zoom": True} if self.zoom else definition

    def prompt(self, task: Task, steps: Sequence[Step], observation: Observation) -> tuple[Message, ...]:
        """The messages for the next decision; see `Agent.prompt`. The content of an assistant's message is a reply."""
        left_out = max(0, len(steps) + 1 - self.screenshots)
        left_out -= left_out % self.chunk
        messages = [Message("system", (system_text(TOOL_NAME, self.password),))]
        for number, step in enumerate(steps):
            previous = steps[number - 1] if number else None
            messages.append(_user(task, previous, step.observation, number >= left_out))
            messages.append(history.assistant_message(step, partial(self.past, number=number)))
        messages.append(_user(task, steps[-1] if steps else None, observation, True))
        return tuple(messages)

    def parse_several(self, text: str, observation: Observation) -> tuple[str, tuple[Action, ...]]:
        """(thought, actions) of a reply. Raises ParseError and nothing else."""
        thought, actions = super().parse_several(text, observation)
        return thought, fold(actions)

    def write(self, thought: str, actions: Sequence[Action], observation: Observation, number: int) -> str:
        check_folded(actions)
        return super().write(thought, actions, observation, number)

    def said(self, blocks: Sequence[Block]) -> tuple[list[str], list[str]]:
        reasoning = [text_of(block, "thinking") for block in blocks if block["type"] == "thinking"]
        return reasoning, [text_of(block, "text") for block in blocks if block["type"] == "text"]

    def read_call(self, call: Block, text: str, begin: int, observation: Observation) -> list[Action]:
        name, given = call.get("name"), call.get("input")
        if not isinstance(given, dict):
            raise ParseError(f"'input' of the tool is {show(given)}; it must be an object", place_of(text, "input", begin))
        if not isinstance(name, str) or not _FUNCTION.fullmatch(name):
            raise ParseError(f"'name' of the tool is {show(name)}; it must be {TOOL_NAME!r}", place_of(text, "name", begin))
        try:
            if name == TOOL_NAME:
                return read_input(given, self.places(observation))
            check_text(encode(given))
            return [Action("call", name=name, args=given)]
        except ValueError as error:
            raise ParseError(str(error), place_of_fault(text, error, begin)) from None

    def reasoning_blocks(self, reasoning: str, number: int) -> list[Block]:
        return [{"type": "thinking", "thinking": reasoning, "signature": ""}] if reasoning else []

    def text_block(self, text: str) -> Block:
        return {"type": "text", "text": text}

    def write_calls(self, actions: Sequence[Action], observation: Observation, number: int) -> list[Block]:
        return [
            {"type": "tool_use", "id": identifier("toolu_", number, index, name, encode(given)), "name": name, "input": given}
            for index, (name, given) in enumerate(self._inputs(actions, observation))
        ]

    def _inputs(self, actions: Sequence[Action], observation: Observation) -> list[tuple[str, Mapping[str, Any]]]:
        places = self.places(observation)
        if self.version != "20251124" and any(action.kind == "wait" and action.name == "zoom" for action in actions):
            raise ValueError(f"the tool of version {self.version} has no zoom")
        calls: list[tuple[str, Mapping[str, Any]]] = []
        for called, group in _grouped(actions):
            if called:
                calls.append(_check_call(group[0].name, group[0].args))
            else:
                calls += [(TOOL_NAME, given) for given in write_inputs(group, places, self.version == "20241022")]
        return calls


def _user(task: Task, previous: Step | None, observation: Observation, shown: bool) -> Message:
    """The first message of the user says the task; those after it are the results of the tools."""
    content: list[str | ImageRef] = [observation.screenshot] if shown and observation.screenshot is not None else []
    text = "\n".join(part for part in ("" if previous else task.instruction, notes(previous, observation)) if part)
    return Message("user", (*content, *([text] if text else [])))


def _grouped(actions: Sequence[Action]) -> list[tuple[bool, list[Action]]]:
    """Runs of actions of the computer, and calls of other tools one by one: (whether it is a call, the actions)."""
    groups: list[tuple[bool, list[Action]]] = []
    for action in actions:
        called = action.kind == "call"
        if called or not groups or groups[-1][0]:
            groups.append((called, [action]))
        else:
            groups[-1][1].append(action)
    return groups


def _check_call(name: str, args: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    given = dict(args)
    if name == TOOL_NAME or not _FUNCTION.fullmatch(name):
        raise ValueError(f"a call of {name!r} cannot be said: a tool's name is letters, digits, _ and -, and not {TOOL_NAME!r}")
    if json.loads(check_text(encode(given))) != given:
        raise ValueError(f"the arguments of {name!r} are no JSON: {show(given)}")
    return name, given
