"""Law 1 for OpenAI's computer tool, old and new, what its models write, and its prompts."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from drawn_actions import actions, close, damaged, read_or_refuse, screen, screens
from hypothesis import given
from hypothesis import strategies as st

from stepladder.agents import agent_class
from stepladder.agents.conformance import ACTIONS, SCREEN, check_agent
from stepladder.agents.openai_computer import OpenAIComputerAgent
from stepladder.agents.replies import read_reply, write_reply
from stepladder.interfaces import ParseError
from stepladder.types import ACTION_KINDS, Action, Completion, Observation, Step, Task

DESK = screen(1920, 1080)
TASK = Task("t", "Save {it}.", "desk")
NEW, OLD = OpenAIComputerAgent(), OpenAIComputerAgent("computer_use_preview")
AGENTS = {"computer": NEW, "computer_use_preview": OLD}
POINTED = ("click", "double_click", "right_click", "middle_click", "move", "drag", "scroll")
SAYABLE = (*POINTED, "type", "key", "wait", "call", "done", "fail")
CLICK = Action("click", 960.0, 540.0)
ENTER = Action("key", keys=("enter",))
thoughts = st.text(st.characters(exclude_categories=("Cs",))).map(str.strip).filter(lambda text: "[INFEASIBLE]" not in text)


def said(*given_actions: dict[str, Any], thought: str = "") -> str:
    """A reply as the API gives it, with one batch of actions."""
    reasoning = [{"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": thought}] if thought else []}]
    call = {"type": "computer_call", "id": "cu_1", "call_id": "call_1", "actions": list(given_actions), "status": "completed"}
    return json.dumps([*reasoning, call])


def message(*texts: str) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text} for text in texts]}


def test_the_contracts() -> None:
    for agent in AGENTS.values():
        read = check_agent(agent, (*ACTIONS, Action("wait", seconds=1.0)), tolerance=0.5)
        assert {action.kind for action in read} == set(SAYABLE)


def unsayable(action: Action) -> str | None:
    """What `format` complains about."""
    if action.kind in ("triple_click", "mouse_down", "mouse_up", "key_down", "key_up"):
        return "has no"
    if action.kind in POINTED and action.x is None:
        return "needs a place"
    if action.kind == "scroll" and action.name and not action.amount:
        return "by nothing"
    if action.kind == "wait" and action.seconds not in (0, 1):
        return "a wait of"
    if action.kind == "call" and not all(letter.isascii() and (letter.isalnum() or letter in "_-") for letter in action.name):
        return "cannot be said"
    return "INFEASIBLE" if action.kind == "done" and "[INFEASIBLE]" in action.text else None


@given(st.data(), screens(), st.sampled_from(sorted(AGENTS)), thoughts)
def test_every_action_is_read_back(data: st.DataObject, shown: Observation, name: str, thought: str) -> None:
    agent = AGENTS[name]
    action = data.draw(actions(shown, ACTION_KINDS) | st.sampled_from([Action("wait"), Action("wait", seconds=1.0)]))
    complaint = unsayable(action)
    if complaint is not None:
        with pytest.raises(ValueError, match=complaint):
            agent.format(thought, action, shown)
        return
    read_thought, read = agent.parse(agent.format(thought, action, shown), shown)
    assert close(read, action, shown, agent.coordinates)
    assert read_thought == thought


PLACE = {"x": 640, "y": 360}
#: Actions on a display of 1280 x 720.
GIVEN: dict[str, tuple[dict[str, Any], tuple[Action, ...]]] = {
    "click": ({"type": "click", "button": "left", **PLACE}, (CLICK,)),
    "no button": ({"type": "click", **PLACE}, (CLICK,)),
    "keys that are not there": ({"type": "click", "button": "left", **PLACE, "keys": None}, (CLICK,)),
    "right": ({"type": "click", "button": "right", **PLACE}, (Action("right_click", 960, 540),)),
    "wheel": ({"type": "click", "button": "wheel", **PLACE}, (Action("middle_click", 960, 540),)),
    "back": ({"type": "click", "button": "back", **PLACE}, (Action("key", keys=("alt", "left")),)),
    "forward": ({"type": "click", "button": "forward", **PLACE}, (Action("key", keys=("alt", "right")),)),
    "with ctrl": ({"type": "click", "button": "left", **PLACE, "keys": ["CTRL"]}, (Action("click", 960, 540, keys=("ctrl",)),)),
    "double click": ({"type": "double_click", **PLACE}, (Action("double_click", 960, 540),)),
    "move": ({"type": "move", **PLACE}, (Action("move", 960, 540),)),
    "drag": ({"type": "drag", "path": [{"x": 0, "y": 0}, PLACE]}, (Action("drag", 0, 0, 960, 540),)),
    "pairs": ({"type": "drag", "path": [[0, 0], [640, 360]]}, (Action("drag", 0, 0, 960, 540),)),
    "path": (
        {"type": "drag", "path": [{"x": 0, "y": 0}, {"x": 100, "y": 0}, PLACE]},
        (Action("mouse_down", 0, 0), Action("move", 150, 0), Action("mouse_up", 960, 540)),
    ),
    "scroll down": ({"type": "scroll", **PLACE, "scroll_x": 0, "scroll_y": 300}, (Action("scroll", 960, 540, amount=-3.0),)),
    "scroll right": (
        {"type": "scroll", **PLACE, "scroll_x": 150, "scroll_y": 0},
        (Action("scroll", 960, 540, amount=1.5, name="horizontal"),),
    ),
    "scroll both ways": (
        {"type": "scroll", **PLACE, "scroll_x": -100, "scroll_y": -100},
        (Action("scroll", 960, 540, amount=1.0), Action("scroll", 960, 540, amount=-1.0, name="horizontal")),
    ),
    "scroll nowhere": ({"type": "scroll", **PLACE, "scroll_y": 0}, (Action("scroll", 960, 540),)),
    "keypress": ({"type": "keypress", "keys": ["ENTER"]}, (ENTER,)),
    "combination": ({"type": "keypress", "keys": ["CTRL", "SHIFT", "t"]}, (Action("key", keys=("ctrl", "shift", "t")),)),
    "arrows": ({"type": "keypress", "keys": ["ArrowLeft"]}, (Action("key", keys=("left",)),)),
    "joined keys": ({"type": "keypress", "keys": ["ctrl+c"]}, (Action("key", keys=("ctrl", "c")),)),
    "type": ({"type": "type", "text": "Größe\n"}, (Action("type", text="Größe\n"),)),
    "wait": ({"type": "wait"}, (Action("wait", seconds=1.0),)),
    "wait with a time": ({"type": "wait", "ms": 2500}, (Action("wait", seconds=2.5),)),
    "wait for ever": ({"type": "wait", "ms": 1e9}, (Action("wait", seconds=30.0),)),
    "screenshot": ({"type": "screenshot"}, (Action("wait"),)),
    "off the display": ({"type": "click", "button": "left", "x": 5000, "y": -1}, (Action("click", 1919.0, 0.0),)),
}


@pytest.mark.parametrize("case", GIVEN)
def test_actions_of_the_tool(case: str) -> None:
    given_action, expected = GIVEN[case]
    batch = said(given_action, thought="So.")
    single = json.dumps([{"type": "computer_call", "call_id": "c", "action": given_action, "pending_safety_checks": []}])
    for agent in AGENTS.values():
        thought, read = read_reply(agent, batch, DESK)
        assert (thought, read) == ("So.", expected)
        assert all(str(action.amount) != "-0.0" for action in read)
        assert read_reply(agent, single, DESK) == ("", expected)


REPLIES: dict[str, tuple[list[Any], str, tuple[Action, ...]]] = {
    "batch": (json.loads(said(GIVEN["click"][0], GIVEN["type"][0])), "", (CLICK, Action("type", text="Größe\n"))),
    "two calls": ([*json.loads(said(GIVEN["click"][0])), *json.loads(said(GIVEN["keypress"][0]))], "", (CLICK, ENTER)),
    "message beside a call": ([message("I save."), *json.loads(said(GIVEN["click"][0], thought="Hm."))], "Hm.\nI save.", (CLICK,)),
    "answer": ([message("There are 7.")], "", (Action("done", text="There are 7."),)),
    "answer of two parts": ([message("I count.", "7")], "I count.", (Action("done", text="7"),)),
    "reasoning and answer": ([*json.loads(said(thought="Hm."))[:1], message("7")], "Hm.", (Action("done", text="7"),)),
    "content as text": ([{"type": "message", "content": "7"}], "", (Action("done", text="7"),)),
    "refusal": ([{"type": "message", "content": [{"type": "refusal", "refusal": "No."}]}], "", (Action("done", text="No."),)),
    "the word impossible": ([message("An impossible figure.")], "", (Action("done", text="An impossible figure."),)),
    "infeasible": ([message("[INFEASIBLE] There is no such file.")], "", (Action("fail", text="There is no such file."),)),
    "nothing": ([], "", (Action("done"),)),
    "function": (
        [{"type": "function_call", "call_id": "c", "name": "run", "arguments": '{"command": "ls"}'}],
        "",
        (Action("call", name="run", args={"command": "ls"}),),
    ),
    "function without arguments": ([{"type": "function_call", "name": "run", "arguments": ""}], "", (Action("call", name="run"),)),
}


@pytest.mark.parametrize("case", REPLIES)
def test_replies(case: str) -> None:
    items, thought, expected = REPLIES[case]
    assert read_reply(NEW, json.dumps(items), DESK) == (thought, expected)


REFUSED = {
    "": "not JSON",
    "{}": "a JSON list",
    "[[]]": "'type'",
    "[" * 100_000: "not JSON",
    '[{"type": "message", "content": [1]}]': "list of objects",
    '[{"type": "message", "content": 1}]': "list of objects",
    '[{"type": "message", "content": [{"type": "output_text", "text": 3}]}]': "must be a text",
    '[{"type": "message", "content": "\\ud800"}]': "surrogates",
    '[{"type": "computer_call"}]': "needs an 'action'",
    '[{"type": "computer_call", "actions": []}]': "needs an 'action'",
    '[{"type": "computer_call", "actions": [1]}]': "needs an 'action'",
    '[{"type": "function_call", "name": "two words", "arguments": "{}"}]': "'name'",
    '[{"type": "function_call", "name": "run", "arguments": "{"}]': "not JSON",
    '[{"type": "function_call", "name": "run", "arguments": "[]"}]': "an object",
    '[{"type": "function_call", "name": "run", "arguments": {"x": "\\ud800"}}]': "surrogates",
    said({"type": "explode"}): "no action of the tool",
    said({"type": ["click"]}): "no action of the tool",
    said({"type": "move"}): "'x'",
    said({"type": "click", "x": 3}): "'y'",
    said({"type": "click", "x": True, "y": 1}): "finite number",
    said({"type": "click", "button": "third", **PLACE}): "'button'",
    said({"type": "click", "button": ["left"], **PLACE}): "'button'",
    said({"type": "click", **PLACE, "keys": ["a"]}): "no modifier",
    said({"type": "keypress"}): "'keys'",
    said({"type": "keypress", "keys": ["RETRUN"]}): "did you mean 'return'",
    said({"type": "type", "text": None}): "'text'",
    said({"type": "drag", "path": [PLACE]}): "2 to 100 places",
    said({"type": "drag", "path": [PLACE, 3]}): "objects with x and y",
    said({"type": "scroll", **PLACE, "scroll_y": "far"}): "scroll_y",
    said({"type": "wait", "ms": "long"}): "'ms'",
    said(*[{"type": "wait"}] * 101): "more than 100 actions",
}


@pytest.mark.parametrize("reply", REFUSED, ids=lambda reply: str(reply)[-60:])
def test_what_is_refused(reply: str) -> None:
    with pytest.raises(ParseError, match=REFUSED[reply]) as caught:
        read_reply(NEW, reply, DESK)
    assert 0 <= caught.value.position <= len(reply)


def test_a_refusal_points_at_the_field_of_its_call() -> None:
    calls = [{"type": "computer_call", "action": {"type": "keypress", "keys": keys}} for keys in (["a"], ["entr"])]
    reply = json.dumps(calls)
    with pytest.raises(ParseError) as caught:
        read_reply(NEW, reply, DESK)
    assert reply[caught.value.position :].startswith('"keys": ["entr"]')


@given(st.text(), st.sampled_from(sorted(AGENTS)))
def test_any_text_is_read_or_refused(reply: str, name: str) -> None:
    read_or_refuse(AGENTS[name], reply, SCREEN)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
kinds = st.sampled_from(sorted({str(given_action["type"]) for given_action, _ in GIVEN.values()}))
fields = st.sampled_from(["x", "y", "button", "keys", "path", "scroll_x", "scroll_y", "text", "ms"])


@given(kinds, st.dictionaries(fields, json_values))
def test_any_action_is_read_or_refused(kind: str, given_action: dict[str, Any]) -> None:
    read_or_refuse(NEW, said({"type": kind, **given_action}), SCREEN)


item_types = st.sampled_from(["reasoning", "message", "computer_call", "function_call"]) | json_values
item_fields = st.sampled_from(["summary", "content", "action", "actions", "name", "arguments"])


@given(st.lists(st.tuples(item_types, st.dictionaries(item_fields, json_values)), max_size=3))
def test_any_items_are_read_or_refused(items: list[Any]) -> None:
    read_or_refuse(NEW, json.dumps([{"type": kind, **item} for kind, item in items]), SCREEN)


FRAGMENTS = ["{", "}", "[", "]", '"', ",", ":", "\\", "\\ud800", "NaN", "1e400", "null", '"computer_call"', "[INFEASIBLE]"]


@given(st.data())
def test_damaged_replies_are_read_or_refused(data: st.DataObject) -> None:
    action = data.draw(actions(SCREEN, SAYABLE).filter(lambda action: unsayable(action) is None))
    read_or_refuse(NEW, data.draw(damaged(NEW.format("Hm.", action, SCREEN), FRAGMENTS)), SCREEN)


def test_several_actions_are_one_batch() -> None:
    path = GIVEN["path"][1]
    several = (CLICK, *path, Action("type", text="a"), ENTER, Action("wait"))
    reply = write_reply(NEW, "So.", several, DESK)
    assert read_reply(NEW, reply, DESK) == ("So.", several)
    assert [action["type"] for action in json.loads(reply)[-1]["actions"]] == ["click", "drag", "type", "keypress", "screenshot"]
    with pytest.raises(ParseError, match="7 actions"):
        NEW.parse(reply, DESK)
    with pytest.raises(ValueError, match="says one action, and not 5"):
        write_reply(OLD, "", several, DESK)
    assert read_reply(OLD, write_reply(OLD, "", path, DESK), DESK)[1] == path
    for ending in (Action("done"), Action("call", name="run")):
        with pytest.raises(ValueError, match="has no"):
            write_reply(NEW, "", (CLICK, ending), DESK)


def test_a_path_with_held_keys() -> None:
    given_action = {**GIVEN["path"][0], "keys": ["SHIFT"]}
    held = read_reply(NEW, said(given_action), DESK)[1]
    assert held == (Action("key_down", keys=("shift",)), *GIVEN["path"][1], Action("key_up", keys=("shift",)))


def test_ids_depend_on_what_is_said() -> None:
    first, second = (json.loads(NEW.format("", action, DESK))[0] for action in (CLICK, ENTER))
    assert first["call_id"] != second["call_id"]
    assert NEW.format("", CLICK, DESK) == NEW.format("", CLICK, DESK)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (Action("call", name="run", args={"x": (1,)}), "cannot be said"),
        (Action("call", name="run", args={"x": float("nan")}), "JSON"),
        (Action("click", keys=("a",)), "no modifier"),
        (Action("click", 1), "both x and y"),
        (Action("drag", 1, 1), "x2 and y2"),
        (Action("fail", text="\ud800"), "surrogates"),
    ],
)
def test_what_cannot_be_said(action: Action, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NEW.format("", action, DESK)


def test_the_tool() -> None:
    assert NEW.tool() == {"type": "computer"}
    assert OpenAIComputerAgent("computer_use_preview", 1024, 768, "browser").tool() == {
        "type": "computer_use_preview",
        "display_width": 1024,
        "display_height": 768,
        "environment": "browser",
    }


def test_the_conversation() -> None:
    sampled = Completion(said({"type": "wait"}), tokens=np.array([1, 2], np.int32))
    steps = [
        Step(DESK, CLICK, "So.", more=(ENTER,)),
        Step(DESK, Action("call", name="run")),
        Step(DESK, error="cut off"),
        Step(DESK, CLICK, "So."),
        Step(DESK, CLICK, "So."),
        Step(Observation(DESK.screenshot, text="It beeps."), Action("wait", seconds=1.0), completion=sampled),
        Step(DESK, error="cut off"),
    ]
    system, *turns = OpenAIComputerAgent(screenshots=5, password="secret").prompt(TASK, steps, DESK)
    assert "[INFEASIBLE]" in system.text
    assert "'secret'" in system.text
    assert [message.role for message in turns] == ["user", "assistant"] * 4 + ["user"]
    assert all(message.images for message in turns[::2])
    assert turns[0].text == (
        'Save {it}.\nWhat you did before:\nStep 1: {"type": "click", "button": "left", "x": 640, "y": 360}; '
        '{"type": "keypress", "keys": ["ENTER"]}\nStep 2: call run\nStep 3: unreadable reply (cut off)'
    )
    assert [NEW.parse(turns[index].text, DESK) for index in (1, 3)] == [("So.", CLICK)] * 2
    assert turns[1].text != turns[3].text  # no two calls have one id
    assert turns[4].text == "It beeps."
    assert (turns[5].text, turns[5].tokens is sampled.tokens) == (sampled.text, True)
    assert turns[7].text == "[]"
    assert turns[8].text == "Your last reply could not be read: cut off"


@pytest.mark.parametrize("options", [{"version": "gpt"}, {"environment": "phone"}, {"screenshots": 0}])
def test_options_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        OpenAIComputerAgent(**options)


def test_the_table_of_agents() -> None:
    assert agent_class("openai_computer") is OpenAIComputerAgent
