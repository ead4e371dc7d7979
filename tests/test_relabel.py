"""Another wish for the same screen: the click goes where the other label is, and only where that is beyond doubt."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.data.relabel import relabel
from stepladder.types import Action, Box, ImageRef, Observation, Region, Step, Task, Trajectory

SCREEN = ImageRef("a" * 64, 160, 210)
YES, NO, LATER = (10.0, 60.0, 40.0, 20.0), (60.0, 60.0, 40.0, 20.0), (110.0, 60.0, 40.0, 20.0)


def button(text: str, box: Box, kind: str = "button") -> list[Region]:
    """A button and the words on it."""
    left, top, _, height = box
    words = [Region(word, "word", (left + 4 + 9 * i, top + 4, 8, height - 8), box, kind) for i, word in enumerate(text.split())]
    return [Region(text, kind, box, box, kind), *words]


def clicked(box: Box, instruction: str, thought: str = "", kind: str = "click") -> Trajectory:
    action = Action(kind, box[0] + 3, box[1] + 3)  # type: ignore[arg-type]
    step = Step(Observation(SCREEN), action, thought)
    return Trajectory("t-0", Task("t", instruction, "made up"), (step,), None, "done", 1.0)


REGIONS = [*button("YES", YES), *button("NO", NO)]


def test_the_click_goes_where_the_other_label_is() -> None:
    item = relabel(clicked(YES, 'Click the "YES" button.', 'I see it.\nAction: Click the "YES" button.'), REGIONS, Random(0))
    assert item is not None
    assert item.task.instruction == 'Click the "NO" button.'
    (step,) = item.steps
    assert step.action == Action("click", 80.0, 70.0)
    assert step.thought == 'I see it.\nAction: Click the "NO" button.'
    assert step.observation.screenshot == SCREEN
    assert item.id != "t-0"


def test_the_labels_change_places_where_both_are_named() -> None:
    item = relabel(clicked(YES, "Click YES, then NO, but not YESTERDAY."), REGIONS, Random(0))
    assert item is not None
    assert item.task.instruction == "Click NO, then YES, but not YESTERDAY."


def test_a_label_of_several_words_stays_whole() -> None:
    regions = [*button("Not now", YES), *button("now", NO), *button("Later", LATER)]
    item = relabel(clicked(YES, 'Press "Not now".'), regions, Random(1))
    assert item is not None
    assert item.task.instruction in ('Press "Later".', 'Press "now".')


@pytest.mark.parametrize(
    ("trajectory", "regions"),
    [
        (clicked(YES, "Click the left button."), REGIONS),  # its label is not named
        (clicked(NO, "Click YES."), REGIONS),  # the named label is not what was clicked
        (clicked((10.0, 150.0, 5.0, 5.0), "Click YES."), REGIONS),  # beside everything
        (clicked(YES, "Click YES."), button("YES", YES)),  # there is no other
        (clicked(YES, "Click YES."), [*button("YES", YES), *button("NO", NO, "link")]),  # no other of its kind
        (clicked(YES, "Click YES."), [*button("YES", YES), *button("NO", NO), *button("NO", LATER)]),  # two places
        (clicked(YES, "Click YES."), [*button("YES", YES), *button("NO", (30.0, 65.0, 40.0, 20.0))]),  # one lies on the other
        (clicked(YES, "Click YES."), [*button("YES", YES), *button("NO", (60.0, 220.0, 40.0, 20.0))]),  # off the screen
        (clicked(YES, "Drag YES.", kind="drag"), REGIONS),
        (clicked(YES, "Click YES."), [*REGIONS[:2], Region("NO", "word", NO)]),  # plain text is nothing to click
    ],
)
def test_where_there_is_doubt_nothing_is_made(trajectory: Trajectory, regions: list[Region]) -> None:
    assert relabel(trajectory, regions, Random(0)) is None


def test_what_types_or_shows_nothing_is_left_alone() -> None:
    trajectory = clicked(YES, "Type YES.")
    (step,) = trajectory.steps
    assert relabel(replace(trajectory, steps=(replace(step, action=Action("type", text="YES")),)), REGIONS, Random(0)) is None
    assert relabel(replace(trajectory, steps=(replace(step, observation=Observation()),)), REGIONS, Random(0)) is None


@given(st.lists(st.sampled_from(["Go", "Stop", "Send", "Back", "OK"]), unique=True, min_size=2), st.integers(0, 99))
def test_twice_is_the_first_wish_again(names: list[str], seed: int) -> None:
    boxes = [(10.0, 20.0 + 30 * i, 60.0, 20.0) for i in range(len(names))]
    regions = [region for name, box in zip(names, boxes, strict=True) for region in button(name, box)]
    first = clicked(boxes[0], f"Press the {names[0]} button.")
    item = relabel(first, regions, Random(seed))
    assert item is not None
    new = next(name for name in names if name in item.task.instruction.split())
    action = item.steps[0].action
    assert action is not None
    assert (action.x, action.y) == (40.0, boxes[names.index(new)][1] + 10)
    back = [relabel(item, regions, Random(other)) for other in range(30)]
    assert first.task.instruction in {one.task.instruction for one in back if one is not None}
