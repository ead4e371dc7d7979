"""The mapping from actions to input events, for any action at all."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.envs.acting import CannotDo
from stepladder.envs.browser.actions import NAMED_KEYS, InputState, input_calls, key_name, release_all
from stepladder.keys import MODIFIERS as KEY_MODIFIERS
from stepladder.keys import NAMED_KEYS as CANONICAL_KEYS
from stepladder.types import ACTION_KINDS, Action

WIDTH, HEIGHT = 160, 210
numbers = st.one_of(st.none(), st.floats(), st.floats(0, 209), st.integers(-10, 300))
key_names = st.one_of(st.sampled_from(CANONICAL_KEYS), st.text(max_size=3), st.sampled_from("abcXYZ019 .+éß中"))
actions = st.builds(
    Action,
    kind=st.sampled_from(ACTION_KINDS),
    x=numbers,
    y=numbers,
    x2=numbers,
    y2=numbers,
    text=st.text(max_size=40),
    keys=st.lists(key_names, max_size=3).map(tuple),
    amount=st.floats(),
    seconds=st.floats(),
    name=st.sampled_from(["", "horizontal", "other"]),
)


def calls_of(action: Action, state: InputState | None = None) -> list[tuple[str, dict[str, Any]]]:
    made = input_calls(action, state or InputState(), WIDTH, HEIGHT)
    return [call for call in made if call is not None]


@given(st.lists(actions, max_size=6))
def test_any_action_gives_events_on_the_screen_or_says_why_not(sequence: list[Action]) -> None:
    state = InputState()
    for action in sequence:
        before = (state.x, state.y, set(state.buttons), list(state.held))
        try:
            calls = calls_of(action, state)
        except CannotDo:
            assert (state.x, state.y, state.buttons, state.held) == before
            continue
        for method, params in calls:
            assert method in ("Input.dispatchMouseEvent", "Input.dispatchKeyEvent", "Input.insertText")
            if method == "Input.dispatchMouseEvent":
                assert 0 <= params["x"] < WIDTH
                assert 0 <= params["y"] < HEIGHT
            assert 0 <= params.get("modifiers", 0) <= 15
        if action.kind not in ("mouse_down", "mouse_up", "key_down", "key_up"):
            assert state.buttons == before[2] or action.kind in ("click", "drag", "double_click", "triple_click", "right_click")
            assert state.held == before[3], "what an action presses it lets go"
    release_all(state)
    assert not state.buttons
    assert not state.held


@given(actions)
def test_every_press_has_its_release(action: Action) -> None:
    state = InputState()
    try:
        calls = calls_of(action, state)
    except CannotDo:
        return
    calls += [call for call in release_all(state) if call is not None]
    down: list[Any] = []
    for method, params in calls:
        kind = params.get("type")
        what = params.get("button") if method == "Input.dispatchMouseEvent" else params.get("code") or params.get("key")
        if kind in ("mousePressed", "keyDown", "rawKeyDown"):
            down.append(what)
        elif kind in ("mouseReleased", "keyUp") and what in down:
            down.remove(what)
    assert not down or action.kind == "key_down"  # a key named twice goes down twice and up once, as keys do


@given(st.text(alphabet=st.characters(blacklist_categories=("Cs", "Cc")), max_size=60))
def test_typed_text_is_complete_and_in_order(text: str) -> None:
    said = ""
    for method, params in calls_of(Action("type", text=text)):
        if method == "Input.insertText" or params["type"] == "keyDown":
            said += params["text"]
    assert said == text


@pytest.mark.parametrize("name", CANONICAL_KEYS)
def test_every_canonical_key_of_the_dialects_is_known(name: str) -> None:
    assert key_name(name) in NAMED_KEYS
    calls = calls_of(Action("key", keys=(name,)))
    assert [params["type"] for _, params in calls] in (["keyDown", "keyUp"], ["rawKeyDown", "keyUp"])


def test_modifiers_are_in_the_mask_of_what_they_hold() -> None:
    masks = {}
    for name in KEY_MODIFIERS:
        calls = calls_of(Action("key", keys=(name, "a")))
        masks[name] = calls[1][1]["modifiers"]
        assert [params["code"] for _, params in calls][1:3] == ["KeyA", "KeyA"]
    assert masks == {"alt": 1, "ctrl": 2, "super": 4, "shift": 8}


def test_ctrl_a_types_nothing_and_shift_a_types_a_capital() -> None:
    assert "text" not in calls_of(Action("key", keys=("ctrl", "a")))[1][1]
    assert calls_of(Action("key", keys=("shift", "a")))[1][1]["text"] == "A"


def test_scroll_is_bounded() -> None:
    (_, _), (_, wheel) = calls_of(Action("scroll", x=1, y=1, amount=-1e9))
    assert wheel["deltaY"] == 100 * 53


@pytest.mark.parametrize(("name", "hint"), [("entr", "enter"), ("contrl", "control"), ("", "no key"), ("notakeyatall", "no key")])
def test_an_unknown_key_names_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(CannotDo, match=hint):
        key_name(name)
