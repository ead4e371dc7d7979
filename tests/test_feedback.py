"""What a teacher is told of a step: what is said, when nothing is, and that it says no more than the trajectory holds."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.algos.feedback import FEEDBACK, MAX_LINES, Content, feedback_builder
from stepladder.algos.sdpo import Sdpo
from stepladder.plugins import PluginError
from stepladder.types import EVALUATOR, Action, Element, ImageRef, Observation, Step, Task, Trajectory

FIRST, SECOND, LAST = (ImageRef(letter * 64, 100, 80) for letter in "abc")
TASK = Task("t", "press save", "test")


def episode(name: str = "e", reward: float | None = 0.0, *, said: str = "", text: str = "", tree: bool = False) -> Trajectory:
    """Two clicks: the second one opens a dialog, and the environment says `text` of it."""
    page = (Element("window", "Editor"), Element("button", "Save", parent=0), Element("textbox", "Name", "x", parent=0))
    written = (page[0], page[1], replace(page[2], value="xy"))
    asked = (*written, Element("alert", "Error", parent=0), Element("label", "Disk full", parent=3))
    steps = (
        Step(Observation(FIRST, page if tree else None, state_key="one"), Action("click", 10, 20), "Look.\nAction: Press Save."),
        Step(
            Observation(SECOND, written if tree else None, state_key="two"),
            Action("type", text="hi"),
            more=(Action("key", keys=("ctrl", "s")),),
        ),
    )
    extra = {EVALUATOR: said} if said else {}
    final = Observation(LAST, asked if tree else None, text)
    return Trajectory(name, TASK, steps, final, "done" if reward is not None else "env_error", reward, extra=extra)


def say(name: str, trajectory: Trajectory, number: int, group: list[Trajectory] | None = None) -> Content:
    return feedback_builder(name)(trajectory, number, group or [trajectory])


def test_the_screen_after_the_action() -> None:
    assert say("screenshot", episode(), 0)[-1] == SECOND
    assert say("screenshot", episode(), 1)[-1] == LAST
    assert say("screenshot", replace(episode(), final=None), 1) == ()


def test_what_changed_in_the_tree() -> None:
    (text,) = say("tree", episode(tree=True), 0)
    assert text == "What your action changed:\n~ textbox 'Name' = 'x' is now textbox 'Name' = 'xy'"
    (text,) = say("tree", episode(tree=True), 1)
    assert text.splitlines()[1:] == ["+ alert 'Error'", "+ label 'Disk full'"]
    idle = episode(tree=True)
    idle = replace(idle, steps=(idle.steps[0], replace(idle.steps[1], observation=idle.steps[0].observation)))
    assert "changed nothing" in str(say("tree", idle, 0)[0])
    assert say("tree", episode(), 0) == ()


def test_a_large_difference_is_cut() -> None:
    before = episode(tree=True)
    many = tuple(Element("row", f"row {number}") for number in range(500))
    after = replace(before, final=Observation(LAST, many))
    (text,) = say("tree", after, 1)
    assert isinstance(text, str)
    assert len(text.splitlines()) == MAX_LINES + 2
    assert text.endswith("more")


def test_what_popped_up() -> None:
    assert say("dialog", episode(text="Cannot save"), 1) == ("The answer to your action: Cannot save",)
    assert say("dialog", episode(tree=True), 1) == ("A dialog came up: Error Disk full",)
    assert say("dialog", episode(tree=True), 0) == say("dialog", episode(), 1) == ()


def test_what_the_evaluator_said() -> None:
    assert say("evaluator", episode(said="the file is missing"), 0) == ("The evaluation of the episode: the file is missing",)
    assert say("evaluator", episode(), 0) == ()


def test_what_a_sibling_did() -> None:
    failed, other = episode("failed"), episode("other", 1.0)
    (here,) = say("sibling", failed, 1, [failed, other, episode("broken", None)])
    assert here == "A successful attempt did this here: type 'hi', then key ctrl+s"
    unknown = replace(failed.steps[0], observation=Observation(FIRST, state_key="three"))
    elsewhere = replace(failed, steps=(unknown, failed.steps[1]))
    (whole,) = say("sibling", elsewhere, 0, [elsewhere, other])
    assert whole == "A successful attempt:\n1. Action: Press Save. click at (10, 20)\n2. type 'hi', then key ctrl+s"
    twice = replace(other, steps=(replace(other.steps[1], action=Action("wait")), *other.steps))
    assert "type 'hi'" in str(say("sibling", failed, 1, [failed, twice])[0]), "what led on counts, not what led nowhere"
    assert say("sibling", other, 0, [other, failed]) == (), "nobody is told of himself or of failures"


def test_mixtures_are_told_in_their_order_or_the_first_alone() -> None:
    failed, other = episode("failed", said="no file"), episode("other", 1.0)
    both = Sdpo(feedback=("screenshot", "evaluator", "sibling"), before="B", behind="E")
    told = both.told(failed, 0, [failed, other])
    assert told is not None
    assert told[0] == "B"
    assert told[-1] == "E"
    assert SECOND in told
    texts = [part for part in told if isinstance(part, str)]
    assert [text[:9] for text in texts] == ["B", "The scree", "\n\n", "The evalu", "\n\n", "A success", "E"]
    first = replace(both, first=True).told(failed, 0, [failed, other])
    assert first == ("B", *say("screenshot", failed, 0), "E")
    assert Sdpo(feedback=("tree",)).told(failed, 0, [failed]) is None


def test_unknown_feedback_is_named() -> None:
    with pytest.raises(PluginError, match="did you mean 'screenshot'"):
        Sdpo(feedback=("screnshot",)).check()


@given(st.sampled_from(list(FEEDBACK)), st.text(max_size=3000), st.integers(0, 1), st.booleans())
def test_hostile_texts_stay_short(name: str, text: str, number: int, tree: bool) -> None:
    failed, other = episode("failed", said=text, text=text, tree=tree), episode("other", 1.0, tree=tree)
    other = replace(other, steps=tuple(replace(step, thought=text, action=Action("type", text=text)) for step in other.steps))
    content = say(name, failed, number, [failed, other])
    assert sum(len(part) for part in content if isinstance(part, str)) < 20_000
    assert all(isinstance(part, (str, ImageRef)) for part in content)
