"""Law 1 for Anthropic's computer tool in its three versions, what Claude writes, and its prompts."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from drawn_actions import actions, close, damaged, read_or_refuse, screen, screens
from hypothesis import given
from hypothesis import strategies as st

from stepladder.agents import agent_class
from stepladder.agents.anthropic import AnthropicAgent
from stepladder.agents.conformance import ACTIONS, SCREEN, check_agent
from stepladder.agents.replies import read_reply, write_reply
from stepladder.interfaces import ParseError
from stepladder.types import ACTION_KINDS, Action, Completion, Observation, Step, Task

DESK = screen(1920, 1080)
TASK = Task("t", "Save {it}.", "desk")
OLD, MIDDLE, NEW = AnthropicAgent("20241022"), AnthropicAgent("20250124"), AnthropicAgent(zoom=True)
AGENTS = {"20241022": OLD, "20250124": MIDDLE, "20251124": NEW, "small": AnthropicAgent(width=300, height=200)}
FIRST = ("click", "double_click", "right_click", "middle_click", "move", "drag", "type", "key", "call", "done", "fail")
LATER = (*FIRST, "triple_click", "mouse_down", "mouse_up", "scroll", "wait")
CLICK = Action("click", 960.0, 540.0)
ENTER = Action("key", keys=("enter",))
thoughts = st.text(st.characters(exclude_categories=("Cs",))).map(str.strip).filter(lambda text: "[INFEASIBLE]" not in text)


def said(*inputs: dict[str, Any], text: str = "") -> str:
    """A reply as the API gives it."""
    blocks: list[dict[str, Any]] = [{"type": "text", "text": text}] if text else []
    calls = [{"type": "tool_use", "id": f"toolu_{index}", "name": "computer", "input": given} for index, given in enumerate(inputs)]
    return json.dumps([*blocks, *calls])


def test_the_contracts() -> None:
    said_actions = (*ACTIONS, Action("right_click", x=40, y=50))
    for name, kinds in {"20241022": FIRST, "20250124": LATER, "20251124": LATER}.items():
        assert {action.kind for action in check_agent(AGENTS[name], said_actions, tolerance=0.5)} == set(kinds)
        assert AGENTS[name].parse(AGENTS[name].format("", Action("wait"), DESK), DESK)[1] == Action("wait")


def unsayable(action: Action, name: str) -> str | None:
    """What `format` complains about."""
    if action.kind in ("key_down", "key_up"):
        return "held for a time"
    first = name == "20241022"
    if action.keys and action.kind != "key" and (first or action.kind in ("move", "mouse_down", "mouse_up", "drag")):
        return "held keys|has no"
    if first and (action.kind not in (*FIRST, "wait") or (action.kind == "wait" and action.seconds)):
        return "has no"
    if action.kind == "scroll" and action.amount != int(action.amount):
        return "whole number"
    if action.kind == "call" and not all(letter.isascii() and (letter.isalnum() or letter in "_-") for letter in action.name):
        return "a tool's name"
    return "INFEASIBLE" if action.kind == "done" and "[INFEASIBLE]" in action.text else None


@given(st.data(), screens(), st.sampled_from(sorted(AGENTS)), thoughts)
def test_every_action_is_read_back(data: st.DataObject, shown: Observation, name: str, thought: str) -> None:
    agent = AGENTS[name]
    action = data.draw(actions(shown, ACTION_KINDS))
    complaint = unsayable(action, name)
    if complaint is not None:
        with pytest.raises(ValueError, match=complaint):
            agent.format(thought, action, shown)
        return
    reply = agent.format(thought, action, shown)
    read_thought, read = agent.parse(reply, shown)
    assert close(read, action, shown, agent.coordinates)
    assert read_thought == thought
    assert all(block["type"] == "text" or block["type"] == "thinking" or block["id"] for block in json.loads(reply))


POINT = [640, 360]
#: Input of the tool on a display of 1280 x 720, which is the middle of a screen of 1920 x 1080 at [640, 360].
INPUTS: dict[str, tuple[dict[str, Any], tuple[Action, ...]]] = {
    "left click": ({"action": "left_click", "coordinate": POINT}, (CLICK,)),
    "coordinate as text": ({"action": "left_click", "coordinate": "[640, 360]"}, (CLICK,)),
    "click at the pointer": ({"action": "left_click"}, (Action("click"),)),
    "click with ctrl": ({"action": "left_click", "coordinate": POINT, "text": "ctrl"}, (replace(CLICK, keys=("ctrl",)),)),
    "the demo's modifier": ({"action": "left_click", "coordinate": POINT, "key": "shift"}, (replace(CLICK, keys=("shift",)),)),
    "two modifiers": ({"action": "left_click", "text": "ctrl+Shift_L"}, (Action("click", keys=("ctrl", "shift")),)),
    "right click": ({"action": "right_click", "coordinate": POINT}, (Action("right_click", 960, 540),)),
    "triple click": ({"action": "triple_click", "coordinate": POINT}, (Action("triple_click", 960, 540),)),
    "move": ({"action": "mouse_move", "coordinate": POINT}, (Action("move", 960, 540),)),
    "drag": ({"action": "left_click_drag", "start_coordinate": [0, 0], "coordinate": POINT}, (Action("drag", 0, 0, 960, 540),)),
    "drag from the pointer": ({"action": "left_click_drag", "coordinate": POINT}, (Action("drag", x2=960, y2=540),)),
    "mouse down": ({"action": "left_mouse_down"}, (Action("mouse_down"),)),
    "mouse up": ({"action": "left_mouse_up"}, (Action("mouse_up"),)),
    "scroll down": (
        {"action": "scroll", "coordinate": POINT, "scroll_direction": "down", "scroll_amount": 5},
        (Action("scroll", 960, 540, amount=-5.0),),
    ),
    "scroll left": (
        {"action": "scroll", "scroll_direction": "left", "scroll_amount": 2},
        (Action("scroll", amount=-2.0, name="horizontal"),),
    ),
    "zoom the page": (
        {"action": "scroll", "coordinate": POINT, "scroll_direction": "up", "scroll_amount": "3", "text": "ctrl"},
        (Action("scroll", 960, 540, amount=3.0, keys=("ctrl",)),),
    ),
    "type": ({"action": "type", "text": "Größe\n{x}"}, (Action("type", text="Größe\n{x}"),)),
    "key": ({"action": "key", "text": "Return"}, (ENTER,)),
    "combination": ({"action": "key", "text": "ctrl+shift+T"}, (Action("key", keys=("ctrl", "shift", "t")),)),
    "spaces around plus": ({"action": "key", "text": "ctrl + s"}, (Action("key", keys=("ctrl", "s")),)),
    "keysyms": ({"action": "key", "text": "alt+Page_Down"}, (Action("key", keys=("alt", "pagedown")),)),
    "plus by its name": ({"action": "key", "text": "ctrl+plus"}, (Action("key", keys=("ctrl", "+")),)),
    "plus": ({"action": "key", "text": "ctrl++"}, (Action("key", keys=("ctrl", "+")),)),
    "parenthesis": ({"action": "key", "text": "parenleft"}, (Action("key", keys=("(",)),)),
    "keys one after another": ({"action": "key", "text": "Down Down ctrl+s"}, (
        Action("key", keys=("down",)), Action("key", keys=("down",)), Action("key", keys=("ctrl", "s")),
    )),
    "name with a space": ({"action": "key", "text": "Page Down"}, (Action("key", keys=("pagedown",)),)),
    "list of keys": ({"action": "key", "text": ["ctrl", "s"]}, (Action("key", keys=("ctrl", "s")),)),
    "hold": ({"action": "hold_key", "text": "ctrl+shift", "duration": 2}, (
        Action("key_down", keys=("ctrl", "shift")), Action("wait", seconds=2.0), Action("key_up", keys=("shift", "ctrl")),
    )),
    "wait": ({"action": "wait", "duration": 3}, (Action("wait", seconds=3.0),)),
    "wait without a time": ({"action": "wait"}, (Action("wait", seconds=1.0),)),
    "wait for ever": ({"action": "wait", "duration": 1e6}, (Action("wait", seconds=100.0),)),
    "screenshot": ({"action": "screenshot"}, (Action("wait"),)),
    "cursor position": ({"action": "cursor_position"}, (Action("wait"),)),
    "zoom": (
        {"action": "zoom", "region": [0, 0, 640, 360]},
        (Action("wait", name="zoom", args={"region": [0.0, 0.0, 960.0, 540.0]}),),
    ),
    "off the display": ({"action": "left_click", "coordinate": [1280, -5]}, (Action("click", 1919.0, 0.0),)),
    "done of OSWorld's adapter": ({"action": "done"}, (Action("done"),)),
    "fail of OSWorld's adapter": ({"action": "fail"}, (Action("fail"),)),
}  # fmt: skip


@pytest.mark.parametrize("case", INPUTS)
def test_input_of_the_tool(case: str) -> None:
    given_input, expected = INPUTS[case]
    for agent in (OLD, MIDDLE, NEW):
        assert read_reply(agent, said(given_input, text="So."), DESK) == ("So.", expected)


def text(*texts: str) -> str:
    return json.dumps([{"type": "text", "text": one} for one in texts])


THINKING = {"type": "thinking", "thinking": "Hm.", "signature": "x"}
TEXT = {"type": "text", "text": "7"}
#: (reply, thought, action)
REPLIES: dict[str, tuple[str, str, Action]] = {
    "thinking": (
        json.dumps([THINKING, *json.loads(said(INPUTS["left click"][0], text="So."))]),
        "Hm.\nSo.",
        CLICK,
    ),
    "redacted thinking": (json.dumps([{"type": "redacted_thinking", "data": "x"}, TEXT]), "", Action("done", text="7")),
    "answer": (text("There are 7 files."), "", Action("done", text="There are 7 files.")),
    "thought and answer": (text("I count them.", "7"), "I count them.", Action("done", text="7")),
    "nothing more to say": ("[]", "", Action("done")),
    "infeasible": (text("[INFEASIBLE] There is no such file."), "", Action("fail", text="There is no such file.")),
    "infeasible at the end": (text("There is no such file.\n\n[INFEASIBLE]"), "", Action("fail", text="There is no such file.")),
    "infeasible in the middle": (text("So [INFEASIBLE] it is."), "", Action("fail", text="So it is.")),
    "infeasible, then a remark": (text("[INFEASIBLE]", "Sorry."), "Sorry.", Action("fail")),
    "infeasible beside a tool": (said({"action": "left_click"}, text="[INFEASIBLE]?"), "[INFEASIBLE]?", Action("click")),
    "another tool": (
        json.dumps([{"type": "tool_use", "id": "a", "name": "bash", "input": {"command": "ls"}}]),
        "",
        Action("call", name="bash", args={"command": "ls"}),
    ),
    "click of the first version": (said({"action": "mouse_move", "coordinate": POINT}, {"action": "left_click"}), "", CLICK),
    "blanks around": (f" \n{said({'action': 'left_click'})}\n", "", Action("click")),
}  # fmt: skip


@pytest.mark.parametrize("case", REPLIES)
def test_replies(case: str) -> None:
    reply, thought, action = REPLIES[case]
    assert NEW.parse(reply, DESK) == (thought, action)


REFUSED = {
    "": "not JSON",
    "I am done.": "not JSON",
    "{}": "a JSON list",
    "[1]": "'type'",
    '[{"text": "x"}]': "'type'",
    "[] x": "nothing behind it",
    "[" * 100_000: "not JSON",
    '[{"type": "text", "text": 3}]': "must be a text",
    '[{"type": "text", "text": "\\ud800"}]': "surrogates",
    '[{"type": "tool_use", "name": "computer"}]': "'input'",
    '[{"type": "tool_use", "name": "computer", "input": {"unreadable": "{"}}]': "'action' is None",
    '[{"type": "tool_use", "name": "two words", "input": {}}]': "'name'",
    '[{"type": "tool_use", "name": "bash", "input": {"x": "\\ud800"}}]': "surrogates",
    said({"action": "explode"}): "unknown",
    said({"action": 3}): "must be a text",
    said({"action": "mouse_move"}): "'coordinate'",
    said({"action": "left_click", "coordinate": [1]}): r"must be \[x, y\]",
    said({"action": "left_click", "coordinate": [1, None]}): "finite number",
    said({"action": "left_click", "coordinate": [True, 1]}): "finite number",
    said({"action": "left_click", "text": "hello"}): "unknown key",
    said({"action": "left_click", "text": "a"}): "no modifier",
    said({"action": "scroll", "scroll_direction": "in", "scroll_amount": 1}): "up, down, left or right",
    said({"action": "scroll", "scroll_direction": "up"}): "'scroll_amount'",
    said({"action": "scroll", "scroll_direction": "up", "scroll_amount": -1}): "0 or more",
    said({"action": "type"}): "'text'",
    said({"action": "type", "text": 3}): "'text'",
    said({"action": "key"}): "'key'",
    said({"action": "key", "text": ""}): "no key",
    said({"action": "key", "text": "ctrl+"}): "no key",
    said({"action": "key", "text": "Retrun"}): "did you mean 'return'",
    said({"action": "wait", "duration": "long"}): "finite number",
    said({"action": "zoom", "region": [1, 2, 3]}): "left, top, right, bottom",
    said({"action": "zoom", "region": [1, 2, 3, "x"]}): "'region'",
    said(*[{"action": "left_click"}] * 101): "more than 100 actions",
}


@pytest.mark.parametrize("reply", REFUSED, ids=lambda reply: str(reply)[-60:])
def test_what_is_refused(reply: str) -> None:
    with pytest.raises(ParseError, match=REFUSED[reply]) as caught:
        read_reply(NEW, reply, DESK)
    assert 0 <= caught.value.position <= len(reply)


def test_a_refusal_points_at_the_field_of_its_block() -> None:
    reply = said({"action": "left_click", "coordinate": POINT}, {"action": "left_click", "coordinate": 3})
    with pytest.raises(ParseError) as caught:
        read_reply(NEW, reply, DESK)
    assert reply[caught.value.position :].startswith('"coordinate": 3')


@given(st.text(), st.sampled_from(sorted(AGENTS)))
def test_any_text_is_read_or_refused(reply: str, name: str) -> None:
    read_or_refuse(AGENTS[name], reply, SCREEN)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
names = st.sampled_from(sorted({str(given_input["action"]) for given_input, _ in INPUTS.values()}))
fields = st.sampled_from(
    ["text", "key", "coordinate", "start_coordinate", "scroll_direction", "scroll_amount", "duration", "region"]
)


@given(names, st.dictionaries(fields, json_values))
def test_any_input_is_read_or_refused(name: str, given_input: dict[str, Any]) -> None:
    read_or_refuse(NEW, said({"action": name, **given_input}), SCREEN)


@given(st.lists(st.dictionaries(st.sampled_from(["type", "text", "thinking", "name", "input", "id"]), json_values)))
def test_any_blocks_are_read_or_refused(blocks: list[Any]) -> None:
    read_or_refuse(NEW, json.dumps(blocks), SCREEN)


FRAGMENTS = ["{", "}", "[", "]", '"', ",", ":", "\\", "\\ud800", "NaN", "1e400", "null", '"tool_use"', "[INFEASIBLE]"]


@given(st.data(), st.sampled_from(["20250124", "20251124"]))
def test_damaged_replies_are_read_or_refused(data: st.DataObject, name: str) -> None:
    kinds = ("click", "move", "drag", "type", "key", "fail", "wait", "mouse_down")
    action = data.draw(actions(SCREEN, kinds).filter(lambda action: unsayable(action, name) is None))
    read_or_refuse(AGENTS[name], data.draw(damaged(AGENTS[name].format("Hm.", action, SCREEN), FRAGMENTS)), SCREEN)


def test_several_actions_of_one_reply() -> None:
    hold = INPUTS["hold"][1]
    several = (CLICK, Action("type", text="a"), *hold, Action("call", name="bash", args={"command": "ls"}), ENTER, ENTER)
    for agent in (MIDDLE, NEW):
        reply = write_reply(agent, "So.", several, DESK)
        assert read_reply(agent, reply, DESK) == ("So.", several)
        ids = [block["id"] for block in json.loads(reply) if block["type"] == "tool_use"]
        assert len(set(ids)) == len(ids) == 6
        assert reply == write_reply(agent, "So.", several, DESK)
    with pytest.raises(ParseError, match="8 actions"):
        NEW.parse(write_reply(NEW, "", several, DESK), DESK)
    with pytest.raises(ValueError, match="read back as 1: say click"):
        write_reply(NEW, "", (Action("move", 1, 1), Action("click")), DESK)
    with pytest.raises(ValueError, match="held for a time"):
        write_reply(NEW, "", hold[:2], DESK)
    with pytest.raises(ValueError, match="'done' beside other actions"):
        write_reply(NEW, "", (CLICK, Action("done")), DESK)


def test_a_zoom_keeps_its_region() -> None:
    zoom = INPUTS["zoom"][1][0]
    assert json.loads(NEW.format("", zoom, DESK))[0]["input"] == {"action": "zoom", "region": [0, 0, 640, 360]}
    with pytest.raises(ValueError, match="has no zoom"):
        MIDDLE.format("", zoom, DESK)
    for region in ([], [1, 2, 3], ["x"] * 4, "x", None):
        with pytest.raises(ValueError, match="region"):
            NEW.format("", Action("wait", name="zoom", args={"region": region}), DESK)


def test_the_thought_of_an_end_without_an_answer_is_no_answer() -> None:
    for action in (Action("done"), Action("done", text="7"), Action("fail"), Action("fail", text="It is [INFEASIBLE].")):
        assert NEW.parse(NEW.format("So.", action, DESK), DESK) == ("So.", action)
    for thought, action in (("", Action("done", text="[INFEASIBLE]")), ("[INFEASIBLE]", Action("done", text="7"))):
        with pytest.raises(ValueError, match="INFEASIBLE"):
            NEW.format(thought, action, DESK)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (Action("call", name="computer", args={"action": "type"}), "a tool's name"),
        (Action("call", name="run", args={"x": float("nan")}), "JSON"),
        (Action("call", name="run", args={"x": (1, 2)}), "no JSON"),
        (Action("drag", 1, 1, 2, 2, keys=("ctrl",)), "held keys"),
        (Action("scroll", amount=0.5), "whole number"),
        (Action("wait", seconds=101), "0..100"),
        (Action("click", 1), "both x and y"),
        (Action("move"), "needs x and y"),
        (Action("done", text="\ud800"), "surrogates"),
    ],
)
def test_what_cannot_be_said(action: Action, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("..", r"\.\.")):
        NEW.format("", action, DESK)


def test_the_tool() -> None:
    assert (OLD.beta, OLD.tool()) == ("computer-use-2024-10-22", {
        "type": "computer_20241022", "name": "computer", "display_width_px": 1280, "display_height_px": 720,
    })  # fmt: skip
    assert (MIDDLE.beta, MIDDLE.tool()["type"]) == ("computer-use-2025-01-24", "computer_20250124")
    assert (NEW.beta, NEW.tool()["enable_zoom"]) == ("computer-use-2025-11-24", True)
    assert AGENTS["small"].tool()["display_width_px"] == 300


def test_the_conversation() -> None:
    sampled = Completion(said({"action": "left_click"}), tokens=np.array([1, 2], np.int32))
    steps = [
        Step(DESK, CLICK, "So."),
        Step(DESK, CLICK, "So."),
        Step(DESK, Action("click"), completion=sampled),
        Step(Observation(DESK.screenshot, text="It beeps."), completion=Completion("x"), error="not JSON"),
        Step(DESK, error="cut off"),
    ]
    system, *turns = AnthropicAgent(password="secret").prompt(TASK, steps, DESK)
    assert "[INFEASIBLE]" in system.text
    assert "'secret'" in system.text
    assert [message.role for message in turns] == ["user", "assistant"] * 5 + ["user"]
    assert turns[0].content == (DESK.screenshot, "Save {it}.")
    assert [NEW.parse(turns[index].text, DESK) for index in (1, 3)] == [("So.", CLICK)] * 2
    assert turns[1].text != turns[3].text  # no two calls have one id
    assert (turns[5].text, turns[5].tokens is sampled.tokens) == (sampled.text, True)
    assert turns[6].text == "It beeps."
    assert turns[7].text == "x"
    assert turns[8].text == "Your last reply could not be read: not JSON"
    assert turns[9].text == "[]"
    assert turns[10].text.startswith("Your last reply could not be read")


@pytest.mark.parametrize(("count", "shown"), [(2, 3), (3, 4), (4, 5), (5, 3), (6, 4), (7, 5), (8, 3)])
def test_older_pictures_are_left_out_in_chunks(count: int, shown: int) -> None:
    agent = AnthropicAgent(screenshots=3, chunk=3)
    messages = agent.prompt(TASK, [Step(DESK, CLICK)] * count, DESK)
    assert sum(len(message.images) for message in messages) == shown
    assert all(message.images for message in messages[-1:])
    assert messages[1].text == "Save {it}."


@pytest.mark.parametrize("options", [{"version": "20230101"}, {"screenshots": 0}, {"chunk": 0}, {"width": 0}])
def test_options_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="display" if "width" in options else next(iter(options))):
        AnthropicAgent(**options)
    with pytest.raises(ValueError, match="zoom"):
        AnthropicAgent("20250124", zoom=True)


def test_the_table_of_agents() -> None:
    assert agent_class("anthropic") is AnthropicAgent
