"""Actions and their parts; several actions in one reply, for every dialect that says them."""

from __future__ import annotations

from typing import Any

import pytest
from drawn_actions import actions, close, screen
from hypothesis import given
from hypothesis import strategies as st

from stepladder.agents.anthropic import AnthropicAgent
from stepladder.agents.computer_13 import Computer13Agent
from stepladder.agents.conformance import SCREEN
from stepladder.agents.folding import fold
from stepladder.agents.kimi import KimiAgent
from stepladder.agents.openai_computer import OpenAIComputerAgent
from stepladder.agents.opencua import OpenCUAAgent
from stepladder.agents.osworld_pyautogui import OSWorldPyAutoGUIAgent
from stepladder.agents.replies import read_reply, write_reply
from stepladder.pyautogui.parts import holding, moving
from stepladder.types import Action

DESK = screen(1920, 1080)
AGENTS: dict[str, Any] = {
    "opencua": OpenCUAAgent(),
    "kimi": KimiAgent(),
    "osworld_pyautogui": OSWorldPyAutoGUIAgent(),
    "computer_13": Computer13Agent(),
    "anthropic": AnthropicAgent(),
    "openai_computer": OpenAIComputerAgent(),
}
KINDS = ("click", "move", "drag", "scroll", "mouse_down", "mouse_up", "type", "key", "key_down", "key_up", "wait")
HELD: Any = [("ctrl",), ("shift",), ("ctrl", "a")]
PIECES = (
    *(Action("move", 1, 2), Action("click"), Action("click", 3, 4), Action("drag", x2=5, y2=6), Action("type", text="a")),
    *(Action("key_down", keys=keys) for keys in HELD),
    *(Action("key_up", keys=keys) for keys in HELD),
    *(Action("scroll", keys=("ctrl",)), Action("click", 3, 4, keys=("ctrl",)), Action("move", 1, 2, keys=("shift",))),
    *(Action("key", keys=("ctrl", "c")), Action("mouse_up"), Action("wait")),
)
small = st.sampled_from(PIECES)


@given(st.data())
def test_an_action_is_made_of_its_parts(data: st.DataObject) -> None:
    action = data.draw(actions(SCREEN, KINDS))
    parts = [part for held in holding(action) for part in moving(held)]
    assert fold(parts) == (action,)
    assert fold([action]) == (action,)


@given(st.lists(small, max_size=10))
def test_what_is_folded_stays_as_it_is(several: list[Action]) -> None:
    folded = fold(several)
    assert fold(folded) == folded
    assert unfolded(folded) == unfolded(several)


def unfolded(several: Any) -> list[Action]:
    """Every part by itself: what happens, whoever says it. A place is reached before keys go down."""
    parts: list[Action] = []
    for action in several:
        for part in (moved for held in holding(action) for moved in moving(held)):
            if part.kind in ("key_down", "key_up"):
                parts += [Action(part.kind, keys=(key,)) for key in part.keys]
            else:
                parts.append(part)
    return sorted_moves(parts)


def sorted_moves(parts: list[Action]) -> list[Action]:
    """Moves stand before the modifiers that go down at the place, wherever they were said."""
    moved = True
    while moved:
        moved = False
        for index in range(len(parts) - 1):
            if parts[index].kind == "key_down" and parts[index + 1].kind == "move":
                parts[index], parts[index + 1] = parts[index + 1], parts[index]
                moved = True
    return parts


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([Action("move", 1, 2), Action("click")], [Action("click", 1, 2)]),
        ([Action("move", 1, 2), Action("click", 3, 4)], [Action("move", 1, 2), Action("click", 3, 4)]),
        ([Action("move", 1, 2), Action("drag", x2=3, y2=4)], [Action("drag", 1, 2, 3, 4)]),
        ([Action("move", 1, 2), Action("key", keys=("a",))], [Action("move", 1, 2), Action("key", keys=("a",))]),
        (
            [
                *(Action("key_down", keys=(key,)) for key in ("ctrl", "shift")),
                Action("click"),
                Action("key_up", keys=("shift", "ctrl")),
            ],
            [Action("click", keys=("ctrl", "shift"))],
        ),
        (
            [Action("key_down", keys=("a",)), Action("click"), Action("key_up", keys=("a",))],
            [Action("key_down", keys=("a",)), Action("click"), Action("key_up", keys=("a",))],
        ),
        (
            [Action("key_down", keys=("ctrl",)), Action("click"), Action("click"), Action("key_up", keys=("ctrl",))],
            [Action("key_down", keys=("ctrl",)), Action("click"), Action("click"), Action("key_up", keys=("ctrl",))],
        ),
        ([Action("key_down", keys=("ctrl",)), Action("key_down", keys=("a",))], [Action("key_down", keys=("ctrl", "a"))]),
        (
            [Action("key_down", keys=("shift",)), Action("click", keys=("ctrl",)), Action("key_up", keys=("shift",))],
            [Action("click", keys=("shift", "ctrl"))],
        ),
        ([Action("move", 1, 2, keys=("ctrl",)), Action("click")], [Action("move", 1, 2, keys=("ctrl",)), Action("click")]),
        ([Action("click", keys=("a",))], [Action("click", keys=("a",))]),
    ],
)
def test_parts_that_make_one(said: list[Action], expected: list[Action]) -> None:
    assert fold(said) == tuple(expected)


@given(st.data(), st.sampled_from(sorted(AGENTS)))
def test_several_actions_are_read_back(data: st.DataObject, name: str) -> None:
    """Whatever a dialect says of several actions, it reads as the same ones."""
    agent = AGENTS[name]
    several = tuple(data.draw(st.lists(actions(DESK, KINDS) | small, min_size=1, max_size=4)))
    try:
        reply = write_reply(agent, "", several, DESK)
    except ValueError:
        return
    read = read_reply(agent, reply, DESK)[1]
    assert len(read) == len(several)
    assert all(close(one, other, DESK, agent.coordinates) for one, other in zip(read, several, strict=True))
