"""Law 1 for OpenCUA and Kimi, the spellings that their models use, and their prompts."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import pytest
from drawn_actions import actions, close, damaged, read_or_refuse, resizable_screens, screen
from hypothesis import given
from hypothesis import strategies as st

from stepladder.agents import agent_class
from stepladder.agents.conformance import SCREEN, check_agent
from stepladder.agents.kimi import KimiAgent
from stepladder.agents.opencua import OpenCUAAgent
from stepladder.agents.replies import read_reply, write_reply
from stepladder.interfaces import ParseError
from stepladder.types import ACTION_KINDS, Action, Completion, Observation, Step, Task

DESK = screen(1920, 1080)
TASK = Task("t", "Save {it}.", "desk")
AGENTS: dict[str, Any] = {
    "l1": OpenCUAAgent("l1"),
    "l2": OpenCUAAgent(),
    "l3": OpenCUAAgent("l3"),
    "l2, relative": OpenCUAAgent(coordinates="relative", version="v1"),
    "kimi": KimiAgent(),
    "kimi, not thinking": KimiAgent(thinking=False),
}
SAYABLE = tuple(kind for kind in ACTION_KINDS if kind != "call")
ENTER = Action("key", keys=("enter",))
DIGESTS = ["205598271a8edea2", "3fb90b65b2662420", "66f2920f7d2110cc"]
#: Reasoning of one line and more, that says no heading, fence or tag.
lines = st.text(st.characters(exclude_characters="<`#:◁", exclude_categories=("C",)), max_size=30).map(str.strip)
reasoning = st.lists(lines, max_size=3).map("\n".join).map(str.strip)


@pytest.mark.parametrize("name", AGENTS)
def test_the_contract(name: str) -> None:
    agent = AGENTS[name]
    tolerance = max(agent.coordinates.tolerance(160, 210)) + 1e-6
    assert {action.kind for action in check_agent(agent, tolerance=tolerance)} == set(SAYABLE)


@given(st.data(), resizable_screens(), st.sampled_from(sorted(AGENTS)))
def test_every_action_is_read_back(data: st.DataObject, shown: Observation, name: str) -> None:
    agent = AGENTS[name]
    action = data.draw(actions(shown, SAYABLE))
    reply = agent.format(data.draw(reasoning), action, shown)
    assert close(agent.parse(reply, shown)[1], action, shown, agent.coordinates)


@given(reasoning, reasoning, lines)
def test_thoughts_are_read_back_by_level(observation: str, thought: str, line: str) -> None:
    action = f"Action: {line}" if line else ""
    spoken = "\n".join(part for part in (thought, action) if part)
    assert read_thought(AGENTS["l2"], spoken) == spoken
    assert read_thought(AGENTS["kimi"], spoken) == spoken
    assert read_thought(AGENTS["kimi, not thinking"], spoken) == spoken
    assert read_thought(AGENTS["l1"], spoken) == action
    if observation and thought:
        full = f"Observation:\n{observation}\n\nThought:\n{thought}" + (f"\n{action}" if action else "")
        assert read_thought(AGENTS["l3"], full) == full
        assert read_thought(AGENTS["l2"], full) == spoken


def read_thought(agent: Any, thought: str) -> str:
    return str(agent.parse(agent.format(thought, Action("click", 10, 10), SCREEN), SCREEN)[0])


def test_a_reply_of_each_level() -> None:
    thought = "Observation:\nA dialog.\n\nIt has a field.\n\nThought:\nI name it.\nAction: Click the field."
    assert OpenCUAAgent("l3").format(thought, Action("click", 960, 540), DESK) == (
        "## Observation:\nA dialog.\n\nIt has a field.\n## Thought:\nI name it.\n## Action:\nClick the field.\n"
        "## Code:\n```python\npyautogui.click(x=966, y=546)\n```"
    )
    relative = OpenCUAAgent("l1", coordinates="relative")
    assert relative.format(thought, Action("click", 960, 540), DESK) == (
        "## Action:\nClick the field.\n## Code:\n```python\npyautogui.click(x=0.5, y=0.5)\n```"
    )
    assert KimiAgent().format("I name it.\nAction: Click.", Action("triple_click", 960, 540), DESK) == (
        "◁think▷I name it.◁/think▷## Action:\nClick.\n## Code:\n```python\npyautogui.tripleClick(x=0.5, y=0.5)\n```"
    )
    assert OpenCUAAgent("l1").format("", Action("done", text="7"), DESK) == (
        "## Code:\n```code\ncomputer.terminate(status='success', answer='7')\n```"
    )


MIDDLE = Action("click", 960.0, 540.0)
#: Code as the models write it, for a picture of 1932 x 1092.
CODE: dict[str, tuple[str, tuple[Action, ...]]] = {
    "click": ("pyautogui.click(x=966, y=546)", (MIDDLE,)),
    "click in order": ("pyautogui.click(966, 546)", (MIDDLE,)),
    "click on a pair": ("pyautogui.click((966, 546))", (MIDDLE,)),
    "already shares": ("pyautogui.click(x=0.5, y=0.5)", (MIDDLE,)),
    "right button": ("pyautogui.click(966, 546, button='right')", (Action("right_click", 960.0, 540.0),)),
    "right click": ("pyautogui.rightClick(966, 546)", (Action("right_click", 960.0, 540.0),)),
    "middle click": ("pyautogui.middleClick(x=966, y=546)", (Action("middle_click", 960.0, 540.0),)),
    "two clicks": ("pyautogui.click(x=966, y=546, clicks=2, interval=0.1)", (Action("double_click", 960.0, 540.0),)),
    "double click": ("pyautogui.doubleClick(x=966, y=546)", (Action("double_click", 960.0, 540.0),)),
    "triple click": ("computer.triple_click(x=966, y=546)", (Action("triple_click", 960.0, 540.0),)),
    "AgentNet's triple click": ("computer.tripleClick(x=966, y=546)", (Action("triple_click", 960.0, 540.0),)),
    "at the pointer": ("pyautogui.click()", (Action("click"),)),
    "move": ("pyautogui.moveTo(966, 546, duration=0.5)", (Action("move", 960.0, 540.0),)),
    "drag": (
        "pyautogui.moveTo(x=966, y=546)\npyautogui.dragTo(x=483, y=273, button='left')",
        (Action("drag", 960.0, 540.0, 480.0, 270.0),),
    ),
    "drag from the pointer": ("pyautogui.dragTo(966, 546, 1.0, button='left')", (Action("drag", x2=960.0, y2=540.0),)),
    "scroll": ("pyautogui.scroll(-5)", (Action("scroll", amount=-5.0),)),
    "scroll at a place": ("pyautogui.scroll(-5, x=966, y=546)", (Action("scroll", 960.0, 540.0, amount=-5.0),)),
    "AgentNet's scroll": ("pyautogui.moveTo(966, 546)\npyautogui.scroll(3)", (Action("scroll", 960.0, 540.0, amount=3.0),)),
    "sideways": ("pyautogui.hscroll(clicks=2)", (Action("scroll", amount=2.0, name="horizontal"),)),
    "write": ("pyautogui.write(message='it\\'s (a) \"test\")', interval=0.05)", (Action("type", text='it\'s (a) "test")'),)),
    "write lines": ("pyautogui.write('''a\nb''')", (Action("type", text="a\nb"),)),
    "write and enter": ("pyautogui.typewrite('a'); pyautogui.press('enter')", (Action("type", text="a"), ENTER)),
    "press": ("pyautogui.press(keys='enter')", (ENTER,)),
    "press a list": ("pyautogui.press(['down', 'enter'])", (Action("key", keys=("down",)), ENTER)),
    "press again": ("pyautogui.press('tab', presses=2)", (Action("key", keys=("tab",)),) * 2),
    "hotkey": ("pyautogui.hotkey('ctrl', 'Shift', 'Esc')", (Action("key", keys=("ctrl", "shift", "escape")),)),
    "hotkey of a list": ("pyautogui.hotkey(['command', 'c'])", (Action("key", keys=("super", "c")),)),
    "hotkey by name": ("pyautogui.hotkey(keys=['ctrl', 'c'])", (Action("key", keys=("ctrl", "c")),)),
    "keys wrapped in text": ("pyautogui.hotkey(\"['ctrl', 'c']\")", (Action("key", keys=("ctrl", "c")),)),
    "held click": (
        "pyautogui.keyDown('ctrl')\npyautogui.click(966, 546)\npyautogui.keyUp('ctrl')",
        (Action("click", 960.0, 540.0, keys=("ctrl",)),),
    ),
    "held block": (
        "with pyautogui.hold(['ctrl', 'shift']):\n    pyautogui.press('a')",
        (Action("key_down", keys=("ctrl", "shift")), Action("key", keys=("a",)), Action("key_up", keys=("shift", "ctrl"))),
    ),
    "loop": ("for _ in range(3):\n    pyautogui.press('down')", (Action("key", keys=("down",)),) * 3),
    "names": ("import pyautogui\nx, y = 900 + 66, 546  # the middle\npyautogui.click(x, y)", (MIDDLE,)),
    "pause between": (
        "pyautogui.click(966, 546)\ntime.sleep(0.5)\npyautogui.press('enter')",
        (MIDDLE, Action("wait", seconds=0.5), ENTER),
    ),
    "indented": ("    pyautogui.click(966, 546)\n    pyautogui.press('enter')", (MIDDLE, ENTER)),
    "wait": ("computer.wait()", (Action("wait", seconds=20.0),)),
    "wait so long": ("computer.wait(seconds=5)", (Action("wait", seconds=5.0),)),
    "wait for ever": ("time.sleep(1e6)", (Action("wait", seconds=60.0),)),
    "success": ("computer.terminate(status='success')", (Action("done"),)),
    "success in order": ("computer.terminate('success')", (Action("done"),)),
    "answer": ("computer.terminate(status=\"success\", answer='''It is\n7''')", (Action("done", text="It is\n7"),)),
    "failure": ("computer.terminate(status='failure')", (Action("fail"),)),
    "fail": ("computer.terminate(status='fail')", (Action("fail"),)),
    "a failure that mentions success": (
        "computer.terminate(status='failure', answer='No success')",
        (Action("fail", text="No success"),),
    ),
}


@pytest.mark.parametrize("case", CODE)
def test_code_of_opencua(case: str) -> None:
    code, expected = CODE[case]
    thought, read = read_reply(
        AGENTS["l2"], f"# Step 2:\n## Thought:\nSo.\n## Action:\nDo it.\n## Code:\n```python\n{code}\n```\n", DESK
    )
    assert thought == "So.\nAction: Do it."
    assert read == expected


BLOCK = "```python\npyautogui.click(x=966, y=546)\n```"
#: (reply, thought) around a click in the middle.
FORMS = {
    "l1": (f"## Action:\nClick.\n\n## Code:\n{BLOCK}", "Action: Click."),
    "l3": (
        f"# Step 1:\n## Observation:\nA\n\nb\n\n## Thought:\nC\n\n## Action:\nClick.\n\n## Code:\n{BLOCK}",
        "Observation:\nA\n\nb\n\nThought:\nC\nAction: Click.",
    ),
    "version 1": (f"Thought:\nC\n\nAction:\nClick.\n\n{BLOCK}", "C\nAction: Click."),
    "on one line": (f"## Thought: C\n## Action: Click.\n{BLOCK}", "C\nAction: Click."),
    "no colon": (f"## Thought\nC\n## Action\nClick.\n## Code\n{BLOCK}", "C\nAction: Click."),
    "bold": (f"**Thought:**\nC\n**Action:**\nClick.\n{BLOCK}", "C\nAction: Click."),
    "action of two lines": (f"## Action:\nClick\n  there.\n## Code:\n{BLOCK}", "Action: Click there."),
    "code alone": (BLOCK, ""),
    "not closed": (f"## Code:\n{BLOCK.removesuffix('```')}", ""),
    "fence on the line": ("## Code:\n```pyautogui.click(966, 546)```", ""),
    "other fence": (f"## Code:\n{BLOCK.replace('python', 'code')}", ""),
    "the last block counts": (f"As in\n```python\npyautogui.press('a')\n```\n## Action:\nClick.\n{BLOCK}", "Action: Click."),
    "no fence": ("## Action:\nClick.\n## Code:\npyautogui.click(x=966, y=546)", "Action: Click."),
    "think": (f"<think>\nHm.\n</think>\n\n## Action:\nClick.\n## Code:\n{BLOCK}", "Hm.\nAction: Click."),
    "Kimi": (f"◁think▷Hm.◁/think▷## Action:\nClick.\n## Code:\n{BLOCK}", "Hm.\nAction: Click."),
    "opened by the template": (f"Hm.\n◁/think▷## Action:\nClick.\n## Code:\n{BLOCK}", "Hm.\nAction: Click."),
    "reasoning that came apart": (f"## Action:\nClick.\n## Code:\n{BLOCK}<|im_end|>", "Action: Click."),
}


@pytest.mark.parametrize("case", FORMS)
def test_forms_of_a_reply(case: str) -> None:
    text, thought = FORMS[case]
    expected = thought if case != "the last block counts" else "As in\n```python\npyautogui.press('a')\n```\nAction: Click."
    assert AGENTS["l2"].parse(text, DESK) == (expected, MIDDLE)


def test_kimi_reads_shares_and_pixels() -> None:
    kimi = KimiAgent()
    for code in ("pyautogui.click(x=0.5, y=0.5)", "pyautogui.click(960, 540)", "pyautogui.click(x=960.0, y=540.0)"):
        assert kimi.parse(f"## Action:\nA\n## Code:\n```python\n{code}\n```", DESK)[1] == MIDDLE


REFUSED = {
    "": "no block of code",
    "I cannot do this.": "no block of code",
    "```python\n```": "empty",
    "```python\n# nothing\n```": "no action",
    "```python\npyautogui.click(966\n```": "no Python",
    "```python\npyautogui.click(1, 2, clicks=4)\n```": "4 clicks",
    "```python\npyautogui.click(966, 546, button='right', clicks=2)\n```": "2 clicks",
    "```python\npyautogui.click(x='a', y=2)\n```": "finite number",
    "```python\npyautogui.click(x=1e999, y=2)\n```": "finite number",
    "```python\npyautogui.click(x=966)\n```": "'y'",
    "```python\npyautogui.moveRel(5, 5)\n```": "relative to the pointer",
    "```python\npyautogui.screenshot()\n```": "unknown",
    "```python\nos.system('ls')\n```": "unknown",
    "```python\n__import__('os').system('ls')\n```": "can be called",
    "```python\npyautogui.write(open('/etc/passwd').read())\n```": "call is no plain value",
    "```python\npyautogui.write(f'{1}')\n```": "joined str",
    "```python\npyautogui.click(x, y)\n```": "'x' has no value",
    "```python\nwhile True:\n    pyautogui.press('a')\n```": "while",
    "```python\nfor _ in range(10**9):\n    pyautogui.press('a')\n```": "bin op",
    "```python\nfor _ in [1, 2]:\n    pyautogui.press('a')\n```": "over range",
    "```python\nfor _ in range(100000000):\n    pass\n```": "more than 1000 statements",
    "```python\npyautogui.press('a', presses=1000)\n```": "presses",
    "```python\nfor _ in range(101):\n    pyautogui.press('a')\n```": "more than 100 actions",
    "```python\nx = 2\nfor _ in range(99):\n    x = x * x\n```": "no plain value",
    "```python\nx = [1]\nfor _ in range(99):\n    x = [x, x]\n```": "list of lists",
    "```python\npyautogui.press('entr')\n```": "'enter'",
    "```python\npyautogui.press([])\n```": "no action",
    "```python\npyautogui.hotkey()\n```": "no key",
    "```python\npyautogui.write()\n```": "must be a text",
    "```code\ncomputer.terminate()\n```": "success",
    "```code\ncomputer.terminate(status='maybe')\n```": "success",
    "```python\npyautogui.dragTo(1, 2, button='right')\n```": "left button",
    "```python\npyautogui.click(1, 2, button=['left'])\n```": "button",
    "```python\npyautogui.write('\\ud800')\n```": "surrogates",
    "```python\npyautogui.write('" + "a" * 30_000 + "')\n```": "at most 20000",
    "```python\n" + "(" * 5000: "no Python",
    "```python\n" + "-" * 100_000 + "1": "no Python|at most",
    "```python\n\0": "no Python",
}


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: str(text)[:60])
def test_what_is_refused(text: str) -> None:
    for name in ("l2", "kimi"):
        with pytest.raises(ParseError, match=REFUSED[text]) as caught:
            read_reply(AGENTS[name], text, DESK)
        assert 0 <= caught.value.position <= len(text)


def test_a_refusal_points_at_the_call() -> None:
    text = "## Thought:\nÄ 日本\n## Code:\n```python\npyautogui.write('日本'); pyautogui.press('entr')\n```"
    with pytest.raises(ParseError) as caught:
        read_reply(AGENTS["l2"], text, DESK)
    assert text[caught.value.position :].startswith("pyautogui.press('entr')")
    indented = "```python\n    pyautogui.click(966, 546)\n    pyautogui.press('entr')\n```"
    with pytest.raises(ParseError) as caught:
        read_reply(AGENTS["l2"], indented, DESK)
    assert indented[caught.value.position :].startswith("pyautogui.press('entr')")


def test_relative_places_beyond_the_screen_are_refused() -> None:
    with pytest.raises(ParseError, match=r"0\.\.1"):
        AGENTS["l2, relative"].parse("```python\npyautogui.click(x=966, y=546)\n```", DESK)


@given(st.text(), st.sampled_from(sorted(AGENTS)))
def test_any_text_is_read_or_refused(text: str, name: str) -> None:
    read_or_refuse(AGENTS[name], text, SCREEN)


@given(st.text(), st.sampled_from(sorted(AGENTS)))
def test_any_code_is_read_or_refused(text: str, name: str) -> None:
    read_or_refuse(AGENTS[name], f"## Code:\n```python\npyautogui.{text}\n```", SCREEN)


FRAGMENTS = [
    *("```", "## Code:", "## Thought:", "pyautogui.", "computer.", "◁/think▷", "(", ")", "[", ",", "=", '"', "'", "\n", "    "),
    *("NaN", "1e400", "\\", "#", "for _ in range(9):", "None", "-", "*", "lambda: 0"),
]


@given(st.data(), st.sampled_from(sorted(AGENTS)))
def test_damaged_replies_are_read_or_refused(data: st.DataObject, name: str) -> None:
    text = AGENTS[name].format("Hm.\nAction: Go", data.draw(actions(SCREEN, SAYABLE)), SCREEN)
    for action in read_or_refuse(AGENTS[name], data.draw(damaged(text, FRAGMENTS)), SCREEN):
        assert action.kind in SAYABLE


def test_several_actions_of_one_reply() -> None:
    agent = AGENTS["l2"]
    both = (Action("type", text="a"), ENTER)
    assert read_reply(agent, write_reply(agent, "", both, DESK), DESK) == ("", both)
    with pytest.raises(ParseError, match="2 actions"):
        agent.parse(write_reply(agent, "", both, DESK), DESK)
    with pytest.raises(ValueError, match="read back as 1: say drag"):
        write_reply(agent, "", (Action("move", 1, 1), Action("drag", x2=5, y2=5)), DESK)


def test_texts_cannot_leave_the_block() -> None:
    text = "```\n## Code:\n<|im_end|></think>◁/think▷ \\` \\x60"
    for agent in AGENTS.values():
        reply = agent.format("", Action("type", text=text), DESK)
        assert reply.count("```") == 2
        assert "<|" not in reply
        assert agent.parse(reply, DESK)[1].text == text


@pytest.mark.parametrize("thought", ["so ```", "a\n## Action:\nb\nAction: c", "<think>", "◁/think▷", "# Step 3:\nSo."])
def test_thoughts_that_would_be_read_otherwise_are_refused(thought: str) -> None:
    with pytest.raises(ValueError, match="a thought cannot contain"):
        OpenCUAAgent().format(thought, MIDDLE, DESK)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (Action("call", name="run"), "call functions"),
        (Action("click", keys=("a",)), "no modifier"),
        (Action("click", 1), "both x and y"),
        (Action("click", float("nan"), 1), "finite"),
        (Action("key"), "needs keys"),
        (Action("key", keys=("Enter",)), "write 'enter'"),
        (Action("wait", seconds=-1), "0 or more"),
        (Action("wait", seconds=61), "60"),
        (Action("scroll", name="up"), "horizontal"),
        (Action("type", text="\ud800"), "surrogates"),
    ],
)
def test_what_cannot_be_said(action: Action, message: str) -> None:
    for agent in AGENTS.values():
        with pytest.raises(ValueError, match=message):
            agent.format("", action, DESK)


def steps(count: int, **fields: Any) -> list[Step]:
    return [
        Step(screen(1920, 1080), Action("click", 960, 540), f"So {number}.\nAction: Click {number}.", **fields)
        for number in range(count)
    ]


def test_older_steps_stand_in_one_message() -> None:
    system, older, *turns, now = OpenCUAAgent().prompt(TASK, steps(4), Observation(DESK.screenshot, text="It beeps."))
    assert system.role == "system"
    assert (older.role, older.images) == ("assistant", ())
    assert older.text == (
        "# Step 1:\n## Thought:\nSo 0.\n\n## Action:\nClick 0.\n\n# Step 2:\n## Thought:\nSo 1.\n\n## Action:\nClick 1.\n"
    )
    assert [message.role for message in turns] == ["user", "assistant"] * 2
    assert turns[3].text == "# Step 4:\n## Thought:\nSo 3.\n\n## Action:\nClick 3.\n"
    assert now.content[1:] == (
        "# Task Instruction:\nSave {it}.\n\nPlease generate the next move according to the screenshot, task instruction and "
        "previous steps (if provided).\n\nIt beeps.",
    )


def test_what_stands_of_a_step() -> None:
    silent = Step(DESK, Action("click", 960, 540), more=(ENTER,))
    failed = Step(DESK, completion=Completion("hm"), error="there is no block of code")
    foreign = Step(DESK, Action("call", name="run"))
    history = OpenCUAAgent(screenshots=1).prompt(TASK, [silent, failed, foreign], DESK)[1].text
    assert history == (
        "# Step 1:\n## Action:\npyautogui.click(x=966, y=546); pyautogui.press('enter')\n\n"
        "# Step 2:\n## Action:\nunreadable reply (there is no block of code)\n\n# Step 3:\n## Action:\ncall\n"
    )
    assert (
        OpenCUAAgent()
        .prompt(TASK, [failed], DESK)[-1]
        .text.endswith("\nYour last reply could not be read: there is no block of code")
    )
    only_actions = OpenCUAAgent(history="action").prompt(TASK, steps(1), DESK)
    assert only_actions[2].text == "# Step 1:\n## Action:\nClick 0.\n"
    kimi = KimiAgent().prompt(TASK, steps(1), DESK)
    assert kimi[2].text == "# Step 1:\n◁think▷So 0.◁/think▷## Action:\nClick 0.\n"
    plain = KimiAgent(thinking=False).prompt(TASK, steps(1), DESK)
    assert plain[2].text == "# Step 1:\n## Thought:\nSo 0.\n\n## Action:\nClick 0.\n"


def test_replies_as_they_were_sampled() -> None:
    sampled = Completion("## Code: x", tokens=np.array([1, 2], np.int32))
    agent = OpenCUAAgent(history="reply")
    messages = agent.prompt(TASK, [*steps(1, completion=sampled), *steps(1), Step(DESK, error="x")], DESK)
    turns = [message for message in messages[1:] if message.role == "assistant"]
    assert "Click 0." in turns[0].text
    assert turns[1].text == agent.format("So 0.\nAction: Click 0.", MIDDLE, DESK)
    shown = agent.prompt(TASK, steps(1, completion=sampled), DESK)[2]
    assert (shown.text, shown.tokens is sampled.tokens) == ("## Code: x", True)


def test_the_systems_are_the_models_own() -> None:
    v1 = {level: OpenCUAAgent(level, "v1").prompt(TASK, [], DESK)[0].text for level in ("l1", "l2", "l3")}  # type: ignore[arg-type]
    assert [("\nThought:\n" in text, "\nObservation:\n" in text) for text in v1.values()] == [
        (False, False),
        (True, False),
        (True, True),
    ]
    v2 = OpenCUAAgent("l3", password="secret").prompt(TASK, [], DESK)[0].text
    assert (
        "# Step: {step number}\n## Observation:\n{observation}\n## Thought:\n{thought}\n## Action:\n{action}\n## Code:\n{code}"
        in v2
    )
    assert 'The password of the computer is "secret", use it when you need sudo rights. You need to **wait**' in v2
    assert "password" not in OpenCUAAgent().prompt(TASK, [], DESK)[0].text
    kimi = KimiAgent(thinking=False, password="secret").prompt(TASK, [], DESK)[0].text
    assert "The passoword of the computer is secret." in kimi
    assert "The password of the computer is secret." in KimiAgent(password="secret").prompt(TASK, [], DESK)[0].text
    assert "in this format:\n## Thought\n{thought}\n## Action:\n{action}\n## Code:\n{code}" in kimi
    assert "in this format:\n{thought}\n## Action:" in KimiAgent().prompt(TASK, [], DESK)[0].text
    for text in (v1["l2"], kimi):
        tools = [json.loads(line[2:]) for line in text.splitlines() if line.startswith('- {"name"')]
        assert [tool["name"] for tool in tools][-1] == "computer.terminate"


def test_the_systems_are_those_of_the_references_to_the_letter() -> None:
    """The digests are of the texts of OSWorld's agents of OpenCUA and Kimi, with the password "pw"."""
    said = [OpenCUAAgent("l2", "v1", password="pw"), OpenCUAAgent("l3", "v2", password="pw"), KimiAgent(password="pw")]
    texts = [agent.prompt(TASK, [], DESK)[0].text for agent in said]
    assert [hashlib.sha256(text.encode()).hexdigest()[:16] for text in texts] == DIGESTS


@pytest.mark.parametrize(
    "options", [{"level": "l4"}, {"version": "v3"}, {"coordinates": "pixels"}, {"screenshots": 0}, {"history": "all"}]
)
def test_options_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        OpenCUAAgent(**options)


def test_the_table_of_agents() -> None:
    assert agent_class("opencua") is OpenCUAAgent
    assert agent_class("kimi") is KimiAgent
