"""Any page as a task: the JSONL file, its errors, and the checks in JavaScript and Python."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pages import Browser, browser_fixture

from stepladder.envs.browser.pages import PageState, load_page_tasks
from stepladder.interfaces import EnvironmentFailure
from stepladder.tasks import load_tasks, task_set_hash
from stepladder.types import Task

GOOD = {"id": "a", "html": "<p>x</p>", "instruction": "Do it.", "check": {"javascript": "true"}}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    yield from browser_fixture()


def write(path: Path, *records: Any) -> Path:
    path.write_text("\n".join(record if isinstance(record, str) else json.dumps(record) for record in records), encoding="utf-8")
    return path


def title_is_answer(state: PageState) -> bool:
    return state.title == state.answer


async def half_when_clicked(state: PageState) -> float:
    return 0.5 if await state.evaluate("window.clicked === true") and "Press" in state.text else 0.0


def broken_check(state: PageState) -> float:
    raise KeyError("no such thing")


def test_a_file_of_tasks(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<p>x</p>")
    path = write(
        tmp_path / "tasks.jsonl",
        GOOD,
        "",
        {"id": "b", "file": "page.html", "instruction": "Do.", "check": {"python": "m:f"}, "max_steps": 3, "viewport": [400, 300]},
        {
            "id": "c",
            "url": "https://example.org/x",
            "instruction": "Do.",
            "check": {"javascript": "1"},
            "tags": ["t"],
            "start": "1",
        },
        GOOD | {"id": "d", "network": ["example.org"], "split": "heldout"},
    )
    first, second, third, fourth = load_page_tasks(path)
    assert (first.env, first.max_steps, first.split) == ("page", 10, "all")
    assert second.setup["file"] == str(tmp_path / "page.html")
    assert second.setup["viewport"] == [400, 300]
    assert third.setup["network"] == ["example.org"]
    assert third.tags == ("t",)
    assert fourth.setup["network"] == ["example.org"]
    assert [task.id for task in load_tasks(f"page:{path}", "train")] == ["a", "b", "c"]
    assert [task.id for task in load_tasks(f"page:{path}", "heldout")] == ["a", "b", "c", "d"]


def test_the_hash_of_a_task_set_is_of_contents_not_places(tmp_path: Path) -> None:
    hashes = []
    for name, html in (("one", "<p>x</p>"), ("two", "<p>x</p>"), ("three", "<p>y</p>")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "page.html").write_text(html)
        record = {"id": "b", "file": "page.html", "instruction": "Do.", "check": {"javascript": "1"}}
        hashes.append(task_set_hash(load_page_tasks(write(folder / "tasks.jsonl", record))))
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ("{not json", "no JSON"),
        ("[1]", "an object, not list"),
        (GOOD | {"instrution": "x"}, "did you mean 'instruction'"),
        ({k: v for k, v in GOOD.items() if k != "id"}, "'id' must be"),
        (GOOD | {"instruction": " "}, "'instruction' must be"),
        ({k: v for k, v in GOOD.items() if k != "html"}, "exactly one of url, file and html"),
        (GOOD | {"url": "http://x.org"}, "this one has url, html"),
        ({**{k: v for k, v in GOOD.items() if k != "html"}, "file": "nowhere.html"}, "there is no file"),
        ({**{k: v for k, v in GOOD.items() if k != "html"}, "url": "file:///etc/passwd"}, "use 'file'"),
        (GOOD | {"check": {}}, "'check' must be"),
        (GOOD | {"check": {"bash": "true"}}, "'check' must be"),
        (GOOD | {"check": {"javascript": ""}}, "javascript check"),
        (GOOD | {"check": {"python": "os.system"}}, "package.module:function"),
        (GOOD | {"max_steps": 0}, "'max_steps' is 0"),
        (GOOD | {"max_steps": True}, "'max_steps' is True"),
        (GOOD | {"network": "example.org"}, "list of texts"),
        (GOOD | {"network": ["https://example.org"]}, "without scheme"),
        (GOOD | {"viewport": [100]}, "'viewport'"),
        (GOOD | {"viewport": [20, 20]}, "at least"),
        (GOOD | {"viewport": [99999, 200]}, "at most"),
        (GOOD | {"split": "test"}, "'split' is 'test'"),
        (GOOD | {"start": 5}, "'start'"),
    ],
)
def test_a_wrong_line_is_named_with_what_would_be_right(tmp_path: Path, record: Any, said: str) -> None:
    path = write(tmp_path / "tasks.jsonl", GOOD | {"id": "first"}, record)
    with pytest.raises(ValueError, match=f"tasks.jsonl:2: .*{said}"):
        load_page_tasks(path)


def test_a_wrong_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no task file"):
        load_page_tasks(tmp_path / "none.jsonl")
    with pytest.raises(ValueError, match="holds no task"):
        load_page_tasks(write(tmp_path / "empty.jsonl", ""))
    with pytest.raises(ValueError, match="used twice"):
        load_page_tasks(write(tmp_path / "twice.jsonl", GOOD, GOOD))


def test_viewport_and_start_script(browser: Browser) -> None:
    shown = browser.open("<p id=p>x</p>", viewport=[500, 300], start="p.textContent = 'started';")
    assert shown.screenshot is not None
    assert (shown.screenshot.width, shown.screenshot.height) == (500, 300)
    assert browser.evaluate("[p.textContent, innerWidth, innerHeight]") == ["started", 500, 300]
    back = browser.open("<p>x</p>")
    assert back.screenshot is not None
    assert (back.screenshot.width, back.screenshot.height) == (320, 240)


@pytest.mark.parametrize("fresh", [True, False])
def test_the_seed_decides_about_random_numbers_of_the_page(browser: Browser, fresh: bool) -> None:
    html = "<script>shown = [Math.random(), Math.random()]</script>"
    browser.environment.fresh_context = fresh
    try:
        drawn = []
        for seed in (3, 4, 3):
            task = Task("page", "Look.", "page", {"html": html}, {"javascript": "true"})
            browser.run(browser.environment.reset(task, seed))
            drawn.append(browser.evaluate("[...shown, Math.random()]"))
    finally:
        browser.environment.fresh_context = True
    assert drawn[0] == drawn[2] != drawn[1]
    assert all(0 <= number < 1 for numbers in drawn for number in numbers)
    assert len(set(drawn[0])) == 3


@pytest.mark.parametrize(
    ("check", "reward"),
    [
        ({"javascript": "document.title === answer"}, 1.0),
        ({"javascript": "0.25"}, 0.25),
        ({"javascript": "Promise.resolve(true)"}, 1.0),
        ({"python": "test_browser_pages:title_is_answer"}, 1.0),
        ({"python": "test_browser_pages:half_when_clicked"}, 0.5),
    ],
)
def test_checks(browser: Browser, check: dict, reward: float) -> None:
    browser.open("<title>Home</title><button style='width:90px;height:50px' onclick='clicked = true'>Press</button>", check=check)
    browser.act("click", x=20, y=20)
    browser.act("done", text="Home")
    assert browser.run(browser.environment.evaluate()) == reward


@pytest.mark.parametrize(
    ("check", "said"),
    [
        ({"javascript": "answer ? 2 : 0"}, "gave 2; it must give"),
        ({"python": "test_browser_pages:broken_check"}, "no such thing"),
        ({}, "no check"),
    ],
)
def test_a_broken_check_is_a_failure_not_a_reward(browser: Browser, check: dict, said: str) -> None:
    browser.open("<p>x</p>", check=check)
    browser.act("done", text="Home")
    with pytest.raises(EnvironmentFailure, match=said):
        browser.run(browser.environment.evaluate())


@pytest.mark.parametrize(
    ("javascript", "said"),
    [
        ("nothing.here", r"(?s)task 'page' .*nothing is not defined.*use \?\."),
        ("document.querySelector('#done').textContent === 'x'", r"(?s)task 'page' .*null.*use \?\."),
        ("document.title ===", "task 'page' .*SyntaxError"),
        ("2", "task 'page' gave 2; it must give"),
        ("'yes'", "task 'page' gave 'yes'"),
        ("NaN", "task 'page' gave nan"),
    ],
)
def test_a_javascript_check_that_cannot_be_evaluated_fails_at_the_start(browser: Browser, javascript: str, said: str) -> None:
    with pytest.raises(EnvironmentFailure, match=said):
        browser.open("<title>Home</title><p>x</p>", check={"javascript": javascript})


DONE = """<div id=box><p id=done></p></div>
<button style='position:absolute;left:0;top:0;width:99px;height:50px' onclick="{}">x</button>"""


@pytest.mark.parametrize(
    ("javascript", "onclick", "reward"),
    [
        ("document.querySelector('#done').textContent === 'yes'", "done.textContent = 'yes'", 1.0),
        ("document.querySelector('#done').textContent === 'yes'", "box.remove()", 0.0),
        ("document.querySelector('#later')?.textContent.includes('yes')", "done.id = 'later'", 0.0),
        ("document.querySelector('#later')?.textContent.includes('yes')", "done.textContent = 'yes'; done.id = 'later'", 1.0),
        ("window.pressed", "0", 0.0),
        ("window.pressed", "pressed = true", 1.0),
    ],
)
def test_a_check_of_what_comes_and_goes_grades_every_end(browser: Browser, javascript: str, onclick: str, reward: float) -> None:
    browser.open(DONE.format(onclick), check={"javascript": javascript})
    assert browser.run(browser.environment.evaluate()) == 0
    browser.act("click", x=20, y=20)
    assert browser.run(browser.environment.evaluate()) == reward


def test_a_check_that_a_dialog_kept_from_being_tried_is_a_failure_when_it_throws(browser: Browser) -> None:
    browser.open("<script>alert('Hello')</script>", check={"javascript": "nothing.here"})
    with pytest.raises(EnvironmentFailure, match="nothing is not defined"):
        browser.run(browser.environment.evaluate())


@pytest.mark.parametrize("path", ["no_such_module:f", "json:nothing", "json:__name__"])
def test_a_python_check_that_cannot_be_loaded_fails_at_the_start(browser: Browser, path: str) -> None:
    with pytest.raises(EnvironmentFailure, match=path):
        browser.open("<p>x</p>", check={"python": path})
