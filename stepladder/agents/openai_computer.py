"""OpenAI's computer tool. A reply is the output of the Responses API, a JSON list of items as the API gave them.

    [{"type": "reasoning", "id": "rs_...", "summary": [{"type": "summary_text", "text": "I click the name field."}]},
     {"type": "computer_call", "id": "cu_...", "call_id": "call_...", "pending_safety_checks": [], "status": "completed",
      "actions": [{"type": "click", "button": "left", "x": 408, "y": 227}, {"type": "type", "text": "report"}]}]

The older tool, "computer_use_preview", has one "action" a call.

done    a reply without a call: its last text is the answer
fail    a reply without a call that says "[INFEASIBLE]": what stands around it is the reason
wait    of 1 second for `wait`, which says no time, and of 0 seconds for `screenshot`: the screen is shown after every reply
anyway A click of the buttons "back" and "forward" is the keys alt+left and alt+right. A `function_call` is a `call` of that name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from stepladder.agents import history
from stepladder.agents.api_agent import ComputerToolAgent
from stepladder.agents.api_blocks import Block, identifier, notes, system_text, text_of
from stepladder.agents.json_text import decode, encode, place_of, place_of_fault
from stepladder.agents.openai_actions import read_action, write_actions
from stepladder.agents.options import check_choice
from stepladder.interfaces import ParseError
from stepladder.types import Action, Message, Observation, Step, Task
from stepladder.values import check_text, show

Version = Literal["computer", "computer_use_preview"]
Machine = Literal["linux", "ubuntu", "windows", "mac", "browser"]
_FUNCTION = re.compile(r"[A-Za-z0-9_-]{1,64}")


class OpenAIComputerAgent(ComputerToolAgent):
    """The dialect of OpenAI's models with the computer tool.

    `version` is the type of the tool: "computer" gives actions in batches, "computer_use_preview" one by one, and is told the
    `environment`. Screenshots are scaled to `width` x `height` pixels, in which places are said. `screenshots` is the number of
    turns with a picture in a prompt, the current one included; older steps are told in a line each, because the API takes no call
    without its screenshot. `password` is told to the model if there is one. Raises ValueError for options out of range.
    """

    name = "openai_computer"
    call_types = ("computer_call", "function_call")

    def __init__(
        self,
        version: Version = "computer",
        width: int = 1280,
        height: int = 720,
        environment: Machine = "linux",
        screenshots: int = 10,
        password: str = "",
    ) -> None:
        check_choice("version", version, get_args(Version))
        check_choice("environment", environment, get_args(Machine))
        super().__init__(width, height, screenshots, password)
        self.version = version
        self.environment = environment

    def tool(self) -> dict[str, Any]:
        """The definition of the tool in a request."""
        if self.version == "computer":
            return {"type": "computer"}
        return {
            "type": self.version,
            "display_width": self.coordinates.width,
            "display_height": self.coordinates.height,
            "environment": self.environment,
        }

    def prompt(self, task: Task, steps: Sequence[Step], observation: Observation) -> tuple[Message, ...]:
        """The messages for the next decision; see `Agent.prompt`. The content of an assistant's message is a reply."""
        numbers = {id(step): number for number, step in enumerate(steps)}
        window = history.window(
            steps,
            observation,
            screenshots=self.screenshots,
            describe=self._describe,
            reply=lambda step: self.past(step, numbers[id(step)]),
            opening=lambda lines, seen: _opening(task, lines, seen),
            follow_up=notes,
        )
        return (Message("system", (system_text("computer", self.password),)), *window)

    def said(self, blocks: Sequence[Block]) -> tuple[list[str], list[str]]:
        reasoning = [part for item in blocks if item["type"] == "reasoning" for part in _parts(item, "summary", "summary_text")]
        return reasoning, [part for item in blocks if item["type"] == "message" for part in _parts(item, "content", "output_text")]

    def read_call(self, call: Block, text: str, begin: int, observation: Observation) -> list[Action]:
        if call["type"] == "function_call":
            return [_read_function(call, text, begin)]
        given = call.get("actions") if call.get("actions") is not None else [call.get("action")]
        if not isinstance(given, list) or not given or not all(isinstance(one, dict) for one in given):
            raise ParseError("a computer_call needs an 'action' or a list of 'actions'", place_of(text, "action", begin))
        places = self.places(observation)
        actions: list[Action] = []
        for one in given:
            try:
                actions += read_action(one, places)
            except ValueError as error:
                raise ParseError(f"{show(one.get('type'))}: {error}", place_of_fault(text, error, begin)) from None
        return actions

    def reasoning_blocks(self, reasoning: str, number: int) -> list[Block]:
        if not reasoning:
            return []
        summary = [{"type": "summary_text", "text": reasoning}]
        return [{"type": "reasoning", "id": identifier("rs_", number, reasoning), "summary": summary}]

    def text_block(self, text: str) -> Block:
        return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}

    def write_calls(self, actions: Sequence[Action], observation: Observation, number: int) -> list[Block]:
        if len(actions) == 1 and actions[0].kind == "call":
            return [_function_call(actions[0], number)]
        said = list(write_actions(actions, self.places(observation)))
        if self.version != "computer" and len(said) != 1:
            raise ValueError(f"a call of {self.version} says one action, and not {len(said)}")
        batch = {"actions": said} if self.version == "computer" else {"action": said[0]}
        identity = identifier("", number, encode(said))
        call = {"type": "computer_call", "id": f"cu_{identity}", "call_id": f"call_{identity}", **batch}
        return [{**call, "pending_safety_checks": [], "status": "completed"}]

    def _describe(self, step: Step) -> str:
        """One line for a step that is no longer shown: its actions as the tool says them."""
        if not step.actions:
            return f"unreadable reply ({step.error})"
        try:
            said = write_actions(step.actions, self.places(step.observation))
            return "; ".join(encode(one) for one in said)
        except ValueError:
            return "; ".join(f"{action.kind} {action.name}".strip() for action in step.actions)


def _opening(task: Task, lines: list[str], seen: Observation) -> str:
    earlier = ["What you did before:", *lines] if lines else []
    return "\n".join(part for part in (task.instruction, *earlier, seen.text) if part)


def _parts(item: Block, field: str, kind: str) -> list[str]:
    """The texts of an item. Raises ParseError."""
    value = item.get(field) or []
    if isinstance(value, str):
        value = [{"type": kind, "text": value}]
    if not isinstance(value, list) or not all(isinstance(part, dict) for part in value):
        raise ParseError(f"{field!r} of a {item['type']} must be a list of objects", 0)
    return [text_of({"type": kind, **part}, "refusal" if part.get("type") == "refusal" else "text") for part in value]


def _function_call(action: Action, number: int) -> Block:
    given = dict(action.args)
    if not _FUNCTION.fullmatch(action.name) or json.loads(check_text(encode(given))) != given:
        raise ValueError(f"a call of {action.name!r} with {show(given)} cannot be said")
    identity = identifier("", number, action.name, encode(given))
    call = {"type": "function_call", "id": f"fc_{identity}", "call_id": f"call_{identity}", "name": action.name}
    return {**call, "arguments": encode(given), "status": "completed"}


def _read_function(call: Block, text: str, begin: int) -> Action:
    name, written = call.get("name"), call.get("arguments")
    if not isinstance(name, str) or not _FUNCTION.fullmatch(name):
        raise ParseError(f"'name' of the function is {show(name)}", place_of(text, "name", begin))
    place = place_of(text, "arguments", begin)
    given: Mapping[str, Any] | Any = written
    if isinstance(written, str):
        try:
            given = decode(written.strip())[0] if written.strip() else {}
        except ParseError as error:
            raise ParseError(f"'arguments': {error}", place) from None
    if not isinstance(given, dict):
        raise ParseError(f"'arguments' is {show(written)}; it must be an object", place)
    try:
        check_text(encode(given))
    except ValueError as error:
        raise ParseError(f"'arguments': {error}", place) from None
    return Action("call", name=name, args=given)
