"""Offline benchmarks: every rule of AgentNetBench by hand, ScreenSpot's two kinds of boxes, files that are wrong."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from stepladder.benchmarks import agentnet, screenspot
from stepladder.benchmarks.agentnet import BenchmarkError, canonical, predicted
from stepladder.benchmarks.agentnet_score import edit_distance, score_step, score_text
from stepladder.benchmarks.summary import agentnet_result, screenspot_result
from stepladder.images import ImageStore
from stepladder.interfaces import ParseError
from stepladder.types import Action, ImageRef

SCREEN = ImageRef("0" * 64, 1000, 500)


def act(kind: str, box: list[float] | None = None, **params: Any) -> dict[str, Any]:
    boxes = [] if box is None else [{"category_id": 1, "rel_bbox": box}]
    return {"type": kind, "params": params, "metadata": {"bboxes": boxes}}


def at(kind: str, x: float, y: float, box: list[float] | None = None) -> dict[str, Any]:
    return act(kind, box, position={"x": x, "y": y})


CLICK, ENTER = at("click", 0.5, 0.5), act("press", keys=["enter"])
#: predicted, recorded, the documented score.
RULES: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]], float]] = {
    "the same place": ([CLICK], [CLICK], 1.0),
    "within 0.01 * sqrt 2": ([at("click", 0.51, 0.51)], [CLICK], 1.0),
    "0.02 away": ([at("click", 0.52, 0.5)], [CLICK], math.exp(-120 * (0.02 - 0.01 * math.sqrt(2)))),
    "0.05 away": ([at("click", 0.5, 0.55)], [CLICK], math.exp(-120 * (0.05 - 0.01 * math.sqrt(2)))),
    "far away in the box": ([at("click", 0.9, 0.9)], [at("click", 0.5, 0.5, [0.1, 0.1, 0.8, 0.8])], 1.0),
    "on the edge of the box": ([at("click", 0.75, 0.625)], [at("click", 0.5, 0.5, [0.25, 0.5, 0.5, 0.125])], 1.0),
    "two clicks are no double click": ([CLICK], [at("doubleClick", 0.5, 0.5)], 0.0),
    "another type": ([act("write", text="a")], [CLICK], 0.0),
    "nothing": ([], [CLICK], 0.0),
    "beyond what is recorded": ([CLICK, at("click", 0.1, 0.1)], [CLICK], 1.0),
    "half of two types": ([at("moveTo", 0.4, 0.4)], [at("moveTo", 0.4, 0.4), act("scroll", amount=-3)], 0.5),
    "in another order": (
        [act("scroll", amount=-3), at("moveTo", 0.4, 0.4)],
        [at("moveTo", 0.4, 0.4), act("scroll", amount=-3)],
        0.0,
    ),
    "a scroll the other way": ([act("scroll", amount=9)], [act("scroll", amount=-3)], 1.0),
    "one of two clicks": ([CLICK, at("click", 0.1, 0.1)], [CLICK, at("click", 0.9, 0.9)], 0.5),
    "a drag's end": ([at("dragTo", 0.5, 0.5)], [at("dragTo", 0.5, 0.5)], 1.0),
    "similar by 0.8": ([act("write", text="abcde")], [act("write", text="abcdx")], 1.0),
    "similar by 0.6": ([act("write", text="abcde")], [act("write", text="abcxy")], 0.75),
    "case and outer blanks": ([act("write", text=" HELLO ")], [act("write", content="hello")], 1.0),
    "unlike": ([act("write", text="abc")], [act("write", text="xyz")], 0.0),
    "write and Enter": ([act("write", text="a"), ENTER], [act("write", text="a\n")], 1.0),
    "Enter recorded apart": ([act("write", text="a\n")], [act("write", text="a"), act("hotkey", keys=["enter"])], 1.0),
    "keys as a set": ([act("hotkey", keys=["c", "CTRL"])], [act("hotkey", keys=["ctrl", "c"])], 1.0),
    "too few keys": ([act("hotkey", keys=["ctrl", "c"])], [act("hotkey", keys=["ctrl", "shift", "c"])], 0.0),
    "a press is no hotkey": ([act("press", keys=["tab"])], [act("hotkey", keys=["tab"])], 0.0),
    "names of one key": ([act("press", keys=["return"])], [act("press", keys="enter")], 1.0),
    "the end": ([act("terminate", status="success")], [act("terminate", status="success")], 1.0),
    "the wrong end": ([act("terminate", status="failure")], [act("terminate", status="success")], 0.0),
    "a failure by another name": ([act("terminate", status="fail")], [act("terminate", status="failure")], 1.0),
    "no end": ([CLICK], [act("terminate", status="success")], 0.0),
}


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("compat", [False, True])
def test_rules(name: str, compat: bool) -> None:
    given_, wanted, score = RULES[name]
    assert score_step(given_, wanted, compat=compat).total == pytest.approx(score, abs=1e-6)


def test_documented_figures() -> None:
    assert score_step([at("click", 0.55, 0.5)], [CLICK]).total == pytest.approx(0.0135, abs=1e-4)
    assert score_step([at("click", 0.52, 0.5)], [CLICK]).total == pytest.approx(0.495, abs=1e-3)


#: predicted, recorded, mended, as published.
ODDITIES: list[tuple[list[dict[str, Any]], list[dict[str, Any]], float, float]] = [
    ([act("wait")], [act("wait")], 1.0, 0.0),
    ([CLICK, act("terminate", status="success")], [CLICK, act("terminate", status="success")], 1.0, 0.5),
    ([act("hscroll", amount=2)], [act("hscroll", amount=2)], 1.0, 0.0),
    ([at("middleClick", 0.5, 0.5)], [at("middleClick", 0.5, 0.5)], 1.0, 0.0),
    ([at("tripleClick", 0.5, 0.5)], [at("tripleClick", 0.5, 0.5)], 1.0, 0.0),
    ([act("write", text="a"), act("hotkey", keys=["enter"]), CLICK], [act("write", text="a\n"), CLICK], 1.0, 0.5),
]


@pytest.mark.parametrize(("given_", "wanted", "mended", "published"), ODDITIES)
def test_oddities(given_: list[dict[str, Any]], wanted: list[dict[str, Any]], mended: float, published: float) -> None:
    assert score_step(given_, wanted).total == mended
    assert score_step(given_, wanted, compat=True).total == published


def test_the_best_alternative_counts() -> None:
    far, near = [at("click", 0.9, 0.9)], [at("click", 0.52, 0.5)]
    found = score_step([CLICK], far, [[], near, [act("write", text="a")]])
    assert (found.alternative, found.total) == (True, pytest.approx(0.495, abs=1e-3))
    assert not score_step([CLICK], [CLICK], [near]).alternative
    with pytest.raises(ValueError, match="no recorded action"):
        score_step([CLICK], [])


@given(st.text(max_size=12), st.text(max_size=12))
def test_edit_distance(first: str, second: str) -> None:
    distance = edit_distance(first, second)
    assert distance == edit_distance(second, first)
    assert abs(len(first) - len(second)) <= distance <= max(len(first), len(second))
    assert (distance == 0) == (first == second)
    assert 0 <= score_text(first, second) <= 1


KINDS = st.sampled_from(["click", "doubleClick", "rightClick", "middleClick", "tripleClick", "moveTo", "dragTo"])
PLACES = st.tuples(KINDS, st.floats(0, 1), st.floats(0, 1)).map(lambda drawn: at(*drawn))
OTHERS = st.sampled_from(
    [
        act("write", text="word"),
        act("press", keys=["enter"]),
        act("hotkey", keys=["ctrl", "s"]),
        act("terminate", status="failure"),
        act("wait"),
        act("keyDown", keys=["shift"]),
        {**act("scroll", position={"x": 0.5, "y": 0.5}, amount=-2)},
        {**act("hscroll", amount=2)},
    ]
)


@given(st.lists(PLACES | OTHERS, min_size=1, max_size=5))
def test_what_is_recorded_scores_1_as_our_actions(recorded: list[dict[str, Any]]) -> None:
    found = score_step(predicted(canonical(recorded, SCREEN), SCREEN), recorded)
    assert found.total == pytest.approx(1.0)


# -------------------------------------------------------------------------------------------------------------------- files


def picture(path: Path, width: int = 200, height: int = 100) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), "white").save(path)


def trajectory(folder: Path, **changes: Any) -> None:
    steps = [
        {
            "step_num": 0,
            "image": "a.png",
            "action": "pyautogui.click(x=0.5, y=0.5)",
            "inner_monologue": {"thought": "There it is.", "low_level_instruction": "Click it."},
            "ground_truth_actions": [CLICK],
        },
        {"step_num": 2, "image": "a.png", "ground_truth_actions": [act("terminate", status="success")], "milestone": True},
    ]
    picture(folder / "images/a.png")
    record = {"task_id": "t", "high_level_task_description": "Do it.", "steps": steps, **changes}
    (folder / "t.json").write_text(json.dumps(record))


def test_trajectories_are_read_with_their_history(tmp_path: Path) -> None:
    trajectory(tmp_path)
    first, second = agentnet.load(tmp_path, ImageStore())
    assert (first.id, second.id, second.milestone) == ("t-0", "t-2", True)
    assert first.steps == ()
    assert [step.thought for step in second.steps] == ["There it is.\nAction: Click it."]
    assert second.steps[0].action == Action("click", 100.0, 50.0)
    read: dict[str, Any] = {first.id: (Action("click", 100.0, 50.0),), second.id: ParseError("no action")}
    result = agentnet_result([first, second], read, compat=False)
    assert (result["average_score"], result["total_steps"], result["parse_errors"], result["missing"]) == (0.5, 2, 1, 0)
    assert result["action_type_scores"] == {"click": {"score": 1.0, "n": 1}, "terminate": {"score": 0.0, "n": 1}}
    assert agentnet_result([first, second], {}, compat=False)["average_score"] is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"steps": [{"image": "a.png", "ground_truth_actions": []}]}, "no recorded action"),
        ({"steps": [{"image": "b.png", "ground_truth_actions": [CLICK]}]}, "no picture 'b.png'"),
        ({"steps": [{"image": "../t.json", "ground_truth_actions": [CLICK]}]}, "no picture"),
        ({"steps": [{"image": "a.png", "ground_truth_actions": [act("dance")]}]}, "'dance'"),
        ({"steps": None}, "TypeError"),
    ],
)
def test_files_that_are_wrong_are_named(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    trajectory(tmp_path, **changes)
    with pytest.raises(BenchmarkError, match=r"t\.json.*" + said.replace("'", ".")):
        agentnet.load(tmp_path, ImageStore())
    with pytest.raises(BenchmarkError, match="no JSON"):
        agentnet.load(tmp_path / "images", ImageStore())


def targets(folder: Path, records: list[dict[str, Any]]) -> None:
    picture(folder / "images/a.png")
    (folder / "targets.json").write_text(json.dumps(records))


def test_both_kinds_of_boxes(tmp_path: Path) -> None:
    one = {"img_filename": "a.png", "instruction": "ok", "bbox": [10, 20, 30, 40]}
    targets(tmp_path, [{**one, "data_type": "text", "data_source": "macos"}])
    (first,) = screenspot.load(tmp_path, ImageStore())
    assert first.box == (10, 20, 30, 40)
    assert first.groups == {"platform": "desktop", "source": "macos", "ui_type": "text", "platform and type": "desktop text"}
    targets(tmp_path, [{**one, "id": "p1", "img_size": [200, 100], "ui_type": "icon", "application": "blender", "group": "CAD"}])
    (second,) = screenspot.load(tmp_path, ImageStore())
    assert (second.id, second.box, second.groups["application"]) == ("p1", (10, 20, 20, 20), "blender")
    targets(tmp_path, [{**one, "bbox": [100, 50, 20, 10], "img_size": [200, 100]}])
    with pytest.raises(BenchmarkError, match="another version"):
        screenspot.load(tmp_path, ImageStore())


def test_screenspot_counts(tmp_path: Path) -> None:
    record = {"img_filename": "a.png", "instruction": "ok", "data_type": "text", "data_source": "shop"}
    targets(tmp_path, [{**record, "bbox": [10 * n, 0, 5, 5], "data_type": "text" if n % 2 else "icon"} for n in range(6)])
    found = screenspot.load(tmp_path, ImageStore())
    read: dict[str, Any] = {one.id: (Action("move"), screenspot.gold(one).action) for one in found[:2]}
    read[found[2].id] = (Action("click", 199.0, 99.0),)
    read[found[3].id] = ParseError("no")
    read[found[4].id] = (Action("done"),)
    result = screenspot_result(found, read)
    assert (result["accuracy"], result["n"], result["wrong_format"], result["missing"]) == (0.4, 5, 1, 1)
    assert 0 < result["low"] < 0.4 < result["high"] < 1
    assert result["tables"]["ui_type"]["icon"] == {**result["tables"]["ui_type"]["icon"], "accuracy": 1 / 3, "n": 3}
    assert screenspot.is_inside(Action("click", 15, 5), (10, 0, 5, 5))
