"""pyautogui code is parsed, never run: whatever the text, environments and agents get the same actions, or a ParseError."""

from __future__ import annotations

import contextlib

import pytest
from drawn_actions import actions, close, damaged, screen
from hypothesis import given
from hypothesis import strategies as st

from stepladder.agents.coordinates import AbsoluteCoordinates
from stepladder.agents.folding import fold
from stepladder.agents.osworld_pyautogui import WORDS
from stepladder.agents.places import Places
from stepladder.agents.pyautogui_calls import read_actions, write_actions
from stepladder.envs.bridge.wire import BadRequest, read_action
from stepladder.interfaces import ParseError
from stepladder.pyautogui.parts import LONGEST_WAIT, elementary
from stepladder.pyautogui.read import read_code
from stepladder.pyautogui.write import PREFIX, write_action
from stepladder.types import Action

text = st.text(max_size=30)
number = st.integers(-5, 2000)
DESK = screen(1920, 1080)
#: Places in pixels, where an agent sees no screen that it could move them into.
BLIND = Places(AbsoluteCoordinates(), None)
KINDS = (
    *("click", "double_click", "triple_click", "right_click", "middle_click", "move", "drag", "mouse_down", "mouse_up", "scroll"),
    *("type", "key", "key_down", "key_up", "wait"),
)


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        ("pyautogui.click(10, 20)", [Action("click", 10.0, 20.0)]),
        ("pyautogui.click(x=10, y=20, clicks=2)", [Action("double_click", 10.0, 20.0)]),
        ("pyautogui.click(10, 20, button='right')", [Action("right_click", 10.0, 20.0)]),
        ("pyautogui.click(10, 20, 1, 0.1, 'RIGHT')", [Action("right_click", 10.0, 20.0)]),
        ("pyautogui.click(button=pyautogui.SECONDARY)", [Action("right_click")]),
        ("pyautogui.mouseDown(button='primary')", [Action("mouse_down")]),
        ("pyautogui.tripleClick((3, 4))", [Action("triple_click", 3.0, 4.0)]),
        ("pyautogui.click()", [Action("click")]),
        (
            "pyautogui.moveTo(1, 2); pyautogui.dragTo(3, 4, duration=1.0, button='left')",
            [Action("move", 1.0, 2.0), Action("drag", x2=3.0, y2=4.0)],
        ),
        ("pyautogui.dragTo((3, 4), 1.0, pyautogui.easeInQuad, _pause=False, mouseDownUp=True)", [Action("drag", x2=3.0, y2=4.0)]),
        (
            "import pyautogui\npyautogui.FAILSAFE = False\npyautogui.hotkey('ctrl', 'shift', 'T')",
            [Action("key", keys=("ctrl", "shift", "t"))],
        ),
        ("pyautogui.PAUSE = 0.1\npyautogui.write(['enter', 'a'])", [Action("key", keys=("enter",)), Action("key", keys=("a",))]),
        ("pyautogui.hotkey(['ctrl', 'a'])", [Action("key", keys=("ctrl", "a"))]),
        ("pyautogui.press('enter', presses=2)", [Action("key", keys=("enter",))] * 2),
        ("pyautogui.press(['up', 'down'])", [Action("key", keys=("up",)), Action("key", keys=("down",))]),
        ("for _ in range(2):\n    pyautogui.press('up')", [Action("key", keys=("up",))] * 2),
        ("pyautogui.typewrite('it\\'s', interval=0.03)", [Action("type", text="it's")]),
        ("pyautogui.scroll(-3, x=5, y=6)", [Action("scroll", 5.0, 6.0, amount=-3.0)]),
        ("pyautogui.hscroll(2)", [Action("scroll", amount=2.0, name="horizontal")]),
        (
            "pyautogui.keyDown('shift')\npyautogui.keyUp('shift')",
            [Action("key_down", keys=("shift",)), Action("key_up", keys=("shift",))],
        ),
        ("time.sleep(0.5)", [Action("wait", seconds=0.5)]),
        ("time.sleep(1000)", [Action("wait", seconds=LONGEST_WAIT)]),
        (" wait ", [Action("wait", seconds=1.0)]),
        ("DONE", [Action("done")]),
        ("FAIL", [Action("fail")]),
        ("pyautogui.press('enter')\nDONE", [Action("key", keys=("enter",)), Action("done")]),
    ],
)
def test_what_agents_write_is_read(code: str, wanted: list[Action]) -> None:
    assert read_code(code) == wanted
    assert read_actions(code, 0, BLIND, 1.0) == fold(wanted)


REFUSED = {
    "__import__('os').system('touch /tmp/x')": "only functions of pyautogui",
    "pyautogui.click(__import__('os').system('touch /tmp/x'), 2)": "no plain value",
    "os.system('ls')": "os.system: unknown",
    "os.environ = 1": "only names",
    "pyautogui.click = 5": "only names",
    "x = 5": "no action",
    "pyautogui.click(10": "no Python",
    "pyautogui.screenshot()": "pyautogui.screenshot: unknown",
    "pyautogui.press('no such key')": "unknown key",
    "pyautogui.press('a', presses=200)": "'presses' is 200",
    "pyautogui.press('a', presses=0)": "'presses' is 0",
    "pyautogui.write()": "'message' is None",
    "pyautogui.write(None)": "'message' is None",
    "pyautogui.write(True)": "'message' is True",
    "pyautogui.write('a', foo=1)": "no parameter 'foo'; there are message, interval",
    "pyautogui.write('a', message='b')": "'message' is given twice",
    "pyautogui.click(x=5)": "'y' is None",
    "pyautogui.click(y=5)": "'x' is None",
    "pyautogui.click('ok.png')": "'x' is 'ok.png'",
    "pyautogui.click((1, 2, 3))": r"'x' is \[1, 2, 3\]",
    "pyautogui.click(1, 2, foo=1)": "no parameter 'foo'",
    "pyautogui.click(1, x=2)": "'x' is given twice",
    "pyautogui.click(1, 2, 1, 0, 'left', 0, None, None, True, 10)": "10 values are too many",
    "pyautogui.click(1, 2, clicks=2, button='right')": "2 clicks of the 'right' button",
    "pyautogui.click(1, 2, button=None)": "'button' is None",
    "pyautogui.click(1, 2, button='')": "'button' is ''",
    "pyautogui.click(1, 2, button=pyautogui.size)": "pyautogui.size is no plain value",
    "pyautogui.doubleClick(1, 2, button='right')": "doubleClick of the 'right' button",
    "pyautogui.rightClick(1, 2, clicks=2)": "no parameter 'clicks'",
    "pyautogui.dragTo(1, 2, button='right')": "only the left button",
    "pyautogui.dragTo(1, 2, mouseDownUp=False)": "mouseDownUp",
    "pyautogui.dragTo()": "'x' is None",
    "pyautogui.hotkey('ctrl', foo='c')": "no parameter 'foo'",
    "pyautogui.hotkey('ctrl', keys='c')": "the keys are given twice",
    "pyautogui.click(**{'x': 1})": "is no plain value",
    "time.sleep()": "'seconds' is None",
    "pyautogui.write('" + "a" * 20_000 + "')": "at most 20000",
    "": "no action",
    "pyautogui.press('a', presses=99)\n" * 2: "more than 100 actions",
    "(" * 5000: "no Python",
}


@pytest.mark.parametrize("code", REFUSED, ids=lambda code: str(code)[:60])
def test_anything_else_is_refused(code: str) -> None:
    with pytest.raises(ParseError, match=REFUSED[code]):
        read_code(code)
    with pytest.raises(ParseError, match=REFUSED[code]):
        read_actions(code, 0, BLIND, 1.0)


def test_a_server_is_told_the_line() -> None:
    with pytest.raises(BadRequest, match=r"action: line 2: pyautogui\.press: unknown key"):
        read_action("pyautogui.click(1, 2)\npyautogui.press('entr')")


@given(text)
def test_any_text_is_actions_or_refused(code: str) -> None:
    with contextlib.suppress(ParseError):
        assert all(isinstance(action, Action) for action in read_code(code))


@given(text)
def test_text_is_typed_as_it_is(message: str) -> None:
    assert read_code(f"pyautogui.write({message!r})") == [Action("type", text=message)]


# ----------------------------------------------------------------------------------------------- environments and agents agree

FUNCTIONS = (
    *("click", "leftClick", "rightClick", "middleClick", "doubleClick", "tripleClick", "moveTo", "dragTo", "mouseDown", "mouseUp"),
    *("scroll", "vscroll", "hscroll", "write", "typewrite", "press", "keyDown", "keyUp", "hotkey", "sleep", "wait", "terminate"),
)
PARAMETERS = ("x", "y", "clicks", "button", "duration", "message", "text", "keys", "key", "presses", "seconds", "status", "foo")
keys = st.sampled_from(["ctrl", "shift", "a", "enter", "ctrl+c", "nothing"])
values = (
    st.sampled_from(["left", "RIGHT", "middle", "primary", "success", "failure"])
    | (keys | text | number | st.none() | st.booleans() | st.floats())
    | st.lists(keys | number, max_size=3)
)


@st.composite
def calls(draw: st.DrawFn) -> str:
    """A call that pyautogui may take, or not."""
    arguments = [repr(value) for value in draw(st.lists(values, max_size=3))]
    named = draw(st.dictionaries(st.sampled_from(PARAMETERS), values, max_size=3))
    arguments += [f"{name}={value!r}" for name, value in named.items()]
    module = draw(st.sampled_from(["pyautogui.", "pyautogui.", "computer.", "time.", ""]))
    return f"{module}{draw(st.sampled_from(FUNCTIONS))}({', '.join(arguments)})"


def as_agents_read(code: str) -> tuple[Action, ...] | str:
    try:
        return read_actions(code, 0, BLIND, 1.0)
    except ParseError as error:
        return str(error)


def as_environments_read(code: str) -> tuple[Action, ...] | str:
    """What a server reads, put together as agents do it."""

    def inside(place: float | None) -> float | None:
        return None if place is None else max(place, 0.0)

    try:
        read = read_action(code)
    except BadRequest as error:
        return str(error).partition(": line ")[2].partition(": ")[2]
    return fold(
        [
            Action(
                one.kind,
                inside(one.x),
                inside(one.y),
                inside(one.x2),
                inside(one.y2),
                **{name: getattr(one, name) for name in ("text", "keys", "amount", "seconds", "name")},
            )
            for one in read
        ]
    )


@given(st.lists(calls(), min_size=1, max_size=3).map("\n".join))
def test_environments_and_agents_agree_on_every_call(code: str) -> None:
    assert as_environments_read(code) == as_agents_read(code)


@given(st.data())
def test_environments_and_agents_agree_on_damaged_code(data: st.DataObject) -> None:
    code = data.draw(damaged("pyautogui.click(10, 20)\ntime.sleep(1)", ["(", ")", ",", "=", "'", "None", "x=", "-", "\n"]))
    assert as_environments_read(code) == as_agents_read(code)


@given(st.data())
def test_environments_read_what_agents_write(data: st.DataObject) -> None:
    action = data.draw(actions(DESK, KINDS))
    code = write_actions([action], Places(AbsoluteCoordinates(), DESK.screenshot), WORDS)
    (read,) = fold(read_code(code, wait_seconds=WORDS.wait_seconds))
    assert close(read, action, DESK, AbsoluteCoordinates())


@given(st.data())
def test_agents_read_what_machines_are_sent(data: st.DataObject) -> None:
    """Machines get whole notches; all else is said exactly."""
    action = data.draw(actions(DESK, KINDS).filter(lambda action: action.kind != "scroll"))
    assert read_actions(PREFIX + write_action(action, real=False), 0, BLIND, 1.0) == fold(elementary(action)) == fold([action])
