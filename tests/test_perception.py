"""Perception items, their scores, copying items and the store of regions."""

from __future__ import annotations

import asyncio
import json
import re
import time
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.codec import from_json, to_json
from stepladder.data.copying import Copying, typed_from_instruction
from stepladder.data.perception import KINDS, items, score
from stepladder.data.perception_question import Kind
from stepladder.data.regions import RegionStore
from stepladder.data.screens import screen
from stepladder.data.text_distance import edit_distance
from stepladder.envs.forms.environment import FormsEnvironment
from stepladder.images import ImageStore
from stepladder.types import Action, ImageRef, Observation, Region, Step, Task, Trajectory

IMAGE = ImageRef("0" * 64, 160, 210)


def some_screens(count: int) -> list[tuple[ImageRef, tuple[Region, ...]]]:
    store = ImageStore()
    drawn = [screen(Random(seed)) for seed in range(count)]
    return [(store.put_pixels(pixels), regions) for pixels, regions in drawn]


def of_kind(kind: Kind, regions: list[Region], count: int = 50, seed: int = 0) -> list[Trajectory]:
    return items(IMAGE, regions, Random(seed), count, kinds={kind: 1.0})


def questions(found: list[Trajectory]) -> dict[str, str]:
    answers = {}
    for item in found:
        action = item.steps[0].action
        assert action is not None
        answers[item.task.instruction] = action.text
    return answers


def button(text: str, x: float, y: float, *states: str) -> list[Region]:
    box = (x, y, 60.0, 20.0)
    words = [Region(word, "word", (x + 5 + 25 * i, y + 3, 20.0, 14.0), box, "button") for i, word in enumerate(text.split())]
    return [*words, Region(text, "button", box, box, "button", states)]


def test_every_item_is_answered_by_its_own_action() -> None:
    kinds = set()
    for image, regions in some_screens(40):
        found = items(image, regions, Random(1), 8)
        assert len({item.id for item in found}) == len(found)
        for item in found:
            (step,) = item.steps
            assert item.task.env == "perception"
            assert step.observation.screenshot == image
            assert step.thought == ""
            assert score(item, step.action)["correct"] == 1.0
            assert score(item, None)["correct"] == 0.0
            assert to_json(from_json(Trajectory, json.loads(json.dumps(to_json(item))))) == to_json(item)
            kinds.add(item.task.check["kind"])
    assert kinds == set(KINDS)


def test_items_are_the_same_for_equal_seeds() -> None:
    image, regions = some_screens(1)[0]
    first, second = (items(image, regions, Random(3), 6) for _ in range(2))
    assert [to_json(item) for item in first] == [to_json(item) for item in second]


def test_no_item_asks_for_a_word_that_stands_twice() -> None:
    regions = [*button("Save", 5, 5), *button("save", 5, 40), *button("Save", 5, 75), *button("Save As", 5, 110)]
    asked = questions(of_kind("grounding", [*regions, *button("Open", 5, 150)]))
    assert 'Click on "Open".' in asked
    assert 'Click on "Save".' not in asked
    assert 'Click on "save".' in asked, "an instruction tells capitals apart"
    assert {'Click on "As".', 'Click on "Save As".'} & set(asked)


def test_what_can_be_used_is_asked_for_first() -> None:
    text = [Region(word, "word", (5.0, 100.0 + 12 * i, 40.0, 11.0)) for i, word in enumerate(("dolor", "sit", "amet", "vel"))]
    regions = [*text, *button("Open", 5, 10), *button("Close", 5, 50)]
    for seed in range(20):
        asked = {item.task.instruction for item in items(IMAGE, regions, Random(seed), 2, kinds={"grounding": 1.0})}
        assert asked == {'Click on "Open".', 'Click on "Close".'}


def test_a_label_among_several_says_how_many_there_are() -> None:
    text = [Region("dolor", "word", (5.0, 100.0, 40.0, 11.0))]
    asked = {item.task.instruction: item.task.check.get("labels") for item in of_kind("grounding", [*text, *button("Open", 5, 10)])}
    assert asked == {'Click on "Open".': 1, 'Click on "dolor".': None, "Click on the button.": None}
    several = of_kind("grounding", [*text, *button("Open", 5, 10), *button("Close", 5, 50)])
    assert {item.task.check.get("labels") for item in several} == {2, None}


def test_a_part_of_a_widget_is_the_same_place() -> None:
    tab, link = (10.0, 10.0, 60.0, 20.0), (15.0, 12.0, 40.0, 16.0)
    regions = [Region("Home", "word", link, link, "link"), Region("Home", "tab", tab, tab, "tab")]
    assert 'Click on "Home".' in questions(of_kind("grounding", regions))


def test_targets_are_unambiguous_on_drawn_screens() -> None:
    for image, regions in some_screens(60):
        for item in items(image, regions, Random(0), 20, kinds={"grounding": 1.0}):
            quoted = re.fullmatch(r'Click on "(.*)"\.', item.task.instruction)
            if quoted is None:
                continue
            same = [r for r in regions if r.kind == "word" and r.text == quoted[1]]
            assert len({r.target or r.box for r in same}) <= 1


def test_a_target_below_another_is_not_asked_for() -> None:
    regions = [*button("Below", 10, 10), *button("Above", 30, 15)]
    assert questions(of_kind("grounding", regions)) == {}


def test_a_widget_without_words_is_asked_for_when_it_is_the_only_one() -> None:
    box = (10.0, 10.0, 80.0, 20.0)
    regions = [Region("", "password", box, box, "password", ("password",))]
    (item,) = of_kind("grounding", regions)
    assert item.task.instruction == "Click on the password field."
    other = (10.0, 50.0, 80.0, 20.0)
    assert of_kind("grounding", [*regions, Region("", "password", other, other, "password")]) == []


def test_grounding_score() -> None:
    (item,) = [item for item in of_kind("grounding", button("Open", 10, 20)) if "Open" in item.task.instruction]
    assert score(item, Action("click", 40, 30)) == {"correct": 1.0, "hit": 1.0, "distance": 0.0}
    assert score(item, Action("click", 11, 21))["hit"] == 1.0
    assert score(item, Action("click", 71, 30))["hit"] == 0.0
    assert score(item, Action("click")) == {"correct": 0.0, "hit": 0.0}
    assert score(item, Action("done", text="Open"))["hit"] == 0.0


def test_reading_names_the_place_on_the_thousand_grid() -> None:
    regions = [Region("Next", "word", (72.0, 100.0, 16.0, 10.0))]
    (item,) = of_kind("reading", regions)
    assert item.task.instruction == "Spell the text at [500, 500]."
    assert item.steps[0].action == Action("done", text="N e x t")
    assert score(item, Action("done", text="N e x t"))["exact"] == 1.0
    assert score(item, Action("done", text="Next"))["exact"] == 1.0
    wrong = score(item, Action("done", text="N e s t"))
    assert wrong == {"correct": 0.0, "exact": 0.0, "characters": 0.75}
    assert score(item, Action("click", 1, 1))["characters"] == 0.0
    (exact,) = items(IMAGE, [Region("Hi", "word", (3.0, 3.0, 9.0, 9.0))], Random(0), 1, kinds={"reading": 1.0}, grid=1)
    assert exact.task.instruction == "Spell the text at [47, 36]."


def test_state_questions() -> None:
    box = (10.0, 10.0, 13.0, 13.0)
    regions = [
        Region("News", "checkbox", box, (10.0, 10.0, 60.0, 16.0), "checkbox", ("checked",)),
        Region("Ads", "checkbox", (10.0, 40.0, 13.0, 13.0), (10.0, 40.0, 60.0, 16.0), "checkbox"),
        Region("", "radio", (10.0, 70.0, 13.0, 13.0), None, "radio", ("checked",)),
        Region("Ann", "textbox", (10.0, 95.0, 100.0, 20.0), (10.0, 95.0, 100.0, 20.0), "textbox"),
        Region("", "textbox", (10.0, 120.0, 100.0, 20.0), (10.0, 120.0, 100.0, 20.0), "textbox"),
        Region("Red", "select", (10.0, 150.0, 100.0, 20.0), (10.0, 150.0, 100.0, 20.0), "select"),
        Region("Home", "tab", (10.0, 180.0, 40.0, 20.0), (10.0, 180.0, 40.0, 20.0), "tab", ("selected",)),
        Region("Help", "tab", (50.0, 180.0, 40.0, 20.0), (50.0, 180.0, 40.0, 20.0), "tab"),
    ]
    asked: dict[str, str] = {}
    for seed in range(10):
        asked |= questions(of_kind("state", regions, seed=seed))
    assert asked == {
        'Is the checkbox "News" checked?': "yes",
        'Is the checkbox "Ads" checked?': "no",
        "Is the radio button at [100, 360] selected?": "yes",
        "What is in the field at [380, 500]?": "Ann",
        "What is in the field at [380, 620]?": "nothing",
        "What is selected in the menu at [380, 760]?": "Red",
        "Which tab is open?": "Home",
    }


def test_disabled_buttons() -> None:
    asked: dict[str, str] = {}
    for seed in range(40):
        asked |= questions(of_kind("state", [*button("Go", 10, 10, "disabled"), *button("Stop", 10, 50)], seed=seed))
    assert asked == {'Is the button "Go" enabled?': "no", 'Is the button "Stop" enabled?': "yes"}


def test_yes_and_no_are_balanced() -> None:
    answers = []
    for seed in range(60):
        regions = [
            Region(f"w{n}", "checkbox", (10.0, 15.0 * n, 13.0, 13.0), None, "checkbox", ("checked",) * (n == 3)) for n in range(12)
        ]
        answers += list(questions(of_kind("state", regions, seed=seed)).values())
    assert answers.count("yes") == answers.count("no") == 60


def test_unknown_kind_and_unknown_item() -> None:
    with pytest.raises(ValueError, match="grounding, reading, state"):
        items(IMAGE, [], Random(0), 1, kinds={"naming": 1.0})  # type: ignore[dict-item]
    plain = Trajectory("x", Task("t", "do", "forms"), (), None, "done", 1.0)
    with pytest.raises(ValueError, match="no perception item"):
        score(plain, None)


def test_an_empty_screen_has_no_items() -> None:
    assert items(IMAGE, [], Random(0), 5) == []


@settings(deadline=None)
@given(st.text(max_size=8), st.text(max_size=8), st.text(max_size=8))
def test_edit_distance_is_a_metric(a: str, b: str, c: str) -> None:
    assert (edit_distance(a, b) == 0) == (a == b)
    assert edit_distance(a, b) == edit_distance(b, a)
    assert edit_distance(a, c) <= edit_distance(a, b) + edit_distance(b, c)


def test_edit_distance_known_values() -> None:
    assert edit_distance("kitten", "sitting") == 3
    assert edit_distance("", "abc") == 3


def test_items_from_forms() -> None:
    async def run() -> int:
        store = ImageStore()
        environment = FormsEnvironment(store)
        count = 0
        for task in environment.tasks():
            observation = await environment.reset(task, 1)
            assert observation.screenshot is not None
            for item in items(observation.screenshot, await environment.regions(), Random(1), 6):
                count += 1
                assert score(item, item.steps[0].action)["correct"] == 1.0
        return count

    assert asyncio.run(run()) > 60


def demonstration(instruction: str, *actions: Action) -> Trajectory:
    steps = tuple(
        Step(Observation(IMAGE, text="seen"), action, f'Because.\nAction: Type "{action.text}" now.' if action.text else "")
        for action in actions
    )
    return Trajectory("demo", Task("login", instruction, "forms", check={"x": 1}), steps, None, "done", 1.0)


LOGIN = demonstration(
    'Enter the user "ann" and the password "x.7+" and press "Annex".',
    Action("click", 10, 10),
    Action("type", text="ann"),
    Action("click", 10, 50),
    Action("type", text="x.7+"),
    Action("click", 10, 90),
)


def test_copying_replaces_strings_everywhere() -> None:
    assert typed_from_instruction(LOGIN) == [1, 3]
    seen = set()
    copying, random = Copying([LOGIN]), Random(0)
    for item in [copying.draw(random) for _ in range(60)]:
        last = item.steps[-1]
        assert last.action is not None
        assert last.action.kind == "type"
        quoted = re.findall(r'"([^"]*)"', item.task.instruction)
        assert len(set(quoted)) == 3
        assert last.action.text == quoted[0 if len(item.steps) == 2 else 1]
        assert f'"{last.action.text}"' in last.thought
        assert last.observation == Observation()
        assert item.steps[0].observation.screenshot == IMAGE
        if len(item.steps) == 4:
            earlier = item.steps[1]
            assert earlier.action is not None
            assert earlier.action.text == quoted[0]
            assert f'"{quoted[0]}"' in earlier.thought
        assert item.task.tags == ("copying",)
        seen.add(item.task.instruction)
    assert len(seen) >= 55


def test_copied_text_without_quotes_and_of_several_words() -> None:
    plain = demonstration("Type blue sky into the annex field", Action("type", text="blue sky"))
    item = Copying([plain]).draw(Random(0))
    action = item.steps[0].action
    assert action is not None
    assert len(action.text.split()) == 2
    assert item.task.instruction == f"Type {action.text} into the annex field"


def test_copying_skips_what_cannot_be_copied() -> None:
    part_of_word = demonstration("Type annex", Action("type", text="ann"))
    sum_of_two = demonstration("Solve the sum", Action("type", text="12"))
    assert typed_from_instruction(part_of_word) == []
    copying, random = Copying([part_of_word, sum_of_two, LOGIN]), Random(0)
    found = [copying.draw(random) for _ in range(20)]
    assert {item.task.id for item in found} == {"login"}
    assert {len(item.steps) for item in found} <= {2, 4}
    with pytest.raises(ValueError, match="none of 2 demonstrations"):
        Copying([part_of_word, sum_of_two])
    with pytest.raises(ValueError, match="none of 0"):
        Copying([])


def test_copied_words_are_often_those_that_demonstrations_quote() -> None:
    names = ["Myron", "Leonie", "Olin"]
    copying = Copying([demonstration(f'Enter "{name}" into the field.', Action("type", text=name)) for name in names])
    random = Random(0)
    typed = [item.steps[-1].action.text for item in (copying.draw(random) for _ in range(300)) if item.steps[-1].action]
    for name in names:
        assert 15 <= typed.count(name) <= 60


regions_strategy = st.lists(
    st.builds(
        Region,
        text=st.text(max_size=6),
        kind=st.sampled_from(["word", "button"]),
        box=st.tuples(*[st.integers(-999, 99999).map(lambda value: value / 4)] * 4),
        target=st.none() | st.tuples(*[st.integers(0, 999).map(float)] * 4),
        target_kind=st.sampled_from(["", "link"]),
        states=st.lists(st.sampled_from(["checked", "focused"]), max_size=2).map(tuple),
    ),
    max_size=4,
)


@settings(max_examples=60, deadline=None)
@given(found=regions_strategy)
def test_regions_come_back_as_they_were(found: list[Region], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("regions") / "regions.jsonl"
    RegionStore(path).append(IMAGE, found)
    store = RegionStore(path)
    assert store.get(IMAGE) == tuple(found)
    assert store.get(IMAGE.sha256) == tuple(found)
    assert IMAGE in store
    assert len(store) == 1


def test_region_store_survives_a_torn_tail(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "regions.jsonl"
    store = RegionStore(path)
    store.append("a" * 64, [Region("A", "word", (1, 2, 3, 4))])
    store.append("b" * 64, [Region("B", "word", (1, 2, 3, 4))])
    path.write_bytes(path.read_bytes()[:-9])
    again = RegionStore(path)
    assert ("a" * 64 in again, "b" * 64 in again) == (True, False)
    again.append("b" * 64, [Region("C", "word", (1, 2, 3, 4))])
    again.append("b" * 64, [Region("D", "word", (1, 2, 3, 4))])
    last = RegionStore(path)
    assert [region.text for region in last.get("b" * 64)] == ["C"]
    assert len(last) == 2
    assert [region.text for region in last.get("a" * 64)] == ["A"]


def test_region_store_names_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "regions.jsonl"
    store = RegionStore(path)
    with pytest.raises(KeyError, match="000000000000"):
        store.get(IMAGE)
    with pytest.raises(ValueError, match="SHA-256"):
        store.append("abc", [])
    path.write_text('{"image":"' + "c" * 64 + '","regions":[["x"]]}\n')
    with pytest.raises(ValueError, match="not a list of regions"):
        RegionStore(path).get("c" * 64)
    path.write_text("{}\n")
    with pytest.raises(ValueError, match="line 1"):
        RegionStore(path)


def test_region_store_opens_quickly(tmp_path: Path) -> None:
    path = tmp_path / "regions.jsonl"
    store = RegionStore(path)
    store.append("0" * 64, screen(Random(0), count=(20, 20))[1])
    line = path.read_text()
    path.write_text("".join(line.replace("0" * 64, f"{number:064x}", 1) for number in range(20_000)))
    begin = time.process_time()
    large = RegionStore(path)
    assert time.process_time() - begin < 3
    assert len(large) == 20_000
    assert large.get(f"{12_345:064x}") == store.get("0" * 64)
