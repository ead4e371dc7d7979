"""pyautogui lines are parsed, never run: whatever the text, the answer is actions or NotReadable."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.envs.pyautogui_code import NotReadable, read_actions
from stepladder.types import Action

text = st.text(max_size=30)
number = st.integers(-5, 2000)


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        ("pyautogui.click(10, 20)", [Action("click", 10.0, 20.0)]),
        ("pyautogui.click(x=10, y=20, clicks=2)", [Action("double_click", 10.0, 20.0)]),
        ("pyautogui.click(10, 20, button='right')", [Action("right_click", 10.0, 20.0)]),
        ("pyautogui.tripleClick((3, 4))", [Action("triple_click", 3.0, 4.0)]),
        ("pyautogui.click()", [Action("click")]),
        (
            "pyautogui.moveTo(1, 2); pyautogui.dragTo(3, 4, duration=1.0, button='left')",
            [Action("move", 1.0, 2.0), Action("drag", x2=3.0, y2=4.0)],
        ),
        (
            "import pyautogui\npyautogui.FAILSAFE = False\npyautogui.hotkey('ctrl', 'shift', 'T')",
            [Action("key", keys=("ctrl", "shift", "t"))],
        ),
        ("pyautogui.PAUSE = 0.1\npyautogui.write(['enter', 'a'])", [Action("key", keys=("enter",)), Action("key", keys=("a",))]),
        ("pyautogui.hotkey(['ctrl', 'a'])", [Action("key", keys=("ctrl", "a"))]),
        ("pyautogui.press('enter', presses=2)", [Action("key", keys=("enter",))] * 2),
        ("pyautogui.press(['up', 'down'])", [Action("key", keys=("up",)), Action("key", keys=("down",))]),
        ("pyautogui.typewrite('it\\'s', interval=0.03)", [Action("type", text="it's")]),
        ("pyautogui.scroll(-3, x=5, y=6)", [Action("scroll", 5.0, 6.0, amount=-3.0)]),
        ("pyautogui.hscroll(2)", [Action("scroll", amount=2.0, name="horizontal")]),
        (
            "pyautogui.keyDown('shift')\npyautogui.keyUp('shift')",
            [Action("key_down", keys=("shift",)), Action("key_up", keys=("shift",))],
        ),
        ("time.sleep(0.5)", [Action("wait", seconds=0.5)]),
        (" wait ", [Action("wait", seconds=1.0)]),
        ("DONE", [Action("done")]),
        ("FAIL", [Action("fail")]),
    ],
)
def test_what_agents_write_is_read(code: str, wanted: list[Action]) -> None:
    assert read_actions(code) == wanted


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("__import__('os').system('touch /tmp/x')", "only calls of pyautogui"),
        ("pyautogui.click(__import__('os').system('touch /tmp/x'), 2)", "no plain value"),
        ("os.system('ls')", "os.system is not known"),
        ("x = 5", "only calls of pyautogui"),
        ("pyautogui.click(10", "no Python"),
        ("pyautogui.screenshot()", "pyautogui.screenshot is not known"),
        ("pyautogui.press('no such key')", "unknown key"),
        ("pyautogui.write()", "message"),
        ("pyautogui.click(1, 2, clicks=2, button='right')", "2 clicks of the right button"),
        ("pyautogui.dragTo(1, 2, button='right')", "right button"),
        ("pyautogui.click(**{'x': 1})", "is no plain value"),
        ("pyautogui.write('" + "a" * 20_000 + "')", "at most 20000"),
        ("", "no action"),
        ("pyautogui.press('a', presses=101)\n" * 2, "more than 100 actions"),
        ("(" * 5000, "no Python"),
    ],
)
def test_anything_else_is_refused(code: str, said: str) -> None:
    with pytest.raises(NotReadable, match=said):
        read_actions(code)


@given(text)
def test_any_text_is_actions_or_not_readable(code: str) -> None:
    with contextlib.suppress(NotReadable):
        assert all(isinstance(action, Action) for action in read_actions(code))


@given(
    st.sampled_from(["click", "moveTo", "dragTo", "write", "press", "hotkey", "scroll", "keyDown", "mouseDown", "sleep"]),
    st.lists(text | number | st.none() | st.booleans() | st.floats() | st.lists(text, max_size=3), max_size=4),
)
def test_any_call_is_actions_or_not_readable(name: str, arguments: list[object]) -> None:
    module = "time" if name == "sleep" else "pyautogui"
    with contextlib.suppress(NotReadable):
        assert read_actions(f"{module}.{name}({', '.join(map(repr, arguments))})")


@given(text)
def test_text_is_typed_as_it_is(message: str) -> None:
    assert read_actions(f"pyautogui.write({message!r})") == [Action("type", text=message)]
