"""Law 1 for Qwen3-VL's dialect, its tolerance and its prompts."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import drawn_actions
import numpy as np
import pytest
from drawn_actions import actions, damaged, screens, sizes, thoughts
from hypothesis import given
from hypothesis import strategies as st

from stepladder.agents import agent_class
from stepladder.agents.coordinates import RelativeCoordinates
from stepladder.agents.qwen_vl import QwenVLAgent
from stepladder.interfaces import Agent, ParseError
from stepladder.keys import NAMED_KEYS, canonical_key, read_keys
from stepladder.types import ACTION_KINDS, Action, Completion, ImageRef, Observation, Step, Task

SCREEN = Observation(screenshot=ImageRef("0" * 64, 160, 210))
TASK = Task("click-test", "Click the button.", "miniwob")


def close(first: Action, second: Action, screen: Observation, grid: int) -> bool:
    return drawn_actions.close(first, second, screen, RelativeCoordinates(grid=grid))


@given(st.data(), screens(), st.sampled_from([1, 5, 10, 40]), st.sampled_from(["none", "action", "full"]))
def test_every_action_is_read_back(data: st.DataObject, screen: Observation, grid: int, thought: Any) -> None:
    agent = QwenVLAgent(grid=grid, thought=thought)
    action = data.draw(actions(screen, ACTION_KINDS))
    reply = agent.format(data.draw(thoughts), action, screen)
    assert close(agent.parse(reply, screen)[1], action, screen, grid)
    assert reply.endswith(agent.stop[0])
    assert reply.count(agent.stop[0]) == 1


@pytest.mark.parametrize("kind", ACTION_KINDS)
def test_each_kind_can_be_said(kind: Any) -> None:
    fields: dict[str, Any] = {"x": 10.0, "y": 21.0} if kind in ("move", "drag") else {}
    fields |= {"x2": 80.0, "y2": 105.0} if kind == "drag" else {}
    fields |= {"keys": ("ctrl", "c")} if kind.startswith("key") else {}
    fields |= {"name": "run", "args": {"command": "ls </tool_call>"}} if kind == "call" else {}
    agent = QwenVLAgent()
    action = Action(kind, **fields)
    assert close(agent.parse(agent.format("", action, SCREEN), SCREEN)[1], action, SCREEN, 1)


@given(st.text(alphabet=st.characters(exclude_categories=("C", "Z"), exclude_characters="<"), max_size=40), st.booleans())
def test_thoughts_are_read_back_in_full(reasoning: str, with_line: bool) -> None:
    thought = "\n".join(part for part in (reasoning, "Action: Click it." if with_line else "") if part)
    agent = QwenVLAgent(thought="full")
    assert agent.parse(agent.format(thought, Action("click"), SCREEN), SCREEN)[0] == thought


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("", {}),
        ("computer_use", {"x": 1}),
        ("two words", {}),
        ("run", {"action": "x"}),
        ("run", {"x": float("nan")}),
        ("run", {"x": {1}}),
    ],
)
def test_a_call_that_would_be_read_otherwise_is_refused(name: str, args: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="cannot be said"):
        QwenVLAgent().format("", Action("call", name=name, args=args), SCREEN)


@pytest.mark.parametrize(("system", "tools"), [("full", 2), ("short", 1), ("none", 0)])
def test_declared_functions_stand_in_the_prompt(system: Any, tools: int) -> None:
    schema = {"name": "run", "description": "Run a command.", "parameters": {"type": "object"}}
    task = Task("t", "Do it.", "desk", {"functions": [schema]})
    plain = QwenVLAgent(system=system).prompt(replace(task, setup={}), (), SCREEN)
    messages = QwenVLAgent(system=system).prompt(task, (), SCREEN)
    found = [line for line in messages[0].text.split("\n") if line.startswith("{") and "parameters" in line]
    assert len(found) == tools
    assert (json.dumps(schema) in messages[0].text) == (system != "none")
    assert [message.content for message in messages[1:]] == [message.content for message in plain[1:]]


def test_older_calls_are_described() -> None:
    steps = [Step(SCREEN, Action("call", name="run", args={"command": "ls"})), Step(SCREEN, Action("click", 10, 10))]
    said = QwenVLAgent(screenshots=1).prompt(Task("t", "Do it.", "desk"), steps, SCREEN)
    assert 'run {"command": "ls"}' in said[-1].text


def test_thought_levels() -> None:
    thought = "The form is empty.\nAction: Click the name field."
    call = '<tool_call>\n{"name": "computer_use", "arguments": {"action": "left_click", "coordinate": [500, 500]}}\n</tool_call>'
    click = Action("click", 80, 105)
    assert QwenVLAgent().format(thought, click, SCREEN) == call
    assert QwenVLAgent(thought="action").format(thought, click, SCREEN) == "Action: Click the name field.\n" + call
    full = QwenVLAgent(thought="full").format(thought, click, SCREEN)
    assert full == "<think>\nThe form is empty.\n</think>\n\nAction: Click the name field.\n" + call


CLICK = Action("click", 80.0, 105.0)
ARGUMENTS = '{"action": "left_click", "coordinate": [500, 500]}'
CALL = '{"name": "computer_use", "arguments": ' + ARGUMENTS + "}"
TOLERATED = {
    "multi-line": (f"<tool_call>\n{CALL}\n</tool_call>", "", CLICK),
    "single line": (f"<tool_call>{CALL}</tool_call>", "", CLICK),
    "no close tag": (f"<tool_call>\n{CALL}", "", CLICK),
    "end token behind": (f"<tool_call>\n{CALL}\n</tool_call><|im_end|>", "", CLICK),
    "outer object not closed": (f"<tool_call>\n{CALL[:-1]}\n</tool_call>", "", CLICK),
    "bare": (CALL, "", CLICK),
    "bare arguments": (ARGUMENTS, "", CLICK),
    "fenced": (f"```json\n{CALL}\n```", "", CLICK),
    "action line": (f"Action: Click it.\n<tool_call>\n{CALL}\n</tool_call>", "Action: Click it.", CLICK),
    "think": (f"<think>\nHm {{x}}.\n</think>\n\n<tool_call>\n{CALL}\n</tool_call>", "Hm {x}.", CLICK),
    "thinking": (f"<thinking>Hm.</thinking>Action: Go\n<tool_call>{CALL}</tool_call>", "Hm.\nAction: Go", CLICK),
    "think opened by the template": (f"Hm.\n</think>\n\n<tool_call>\n{CALL}\n</tool_call>", "Hm.", CLICK),
    "think not closed": (f"<think>Hm.\n<tool_call>\n{CALL}\n</tool_call>", "Hm.", CLICK),
    "first of two": (f"<tool_call>\n{CALL}\n</tool_call>\n<tool_call>\n{{}}\n</tool_call>", "", CLICK),
    "click": ('{"action": "click", "coordinate": [500, 500]}', "", CLICK),
    "upper case": ('{"action": "LEFT_CLICK", "coordinate": ["500", "500"]}', "", CLICK),
    "coordinate as text": ('{"action": "left_click", "coordinate": "(500, 500)"}', "", CLICK),
    "arguments as text": (json.dumps({"name": "computer_use", "arguments": ARGUMENTS}), "", CLICK),
    "at the pointer": ('{"action": "left_click"}', "", Action("click")),
    "label beside a click": ('{"action": "left_click", "coordinate": [500, 500], "text": "Submit"}', "", CLICK),
    "modifiers in text": ('{"action": "left_click", "text": "Control+shift"}', "", Action("click", keys=("ctrl", "shift"))),
    "modifiers in keys": ('{"action": "left_click", "keys": ["cmd"]}', "", Action("click", keys=("super",))),
    "keys as text": ('{"action": "key", "keys": "ctrl+Page_Down"}', "", Action("key", keys=("ctrl", "pagedown"))),
    "keys spaced": ('{"action": "hotkey", "key": "ctrl c"}', "", Action("key", keys=("ctrl", "c"))),
    "keys in a list": ('{"action": "key", "keys": ["Return"]}', "", Action("key", keys=("enter",))),
    "keys wrapped": ('{"action": "key", "keys": ["keys=[\'ctrl\'", "\'c\']"]}', "", Action("key", keys=("ctrl", "c"))),
    "plus key": ('{"action": "key", "keys": "ctrl++"}', "", Action("key", keys=("ctrl", "+"))),
    "raw newline in text": ('{"action": "type", "text": "a\nb"}', "", Action("type", text="a\nb")),
    "number as text": ('{"action": "type", "text": 42}', "", Action("type", text="42")),
    "wait without time": ('{"action": "wait"}', "", Action("wait", seconds=1.0)),
    "long wait": ('{"action": "wait", "time": 1e9}', "", Action("wait", seconds=30.0)),
    "success": ('{"action": "terminate", "status": "success"}', "", Action("done")),
    "failure": ('{"action": "terminate", "status": "failure"}', "", Action("fail")),
    "answer": ('{"action": "answer", "text": "Paris"}', "", Action("done", text="Paris")),
    "drag from the pointer": ('{"action": "left_click_drag", "coordinate": [500, 500]}', "", Action("drag", x2=80.0, y2=105.0)),
    "scroll at the pointer": ('{"action": "scroll", "pixels": -300}', "", Action("scroll", amount=-3.0)),
    "sideways": ('{"action": "hscroll", "pixels": 100}', "", Action("scroll", amount=1.0, name="horizontal")),
    "off the screen": ('{"action": "left_click", "coordinate": [1000, -4]}', "", Action("click", 159.0, 0.0)),
}


@pytest.mark.parametrize("case", TOLERATED)
def test_tolerance(case: str) -> None:
    text, thought, action = TOLERATED[case]
    assert QwenVLAgent().parse(text, SCREEN) == (thought, action)


MALFORMED = {
    "": "no tool call",
    "I cannot do this.": "no tool call",
    "<tool_call>\n": "no JSON object",
    '<tool_call>\n{"name": "computer_use", "arguments": {"action": "left_cl': "not JSON",
    '{"name": "computer_use", "arguments": [1]}': "'arguments'",
    '{"name": "rm", "arguments": {"action": "wait"}}': "unknown tool",
    '{"name": 3, "arguments": {"action": "wait"}}': "'name'",
    '{"action": "explode"}': "unknown action",
    '{"action": null}': "'action'",
    '{"action": "left_click", "coordinate": [1]}': "must be \\[x, y\\]",
    '{"action": "left_click", "coordinate": [NaN, 1]}': "NaN",
    '{"action": "left_click", "coordinate": [1e999, 1]}': "finite",
    '{"action": "left_click", "coordinate": [true, 1]}': "finite",
    '{"action": "left_click", "coordinate": [1' + "0" * 400 + ", 1]}": "finite",
    '{"action": "left_click", "coordinate": [1' + "0" * 5000 + ", 1]}": "not JSON",
    '{"action": "left_click", "keys": ["a"]}': "modifier",
    '{"action": "mouse_move"}': "missing",
    '{"action": "left_click_drag"}': "missing",
    '{"action": "scroll"}': "missing",
    '{"action": "type"}': "must be a string",
    '{"action": "type", "text": "\\ud800"}': "surrogate",
    '{"action": "key", "keys": []}': "no key",
    '{"action": "key", "keys": "entr"}': "'enter'",
    '{"action": "key", "keys": [{}]}': "strings",
    '{"action": "terminate"}': "success or failure",
    '{"action": ' + "[" * 100_000: "not JSON",
}


@pytest.mark.parametrize("text", MALFORMED, ids=lambda text: text[:60])
def test_malformed_replies(text: str) -> None:
    with pytest.raises(ParseError, match=MALFORMED[text]) as caught:
        QwenVLAgent().parse(text, SCREEN)
    assert 0 <= caught.value.position <= len(text)


def test_a_parse_error_points_at_the_field() -> None:
    text = '<tool_call>{"action": "left_click", "coordinate": 3}'
    with pytest.raises(ParseError) as caught:
        QwenVLAgent().parse(text, SCREEN)
    assert text[caught.value.position :].startswith('"coordinate"')


def read_or_refuse(text: str) -> None:
    agent = QwenVLAgent()
    try:
        _, action = agent.parse(text, SCREEN)
    except ParseError as error:
        assert 0 <= error.position <= len(text)  # noqa: PT017
        return
    assert close(agent.parse(agent.format("", action, SCREEN), SCREEN)[1], action, SCREEN, 1)
    for x, size in ((action.x, 160), (action.x2, 160), (action.y, 210), (action.y2, 210)):
        assert x is None or 0 <= x <= size - 1


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    read_or_refuse(text)


FRAGMENTS = ["<tool_call>", "</tool_call>", "<think>", "</think>", '"arguments": {', "{", "}", "[", '"', "NaN", "\\u", "1e400"]


@given(st.data())
def test_damaged_replies_are_read_or_refused(data: st.DataObject) -> None:
    text = QwenVLAgent(thought="full").format("Hm.\nAction: Go", data.draw(actions(SCREEN, ACTION_KINDS)), SCREEN)
    read_or_refuse(data.draw(damaged(text, FRAGMENTS)))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
field_names = st.sampled_from(["keys", "text", "coordinate", "start_coordinate", "pixels", "time", "status", "key"])
action_names = st.sampled_from(
    ["left_click", "left_click_drag", "key", "key_up", "type", "scroll", "hscroll", "wait", "terminate", "answer", "mouse_move"]
)


@given(action_names, st.dictionaries(field_names, json_values))
def test_any_arguments_are_read_or_refused(action: str, fields: dict[str, Any]) -> None:
    read_or_refuse(json.dumps({"name": "computer_use", "arguments": {"action": action, **fields}}))


UNSAYABLE = [
    (Action("call", name="two words"), "cannot be said"),
    (Action("move"), "needs x and y"),
    (Action("drag", 1, 1), "needs x2 and y2"),
    (Action("click", 1), "both x and y"),
    (Action("click", float("nan"), 1), "finite"),
    (Action("click", keys=("a",)), "no modifier"),
    (Action("key"), "needs keys"),
    (Action("key", keys=("Enter",)), "write 'enter'"),
    (Action("wait", seconds=31), "30"),
    (Action("scroll", amount=float("inf")), "finite"),
    (Action("scroll", name="sideways"), "horizontal"),
    (Action("type", text="\ud800"), "surrogates"),
]


@pytest.mark.parametrize(("action", "message"), UNSAYABLE)
def test_what_cannot_be_said(action: Action, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        QwenVLAgent().format("", action, SCREEN)


def test_markup_in_thoughts_and_text() -> None:
    agent = QwenVLAgent(thought="full")
    with pytest.raises(ValueError, match="</think>"):
        agent.format("so </think>", CLICK, SCREEN)
    text = "</tool_call><|im_end|><think> a < b <b>"
    reply = agent.format("", Action("type", text=text), SCREEN)
    assert "<|" not in reply
    assert reply.count("</tool_call>") == 1
    assert agent.parse(reply, SCREEN)[1].text == text


def test_places_need_a_screenshot() -> None:
    with pytest.raises(ValueError, match="screenshot"):
        QwenVLAgent().format("", CLICK, Observation())
    with pytest.raises(ParseError, match="screenshot"):
        QwenVLAgent().parse(CALL, Observation())


@given(sizes, sizes, st.integers(1, 100), st.sampled_from([999, 1000]), st.data())
def test_coordinate_round_trip(width: int, height: int, grid: int, scale: int, data: st.DataObject) -> None:
    codec = RelativeCoordinates(scale, grid)
    x, y = data.draw(st.floats(0, width - 1)), data.draw(st.floats(0, height - 1))
    written = codec.encode(x, y, width, height)
    assert all(0 <= number <= scale and number % grid == 0 for number in written)
    back = codec.decode(*written, width, height)
    allowed = codec.tolerance(width, height)
    if scale % grid == 0:
        assert all(abs(a - b) <= limit + 1e-9 for a, b, limit in zip(back, (x, y), allowed, strict=True))


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), sizes, sizes)
def test_coordinates_stay_inside(x: float, y: float, width: int, height: int) -> None:
    codec = RelativeCoordinates(1000, 10)
    back = codec.decode(x, y, width, height)
    assert 0 <= back[0] <= width - 1
    assert 0 <= back[1] <= height - 1
    assert all(0 <= number <= 1000 for number in codec.encode(x, y, width, height))


def test_options_out_of_range() -> None:
    for options in ({"grid": 0}, {"screenshots": 0}, {"thought": "some"}, {"system": "long"}):
        with pytest.raises(ValueError, match=next(iter(options))):
            QwenVLAgent(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [*NAMED_KEYS, "a", "7", "+", "-", "/", "é"])
def test_canonical_names_are_their_own(name: str) -> None:
    assert canonical_key(name) == name
    assert read_keys([name]) == (name,)
    assert read_keys(name) == (name,)


SPELLINGS = {
    "Return": "enter",
    "KP_Enter": "enter",
    "\n": "enter",
    "Control": "ctrl",
    "Page_Down": "pagedown",
    "page down": "pagedown",
    "Meta": "super",
    "Super_L": "super",
    "cmd": "super",
    "ArrowLeft": "left",
    "Esc": "escape",
    "F5": "f5",
    "A": "a",
    " ": "space",
}


@pytest.mark.parametrize(("written", "key"), SPELLINGS.items())
def test_key_aliases(written: str, key: str) -> None:
    assert canonical_key(written) == key


def steps(count: int, **fields: Any) -> list[Step]:
    return [
        Step(Observation(screenshot=ImageRef(str(number) * 64, 160, 210)), Action("click", 80, 105), **fields)
        for number in range(count)
    ]


def test_prompt_without_history() -> None:
    (message,) = QwenVLAgent(system="none").prompt(TASK, [], SCREEN)
    assert message.content == (SCREEN.screenshot, "Click the button.")


def test_older_steps_become_lines() -> None:
    system, user = QwenVLAgent(grid=10).prompt(TASK, steps(2), SCREEN)
    assert "\n" not in system.text
    assert user.text == "Click the button.\nPrevious actions:\nStep 1: left_click [500, 500]\nStep 2: left_click [500, 500]"
    typed = Step(SCREEN, Action("type", text="a\nb"), thought="Hm.\nAction: Type it.")
    hotkey = Step(SCREEN, Action("key", keys=("ctrl", "c")))
    assert QwenVLAgent().prompt(TASK, [typed, hotkey], SCREEN)[-1].text.endswith('Step 1: type "a\\nb"\nStep 2: key ctrl+c')
    assert QwenVLAgent(thought="action").prompt(TASK, [typed], SCREEN)[-1].text.endswith("Step 1: Type it.")


def test_recent_steps_stay_as_turns() -> None:
    sampled = Completion("<tool_call>x", tokens=np.array([1, 2], np.int32))
    messages = QwenVLAgent(screenshots=3, system="none").prompt(TASK, steps(3, completion=sampled), SCREEN)
    assert [message.role for message in messages] == ["user", "assistant", "user", "assistant", "user"]
    assert messages[0].text == "Click the button.\nPrevious actions:\nStep 1: left_click [500, 500]"
    assert [image.sha256[0] for message in messages for image in message.images] == ["1", "2", "0"]
    assert messages[1].text == sampled.text
    assert messages[1].tokens is sampled.tokens
    assert messages[-1].content == (SCREEN.screenshot,)
    shown = QwenVLAgent(screenshots=2).prompt(TASK, steps(1), SCREEN)
    assert shown[2].text == QwenVLAgent().format("", CLICK, SCREEN)
    assert shown[2].tokens is None


def test_unreadable_replies_and_notices_are_shown() -> None:
    failed = Step(SCREEN, completion=Completion("hm"), error="there is no tool call")
    notice = Observation(screenshot=SCREEN.screenshot, text="nothing there")
    text = QwenVLAgent().prompt(TASK, [failed], notice)[-1].text
    assert "Step 1: unreadable reply (there is no tool call)" in text
    assert text.endswith("\nnothing there")
    messages = QwenVLAgent(screenshots=2).prompt(TASK, [failed], notice)
    assert messages[-1].text == "Your last reply could not be read: there is no tool call\nnothing there"


def test_the_full_system_prompt_is_qwens() -> None:
    system, user = QwenVLAgent(system="full").prompt(TASK, [], SCREEN)
    schema = json.loads(system.text.split("<tools>\n")[1].split("\n</tools>")[0])
    assert schema["function"]["name"] == "computer_use"
    assert {"left_click", "hscroll", "terminate", "answer"} <= set(schema["function"]["parameters"]["properties"]["action"]["enum"])
    assert "resolution is 1000x1000" in schema["function"]["description"]
    assert user.text.endswith("Instruction: Click the button.\n\nPrevious actions:\nNone")


def test_the_table_of_agents() -> None:
    assert isinstance(agent_class("qwen_vl")(), Agent)
    assert agent_class("stepladder.agents.qwen_vl:QwenVLAgent") is QwenVLAgent
    with pytest.raises(ValueError, match="qwen_vl"):
        agent_class("qwen_v")
