"""Law 1 for OSWorld's two action spaces, the spellings that models use, what they are shown, and marks."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from drawn_actions import actions, close, damaged, read_or_refuse, screen, screens
from hypothesis import given
from hypothesis import strategies as st

from stepladder.agents import agent_class
from stepladder.agents.computer_13 import Computer13Agent
from stepladder.agents.conformance import ACTIONS, SCREEN, check_agent
from stepladder.agents.marks import marked_places, marks, marks_text
from stepladder.agents.osworld_pyautogui import OSWorldPyAutoGUIAgent
from stepladder.agents.replies import read_reply, write_reply
from stepladder.agents.tree_text import HEADER, tree_text
from stepladder.agents.with_tree import TreeAgent
from stepladder.images import ImageStore
from stepladder.interfaces import ParseError
from stepladder.rollout.marked import MarkedEnvironment
from stepladder.types import Action, Completion, Element, Observation, Step, Task

DESK = screen(1920, 1080)
TASK = Task("t", "Save {it}.", "desk")
CODE, JSON, SOM = OSWorldPyAutoGUIAgent(), Computer13Agent(), OSWorldPyAutoGUIAgent("som")
AGENTS: dict[str, Any] = {"pyautogui": CODE, "computer_13": JSON, "som": SOM}
KINDS = (
    *("click", "double_click", "triple_click", "right_click", "middle_click", "move", "drag", "mouse_down", "mouse_up", "scroll"),
    *("type", "key", "key_down", "key_up", "wait", "done", "fail"),
)
CLICK = Action("click", 960.0, 540.0)
ENTER = Action("key", keys=("enter",))
TREE = (
    Element("frame", "Editor", box=(0, 0, 1920, 1080)),
    Element("push button", "Save\tall", box=(100, 200, 80, 24), parent=0),
    Element("text", "", 'say "hi"', box=(100, 300.4, 200, 40), parent=0),
    Element("push button", "Undo", box=(300, 200, 80, 24), states=("disabled",), parent=0),
    Element("link", "Hidden", parent=0),
    Element("link", "Help", box=(1890, 1060, 30, 20), parent=0),
    Element("filler", "nothing", box=(0, 0, 10, 10), parent=0),
)
SEEN = replace(DESK, tree=TREE)
thoughts = st.text(st.characters(exclude_characters="<`", exclude_categories=("Cs",))).map(str.strip)


def test_the_contracts() -> None:
    ends = (*ACTIONS, Action("fail"), Action("wait", seconds=2.0))  # a reason has no word, nor has a wait of 1.5 seconds in JSON
    for agent in (CODE, JSON, SOM):
        assert {action.kind for action in check_agent(agent, ends, tolerance=0.5)} == set(KINDS)


def is_sayable(action: Action, name: str) -> bool:
    if action.kind in ("done", "fail"):
        return not action.text
    if action.kind == "scroll" and action.name and not action.amount:
        return name != "computer_13"
    return action.kind != "wait" or name != "computer_13" or action.seconds == 2


@given(st.data(), screens(), st.sampled_from(["pyautogui", "computer_13"]), thoughts)
def test_every_action_is_read_back(data: st.DataObject, shown: Observation, name: str, thought: str) -> None:
    agent = AGENTS[name]
    action = data.draw(actions(shown, KINDS) | st.sampled_from([Action("done"), Action("fail"), Action("wait", seconds=2.0)]))
    if not is_sayable(action, name):
        with pytest.raises(ValueError, match="cannot be said"):
            agent.format(thought, action, shown)
        return
    read_thought, read = agent.parse(agent.format(thought, action, shown), shown)
    assert read_thought == thought
    assert close(read, action, shown, agent.coordinates)


#: (reply, thought, actions) in the form of OSWorld's own examples and of what models make of them.
PYAUTOGUI: dict[str, tuple[str, str, tuple[Action, ...]]] = {
    "block": ("I save.\n```python\npyautogui.click(960, 540)\n```", "I save.", (CLICK,)),
    "comments and imports": ("```python\nimport pyautogui\n# middle\npyautogui.click(960, 540)\n```", "", (CLICK,)),
    "several lines": (
        "```python\npyautogui.click(960, 540)\ntime.sleep(0.5)\npyautogui.typewrite('a;b')\n```",
        "",
        (CLICK, Action("wait", seconds=0.5), Action("type", text="a;b")),
    ),
    "semicolons": ("```python\npyautogui.click(960, 540); pyautogui.press('enter');\n```", "", (CLICK, ENTER)),
    "bare fence": ("```\npyautogui.click(960, 540)\n```", "", (CLICK,)),
    "one line": ("```pyautogui.click(960, 540)```", "", (CLICK,)),
    "not closed": ("So.\n```python\npyautogui.click(960, 540)\n", "So.", (CLICK,)),
    "two blocks": ("```python\npyautogui.click(960, 540)\n```\nthen\n```python\npyautogui.press('enter')\n```", "", (CLICK, ENTER)),
    "no fence": ("I save.\npyautogui.click(960, 540)\npyautogui.press('enter')", "I save.", (CLICK, ENTER)),
    "wait": ("```WAIT```", "", (Action("wait", seconds=2.0),)),
    "done": ("It is saved.\n```DONE```", "It is saved.", (Action("done"),)),
    "done on its line": ("```\nDONE\n```", "", (Action("done"),)),
    "done as python": ("```python\nDONE\n```", "", (Action("done"),)),
    "done without a fence": ("DONE", "", (Action("done"),)),
    "done at the end": ("All is saved.\nDONE", "All is saved.", (Action("done"),)),
    "done before a line end": ("All is saved.\n**DONE**.\n", "All is saved.", (Action("done"),)),
    "last line is done": ("```python\npyautogui.press('enter')\nDONE\n```", "", (ENTER, Action("done"))),
    "done behind the block": ("```python\npyautogui.press('enter')\n```\nDONE", "", (ENTER, Action("done"))),
    "fail": ("There is no such menu.\n```FAIL```", "There is no such menu.", (Action("fail"),)),
    "think": ("<think>\nHm.\n</think>\nSo.\n```python\npyautogui.click(960, 540)\n```", "Hm.\nSo.", (CLICK,)),
    "hotkey": ("```python\npyautogui.hotkey('ctrl', 's')\n```", "", (Action("key", keys=("ctrl", "s")),)),
    "off the screen": ("```python\npyautogui.click(1920, -3)\n```", "", (Action("click", 1919.0, 0.0),)),
    "drag": ("```python\npyautogui.moveTo(960, 540)\npyautogui.dragTo(1, 2)\n```", "", (Action("drag", 960.0, 540.0, 1.0, 2.0),)),
}
COMPUTER_13: dict[str, tuple[str, str, tuple[Action, ...]]] = {
    "block": ('I save.\n```json\n{"action_type": "CLICK", "x": 960, "y": 540}\n```', "I save.", (CLICK,)),
    "parameters": ('```json\n{"action_type": "CLICK", "parameters": {"x": 960, "y": 540}}\n```', "", (CLICK,)),
    "bare fence": ('```\n{\n  "action_type": "CLICK",\n  "x": 960.0,\n  "y": 540.0\n}\n```', "", (CLICK,)),
    "bare": ('{"action_type": "CLICK", "x": 960, "y": 540}', "", (CLICK,)),
    "bare with a thought": ('I save.\n{"action_type": "CLICK", "x": "960", "y": 540}', "I save.", (CLICK,)),
    "one backtick": ('`{"action_type": "CLICK", "x": 960, "y": 540}`', "", (CLICK,)),
    "button": ('```json\n{"action_type": "CLICK", "button": "right"}\n```', "", (Action("right_click"),)),
    "click_type of the examples": ('```json\n{"action_type": "CLICK", "click_type": "LEFT"}\n```', "", (Action("click"),)),
    "two clicks": ('{"action_type": "CLICK", "num_clicks": 2, "x": 960, "y": 540}', "", (Action("double_click", 960.0, 540.0),)),
    "double click": ('{"action_type": "DOUBLE_CLICK", "x": 960, "y": 540}', "", (Action("double_click", 960.0, 540.0),)),
    "MOUSE_MOVE of the examples": ('{"action_type": "MOUSE_MOVE", "x": 960, "y": 540}', "", (Action("move", 960.0, 540.0),)),
    "drag": (
        '```json\n{"action_type": "MOVE_TO", "x": 1, "y": 2}\n```\n```json\n{"action_type": "DRAG_TO", "x": 960, "y": 540}\n```',
        "",
        (Action("drag", 1.0, 2.0, 960.0, 540.0),),
    ),
    "scroll": ('{"action_type": "SCROLL", "dx": 0, "dy": -5}', "", (Action("scroll", amount=-5.0),)),
    "scroll both ways": (
        '{"action_type": "SCROLL", "dx": 1, "dy": 2}',
        "",
        (Action("scroll", amount=1.0, name="horizontal"), Action("scroll", amount=2.0)),
    ),
    "typing": ('{"action_type": "TYPING", "text": "a {b} ```"}', "", (Action("type", text="a {b} ```"),)),
    "TYPE of the examples": ('```\n{"action_type": "TYPE", "text": "hello world"}\n```', "", (Action("type", text="hello world"),)),
    "press": ('{"action_type": "PRESS", "key": "enter"}', "", (ENTER,)),
    "KEY of the examples": ('{"action_type": "KEY", "key": "ctrl+c"}', "", (Action("key", keys=("ctrl", "c")),)),
    "hotkey": ('{"action_type": "HOTKEY", "keys": ["ctrl", "c"]}', "", (Action("key", keys=("ctrl", "c")),)),
    "keys as text": ('{"action_type": "HOTKEY", "keys": "[\'ctrl\', \'c\']"}', "", (Action("key", keys=("ctrl", "c")),)),
    "held": (
        '[{"action_type": "KEY_DOWN", "key": "ctrl"}, {"action_type": "CLICK"}, {"action_type": "KEY_UP", "key": "ctrl"}]',
        "",
        (Action("click", keys=("ctrl",)),),
    ),
    "two objects in a block": (
        '```json\n{"action_type": "CLICK", "x": 960, "y": 540}\n{"action_type": "PRESS", "key": "Return"}\n```',
        "",
        (CLICK, ENTER),
    ),
    "wait": ("WAIT", "", (Action("wait", seconds=2.0),)),
    "done": ('It is saved.\n```json\n{"action_type": "DONE"}\n```', "It is saved.", (Action("done"),)),
    "done as a word": ("```DONE```", "", (Action("done"),)),
    "fail": ('{"action_type": "fail"}', "", (Action("fail"),)),
}


@pytest.mark.parametrize("case", PYAUTOGUI)
def test_replies_of_pyautogui(case: str) -> None:
    text, thought, expected = PYAUTOGUI[case]
    assert read_reply(CODE, text, DESK) == (thought, expected)


@pytest.mark.parametrize("case", COMPUTER_13)
def test_replies_of_computer_13(case: str) -> None:
    text, thought, expected = COMPUTER_13[case]
    if case == "typing":  # a fence in a text needs one around the object
        text = JSON.format("", expected[0], DESK)
    assert read_reply(JSON, text, DESK) == (thought, expected)


REFUSED = {
    "pyautogui": {
        "": "no block of code",
        "I am DONE with this.": "no block of code",
        "```python\nos.system('rm -rf /')\n```": "unknown",
        "```python\npyautogui.click(tag_1)\n```": "'tag_1' has no value",
        "```python\npyautogui.click(100, 200\n```": "no Python",
        "```python\nprint('hello')\n```": "unknown",
        "```bash\nls\n```": "no call",
        '```json\n{"action_type": "DONE"}\n```': "no call",
    },
    "computer_13": {
        "": "no JSON object",
        "I cannot do this.": "no JSON object",
        '{"action_type": "CLICK", "x": 960': "not JSON",
        '{"action_type": "EXPLODE"}': "unknown action_type",
        '{"action_type": 3}': "must be a text",
        '{"x": 3}': "must be a text",
        '{"action_type": "MOVE_TO"}': "'x'",
        '{"action_type": "CLICK", "x": NaN, "y": 1}': "NaN",
        '{"action_type": "CLICK", "x": 1e999, "y": 1}': "finite",
        '{"action_type": "CLICK", "num_clicks": 4}': "num_clicks",
        '{"action_type": "CLICK", "num_clicks": [2]}': "num_clicks",
        '{"action_type": "CLICK", "button": "right", "num_clicks": 2}': "num_clicks",
        '{"action_type": "CLICK", "click_type": "WHEEL_UP"}': "button",
        '{"action_type": "MOUSE_DOWN", "button": "right"}': "left button",
        '{"action_type": "TYPING"}': "'text'",
        '{"action_type": "TYPING", "text": "\\ud800"}': "surrogates",
        '{"action_type": "PRESS", "key": "entr"}': "'enter'",
        '{"action_type": "HOTKEY", "keys": []}': "no key",
        "```json\n[1]\n```": "must be a JSON object",
        "[" * 100_000 + "{": "not JSON",
        "```json\n[" + ", ".join(['{"action_type": "CLICK"}'] * 101) + "]\n```": "more than 100",
    },
}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in REFUSED.items() for text in texts])
def test_what_is_refused(name: str, text: str) -> None:
    with pytest.raises(ParseError, match=REFUSED[name][text]) as caught:
        read_reply(AGENTS[name], text, DESK)
    assert 0 <= caught.value.position <= len(text)


def test_a_refusal_points_at_the_field() -> None:
    text = '```json\n{"action_type": "CLICK"}\n```\n```json\n{"action_type": "CLICK", "button": "none"}\n```'
    with pytest.raises(ParseError) as caught:
        read_reply(JSON, text, DESK)
    assert text[caught.value.position :].startswith('"button": "none"')


@given(st.text(), st.sampled_from(sorted(AGENTS)))
def test_any_text_is_read_or_refused(text: str, name: str) -> None:
    read_or_refuse(AGENTS[name], text, SEEN)
    read_or_refuse(AGENTS[name], f"```\n{text}\n```", SEEN)


FRAGMENTS = [
    "```",
    "```json\n",
    "DONE",
    "tag_1",
    "tag_9",
    "pyautogui.",
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    '"',
    "'",
    ",",
    ":",
    "NaN",
    "1e400",
]


@given(st.data(), st.sampled_from(sorted(AGENTS)))
def test_damaged_replies_are_read_or_refused(data: st.DataObject, name: str) -> None:
    kinds = tuple(kind for kind in KINDS if kind not in ("done", "fail", "wait"))
    text = AGENTS[name].format("Hm.", data.draw(actions(SCREEN, kinds)), SCREEN)
    for action in read_or_refuse(AGENTS[name], data.draw(damaged(text, FRAGMENTS)), replace(SCREEN, tree=TREE)):
        assert action.kind in KINDS


def test_several_actions_of_one_reply() -> None:
    several = (CLICK, Action("wait", seconds=2.0), Action("type", text="a"), ENTER, Action("done"))
    for agent in (CODE, JSON):
        assert read_reply(agent, write_reply(agent, "So.", several, DESK), DESK) == ("So.", several)
        with pytest.raises(ValueError, match="read back as 1: say click"):
            write_reply(agent, "", (Action("key_down", keys=("ctrl",)), CLICK, Action("key_up", keys=("ctrl",))), DESK)
        with pytest.raises(ParseError, match="5 actions"):
            agent.parse(write_reply(agent, "", several, DESK), DESK)


def test_texts_cannot_leave_the_block() -> None:
    text = "``` \\` <|im_end|></s>"
    for agent in (CODE, JSON):
        reply = agent.format("", Action("type", text=text), DESK)
        assert reply.count("```") == 2
        assert "<|" not in reply
        assert agent.parse(reply, DESK)[1].text == text
        with pytest.raises(ValueError, match="a thought cannot contain '```'"):
            agent.format("so ```", CLICK, DESK)


def test_places_without_a_screenshot_are_pixels() -> None:
    blind = Observation(tree=TREE)
    for agent in (OSWorldPyAutoGUIAgent("a11y_tree"), Computer13Agent("a11y_tree")):
        assert agent.parse(agent.format("", CLICK, blind), blind)[1] == CLICK


def test_marked_elements_are_places() -> None:
    assert [(mark.name, mark.element.name or mark.element.value) for mark in marks(TREE)] == [
        ("tag_1", "Save\tall"),
        ("tag_2", 'say "hi"'),
        ("tag_3", "Help"),
    ]
    assert marked_places(TREE)["tag_1"] == (140.0, 212.0)
    assert marks_text(TREE) == 'index\ttag\tname\ttext\n1\tpush-button\tSave all\t\n2\ttext\t\tsay "hi"\n3\tlink\tHelp\t'
    for code, expected in {
        "pyautogui.click(tag_1)": (Action("click", 140.0, 212.0),),
        "pyautogui.click(tag_1, clicks=2)": (Action("double_click", 140.0, 212.0),),
        "pyautogui.moveTo(tag_1)\npyautogui.dragTo(tag_3, button='left')": (Action("drag", 140.0, 212.0, 1905.0, 1070.0),),
        "x, y = tag_1\npyautogui.click(x, y)": (Action("click", 140.0, 212.0),),
        "pyautogui.click(tag_1[0] + 20, tag_1[1])": (Action("click", 160.0, 212.0),),
        "pyautogui.write('tag_1')": (Action("type", text="tag_1"),),
    }.items():
        assert read_reply(SOM, f"```python\n{code}\n```", SEEN)[1] == expected
    small = replace(SEEN, screenshot=SCREEN.screenshot)
    assert SOM.parse("```python\npyautogui.click(tag_3)\n```", small)[1] == Action("click", 159.0, 209.0)
    with pytest.raises(ParseError, match="'tag_4' has no value"):
        read_reply(SOM, "```python\npyautogui.click(tag_4)\n```", SEEN)


def test_the_tree_as_a_table() -> None:
    assert tree_text(TREE, 10_000) == (
        f'{HEADER}\npush-button\tSave all\t""\t\t\t(100, 200)\t(80, 24)\ntext\t\t"say ""hi"""\t\t\t(100, 300)\t(200, 40)\n'
        'link\tHelp\t""\t\t\t(1890, 1060)\t(30, 20)'
    )
    assert tree_text(None, 10_000) == HEADER
    assert tree_text(TREE, 5) == HEADER[:5] + "[...]\n"


@pytest.mark.parametrize(("kind", "picture", "table"), [
    ("screenshot", True, ""),
    ("a11y_tree", False, HEADER),
    ("screenshot_a11y_tree", True, HEADER),
    ("som", True, "index\ttag\tname\ttext"),
])  # fmt: skip
def test_what_is_shown(kind: Any, picture: bool, table: str) -> None:
    agent = OSWorldPyAutoGUIAgent(kind, password="secret")
    steps = [Step(SEEN, CLICK, "I save.", completion=Completion("sampled")), Step(SEEN, error="no block")] * 3
    said = replace(SEEN, text="It beeps.")
    system, *turns = agent.prompt(TASK, steps, said)
    assert system.text.endswith("You are asked to complete the following task: Save {it}.")
    assert "'secret'" in system.text
    assert [message.role for message in turns] == ["user", "assistant"] * 3 + ["user"]
    for message in turns[::2]:
        assert bool(message.images) == picture
        assert (table in message.text) == bool(table) or not table
        assert ("push-button" in message.text) == bool(table)
    assert turns[0].text.startswith(
        "Previous actions:\nStep 1: pyautogui.click(x=960, y=540)\nStep 2: unreadable reply (no block)\n"
    )
    assert turns[3].text == "sampled"
    assert turns[-1].text.startswith("Your last reply could not be read: no block\nGiven the ")
    assert turns[-1].text.endswith("\nIt beeps.\nWhat's the next step that you will do to help with the task?")


def test_what_computer_13_is_shown() -> None:
    steps = [Step(DESK, CLICK, "I save."), Step(DESK, Action("call", name="run")), Step(DESK, CLICK, "Again.")]
    system, *turns = Computer13Agent(screenshots=2).prompt(TASK, steps, DESK)
    assert '{"action_type": "CLICK"' in system.text
    assert 'Step 1: {"action_type": "CLICK", "x": 960, "y": 540}\nStep 2: call\n' in turns[0].text
    assert turns[1].text == 'Again.\n```json\n{"action_type": "CLICK", "x": 960, "y": 540}\n```'
    assert JSON.prompt(TASK, [Step(DESK, error="x")], DESK)[2].text == ""


@pytest.mark.parametrize("options", [{"observation_type": "video"}, {"screenshots": 0}, {"tree_characters": 0}])
def test_options_out_of_range(options: dict[str, Any]) -> None:
    for agent in (OSWorldPyAutoGUIAgent, Computer13Agent):
        with pytest.raises(ValueError, match=next(iter(options))):
            agent(**options)
    with pytest.raises(ValueError, match="no word for a marked element"):
        Computer13Agent("som")


def test_any_agent_can_be_shown_the_tree() -> None:
    agent = TreeAgent("qwen_vl", screenshots=2)
    assert check_agent(agent, tolerance=0.5)
    steps = [Step(SEEN, CLICK)]
    messages = agent.prompt(TASK, steps, replace(SEEN, text="It beeps."))
    assert all(HEADER in message.text for message in messages if message.role == "user")
    assert messages[-1].text.startswith("It beeps.\nAccessibility tree:\n")
    assert (agent.name, agent.stop, agent.thought) == ("qwen_vl+a11y_tree", ("</tool_call>",), "none")
    assert "1\tpush-button" in TreeAgent("opencua", "som").prompt(TASK, [], SEEN)[-1].text
    assert HEADER not in agent.prompt(TASK, [], DESK)[-1].text
    several = TreeAgent("kimi")
    assert read_reply(several, write_reply(several, "", (CLICK, ENTER), DESK), DESK)[1] == (CLICK, ENTER)
    for options in ({"shown": "video"}, {"tree_characters": 0}):
        with pytest.raises(ValueError, match=next(iter(options))):
            TreeAgent(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("agent", "place"),
    [
        ("qwen_vl", "(500, 500)\t(50, 50)"),
        ("kimi", "(0.5, 0.5)\t(0.05, 0.05)"),
        ("anthropic", "(640, 360)\t(64, 36)"),
        ("computer_13", "(960, 540)\t(96, 54)"),
    ],
)
def test_places_of_the_tree_are_said_as_the_agent_says_places(agent: str, place: str) -> None:
    assert DESK.screenshot is not None
    assert (DESK.screenshot.width, DESK.screenshot.height) == (1920, 1080)
    seen = replace(DESK, tree=(Element("push button", "Save", box=(960, 540, 96, 54)),))
    assert f'push-button\tSave\t""\t\t\t{place}' in TreeAgent(agent).prompt(TASK, [], seen)[-1].text


@pytest.mark.parametrize("agent", ["opencua", "kimi", "evocua_s1"])
def test_agents_that_write_code_point_at_marks(agent: str) -> None:
    plain, marked = agent_class(agent)(), TreeAgent(agent, "som")
    seen = replace(DESK, tree=TREE)
    third = marks(TREE)[2]
    reply = "## Action:\nClick it.\n## Code:\n```python\npyautogui.click(tag_3)\n```"
    assert marked.parse(reply, seen) == ("Action: Click it.", Action("click", *third.center))
    assert "tag_1" in marked.prompt(TASK, [], seen)[-1].text
    with pytest.raises(ParseError):
        plain.parse(reply, seen)
    with pytest.raises(ParseError):
        TreeAgent(agent).parse(reply, seen)
    with pytest.raises(ParseError):
        marked.parse(reply.replace("tag_3", "tag_999"), seen)
    assert check_agent(marked, tolerance=1.0)


class StillScreen:
    """An environment that always shows one observation."""

    task = TASK

    def __init__(self, seen: Observation) -> None:
        self.seen = seen
        self.closed = False

    async def reset(self, task: Task, seed: int) -> Observation:
        return self.seen

    async def step(self, action: Action) -> Observation:
        return self.seen

    async def evaluate(self) -> float:
        return 1.0

    async def close(self) -> None:
        self.closed = True


def test_marks_are_drawn_on_the_screenshot() -> None:
    images = ImageStore()
    plain = images.put_pixels(np.full((1080, 1920, 3), 200, np.uint8))
    inner = StillScreen(Observation(plain, tree=TREE, text="x"))
    environment = MarkedEnvironment(inner, images)

    async def play() -> tuple[Observation, Observation, float]:
        first, second = await environment.reset(TASK, 0), await environment.step(CLICK)
        reward = await environment.evaluate()
        await environment.close()
        return first, second, reward

    first, second, reward = asyncio.run(play())
    assert (reward, inner.closed, environment.task) == (1.0, True, TASK)
    assert (first, first.tree, first.text) == (second, TREE, "x")
    assert first.screenshot is not None
    assert first.screenshot != plain
    drawn = images.load(first.screenshot)
    assert drawn.shape == (1080, 1920, 3)
    for mark in marks(TREE):
        left, top, width, height = (round(number) for number in mark.box)
        assert tuple(drawn[top, left + width // 2]) == (255, 0, 0)
        label = drawn[top + height - 12 : top + height, max(0, left - 2) : left + 8].reshape(-1, 3)
        assert (label == 0).all(axis=1).any()
    assert tuple(drawn[500, 960]) == (200, 200, 200)


def test_what_has_no_marks_is_shown_as_it_is() -> None:
    images = ImageStore()
    plain = images.put_pixels(np.zeros((10, 10, 3), np.uint8))
    for seen in (Observation(plain), Observation(plain, tree=()), Observation(tree=TREE)):
        assert asyncio.run(MarkedEnvironment(StillScreen(seen), images).reset(TASK, 0)) == seen
    with pytest.raises(AttributeError):
        MarkedEnvironment(StillScreen(DESK), images).solve  # noqa: B018


def test_the_table_of_agents() -> None:
    assert agent_class("osworld_pyautogui") is OSWorldPyAutoGUIAgent
    assert agent_class("computer_13") is Computer13Agent
