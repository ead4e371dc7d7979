"""Law 1 for EvoCUA in its two styles, and their prompts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from drawn_actions import actions, close, damaged, read_or_refuse, resizable_screens, screen, thoughts
from hypothesis import given
from hypothesis import strategies as st

from stepladder.agents import agent_class
from stepladder.agents.conformance import SCREEN, check_agent
from stepladder.agents.evocua import EvoCUAS1Agent, EvoCUAS2Agent
from stepladder.agents.replies import read_reply, write_reply
from stepladder.interfaces import ParseError
from stepladder.types import ACTION_KINDS, Action, Observation, Step, Task

DESK = screen(1920, 1080)
TASK = Task("t", "Save the file.", "desk")
S1, S2 = EvoCUAS1Agent(), EvoCUAS2Agent()


@pytest.mark.parametrize("agent", [S1, S2], ids=["S1", "S2"])
def test_the_contract(agent: Any) -> None:
    tolerance = max(agent.coordinates.tolerance(160, 210)) + 1e-6
    said = {action.kind for action in check_agent(agent, tolerance=tolerance)}
    assert said >= set(ACTION_KINDS) - {"call"}
    assert ("call" in said) == (agent is S2)


@given(st.data(), resizable_screens())
def test_s2_every_action_is_read_back(data: st.DataObject, shown: Observation) -> None:
    action = data.draw(actions(shown, ACTION_KINDS))
    if action.kind == "scroll" and action.amount != int(action.amount):
        with pytest.raises(ValueError, match="notch"):
            S2.format("", action, shown)
        return
    reply = S2.format(data.draw(thoughts), action, shown)
    assert close(S2.parse(reply, shown)[1], action, shown, S2.coordinates)


SAYABLE = tuple(kind for kind in ACTION_KINDS if kind != "call")


@given(st.data(), resizable_screens())
def test_s1_every_action_is_read_back(data: st.DataObject, shown: Observation) -> None:
    action = data.draw(actions(shown, SAYABLE))
    reply = S1.format("It is open.\nAction: Do it.", action, shown)
    thought, read = S1.parse(reply, shown)
    assert thought == "It is open.\nAction: Do it."
    assert close(read, action, shown, S1.coordinates)


def call(**fields: Any) -> str:
    return f"<tool_call>\n{json.dumps({'name': 'computer_use', 'arguments': fields})}\n</tool_call>"


#: Places on a scale of 999, "pixels" in notches.
S2_REPLIES: dict[str, tuple[str, Action]] = {
    "as trained": (f"Action: Click Save.\n{call(action='left_click', coordinate=[999, 999])}", Action("click", 1919.0, 1079.0)),
    "reasoning first": (
        f"<think>\nFirst {{this}}.\n</think>\n\nAction: Go.\n{call(action='left_click', coordinate=[333, 333])}",
        Action("click", 640.0, 360.0),
    ),
    "click": (call(action="click", coordinate=[333, 333]), Action("click", 640.0, 360.0)),
    "one line": (call(action="left_click", coordinate=[333, 333]).replace("\n", ""), Action("click", 640.0, 360.0)),
    "no close tag": (call(action="left_click", coordinate=[333, 333]).removesuffix("</tool_call>"), Action("click", 640.0, 360.0)),
    "key down": (call(action="key_down", keys=["shift"]), Action("key_down", keys=("shift",))),
    "key up": (call(action="key_up", keys=["shift"]), Action("key_up", keys=("shift",))),
    "key down as a text": (call(action="key_down", keys="ctrl"), Action("key_down", keys=("ctrl",))),
    "hotkey": (call(action="key", keys=["ctrl", "shift", "s"]), Action("key", keys=("ctrl", "shift", "s"))),
    "keys with a prefix": (call(action="key", keys=["keys=['ctrl'", "'s']"]), Action("key", keys=("ctrl", "s"))),
    "triple click": (call(action="triple_click", coordinate=[333, 333]), Action("triple_click", 640.0, 360.0)),
    "scroll": (call(action="scroll", pixels=-5), Action("scroll", amount=-5.0)),
    "scroll at a place": (call(action="scroll", pixels=10, coordinate=[333, 333]), Action("scroll", 640.0, 360.0, amount=10.0)),
    "backslashes": (call(action="type", text="C:\\new\\x41"), Action("type", text="C:\\new\\x41")),
    "wait": (call(action="wait", time=5), Action("wait", seconds=5.0)),
    "wait without time": (call(action="wait"), Action("wait", seconds=1.0)),
    "failure": (call(action="terminate", status="failure"), Action("fail")),
    "success": (call(action="terminate", status="success"), Action("done")),
    "answer": (call(action="answer", text="7"), Action("done", text="7")),
}


@pytest.mark.parametrize("case", S2_REPLIES)
def test_replies_of_s2(case: str) -> None:
    text, action = S2_REPLIES[case]
    read = S2.parse(text, DESK)[1]
    assert close(read, action, DESK, S2.coordinates)
    assert read.x is None or read.x == pytest.approx(action.x)


def reply(code: str, kind: str = "python") -> str:
    return f"# Step: 2\n## Thought:\nThe menu is open.\n## Action:\nDo it.\n## Code:\n```{kind}\n{code}\n```"


ENTER = Action("key", keys=("enter",))
MIDDLE = Action("click", 960.0, 540.0)
#: Pixels of a picture of 1932 x 1092, to which a screen of 1920 x 1080 is resized.
S1_REPLIES: dict[str, tuple[str, tuple[Action, ...]]] = {
    "click": (reply("pyautogui.click(x=966, y=546)"), (MIDDLE,)),
    "in order": (reply("pyautogui.click(966, 546)"), (MIDDLE,)),
    "as shares": (reply("pyautogui.click(x=0.5, y=0.5)"), (MIDDLE,)),
    "the right button": (reply("pyautogui.click(x=966, y=546, button='right')"), (Action("right_click", 960.0, 540.0),)),
    "three clicks": (reply("pyautogui.click(x=966, y=546, clicks=3)"), (Action("triple_click", 960.0, 540.0),)),
    "triple click": (reply("pyautogui.tripleClick(x=966, y=546)"), (Action("triple_click", 960.0, 540.0),)),
    "parenthesis in a text": (reply("pyautogui.write(message='f(x) and ) more')"), (Action("type", text="f(x) and ) more"),)),
    "two lines": (reply("pyautogui.write('a')\npyautogui.press('enter')"), (Action("type", text="a"), ENTER)),
    "imports": (reply("import pyautogui\nimport time\npyautogui.click(x=966, y=546)"), (MIDDLE,)),
    "hotkey": (reply("pyautogui.hotkey('ctrl', 's')"), (Action("key", keys=("ctrl", "s")),)),
    "hotkey as a list": (reply("pyautogui.hotkey(['ctrl', 's'])"), (Action("key", keys=("ctrl", "s")),)),
    "drag": (
        reply("pyautogui.moveTo(966, 546)\npyautogui.dragTo(483, 273, button='left')"),
        (Action("drag", 960.0, 540.0, 480.0, 270.0),),
    ),
    "scroll": (reply("pyautogui.scroll(-10)"), (Action("scroll", amount=-10.0),)),
    "wait": (reply("computer.wait()", "code"), (Action("wait", seconds=20.0),)),
    "success": (reply('computer.terminate(status="success")', "code"), (Action("done"),)),
    "answer": (reply("computer.terminate(status='success', answer='''4 files''')", "code"), (Action("done", text="4 files"),)),
    "failure": (reply("computer.terminate(status='failure')", "code"), (Action("fail"),)),
    "the word success in a failure": (
        reply("computer.terminate(status='failure', answer='no success')", "code"),
        (Action("fail", text="no success"),),
    ),
    "fence not closed": (reply("pyautogui.click(x=966, y=546)").removesuffix("\n```"), (MIDDLE,)),
}


@pytest.mark.parametrize("case", S1_REPLIES)
def test_replies_of_s1(case: str) -> None:
    text, expected = S1_REPLIES[case]
    thought, read = read_reply(S1, text, DESK)
    assert thought == "The menu is open.\nAction: Do it."
    assert read == expected


def test_several_actions_of_s1_are_said_in_one_reply() -> None:
    both = (Action("type", text="a"), ENTER)
    assert read_reply(S1, write_reply(S1, "", both, DESK), DESK)[1] == both
    with pytest.raises(ParseError, match="2 actions"):
        S1.parse(write_reply(S1, "", both, DESK), DESK)
    with pytest.raises(ValueError, match="one action"):
        write_reply(S2, "", both, DESK)


@given(st.text(), st.sampled_from([S1, S2]))
def test_any_text_is_read_or_refused(text: str, agent: Any) -> None:
    read_or_refuse(agent, text, SCREEN)


FRAGMENTS = ["<tool_call>", "</tool_call>", "```", "## Code:", "pyautogui.", "computer.", "(", ")", "[", '"', "'", "NaN", "1e400"]


@given(st.data(), st.sampled_from([S1, S2]))
def test_damaged_replies_are_read_or_refused(data: st.DataObject, agent: Any) -> None:
    text = agent.format("Hm.\nAction: Go", data.draw(actions(SCREEN, ("click", "drag", "type", "key", "done"))), SCREEN)
    read_or_refuse(agent, data.draw(damaged(text, FRAGMENTS)), SCREEN)


def test_code_is_not_run() -> None:
    for code in ("__import__('os').system('true')", "open('x', 'w').write('y')", "pyautogui.click(*eval('(1, 2)'))"):
        with pytest.raises(ParseError):
            S1.parse(reply(code), DESK)


def test_prompts_of_s2() -> None:
    system, user = S2.prompt(TASK, [], DESK)
    tool = json.loads(system.text.split("<tools>\n")[1].split("\n</tools>")[0])["function"]
    assert tool["parameters"]["properties"]["action"]["enum"][-2:] == ["key_down", "key_up"]
    assert "Press and HOLD the specified key(s)" in tool["parameters"]["properties"]["action"]["description"]
    assert "resolution is 1000x1000" in tool["description"]
    assert "terminal" not in tool["description"]
    assert user.text.endswith("Previous actions:\nNone")
    steps = [Step(DESK, Action("click", 1, 1), "Action: Click.")] * 6
    assert S2.prompt(TASK, steps, DESK)[1].text.endswith("Previous actions:\nStep 1: Click.\nStep 2: Click.")
    absolute = EvoCUAS2Agent(coordinates="absolute").prompt(TASK, [], DESK)[0]
    assert "resolution is 1920x1088" in absolute.text


def test_prompts_of_s1() -> None:
    steps = [Step(DESK, Action("click", 1, 1), f"So.\nAction: Click {number}.") for number in range(4)]
    system, older, *turns, now = EvoCUAS1Agent(password="secret").prompt(TASK, steps, DESK)
    assert 'The password of the computer is "secret", use it when you need sudo rights.' in system.text
    assert (older.role, older.text) == ("assistant", "# Step 1:\n## Action:\nClick 0.\n\n# Step 2:\n## Action:\nClick 1.\n")
    assert [message.role for message in turns] == ["user", "assistant"] * 2
    assert turns[1].text == "# Step 3:\n## Action:\nClick 2.\n"
    assert now.text.startswith("# Task Instruction:\nSave the file.\n")
    assert len([image for message in (*turns, now) for image in message.images]) == 3


@pytest.mark.parametrize("options", [{"screenshots": 0}, {"thought": "long"}, {"scale": 100}, {"coordinates": "x"}])
def test_options_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        EvoCUAS2Agent(**options)
    if "screenshots" in options:
        with pytest.raises(ValueError, match="screenshots"):
            EvoCUAS1Agent(**options)


def test_the_table_of_agents() -> None:
    assert agent_class("evocua_s1") is EvoCUAS1Agent
    assert agent_class("evocua_s2") is EvoCUAS2Agent
