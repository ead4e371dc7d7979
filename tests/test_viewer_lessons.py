"""What self-distillation told, in the viewer: which lines count, what the API and an export say of them, and the page of it."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect
from starlette.testclient import TestClient
from viewer_browser import Tab, chromium, served, trajectory, url
from viewer_run import HOSTILE, make_run, screen, write_lessons

from stepladder.images import ImageStore
from stepladder.viewer.api import Api
from stepladder.viewer.export import export
from stepladder.viewer.lessons import Lessons
from stepladder.viewer.runs import Runs
from stepladder.viewer.server import make_app

#: A member of three steps: what was told of its first and its last one, and of the second one too before the run went on.
TAUGHT = "press-0-first-1"
#: Longer than a window is high.
SAID = "The window\n" * 30 + "asks for a name."


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = make_run(tmp_path_factory.mktemp("runs") / "first", "first", seeds=1)
    shown = told_picture(directory)
    write_lessons(
        directory / "distillation-0.jsonl",
        (3, TAUGHT, 0, ["an older one"], [9.0] * 9),
        (3, "press-0-first-2", 0, ["of another"], [5.0]),
        (4, TAUGHT, 0, ["Before.", {"image": shown}, SAID], [0.1, 0.2, 0.3, 0.0, 0.0, 0.0, 0.0, 0.0, 0.3]),
        (4, TAUGHT, 2, [HOSTILE], [0.25, 1.5, 0.25]),
    )
    return directory


def told_picture(directory: Path) -> str:
    """The SHA-256 of a picture that no trajectory shows."""
    return ImageStore(directory / "images").put_pixels(np.full((40, 50, 3), (170, 51, 85), np.uint8)).sha256


def answered(directory: Path, identifier: str = TAUGHT, store: str = "episodes") -> Any:
    runs = Runs([directory])
    try:
        return Api(runs).answer(["runs", directory.name, "trajectories", store, identifier], {})
    finally:
        runs.close()


def known(*paths: Path) -> Lessons:
    lessons = Lessons()
    assert lessons.refresh(paths, time.monotonic() + 60)
    return lessons


def told(lessons: Lessons, identifier: str, steps: int = 100) -> dict[int, list[str]]:
    return {number: record["told"] for number, record in lessons.of(identifier, steps).items()}


# --------------------------------------------------------------------------------------------------------- which lines count


def test_the_last_line_of_a_step_counts(tmp_path: Path) -> None:
    path = tmp_path / "distillation-0.jsonl"
    write_lessons(path, (9, "a", 0, ["old"], [1.0]), (9, "b", 0, ["b"], [1.0]), (9, "a", 1, ["one"], [1.0]))
    lessons = known(path)
    assert told(lessons, "a") == {0: ["old"], 1: ["one"]}
    write_lessons(path, (8, "a", 0, ["again"], [1.0]), (8, "a", 7, ["beyond its steps"], [1.0]))
    assert told(lessons, "a", 2) == {0: ["old"], 1: ["one"]}, "nobody has looked at the file since"
    assert lessons.refresh([path], time.monotonic() + 60)
    assert told(lessons, "a", 2) == {0: ["again"], 1: ["one"]}
    assert told(lessons, "b") == {0: ["b"]}
    assert told(lessons, "c") == {}


def test_of_several_ranks_the_latest_update_counts(tmp_path: Path) -> None:
    first, second = tmp_path / "distillation-0.jsonl", tmp_path / "distillation-1.jsonl"
    write_lessons(first, (6, "a", 0, ["six"], [1.0]), (2, "a", 1, ["two"], [1.0]))
    write_lessons(second, (5, "a", 0, ["five"], [1.0]), (3, "a", 1, ["three"], [1.0]))
    assert told(known(first, second), "a") == {0: ["six"], 1: ["three"]}
    assert told(known(second, first), "a") == {0: ["six"], 1: ["three"]}


def test_files_that_are_replaced_cut_off_or_gone(tmp_path: Path) -> None:
    path = tmp_path / "distillation-0.jsonl"
    write_lessons(path, (1, "a", 0, ["first"], [1.0]), (1, "a", 1, ["more"], [1.0]))
    lessons = known(path)
    with path.open("ab") as file:
        file.write(b'{"update": 2, "trajectory": "a", "step": 0, "told": ["half')
    lessons.refresh([path], time.monotonic() + 60)
    assert told(lessons, "a") == {0: ["first"], 1: ["more"]}, "a line that is being written is none yet"
    write_lessons(tmp_path / "new", (1, "a", 1, ["other"], [1.0]))
    os.replace(tmp_path / "new", path)
    assert told(lessons, "a") == {}, "what stands in the old places is not what was asked for"
    lessons.refresh([path], time.monotonic() + 60)
    assert told(lessons, "a") == {1: ["other"]}
    path.unlink()
    lessons.refresh([path], time.monotonic() + 60)
    assert told(lessons, "a") == {}
    (tmp_path / "elsewhere").write_text('{"update": 1, "trajectory": "a", "step": 0, "told": ["secret"], "divergence": []}\n')
    path.symlink_to(tmp_path / "elsewhere")
    lessons.refresh([path], time.monotonic() + 60)
    assert told(lessons, "a") == {}, "a link may lead out of the run"


def test_names_that_are_escaped_and_lines_of_other_writers(tmp_path: Path) -> None:
    path = tmp_path / "distillation-0.jsonl"
    name = 'a "b\\" ü \u2028 {'
    write_lessons(path, (1, name, 0, ["plain"], [1.0]))
    lines = [
        json.dumps({"step": 1, "told": ["in another order"], "trajectory": name}, indent=None, separators=(",", ":")),
        json.dumps({"update": 1, "trajectory": name, "step": 2, "told": ["escaped"]}),
        '{"update": 1, "trajectory": "x", "step": 3, "trajectory": ' + json.dumps(name) + "}",
        '{"update": 1, "trajectory": "\\u12", "step": 3, "told": []}',
        json.dumps({"trajectory": name, "step": -1}),
        json.dumps({"trajectory": name, "step": True}),
        json.dumps({"trajectory": 5, "step": 1}),
        "[1]",
        "no JSON",
        "",
    ]
    with path.open("a") as file:
        file.writelines(f"{line}\n" for line in lines)
    lessons = known(path)
    assert told(lessons, name) == {0: ["plain"], 1: ["in another order"], 2: ["escaped"]}
    assert told(lessons, "x") == {}, "the line is of another by the time that it is read"


def test_a_long_file_is_taken_up_bit_by_bit(tmp_path: Path) -> None:
    path = tmp_path / "distillation-0.jsonl"
    write_lessons(path, *((number, f"t{number}", 0, [str(number)], [0.5] * 20) for number in range(2000)))
    lessons = Lessons()
    assert not lessons.refresh([path], time.monotonic() - 1)
    assert not lessons.complete
    assert told(lessons, "t0") == {0: ["0"]}
    assert told(lessons, "t1999") == {}
    looks = 1
    while not lessons.refresh([path], time.monotonic() - 1):
        looks += 1
        assert looks < 100
    assert looks > 2
    assert told(lessons, "t1999") == {0: ["1999"]}


def test_lines_are_those_that_the_trainer_writes(tmp_path: Path) -> None:
    """Its own writer, so that both agree on names and form."""
    pytest.importorskip("torch")
    trainer, credit = pytest.importorskip("stepladder.stages.rl_teacher"), pytest.importorskip("stepladder.algos.credit")
    directory = make_run(tmp_path / "first", "first", seeds=1)
    shown = screen(ImageStore(directory / "images")).screenshot
    assert shown is not None
    lesson = trainer.Lesson(TAUGHT, 1, None, credit.Credit(distill=1.0, told=("see ", shown)), None)
    trainer.SelfTeacher(None, None, None, None, directory)._write([lesson], [np.full(9, 0.5, np.float32)], 12)
    found = answered(directory)["steps"][1]["lesson"]
    assert (found["update"], found["divergence"], found["tokens"]) == (12, 0.5, 9)
    assert found["told"] == [{"text": "see "}, {"image": f"/api/images/first/{shown.sha256}"}]


# ------------------------------------------------------------------------------------------------------------------- answers


def test_what_the_api_tells_of_a_trajectory(run: Path) -> None:
    page = answered(run)
    first, second, third = page["steps"]
    address = f"/api/images/first/{told_picture(run)}"
    assert first["lesson"]["update"] == 4
    assert first["lesson"]["told"] == [{"text": "Before."}, {"image": address}, {"text": SAID}]
    assert first["lesson"]["divergence"] == pytest.approx(0.1)
    assert [token["divergence"] for token in first["tokens"]] == [0.1, 0.2, 0.3, 0.0, 0.0, 0.0, 0.0, 0.0, 0.3]
    assert second["lesson"] is None
    assert {token["divergence"] for token in second["tokens"]} == {None}
    assert third["lesson"]["told"] == [{"text": HOSTILE}]
    assert third["lesson"]["divergence"] == pytest.approx(2 / 3)
    assert [token["divergence"] for token in third["tokens"]] == [0.25, 1.5, 0.25, *[None] * 6]
    assert page["lessons"] == {"steps": 2, "furthest": 2, "largest": 1.5, "complete": True}
    other = answered(run, "press-0-first-0")
    assert other["lessons"] == {"steps": 0, "furthest": None, "largest": None, "complete": True}
    assert {step["lesson"] for step in other["steps"]} == {None}
    runs = Runs([run])
    client = TestClient(make_app(runs), base_url="http://127.0.0.1")
    assert client.get(f"/api/runs/first/trajectories/episodes/{TAUGHT}").json()["steps"][0]["lesson"] == first["lesson"]
    answer = client.get(address)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    runs.close()


def test_lessons_are_of_the_directory_of_their_store(tmp_path: Path) -> None:
    make_run(tmp_path / "demo/rl", "first", seeds=1)
    make_run(tmp_path / "demo/second", "first", seeds=1)
    (tmp_path / "demo/config.json").write_text("{}")
    write_lessons(tmp_path / "demo/rl/distillation-0.jsonl", (1, TAUGHT, 1, ["here"], [1.0]))
    assert answered(tmp_path / "demo", store="rl/episodes")["lessons"]["steps"] == 1
    assert answered(tmp_path / "demo", store="second/episodes")["lessons"]["steps"] == 0
    runs = Runs([tmp_path / "demo"])
    stores = [store["id"] for store in Api(runs).answer(["runs", "demo"], {})["stores"]]
    assert stores == ["rl/episodes", "second/episodes"], "a file of lessons is no store"
    runs.close()


def test_lessons_of_strange_values_are_shown_as_far_as_they_can(tmp_path: Path) -> None:
    directory = make_run(tmp_path / "first", "first", seeds=1)
    path = directory / "distillation-0.jsonl"
    write_lessons(path, (1, TAUGHT, 0, ["x", 5, {"image": 7}, {"image": "../../secret"}, None], [math.nan, 0.5, math.inf]))
    with path.open("a") as file:
        file.write(json.dumps({"update": "x", "trajectory": TAUGHT, "step": 1, "told": "text", "divergence": "none"}) + "\n")
        file.write(json.dumps({"trajectory": TAUGHT, "step": 2, "divergence": [10**400]}) + "\n")
    page = answered(directory)
    first, second, third = (step["lesson"] for step in page["steps"])
    wanted = [
        {"text": "x"},
        {"text": "5"},
        {"text": "{'image': 7}"},
        {"image": "/api/images/first/..%2F..%2Fsecret"},
        {"text": "None"},
    ]
    assert first["told"] == wanted
    assert (first["divergence"], first["largest"], first["tokens"]) == (0.5, 0.5, 3)
    assert second == third == {"update": -1, "told": [], "divergence": None, "largest": None, "tokens": 0}
    assert page["lessons"]["furthest"] == 0
    write_lessons(path, (2, TAUGHT, 0, [], [0.0, 0.0]))
    page = answered(directory)
    assert page["lessons"]["furthest"] is None, "where nothing is apart no step went wrong"


def test_an_export_holds_what_was_told(run: Path, tmp_path: Path) -> None:
    runs = Runs([run])
    export(Api(runs), tmp_path / "site")
    runs.close()
    assert (tmp_path / "site/images" / f"{told_picture(run)}.png").is_file()
    written = [text for path in (tmp_path / "site/data").iterdir() if "asks for a name." in (text := path.read_text())]
    (page,) = written
    assert TAUGHT in page


# --------------------------------------------------------------------------------------------------------------- in a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


def look(page: Page) -> None:
    """Everything that the page of `TAUGHT`, at its third step, shows of its teacher."""
    expect(page.locator(".film .apart .num")).to_have_text(["0.1", "▲ 0.67"])
    widths = page.locator(".film .apart .stack i").evaluate_all("nodes => nodes.map((node) => node.style.width)")
    assert widths == ["15%", "100%"]
    expect(page.get_by_role("button", name="Step 3: done; 0.667 nats a token from its teacher, the furthest")).to_be_visible()
    expect(page.locator(".kicker .badge")).to_have_text("furthest from its teacher")
    page.get_by_role("button", name="Divergence").click()
    expect(page.locator(".scale")).to_have_text("01.5 nats")
    strength = page.locator(".token").evaluate_all("nodes => nodes.map((node) => Number(node.style.getPropertyValue('--t')))")
    assert strength == [0.167, 1, 0.167, *[0] * 6]
    shades = page.locator(".token").evaluate_all("nodes => nodes.map((node) => getComputedStyle(node).backgroundColor)")
    assert len(set(shades)) == 3
    page.locator(".token").nth(1).hover()
    expect(page.locator(".token-view .readout")).to_contain_text("divergence 1.5 nats")
    page.keyboard.press("6")
    expect(page.get_by_role("tab", name="Feedback")).to_have_attribute("aria-selected", "true")
    expect(page.locator(".lesson")).to_contain_text(
        "taught in update 4 · 3 tokens · 0.667 nats a token from its teacher, the furthest"
    )
    expect(page.locator(".message.told .content")).to_have_text(HOSTILE)
    expect(page.locator(".film")).to_be_in_viewport(ratio=1)
    expect(page.locator(".lesson .time-row")).to_have_text(["10.1", "3▲ 0.667"])
    page.locator(".lesson .time-row").first.click()
    expect(page.locator(".kicker").first).to_contain_text("Step 1 of 3")
    expect(page.locator(".message.told .content")).to_contain_text("Before.")
    tags = page.locator(".message.told .content").evaluate("(node) => [...node.children].map((child) => child.tagName)")
    assert tags == ["SPAN", "A", "SPAN"]
    expect(page.locator(".message.told img")).to_have_js_property("naturalWidth", 50)
    assert page.locator(".message.told .content").inner_text().strip().endswith(SAID)
    expect(page.locator(".film")).to_be_in_viewport(ratio=1)
    page.keyboard.press("ArrowRight")
    expect(page.locator(".lesson")).to_contain_text("Nothing was told of this step")
    page.keyboard.press("1")
    expect(page.get_by_role("button", name="Divergence")).to_be_disabled()
    assert page.evaluate("globalThis.broken") is None


def test_the_page_shows_what_was_told_and_where_it_went_wrong(browser: Browser, run: Path, tmp_path: Path) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 620})
    with served([run]) as address:
        tab = Tab(context.new_page(), address)
        look(tab.open(trajectory(TAUGHT, step="3")))
        tab.page.keyboard.press("6")
        assert "tab=feedback" in url(tab.page)
        tab.page.set_viewport_size({"width": 360, "height": 740})
        assert tab.page.evaluate("document.documentElement.scrollWidth") == 360
        page = tab.open(trajectory("press-0-first-0", tab="feedback"))
        expect(page.get_by_role("tab", name="Reply")).to_have_attribute("aria-selected", "true")
        expect(page.get_by_role("tab", name="Feedback")).to_have_count(0)
        expect(page.locator(".film .apart")).to_have_count(0)
        runs = Runs([run])
        export(Api(runs), tmp_path / "site")
        runs.close()
        exported = Tab(context.new_page(), (tmp_path / "site/index.html").as_uri())
        exported.page.set_viewport_size({"width": 1280, "height": 620})
        look(exported.open(f"#{trajectory(TAUGHT, step='3')}"))
    context.close()
    assert tab.faults == exported.faults == []
