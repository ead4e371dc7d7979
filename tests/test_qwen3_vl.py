"""Law 1 for Qwen3-VL and Qwen2.5-VL as they are published, their coordinates, thoughts and prompts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from drawn_actions import actions, close, damaged, read_or_refuse, resizable_screens, screen, thoughts
from hypothesis import given
from hypothesis import strategies as st

from stepladder.agents import agent_class
from stepladder.agents.computer_use import ComputerUseAgent
from stepladder.agents.conformance import SCREEN, check_agent
from stepladder.agents.qwen3_vl import Qwen3VLAgent
from stepladder.agents.qwen25_vl import Qwen25VLAgent
from stepladder.agents.tool_call import LEVELS
from stepladder.interfaces import ParseError
from stepladder.types import ACTION_KINDS, Action, Completion, Observation, Step, Task

DESK = screen(1920, 1080)
TASK = Task("t", "Open the settings.", "desk")
AGENTS = {
    "qwen3": Qwen3VLAgent(),
    "qwen3 999": Qwen3VLAgent(scale=999),
    "qwen3 absolute": Qwen3VLAgent(coordinates="absolute"),
    "qwen3 cookbook": Qwen3VLAgent(wording="cookbook", thought="thinking"),
    "qwen25": Qwen25VLAgent(),
    "qwen25 cookbook": Qwen25VLAgent(wording="cookbook"),
}


@pytest.mark.parametrize("name", AGENTS)
def test_the_contract(name: str) -> None:
    agent = AGENTS[name]
    tolerance = max(agent.coordinates.tolerance(160, 210)) + 1e-6
    assert {action.kind for action in check_agent(agent, tolerance=tolerance)} == set(ACTION_KINDS)


@given(st.data(), resizable_screens(), st.sampled_from(list(AGENTS.values())))
def test_every_action_is_read_back(data: st.DataObject, shown: Observation, agent: ComputerUseAgent) -> None:
    action = data.draw(actions(shown, ACTION_KINDS))
    reply = agent.format(data.draw(thoughts), action, shown)
    assert close(agent.parse(reply, shown)[1], action, shown, agent.coordinates)
    assert reply.endswith(agent.stop[0])
    assert reply.count(agent.stop[0]) == 1


lines = st.text(alphabet=st.characters(exclude_categories=("C", "Z"), exclude_characters="<`"), max_size=40)


@given(st.sampled_from(["full", "thinking", "thought"]), st.lists(lines, max_size=3), st.booleans())
def test_thoughts_are_read_back(level: Any, reasoning: list[str], with_line: bool) -> None:
    thought = "\n".join([*filter(None, reasoning), *(["Action: Click it."] if with_line else [])])
    agent = Qwen3VLAgent(thought=level)
    assert agent.parse(agent.format(thought, Action("click"), DESK), DESK)[0] == thought


def test_the_forms_of_a_thought() -> None:
    thought, click = "The form is empty.\nAction: Click the name field.", Action("click", 960, 540)
    call = '<tool_call>\n{"name": "computer_use", "arguments": {"action": "left_click", "coordinate": [500, 500]}}\n</tool_call>'
    said = {level: Qwen3VLAgent(thought=level).format(thought, click, DESK) for level in LEVELS}  # type: ignore[arg-type]
    assert said == {
        "none": call,
        "action": f"Action: Click the name field.\n{call}",
        "full": f"<think>\nThe form is empty.\n</think>\n\nAction: Click the name field.\n{call}",
        "thinking": f"<thinking>\nThe form is empty.\n</thinking>\nAction: Click the name field.\n{call}",
        "thought": f"Thought: The form is empty.\nAction: Click the name field.\n{call}",
    }


def call(**fields: Any) -> str:
    return json.dumps({"name": "computer_use", "arguments": fields})


MIDDLE = Action("click", 960.0, 540.0)
#: What models of the family wrote, in shape; places on a scale of 1000.
QWEN3_REPLIES: dict[str, tuple[str, str, Action]] = {
    "as trained": (
        f"Action: Click the search box.\n<tool_call>\n{call(action='left_click', coordinate=[500, 500])}\n</tool_call>",
        "Action: Click the search box.",
        MIDDLE,
    ),
    "thinking model": (
        "<think>\nThe user wants {settings}.\n\nI see a gear.\n</think>\n\nAction: Click the gear.\n<tool_call>\n"
        f"{call(action='left_click', coordinate=[500, 500])}\n</tool_call>",
        "The user wants {settings}.\n\nI see a gear.\nAction: Click the gear.",
        MIDDLE,
    ),
    "thinking model behind a template": (
        f"I see a gear.\n</think>\n\n<tool_call>\n{call(action='left_click', coordinate=[500, 500])}\n</tool_call>",
        "I see a gear.",
        MIDDLE,
    ),
    "cookbook with thinking": (
        "<thinking>\nThe menu is closed.\n</thinking>\nAction: Open it.\n<tool_call>\n"
        f"{call(action='left_click', coordinate=[500, 500])}\n</tool_call>",
        "The menu is closed.\nAction: Open it.",
        MIDDLE,
    ),
    "cookbook with a thought": (
        'Thought: I need the menu.\nAction: "Open the menu"\n<tool_call>\n'
        f"{call(action='left_click', coordinate=[500, 500])}\n</tool_call>",
        'I need the menu.\nAction: "Open the menu"',
        MIDDLE,
    ),
    "one line": (f"<tool_call>{call(action='left_click', coordinate=[500, 500])}</tool_call>", "", MIDDLE),
    "no close tag": (f"Action: Go.\n<tool_call>\n{call(action='left_click', coordinate=[500, 500])}", "Action: Go.", MIDDLE),
    "bare line": (f"Action: Go.\n{call(action='left_click', coordinate=[500, 500])}", "Action: Go.", MIDDLE),
    "in a code block": (f"Go.\n```json\n{call(action='left_click', coordinate=[500, 500])}\n```", "Go.", MIDDLE),
    "wait without an Action line": (f"<tool_call>\n{call(action='wait', time=2)}\n</tool_call>", "", Action("wait", seconds=2.0)),
    "terminate without an Action line": (
        f"<tool_call>\n{call(action='terminate', status='failure')}\n</tool_call>",
        "",
        Action("fail"),
    ),
    "success": (f"<tool_call>\n{call(action='terminate', status='success')}\n</tool_call>", "", Action("done")),
    "answer": (f"<tool_call>\n{call(action='answer', text='42 files')}\n</tool_call>", "", Action("done", text="42 files")),
    "click": (f"<tool_call>\n{call(action='click', coordinate=[500, 500])}\n</tool_call>", "", MIDDLE),
    "triple click": (call(action="triple_click", coordinate=[250, 500]), "", Action("triple_click", 480.0, 540.0)),
    "keys as a text": (call(action="key", keys="ctrl+s"), "", Action("key", keys=("ctrl", "s"))),
    "keys as a list in a text": (call(action="key", keys="['ctrl', 'c']"), "", Action("key", keys=("ctrl", "c"))),
    "keys with a prefix": (
        call(action="key", keys=["keys=['ctrl'", "'shift'", "'t']"]),
        "",
        Action("key", keys=("ctrl", "shift", "t")),
    ),
    "scroll at a place": (
        call(action="scroll", coordinate=[500, 500], pixels=-500),
        "",
        Action("scroll", 960.0, 540.0, amount=-5.0),
    ),
    "sideways": (call(action="hscroll", pixels=300), "", Action("scroll", amount=3.0, name="horizontal")),
    "drag to a place": (call(action="left_click_drag", coordinate=[500, 500]), "", Action("drag", x2=960.0, y2=540.0)),
    "typed path": (call(action="type", text="C:\\new\\table\n"), "", Action("type", text="C:\\new\\table\n")),
    "the corner": (call(action="left_click", coordinate=[1000, 1000]), "", Action("click", 1919.0, 1079.0)),
}


@pytest.mark.parametrize("case", QWEN3_REPLIES)
def test_replies_of_qwen3(case: str) -> None:
    text, thought, action = QWEN3_REPLIES[case]
    assert Qwen3VLAgent().parse(text, DESK) == (thought, action)


#: Pixels of a picture of 1316 x 728, to which a screen of 1920 x 1080 is resized.
QWEN25_REPLIES: dict[str, tuple[str, Action]] = {
    "as trained": (f"<tool_call>\n{call(action='left_click', coordinate=[658, 364])}\n</tool_call>", MIDDLE),
    "thought and action": (
        f"Thought: It is there.\nAction: Click.\n<tool_call>\n{call(action='left_click', coordinate=[658, 364])}\n</tool_call>",
        MIDDLE,
    ),
    "one line": (f"<tool_call>{call(action='left_click', coordinate=[658, 364])}</tool_call>", MIDDLE),
    "no tags": (call(action="left_click", coordinate=[658, 364]), MIDDLE),
    "no close tag": (f"<tool_call>\n{call(action='left_click', coordinate=[658, 364])}", MIDDLE),
    "right": (call(action="right_click", coordinate=[329, 182]), Action("right_click", 480.0, 270.0)),
    "double": (call(action="double_click", coordinate=[329, 182]), Action("double_click", 480.0, 270.0)),
    "middle": (call(action="middle_click", coordinate=[329, 182]), Action("middle_click", 480.0, 270.0)),
    "at the pointer": (call(action="left_click"), Action("click")),
    "move": (call(action="mouse_move", coordinate=[329, 182]), Action("move", 480.0, 270.0)),
    "drag": (call(action="left_click_drag", coordinate=[329, 182]), Action("drag", x2=480.0, y2=270.0)),
    "coordinate as a text": (call(action="left_click", coordinate="[658, 364]"), MIDDLE),
    "beyond the picture": (call(action="left_click", coordinate=[1900, 1000]), Action("click", 1919.0, 1079.0)),
    "quote in a text": (call(action="type", text="it's"), Action("type", text="it's")),
    "key": (call(action="key", keys=["Return"]), Action("key", keys=("enter",))),
    "scroll": (call(action="scroll", pixels=-200), Action("scroll", amount=-2.0)),
    "wait": (call(action="wait", time=3), Action("wait", seconds=3.0)),
    "failure": (call(action="terminate", status="failure"), Action("fail")),
    "success": (call(action="terminate", status="success"), Action("done")),
}


@pytest.mark.parametrize("case", QWEN25_REPLIES)
def test_replies_of_qwen25(case: str) -> None:
    text, action = QWEN25_REPLIES[case]
    assert Qwen25VLAgent().parse(text, DESK)[1] == action


def test_the_scales() -> None:
    text = call(action="left_click", coordinate=[999, 500])
    assert Qwen3VLAgent().parse(text, DESK)[1].x == pytest.approx(1918.08)
    assert Qwen3VLAgent(scale=999).parse(text, DESK)[1].x == 1919.0
    assert Qwen3VLAgent(coordinates="absolute").parse(call(action="left_click", coordinate=[960, 544]), DESK)[1] == MIDDLE
    assert Qwen25VLAgent(wording="cookbook").parse(call(action="left_click", coordinate=[966, 546]), DESK)[1] == MIDDLE
    small = Qwen25VLAgent(max_pixels=640 * 28 * 28)
    assert small.coordinates.tolerance(1920, 1080)[0] > Qwen25VLAgent().coordinates.tolerance(1920, 1080)[0]


def test_a_picture_that_no_model_takes() -> None:
    strip = screen(4000, 10)
    with pytest.raises(ParseError, match="200 times"):
        Qwen25VLAgent().parse(call(action="left_click", coordinate=[1, 1]), strip)
    with pytest.raises(ValueError, match="200 times"):
        Qwen25VLAgent().format("", Action("click", 1, 1), strip)


@given(st.text(), st.sampled_from(list(AGENTS.values())))
def test_any_text_is_read_or_refused(text: str, agent: ComputerUseAgent) -> None:
    read_or_refuse(agent, text, SCREEN)


FRAGMENTS = [
    "<tool_call>",
    "</tool_call>",
    "<think>",
    "</thinking>",
    "Thought:",
    '"arguments": {',
    "{",
    "}",
    "[",
    '"',
    "NaN",
    "1e400",
]


@given(st.data(), st.sampled_from(list(AGENTS.values())))
def test_damaged_replies_are_read_or_refused(data: st.DataObject, agent: ComputerUseAgent) -> None:
    text = agent.format("Hm.\nAction: Go", data.draw(actions(SCREEN, ACTION_KINDS)), SCREEN)
    for action in read_or_refuse(agent, data.draw(damaged(text, FRAGMENTS)), SCREEN):
        assert close(agent.parse(agent.format("", action, SCREEN), SCREEN)[1], action, SCREEN, agent.coordinates)


def schema_of(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text.split("<tools>\n")[1].split("\n</tools>")[0].split("\n")[0])
    return found["function"]


def test_prompts_of_qwen3() -> None:
    system, user = Qwen3VLAgent().prompt(TASK, [], DESK)
    schema = schema_of(system.text)
    assert schema["name_for_human"] == "computer_use"
    assert "resolution is 1000x1000" in schema["description"]
    assert schema["parameters"]["properties"]["action"]["enum"][-3:] == ["scroll", "wait", "terminate"]
    assert system.text.startswith("# Tools\n\nYou may call")
    assert "2) A single <tool_call>" in system.text
    assert user.content[0] == DESK.screenshot
    assert user.text.endswith("Instruction: Open the settings.\n\nPrevious actions:\nNone")
    absolute = Qwen3VLAgent(coordinates="absolute").prompt(TASK, [], DESK)[0]
    assert "resolution is 1920x1088" in schema_of(absolute.text)["description"]


def test_prompts_of_the_cookbooks() -> None:
    system, user = Qwen3VLAgent(wording="cookbook", thought="thinking").prompt(TASK, [], DESK)
    schema = schema_of(system.text)
    assert "name_for_human" not in schema
    assert "answer" in schema["parameters"]["properties"]["action"]["enum"]
    assert system.text.startswith("You are a helpful assistant.\n\n# Tools")
    assert "Response format" not in system.text
    assert user.text.endswith("<thinking></thinking> tags, and insert them before the <tool_call></tool_call> XML tags.")
    system = Qwen3VLAgent(wording="cookbook", thought="thought").prompt(TASK, [], DESK)[0]
    assert "1) Thought: one concise sentence" in system.text
    system, user = Qwen25VLAgent(wording="cookbook").prompt(TASK, [], DESK)
    assert "resolution is 1932x1092" in schema_of(system.text)["description"]
    assert "answer" not in schema_of(system.text)["parameters"]["properties"]["action"]["enum"]
    assert "The user query: Open the settings.\n" in user.text


def test_prompts_of_qwen25() -> None:
    system, user = Qwen25VLAgent().prompt(TASK, [], DESK)
    assert system.text.startswith("You are a helpful assistant\n\n# Tools")
    assert schema_of(system.text)["parameters"]["properties"]["action"]["description"] == "The action to perform."
    assert system.text.endswith("</tool_call>")
    assert user.text.endswith("Previous actions:\nNone")


def test_past_steps() -> None:
    sampled = Completion("Action: Go.\n<tool_call>x</tool_call>")
    steps = [Step(screen(1920, 1080 + number), MIDDLE, "Action: Go.", completion=sampled) for number in range(6)]
    messages = Qwen3VLAgent().prompt(TASK, steps, DESK)
    assert [message.role for message in messages] == ["system", *["user", "assistant"] * 4, "user"]
    assert messages[1].text.endswith("Previous actions:\nStep 1: Go.\nStep 2: Go.")
    assert messages[2].text == sampled.text
    assert [message.text for message in messages if message.role == "user"][1:] == [""] * 4
    messages = Qwen25VLAgent(wording="cookbook").prompt(TASK, steps[:2], DESK)
    assert (
        "Task progress (You have done the following operation on the current device): Step 1: Go.; Step 2: Go." in messages[1].text
    )


def test_declared_functions_stand_beside_the_tool() -> None:
    task = Task("t", "Do it.", "desk", {"functions": [{"name": "run", "parameters": {"type": "object"}}]})
    for agent in AGENTS.values():
        assert '\n{"type": "function", "function": {"name": "run"' in agent.prompt(task, [], DESK)[0].text


@pytest.mark.parametrize(
    "options",
    [{"screenshots": 0}, {"screenshots": 1.5}, {"thought": "long"}, {"wording": "mine"}, {"pixels_per_notch": 0}],
)
def test_options_out_of_range(options: dict[str, Any]) -> None:
    for agent in (Qwen3VLAgent, Qwen25VLAgent):
        with pytest.raises(ValueError, match=next(iter(options))):
            agent(**options)


def test_options_of_coordinates_out_of_range() -> None:
    with pytest.raises(ValueError, match="scale is 998; it must be one of 999, 1000"):
        Qwen3VLAgent(scale=998)
    with pytest.raises(ValueError, match="coordinates is 'pixels'"):
        Qwen3VLAgent(coordinates="pixels")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="max_pixels is 10"):
        Qwen25VLAgent(max_pixels=10)


def test_a_scroll_between_notches() -> None:
    agent = Qwen3VLAgent(pixels_per_notch=1)
    with pytest.raises(ValueError, match=r"2\.5 notches"):
        agent.format("", Action("scroll", amount=2.5), DESK)
    assert '"pixels": -3' in agent.format("", Action("scroll", amount=-3), DESK)


def test_the_table_of_agents() -> None:
    assert agent_class("qwen3_vl") is Qwen3VLAgent
    assert agent_class("qwen25_vl") is Qwen25VLAgent
