"""The further kinds of perception questions: what is asked is true of one element, and only the right answer scores."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.codec import to_json
from stepladder.data.boxes import center, in_thousandths, inside
from stepladder.data.colour_names import colour_name, name_of
from stepladder.data.perception import items, score
from stepladder.data.perception_captions import Listed, read_caption, score_caption, write_caption
from stepladder.data.perception_changes import EVENTS, Change, differences, read_changes, score_change, write_changes
from stepladder.data.perception_descriptions import descriptions
from stepladder.data.perception_marks import score_recognition
from stepladder.data.perception_question import Asked, Kind
from stepladder.data.screen_pool import Screen, ScreenPool
from stepladder.data.screens import Alteration, screen
from stepladder.data.shown_elements import Shown, reading_order, shown
from stepladder.data.text_distance import edit_distance
from stepladder.drawing import number_boxes
from stepladder.envs.desktop.regions import tree_regions
from stepladder.images import ImageStore
from stepladder.types import Action, Box, Element, ImageRef, Region, Trajectory

IMAGE = ImageRef("0" * 64, 160, 210)
#: Digest of the items that were drawn of the screen below before there were further kinds.
PINNED = "3148fc4c76bcfb49f4b84ec62f3a5a5348b4343dc5ec330c84cd5283ffeb4369"
COLOURS = ("black", "white", "grey", "red", "orange", "yellow", "green", "blue", "purple", "pink")
NEW: tuple[Kind, ...] = ("description", "caption", "recognition", "existence", "value", "change", "marks")


def widget(kind: str, text: str, x: float, y: float, *states: str, width: float = 40, height: float = 16) -> Region:
    box = (x, y, width, height)
    return Region(text, kind, box, box, kind, states)


def word(text: str, x: float, y: float) -> Region:
    return Region(text, "word", (x, y, 6.0 * len(text), 12.0))


def described(*regions: Region) -> dict[str, Shown]:
    return {one.text: one.element for one in descriptions(Asked(IMAGE, regions))}


def drawn(count: int, changes: bool = False) -> tuple[ImageStore, list[Screen]]:
    images = ImageStore()
    pool = ScreenPool(images, "train", count, 160, 224, changes=changes)
    return images, [pool[number] for number in range(count)]


def ask(images: ImageStore, one: Screen, kind: Kind, count: int = 4, seed: int = 0) -> list[Trajectory]:
    before = None if one.before is None else (one.before.image, one.before.regions)
    return items(one.image, one.regions, Random(seed), count, kinds={kind: 1.0}, images=images, before=before)


def test_the_default_kinds_ask_what_they_have_always_asked() -> None:
    """Training draws these: the demo's weights must not change because there are further kinds, whose weight is 0."""
    regions = [
        *(word(f"w{i}", 5.0 + 40 * (i % 4), 60.0 + 14 * (i // 4)) for i in range(16)),
        *(widget("button", f"Go{i}", 5.0 + 50 * i, 5.0) for i in range(3)),
        widget("checkbox", "News", 5, 130, "checked"),
        widget("checkbox", "Ads", 60, 130),
        widget("textbox", "Ann", 5, 160),
        widget("select", "Red", 60, 160),
    ]
    plain = hashlib.sha256()
    for seed in range(30):
        for item in items(IMAGE, regions, Random(seed), 8):
            plain.update(json.dumps(to_json(item), sort_keys=True).encode())
    assert plain.hexdigest() == PINNED
    usual = {"grounding": 0.85, "reading": 0.075, "state": 0.075}
    for seed in range(10):
        first, second = (
            items(IMAGE, regions, Random(seed), 40, kinds=kinds)  # type: ignore[arg-type]
            for kinds in (usual, usual | dict.fromkeys(NEW, 0.0))
        )
        assert [to_json(item) for item in first] == [to_json(item) for item in second]


def test_every_kind_is_asked_and_answered_by_its_own_action_alone() -> None:
    images, screens = drawn(14, changes=True)
    for kind in get_args(Kind):
        every = [item for one in screens for item in ask(images, one, kind)]
        assert every, kind
        assert len({item.id for item in every}) == len(every)
        for item in every:
            right = item.steps[-1].action
            assert right is not None
            assert score(item, right)["correct"] == 1.0
            wrong = [None, Action("click", -5, -5), Action("done", text=""), Action("wait"), replace(right, kind="scroll")]
            if right.kind == "done":
                wrong += [Action("done", text=f"{right.text}x"), Action("done", text=right.text.swapcase() + "\n!")]
            assert all(score(item, action)["correct"] == 0.0 for action in wrong), item.task
            assert all(step.observation.screenshot in images for step in item.steps if step.observation.screenshot)


def test_a_described_place_is_not_hit_by_any_other_element_of_its_kind() -> None:
    images, screens = drawn(25)
    asked = 0
    for one in screens:
        elements = shown(one.image, one.regions)
        for item in ask(images, one, "description", 20):
            box: Box = tuple(item.task.check["box"])
            (target,) = [element for element in elements if element.box == box]
            for other in elements:
                if other.kind == target.kind and other is not target:
                    asked += 1
                    assert score(item, Action("click", *center(other.box)))["correct"] == 0.0
    assert asked > 200


def test_descriptions_by_order_place_and_state() -> None:
    boxes = [widget("checkbox", f"c{i}", 10, 10 + 30 * i, *(["checked"] if i == 1 else [])) for i in range(3)]
    found = described(*boxes)
    assert found["the second checkbox"].text == "c1"
    assert found["the checked checkbox"].text == "c1"
    assert found["the topmost checkbox"].text == "c0"
    assert found["the lowest checkbox"].text == "c2"
    assert "the unchecked checkbox" not in found
    assert "the leftmost checkbox" not in found, "they stand below one another"


def test_descriptions_by_neighbour_need_one_of_the_kind_on_that_side() -> None:
    name, first = word("Name", 10, 12), widget("textbox", "", 60, 10)
    found = described(name, first, widget("textbox", "", 60, 60))
    assert found['the text field right of "Name"'].box == first.box
    assert 'the text field right of "Name"' not in described(name, first, widget("textbox", "", 110, 12))
    assert 'the text field right of "Name"' not in described(name, word("Name", 10, 100), first)
    assert 'the text field left of "Name"' not in found


def test_orders_that_can_be_read_in_two_ways_are_not_said() -> None:
    staggered = [widget("button", "a", 10, 10), widget("button", "b", 60, 22)]
    assert not {text for text in described(*staggered) if "first" in text or "second" in text}


@pytest.mark.parametrize(
    ("colour", "name"),
    [((255, 0, 0), "red"), ((255, 64, 0), None), ((0, 117, 255), "blue"), ((255, 255, 255), "white"), ((128, 128, 128), "grey")],
)
def test_colours_by_name(colour: tuple[int, int, int], name: str | None) -> None:
    pixels = np.full((20, 30, 3), colour, np.uint8)
    assert colour_name(pixels, (2, 2, 20, 12)) == name
    pixels[::4], pixels[1::4], pixels[2::4] = (17, 200, 90), (200, 30, 99), (90, 80, 10)
    assert colour_name(pixels, (2, 2, 20, 12)) is None, "none of four prevails"
    assert colour_name(pixels, (500, 500, 20, 12)) is None


@settings(max_examples=50, deadline=None)
@given(st.tuples(*[st.floats(0, 1)] * 3))
def test_every_colour_has_a_name_or_none(colour: tuple[float, float, float]) -> None:
    assert name_of(*colour) is None or name_of(*colour) in COLOURS


def test_a_coloured_button_is_described_only_if_no_other_may_be_called_so() -> None:
    pixels = np.full((210, 160, 3), 255, np.uint8)
    pixels[10:26, 10:50], pixels[10:26, 60:100] = (220, 10, 10), (20, 160, 40)
    images = ImageStore()
    image = images.put_pixels(pixels)
    regions = [widget("button", "a", 10, 10), widget("button", "b", 60, 10)]
    found = {one.text: one.element.text for one in descriptions(Asked(image, regions, images=images))}
    assert found["the red button"] == "a"
    assert found["the green button"] == "b"
    unclear = [*regions, widget("button", "c", 10, 100)]
    pixels = pixels.copy()
    pixels[100:116, 10:50] = (200, 60, 10)  # red to some, orange to others
    image = images.put_pixels(pixels)
    assert not {one.text for one in descriptions(Asked(image, unclear, images=images)) if "red" in one.text or "green" in one.text}


kinds = st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True)
places = st.tuples(*[st.integers(0, 500)] * 2, *[st.integers(500, 1000)] * 2)
states = st.lists(st.from_regex(r"[a-z]{1,9}", fullmatch=True), max_size=2).map(tuple)
listed = st.builds(Listed, kinds, st.text(max_size=12), places, states)


@settings(max_examples=50, deadline=None)
@given(st.lists(listed, max_size=5))
def test_captions_come_back_as_they_were_written(elements: list[Listed]) -> None:
    found = read_caption(write_caption(elements))
    assert list(found.elements) == elements
    assert found.unreadable == 0


@settings(max_examples=80, deadline=None)
@given(st.one_of(st.text(max_size=60), st.from_regex(r'(text|button) "[a-z\\"]*"? \[[0-9, -]*\]?( [a-zA-Z]*)?(\n.*)?')))
def test_reading_a_caption_never_raises_and_reads_all_lines(text: str) -> None:
    found = read_caption(text)
    assert len(found.elements) + found.unreadable == sum(bool(line.strip()) for line in text.split("\n"))
    assert read_caption(write_caption(found.elements)).elements == found.elements


@settings(max_examples=50, deadline=None)
@given(st.lists(listed, min_size=1, max_size=5, unique_by=lambda one: (one.kind, one.text)), st.data())
def test_a_caption_with_something_wrong_is_not_correct(elements: list[Listed], data: st.DataObject) -> None:
    true = write_caption(elements)
    assert score_caption(true, true) == dict.fromkeys(("correct", "precision", "recall", "f1", "states"), 1.0)
    i = data.draw(st.integers(0, len(elements) - 1))
    one = elements[i]
    wrong = [
        [*elements[:i], *elements[i + 1 :]],
        [*elements, one],
        [*elements[:i], replace(one, text=f"{one.text}x"), *elements[i + 1 :]],
        [*elements[:i], replace(one, kind=f"{one.kind}x"), *elements[i + 1 :]],
        [*elements[:i], replace(one, states=(*one.states, "x" * 11)), *elements[i + 1 :]],
        [*elements[:i], replace(one, box=(2000, 2000, 2001, 2001)), *elements[i + 1 :]],
        *([list(reversed(elements))] if len(elements) > 1 else []),
    ]
    for change in wrong:
        scored = score_caption(true, write_caption(change))
        assert scored["correct"] == 0.0
        assert all(0.0 <= value <= 1.0 for value in scored.values())
    assert score_caption(true, f"{true}\nand a button")["precision"] < 1.0
    assert score_caption(true, None) == dict.fromkeys(scored, 0.0)


def test_caption_measures() -> None:
    true = 'button "Save" [100, 100, 200, 200]\ntext "Hi" [0, 0, 100, 50]'
    said = 'button "Save" [110, 110, 200, 200]\ntext "Ho" [0, 0, 100, 50]\nlink "x" [0, 0, 9, 9]'
    assert score_caption(true, said) == {"correct": 0.0, "precision": 1 / 3, "recall": 0.5, "f1": 0.4, "states": 0.5}
    assert score_caption(true, 'button "Save" [150, 150, 250, 250]')["recall"] == 0.0, "boxes overlap by less than half"


def test_parts_of_a_caption_cut_no_element_and_reach_into_no_instruction_area() -> None:
    images, screens = drawn(20)
    for one in screens:
        for item in items(one.image, one.regions, Random(0), 9, kinds={"caption": 1.0}, images=images, ignore_above=60.0):
            left, top, right, bottom = json.loads(item.task.instruction[len("List all that stands in ") : -1])
            assert top >= 1000 * 60 // one.image.height
            listed = read_caption(item.task.check["text"])
            for element in shown(one.image, one.regions):
                x, y = (1000 * place / side for place, side in zip(center(element.box), (160, 224), strict=True))
                within = left <= x <= right and top <= y <= bottom
                if within:
                    assert any((e.kind, e.text) == (element.kind, element.text) for e in listed.elements)


changes_strategy = st.builds(
    lambda kind, text, event, says: Change(kind, text, event, says if event == "says" else ""),
    kinds,
    st.text(max_size=10),
    st.sampled_from(EVENTS),
    st.text(max_size=10),
)


@settings(max_examples=50, deadline=None)
@given(st.lists(changes_strategy, min_size=1, max_size=4), st.data())
def test_changes_come_back_and_a_wrong_one_does_not_score(found: list[Change], data: st.DataObject) -> None:
    true = write_changes(found)
    assert read_changes(true) == (found, 0)
    assert score_change(true, true) == dict.fromkeys(("correct", "precision", "recall", "f1", "events"), 1.0)
    assert score_change(true, "\n".join(reversed(true.split("\n"))))["correct"] == 1.0, "order does not count"
    i = data.draw(st.integers(0, len(found) - 1))
    other = data.draw(st.sampled_from([event for event in EVENTS if event not in (found[i].event, "says")]))
    for wrong in (replace(found[i], event=other, says=""), replace(found[i], text=f"{found[i].text}x")):
        assert score_change(true, write_changes([*found[:i], wrong, *found[i + 1 :]]))["correct"] == 0.0
    assert score_change(true, write_changes([*found, found[0]]))["correct"] == 0.0
    assert score_change(true, f"{true}\nnothing else")["correct"] == 0.0
    assert score_change(true, None) == dict.fromkeys(("correct", "precision", "recall", "f1", "events"), 0.0)


@settings(max_examples=80, deadline=None)
@given(st.one_of(st.text(max_size=60), st.from_regex(r'text "[a-z\\"]*"? (appeared|is now [a-z]*|now says "?[\[a-z\\]*"?)?')))
def test_reading_changes_never_raises(text: str) -> None:
    found, unreadable = read_changes(text)
    assert len(found) + unreadable == sum(bool(line.strip()) for line in text.split("\n"))
    assert read_changes(write_changes(found))[0] == found


def test_differences() -> None:
    box = (10.0, 10.0, 40.0, 16.0)
    old = [Shown("checkbox", "News", box), Shown("button", "Save", (10, 50, 40, 16)), Shown("textbox", "", (10, 80, 90, 16))]
    new = [
        Shown("checkbox", "News", box, ("checked",)),
        Shown("textbox", "Ann", (10, 80, 90, 16), ("focused",)),
        Shown("link", "Help", (10, 120, 40, 16)),
    ]
    assert write_changes(differences(old, new)) == (
        'checkbox "News" is now checked\ntextbox "" now says "Ann"\nlink "Help" appeared\nbutton "Save" disappeared'
    )
    assert differences(old, old) == []
    assert differences(old[1:2], [replace(old[1], box=(90, 90, 40, 16))]) == [Change("button", "Save", "moved")]


def test_an_altered_screen_differs_in_one_thing() -> None:
    found = set()
    for seed in range(30):
        pixels, regions = screen(Random(seed))
        assert np.array_equal(screen(Random(seed), altered=Alteration(99))[0], pixels)
        for alteration in (Alteration(1), Alteration(1, gone=True)):
            other, changed = screen(Random(seed), altered=alteration)
            events = differences(shown(IMAGE, regions), shown(IMAGE, changed))
            assert len(events) <= 3  # the words of one text, or two tabs
            assert not events or not np.array_equal(other, pixels)
            found |= {event.event for event in events}
    assert {"disappeared", "checked", "unchecked", "says"} <= found


def test_two_screenshots_stand_in_an_item_of_changes() -> None:
    images, screens = drawn(20, changes=True)
    every = [(one, item) for one in screens for item in ask(images, one, "change")]
    assert len(every) > 10
    for one, item in every:
        assert one.before is not None
        assert [step.observation.screenshot for step in item.steps] == [one.before.image, one.image]
        assert item.steps[0].imitated == "nothing"
    assert {item.task.check["text"].split()[-1] for _, item in every} & {"appeared", "disappeared"}
    assert ask(images, replace(screens[0], before=None), "change") == []


@settings(max_examples=50, deadline=None)
@given(st.text(alphabet="abcXYZ 12", min_size=1, max_size=12).map(str.strip).filter(bool), st.text(max_size=14))
def test_recognition(true: str, said: str) -> None:
    true = " ".join(true.split())
    assert score_recognition(true, true) == {"correct": 1.0, "exact": 1.0, "character_error_rate": 0.0}
    scored = score_recognition(true, said)
    assert scored["exact"] == float(" ".join(said.split()) == true)
    assert scored["character_error_rate"] == edit_distance(" ".join(said.split()), true) / len(true)
    assert score_recognition(true, None) == {"correct": 0.0, "exact": 0.0, "character_error_rate": 1.0}


def test_marks_share_a_picture_and_number_the_elements_in_reading_order() -> None:
    images, screens = drawn(15)
    asked = 0
    for one in screens:
        found = ask(images, one, "marks", 30)
        assert len({item.steps[0].observation.screenshot for item in found}) <= 1
        for item in found:
            image = item.steps[0].observation.screenshot
            assert image is not None
            assert image != one.image
            assert not np.array_equal(images.load(image), images.load(one.image))
            asked += 1
            assert all(
                score(item, Action("done", text=str(number)))["correct"] == float(str(number) == item.task.check["text"])
                for number in range(item.task.check["marks"] + 2)
            )
    assert asked > 100


def test_pictures_that_are_drawn_stay_out_of_the_directory_if_asked(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    pixels, regions = screen(Random(1))
    image = store.put_pixels(pixels)
    (item,) = items(image, regions, Random(0), 1, kinds={"marks": 1.0}, images=store, persist=False)
    shown_image = item.steps[0].observation.screenshot
    assert shown_image is not None
    store.forget(shown_image)
    assert shown_image not in store
    with pytest.raises(ValueError, match="images"):
        items(image, regions, Random(0), 1, kinds={"marks": 1.0})


def test_numbers_at_the_edge_stay_on_the_picture() -> None:
    pixels = np.full((40, 40, 3), 255, np.uint8)
    marked = number_boxes(pixels, [(7, (30.0, -4.0, 30.0, 10.0))])
    assert marked.shape == pixels.shape
    assert (marked != pixels).any()


def test_yes_and_no_to_existence_are_as_frequent_and_true() -> None:
    images, screens = drawn(25)
    answers = []
    for one in screens:
        elements = shown(one.image, one.regions)
        for item in ask(images, one, "existence", 50):
            quoted = item.task.instruction.split('"')[1]
            there = any(element.text == quoted for element in elements)
            answers.append(item.task.check["text"])
            assert there or answers[-1] == "no"
    assert answers.count("yes") == answers.count("no") > 50


def test_values() -> None:
    regions = [
        word("Name", 10, 12),
        widget("textbox", "Ann", 60, 10),
        widget("textbox", "", 60, 40),
        widget("checkbox", "a", 10, 80, "checked"),
        widget("checkbox", "b", 10, 110),
    ]
    asked = {item.task.instruction: item.task.check["text"] for item in items(IMAGE, regions, Random(0), 30, kinds={"value": 1.0})}
    assert asked['What does the text field right of "Name" say?'] == "Ann"
    assert asked["What does the second text field say?"] == "nothing"
    assert asked["How many checkboxes are checked?"] == "1"
    assert not [question for question in asked if "empty" in question]


def test_elements_of_a_screen() -> None:
    tab = (10.0, 10.0, 60.0, 20.0)
    regions = [
        Region("Home", "tab", tab, tab, "tab"),
        Region("Home", "link", (15.0, 12.0, 40.0, 16.0), (15.0, 12.0, 40.0, 16.0), "link"),
        Region("Home", "word", (15.0, 12.0, 40.0, 16.0), (15.0, 12.0, 40.0, 16.0), "link"),
        word("Terms", 10, 60),
        word("apply", 43, 60),
        word("Far", 120, 60),
        Region("all", "clickable", (0, 100, 100, 100)),
        widget("button", "Go", 10, 110),
        Region("Hidden", "button", (500, 500, 10, 10)),
    ]
    found = [(element.kind, element.text) for element in shown(IMAGE, regions)]
    assert found == [("tab", "Home"), ("text", "Terms apply"), ("text", "Far"), ("button", "Go")]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100), st.integers(1, 50), st.integers(1, 30)), max_size=8))
def test_reading_order_loses_nothing(boxes: list[tuple[int, int, int, int]]) -> None:
    elements = [Shown("text", str(i), box) for i, box in enumerate(boxes)]
    ordered = reading_order(elements)
    assert sorted(one.text for one in ordered) == sorted(one.text for one in elements)
    assert reading_order(reversed(elements)) == ordered or len({one.box for one in elements}) < len(elements)


@settings(max_examples=50, deadline=None)
@given(st.tuples(st.floats(-20, 150), st.floats(-20, 200), st.floats(1, 80), st.floats(1, 80)), st.sampled_from([1, 10, 50]))
def test_thousandths_hold_the_box(box: Box, grid: int) -> None:
    left, top, right, bottom = in_thousandths(IMAGE, box, grid)
    assert all(place % grid == 0 and 0 <= place <= 1000 for place in (left, top, right, bottom))
    assert left <= right
    assert top <= bottom
    x, y = (1000 * place / side for place, side in zip(center(box), (160, 210), strict=True))
    if 0 <= x < 1000 and 0 <= y < 1000:
        assert inside(x, y, (left, top, right - left + 1e-6, bottom - top + 1e-6))


def test_regions_of_a_desktop_tree() -> None:
    tree = [
        Element("frame", "Editor", box=(0, 0, 800, 600)),
        Element("push button", "Save", box=(10, 10, 60, 20), states=("disabled",)),
        Element("push button", "Below", box=(10, 1000, 60, 20)),
        Element("push button", "Thin", box=(10, 10, 0, 20)),
        Element("check box", "News", box=None),
        Element("label", "User name", box=(10, 50, 60, 14)),
        Element("entry", "user", "ann", box=(90, 50, 100, 20), states=("focused",)),
        Element("password text", "secret", "hidden", box=(90, 80, 100, 20), states=("password",)),
        Element("text", "", "one\ntwo", box=(-10, 120, 100, 100)),
    ]
    assert tree_regions(tree, 800, 600) == (
        Region("Save", "button", (10, 10, 60, 20), (10, 10, 60, 20), "button", ("disabled",)),
        Region("User name", "word", (10, 50, 60, 14)),
        Region("ann", "textbox", (90, 50, 100, 20), (90, 50, 100, 20), "textbox", ("focused",)),
        Region("", "password", (90, 80, 100, 20), (90, 80, 100, 20), "password", ("password",)),
        Region("one\ntwo", "textarea", (0, 120, 90, 100), (0, 120, 90, 100), "textbox"),
    )
    asked = items(ImageRef("1" * 64, 800, 600), tree_regions(tree, 800, 600), Random(0), 40, kinds={"reading": 1.0})
    assert all(score(item, item.steps[0].action)["correct"] == 1.0 for item in asked)
