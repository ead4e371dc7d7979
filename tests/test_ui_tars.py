"""Law 1 for UI-TARS 1.0, 1.5 and 2, the spellings that its models use, and its prompts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from drawn_actions import actions, close, damaged, read_or_refuse, resizable_screens, screen, thoughts
from hypothesis import assume, given
from hypothesis import strategies as st

from stepladder.agents import agent_class
from stepladder.agents.conformance import SCREEN, check_agent
from stepladder.agents.replies import read_reply, write_reply
from stepladder.agents.ui_tars import UITARS1Agent, UITARS2Agent, UITARS15Agent, UITARSAgent
from stepladder.agents.ui_tars_calls import read_text, write_text
from stepladder.interfaces import ParseError
from stepladder.types import Action, Completion, Observation, Step, Task

DESK = screen(1920, 1080)
TASK = Task("t", "Save {it}.", "desk")
ONE, ONE_FIVE, TWO = UITARS1Agent(), UITARS15Agent(), UITARS2Agent()
AGENTS = {
    "1.0": ONE,
    "1.5": ONE_FIVE,
    "1.5 points": UITARS15Agent(points="point"),
    "2": TWO,
    "no thought": UITARS1Agent(thought=False),
}
SAYABLE: Any = (
    *("click", "double_click", "right_click", "move", "mouse_down", "mouse_up", "drag", "scroll"),
    *("type", "key", "key_down", "key_up", "wait", "done", "fail"),
)
ENTER = Action("key", keys=("enter",))


@pytest.mark.parametrize("name", AGENTS)
def test_the_contract(name: str) -> None:
    agent = AGENTS[name]
    tolerance = max(agent.coordinates.tolerance(160, 210)) + 1e-6
    said = {action.kind for action in check_agent(agent, tolerance=tolerance)}
    # The others are there with keys that are held, or so many notches and seconds as cannot be said.
    assert said == set(SAYABLE) - {"right_click", "scroll", "wait"}
    for action in (Action("scroll", 80, 100, amount=5), Action("scroll", amount=-5, name="horizontal"), Action("wait", seconds=5)):
        assert close(agent.parse(agent.format("", action, SCREEN), SCREEN)[1], action, SCREEN, agent.coordinates)


@st.composite
def sayable(draw: st.DrawFn, shown: Observation) -> Action:
    action = draw(actions(shown, SAYABLE))
    if action.kind in ("key", "key_down", "key_up"):
        return action
    action = replace(action, keys=())
    if action.kind == "drag" and action.x is None:
        return replace(action, x=0.0, y=0.0)
    if action.kind == "scroll":
        return replace(action, amount=draw(st.sampled_from([-5.0, 5.0])))
    if action.kind == "wait":
        return replace(action, seconds=5.0)
    return action


@given(st.data(), resizable_screens(), st.sampled_from(list(AGENTS.values())))
def test_every_action_is_read_back(data: st.DataObject, shown: Observation, agent: UITARSAgent) -> None:
    action = data.draw(sayable(shown))
    assume(not (action.kind == "type" and action.text.endswith("\n")))
    reply = agent.format(data.draw(thoughts), action, shown)
    assert close(agent.parse(reply, shown)[1], action, shown, agent.coordinates)


@given(st.data(), resizable_screens(), st.sampled_from(list(AGENTS.values())))
def test_several_actions_are_read_back(data: st.DataObject, shown: Observation, agent: UITARSAgent) -> None:
    drawn = data.draw(st.lists(sayable(shown) | st.just(ENTER), min_size=1, max_size=4))
    said = tuple(action for number, action in enumerate(drawn) if not is_unsayable(action, drawn[number + 1 :]))
    assume(said)
    read = read_reply(agent, agent.format_several(data.draw(thoughts), said, shown), shown)[1]
    assert len(read) == len(said)
    assert all(close(a, b, shown, agent.coordinates) for a, b in zip(read, said, strict=True))


def is_unsayable(action: Action, following: list[Action]) -> bool:
    """A text with a line break at its end, unless Enter follows it."""
    return action.kind == "type" and action.text.endswith("\n") and following[:1] != [ENTER]


@given(st.data(), resizable_screens())
def test_what_is_not_sayable_is_refused(data: st.DataObject, shown: Observation) -> None:
    action = data.draw(actions(shown, (*SAYABLE, "triple_click", "middle_click", "call")))
    try:
        reply = ONE.format("", action, shown)
    except ValueError as error:
        assert str(error)  # noqa: PT017
        return
    assert close(ONE.parse(reply, shown)[1], action, shown, ONE.coordinates)


@given(st.text())
def test_texts_are_read_back(text: str) -> None:
    written = write_text(text)
    assert read_text(written[1:-1]) == text
    assert "\n" not in written
    assert "<|" not in written


#: Lines of a thought, but for its "Action:" line.
lines = st.text(alphabet=st.characters(exclude_categories=("C", "Z"), exclude_characters="<"), max_size=40).filter(
    lambda text: not text.startswith("Action:")
)


@given(st.lists(lines.filter(bool), max_size=3), lines)
def test_thoughts_are_read_back(reasoning: list[str], summary: str) -> None:
    plain = "\n".join(reasoning)
    assert ONE.parse(ONE.format(plain, Action("click"), DESK), DESK)[0] == plain
    both = "\n".join([*reasoning, *([f"Action: {summary}"] if summary else [])])
    if reasoning:  # a sentence alone is read as the thought
        assert TWO.parse(TWO.format(both, Action("click"), DESK), DESK)[0] == both


def test_the_forms() -> None:
    thought, click = "The form is empty.\nAction: Click the name field.", Action("click", 960, 540)
    assert ONE.format(thought, click, DESK) == (
        "Thought: The form is empty.\nClick the name field.\nAction: click(start_box='<|box_start|>(500,500)<|box_end|>')"
    )
    assert ONE_FIVE.format("", click, DESK) == "Action: click(start_box='<|box_start|>(966,546)<|box_end|>')"
    assert TWO.format(thought, click, DESK) == (
        "<think>The form is empty.</think>\nThought: Click the name field.\nAction: click(point='<point>500 500</point>')"
    )
    drag = Action("drag", 960, 540, 480, 270)
    assert TWO.format("", drag, DESK) == ("Action: drag(start_point='<point>500 500</point>', end_point='<point>250 250</point>')")
    assert ONE.format_several("", (Action("type", text="it's"), ENTER, click), DESK) == (
        "Action: type(content='it\\'s\\n')\n\nclick(start_box='<|box_start|>(500,500)<|box_end|>')"
    )


def one(action: Action, thought: str = "") -> tuple[str, tuple[Action, ...]]:
    return thought, (action,)


MIDDLE = Action("click", 960.0, 540.0)
#: What models of the family wrote, in shape; places from 0 to 1000.
REPLIES: dict[str, tuple[str, tuple[str, tuple[Action, ...]]]] = {
    "as trained": ("Thought: I see it.\nAction: click(start_box='<|box_start|>(500,500)<|box_end|>')", one(MIDDLE, "I see it.")),
    "without special tokens": ("Thought: I see it.\nAction: click(start_box='(500,500)')", one(MIDDLE, "I see it.")),
    "point": ("Thought: I see it.\nAction: click(point='<point>500 500</point>')", one(MIDDLE, "I see it.")),
    "box of four": ("Action: click(start_box='[400,400,600,600]')", one(MIDDLE)),
    "box of four in parentheses": ("Action: click(start_box='(400, 400, 600, 600)')", one(MIDDLE)),
    "bbox": ("Action: click(start_box='<bbox>400 400 600 600</bbox>')", one(MIDDLE)),
    "box without quotes": ("Action: click(start_box=(500, 500))", one(MIDDLE)),
    "double quotes": ('Action: click(start_box="(500,500)")', one(MIDDLE)),
    "parenthesis forgotten": ("Thought: Hm.\nAction: click(start_box='(500,500)'", one(MIDDLE, "Hm.")),
    "left single": ("Action: left_single(start_box='(500,500)')", one(MIDDLE)),
    "double": ("Action: left_double(start_box='(500,500)')", one(Action("double_click", 960.0, 540.0))),
    "right": ("Action: right_single(start_box='(500,500)')", one(Action("right_click", 960.0, 540.0))),
    "hover": ("Action: hover(start_box='(500,500)')", one(Action("move", 960.0, 540.0))),
    "drag": ("Action: drag(start_box='(500,500)', end_box='(250,250)')", one(Action("drag", 960.0, 540.0, 480.0, 270.0))),
    "select": ("Action: select(start_box='(500,500)', end_box='(250,250)')", one(Action("drag", 960.0, 540.0, 480.0, 270.0))),
    "hotkey": ("Action: hotkey(key='ctrl c')", one(Action("key", keys=("ctrl", "c")))),
    "hotkey with a plus": ("Action: hotkey(key='ctrl+shift+t')", one(Action("key", keys=("ctrl", "shift", "t")))),
    "hotkey of the plus": ("Action: hotkey(key='ctrl +')", one(Action("key", keys=("ctrl", "+")))),
    "arrow": ("Action: hotkey(key='arrowleft')", one(Action("key", keys=("left",)))),
    "press": ("Action: press(key='enter')", one(ENTER)),
    "type": ("Action: type(content='hello')", one(Action("type", text="hello"))),
    "type and submit": ("Action: type(content='hello\\n')", ("", (Action("type", text="hello"), ENTER))),
    "only submit": ("Action: type(content='\\n')", one(ENTER)),
    "ends with an n": ("Action: type(content='run\\n')", ("", (Action("type", text="run"), ENTER))),
    "line break in a text": ("Action: type(content='a\nb')", one(Action("type", text="a\nb"))),
    "quote not escaped": ("Action: type(content='It's done')", one(Action("type", text="It's done"))),
    "quotes escaped": ("Action: type(content='It\\'s \\\"done\\\"')", one(Action("type", text='It\'s "done"'))),
    "path": ("Action: type(content='C:\\Users\\me')", one(Action("type", text="C:\\Users\\me"))),
    "parenthesis in a text": ("Action: type(content='f(x) = (1, 2)')", one(Action("type", text="f(x) = (1, 2)"))),
    "the word Action in a text": (
        "Thought: So.\nAction: type(content='Action: click(here)')",
        one(Action("type", text="Action: click(here)"), "So."),
    ),
    "scroll": ("Action: scroll(start_box='(500,500)', direction='down')", one(Action("scroll", 960.0, 540.0, amount=-5.0))),
    "scroll sideways": ("Action: scroll(direction='right')", one(Action("scroll", amount=5.0, name="horizontal"))),
    "scroll up without a place": ("Action: scroll(start_box='', direction='up')", one(Action("scroll", amount=5.0))),
    "wait": ("Thought: It loads.\nAction: wait()", one(Action("wait", seconds=5.0), "It loads.")),
    "finished": ("Action: finished()", one(Action("done"))),
    "finished with an answer": ("Action: finished(content='It costs \\'5\\'.')", one(Action("done", text="It costs '5'."))),
    "call user": ("Action: call_user()", one(Action("fail"))),
    "error": ("Action: error_env()", one(Action("fail"))),
    "reflection": (
        "Reflection: That did nothing.\nAction_Summary: Click again.\nAction: click(start_box='(500,500)')",
        one(MIDDLE, "That did nothing.\nAction: Click again."),
    ),
    "summary": ("Action_Summary: Click.\nAction: click(start_box='(500,500)')", one(MIDDLE, "Action: Click.")),
    "thinking": (
        "<think>Now that it is open, I go on.\nYes.</think>\nThought: Let's click.\nAction: click(point='<point>500 500</point>')",
        one(MIDDLE, "Now that it is open, I go on.\nYes.\nAction: Let's click."),
    ),
    "thinking behind a template": (
        "It is open.</think>\nThought: Click.\nAction: click(point='<point>500 500</point>')",
        one(MIDDLE, "It is open.\nAction: Click."),
    ),
    "a draft in the thinking": (
        "<think>Perhaps Action: wait() is best. No.</think>\nAction: click(point='<point>500 500</point>')",
        one(MIDDLE, "Perhaps Action: wait() is best. No."),
    ),
    "thinking not closed": ("<think>Hm.\nAction: click(point='<point>500 500</point>')", one(MIDDLE, "Hm.")),
    "the end of thinking as a text": ("Action: type(content='</think>')", one(Action("type", text="</think>"))),
    "on one line": ("Thought: I click. Action: click(start_box='(500,500)')", one(MIDDLE, "I click.")),
    "bare call": ("click(start_box='(500,500)')", one(MIDDLE)),
    "in bold": ("Thought: Go.\n**Action:** click(start_box='(500,500)')", one(MIDDLE, "Go.")),
    "bare call in a code block": ("Go.\n```python\nclick(start_box='(500,500)')\n```", one(MIDDLE, "Go.")),
    "comment": ("Action: click(start_box='(500,500)') # the button", one(MIDDLE)),
    "end token": ("Action: click(start_box='(500,500)')<|im_end|>", one(MIDDLE)),
    "code block": ("Thought: Go.\nAction: ```\nclick(start_box='(500,500)')\n```", one(MIDDLE, "Go.")),
    "two calls": (
        "Thought: Both.\nAction: click(start_box='(500,500)')\n\ntype(content='x')",
        ("Both.", (MIDDLE, Action("type", text="x"))),
    ),
    "two calls with labels": ("Action: click(start_box='(500,500)')\nAction: wait()", ("", (MIDDLE, Action("wait", seconds=5.0)))),
    "a dream of the next turn": (
        "Thought: One.\nAction: click(start_box='(500,500)')\nThought: Two.\nAction: finished()",
        one(MIDDLE, "One."),
    ),
    "beyond the screen": ("Action: click(start_box='(1000,1200)')", one(Action("click", 1919.0, 1079.0))),
}


@pytest.mark.parametrize("case", REPLIES)
def test_replies(case: str) -> None:
    text, expected = REPLIES[case]
    assert ONE.parse_several(text, DESK) == expected


def test_what_the_versions_read_differently() -> None:
    text = "Action: click(start_box='(966,546)')"
    assert ONE_FIVE.parse(text, DESK)[1] == MIDDLE
    assert TWO.parse(text, DESK)[1].x == 1854.72
    assert ONE.parse("Action: press(key='ctrl')", DESK)[1] == Action("key", keys=("ctrl",))
    assert TWO.parse("Action: press(key='ctrl')", DESK)[1] == Action("key_down", keys=("ctrl",))
    assert TWO.parse("Action: release(key='ctrl')", DESK)[1] == Action("key_up", keys=("ctrl",))
    assert UITARS1Agent(notches=3).parse("Action: scroll(direction='up')", DESK)[1].amount == 3
    small = UITARS15Agent(max_pixels=14 * 14 * 4 * 1280)
    assert small.parse("Action: click(start_box='(658,364)')", DESK)[1] == MIDDLE


MALFORMED = {
    "": "no action",
    "I cannot do this.": "no action",
    "Thought: I should click the button": "no action",
    "Action: click the button": "no action",
    "Action: fly(start_box='(1,2)')": "unknown action 'fly'",
    "Action: click(start_box='the button')": "no place",
    "Action: click(start_box='(1)')": "no place",
    "Action: click(start_box='(1,2,3)')": "no place",
    "Action: click(start_box='')": "no place",
    "Action: click(start_box='(1e999,2)')": "no place",
    "Action: click(start_box=)": "a value is needed",
    "Action: click(start_box='(1,2)', button='left')": "'button'",
    "Action: click(start_box='(1,2)', start_box='(3,4)')": "two values",
    "Action: hover()": "needs start_box",
    "Action: drag(start_box='(1,2)')": "needs end_box",
    "Action: hotkey()": "needs key",
    "Action: hotkey(key='')": "no key",
    "Action: hotkey(key='entr')": "'enter'",
    "Action: type()": "needs content",
    "Action: type(content='half a te": "not closed",
    "Action: type(content='\ud800')": "surrogates",
    "Action: scroll(start_box='(1,2)')": "needs direction",
    "Action: scroll(direction='inwards')": "up, down, right, left",
    "Action: wait(seconds=2)": "takes nothing",
    "Action: click(start_box='(1,2)')\n\nfly()": "unknown action 'fly'",
    "Action: " + "wait()\n" * 101: "more than 100",
}


@pytest.mark.parametrize("text", MALFORMED, ids=lambda text: text[:60].encode("ascii", "replace").decode())
def test_malformed_replies(text: str) -> None:
    with pytest.raises(ParseError, match=MALFORMED[text]) as caught:
        ONE.parse_several(text, DESK)
    assert 0 <= caught.value.position <= len(text)


def test_a_parse_error_points_at_the_place() -> None:
    text = "Thought: x\nAction: click(start_box='(1,2)')\n\ndrag(start_box='(1,2)', end_box='here')"
    with pytest.raises(ParseError) as caught:
        ONE.parse_several(text, DESK)
    assert text[caught.value.position :] == "here')"


def test_a_reply_with_several_actions_is_no_single_action() -> None:
    with pytest.raises(ParseError, match="2 actions"):
        ONE.parse("Action: type(content='x\\n')", DESK)
    assert read_reply(ONE, "Action: type(content='x\\n')", DESK)[1] == (Action("type", text="x"), ENTER)


UNSAYABLE = [
    (Action("type", text="x\n"), "two actions"),
    (Action("wait", seconds=1), "it takes 5"),
    (Action("scroll", amount=2), "5 notches"),
    (Action("scroll", amount=5, name="sideways"), "horizontal"),
    (Action("click", 1, 1, keys=("ctrl",)), "hold keys"),
    (Action("drag", x2=1, y2=1), "where it starts"),
    (Action("triple_click", 1, 1), "no words for a triple_click"),
    (Action("call", name="run"), "no words for a call"),
    (Action("move"), "needs x and y"),
    (Action("click", float("nan"), 1), "finite"),
    (Action("key", keys=("Enter",)), "'enter'"),
    (Action("type", text="\ud800"), "surrogates"),
]


@pytest.mark.parametrize(("action", "message"), UNSAYABLE)
def test_what_cannot_be_said(action: Action, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ONE.format("", action, DESK)


def test_thoughts_that_would_be_read_as_calls() -> None:
    for agent in (ONE, TWO):
        with pytest.raises(ValueError, match="a call"):
            agent.format("Action: click(start_box='(1,2)') and then\nmore", Action("wait", seconds=5), DESK)
    with pytest.raises(ValueError, match="</think>"):
        TWO.format("so </think>", Action("wait", seconds=5), DESK)


def test_places_need_a_screenshot() -> None:
    with pytest.raises(ValueError, match="screenshot"):
        ONE.format("", MIDDLE, Observation())
    with pytest.raises(ParseError, match="screenshot"):
        ONE.parse("Action: click(start_box='(1,2)')", Observation())
    with pytest.raises(ParseError, match="200 times"):
        ONE_FIVE.parse("Action: click(start_box='(1,2)')", screen(4000, 10))


@given(st.text() | st.text(alphabet="Action: click(start_box='()<>|,0123456789\"\\n"), st.sampled_from(list(AGENTS.values())))
def test_any_text_is_read_or_refused(text: str, agent: UITARSAgent) -> None:
    read_or_refuse(agent, text, SCREEN)
    read_or_refuse(agent, f"Action: {text}", SCREEN)


FRAGMENTS = [
    "Action:",
    "Thought:",
    "<think>",
    "</think>",
    "(",
    ")",
    "'",
    '"',
    "\\",
    "\n\n",
    ",",
    "=",
    "<point>",
    "[",
    "type(content='",
]


@given(st.data(), st.sampled_from(list(AGENTS.values())))
def test_damaged_replies_are_read_or_refused(data: st.DataObject, agent: UITARSAgent) -> None:
    said = tuple(data.draw(st.lists(sayable(SCREEN), min_size=1, max_size=3)))
    assume(not any(is_unsayable(action, list(said[number + 1 :])) for number, action in enumerate(said)))
    text = agent.format_several("Hm.\nAction: Go", said, SCREEN)
    read_or_refuse(agent, data.draw(damaged(text, FRAGMENTS)), SCREEN)


def test_prompts() -> None:
    system, instruction, now = ONE.prompt(TASK, [], DESK)
    assert (system.role, system.text) == ("system", "You are a helpful assistant.")
    assert instruction.text.endswith("## User Instruction\nSave {it}.\n")
    assert "click(start_box='<|box_start|>(x1,y1)<|box_end|>')\n" in instruction.text
    assert "finished()\ncall_user() # Submit the task" in instruction.text
    assert "- Use English in `Thought` part." in instruction.text
    assert now.content == (DESK.screenshot,)
    assert "Thought" not in UITARS1Agent(thought=False).prompt(TASK, [], DESK)[1].text
    text = UITARS15Agent(language="Chinese").prompt(TASK, [], DESK)[1].text
    assert "finished(content='xxx') # Use escape characters \\', \\\", and \\n in content part" in text
    assert "call_user" not in text
    assert "- Use Chinese in `Thought` part." in text
    assert "call_user" in UITARS15Agent(call_user=True).prompt(TASK, [], DESK)[1].text
    assert "click(point='<point>x1 y1</point>')" in UITARS15Agent(points="point").prompt(TASK, [], DESK)[1].text
    instruction, _ = TWO.prompt(TASK, [], DESK)
    assert instruction.role == "user"
    assert "<think>Now that...</think>" in instruction.text
    assert "<think>" not in UITARS2Agent(thought=False).prompt(TASK, [], DESK)[0].text


def test_all_replies_stay_and_the_last_pictures() -> None:
    tokens = np.array([1, 2], np.int32)
    steps = [
        Step(screen(1920, 1080 + number), MIDDLE, completion=Completion(f"reply {number}", tokens=tokens)) for number in range(6)
    ]
    messages = ONE.prompt(TASK, steps, DESK)
    assert [message.role for message in messages[2:]] == ["assistant"] * 2 + ["user", "assistant"] * 4 + ["user"]
    assert [message.text for message in messages if message.role == "assistant"] == [f"reply {number}" for number in range(6)]
    assert all(message.tokens is tokens for message in messages if message.role == "assistant")
    assert [image.height for message in messages for image in message.images] == [1082, 1083, 1084, 1085, 1080]
    assert len([image for message in UITARS1Agent(screenshots=1).prompt(TASK, steps, DESK) for image in message.images]) == 1


def test_past_steps_without_a_reply() -> None:
    typed = Step(DESK, Action("type", text="x"), "Type it.", more=(ENTER,))
    failed = Step(DESK, completion=Completion("hm"), error="there is no action")
    notice = Observation(screenshot=DESK.screenshot, text="nothing there")
    messages = ONE.prompt(TASK, [typed, failed], notice)
    assert messages[3].text == "Thought: Type it.\nAction: type(content='x\\n')"
    assert messages[5].text == "hm"
    assert messages[6].text == "Your last reply could not be read: there is no action\nnothing there"
    assert write_reply(ONE, "", typed.actions, DESK) == "Action: type(content='x\\n')"


@pytest.mark.parametrize("options", [{"screenshots": 0}, {"language": " "}, {"notches": 0}])
def test_options_out_of_range(options: dict[str, Any]) -> None:
    for agent in (UITARS1Agent, UITARS15Agent, UITARS2Agent):
        with pytest.raises(ValueError, match=next(iter(options))):
            agent(**options)


def test_options_of_the_picture_out_of_range() -> None:
    with pytest.raises(ValueError, match="points is 'dots'"):
        UITARS15Agent(points="dots")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="max_pixels is 10"):
        UITARS15Agent(max_pixels=10)


def test_the_table_of_agents() -> None:
    assert [agent_class(name) for name in ("ui_tars_1", "ui_tars_1_5", "ui_tars_2")] == [UITARS1Agent, UITARS15Agent, UITARS2Agent]
