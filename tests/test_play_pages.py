"""Plays in a real browser: a take-over in the middle with mouse and keyboard, corrections, the person alone, a verdict, a hostile
page."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from play_servers import kept, served
from playwright.sync_api import Browser, Page, expect, sync_playwright

from stepladder.envs.browser.find import find_chromium
from stepladder.stages.play import PlayConfig

HOSTILE = "<script>window.hacked=1</script><img src=x onerror='window.hacked=1'>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=str(find_chromium()), args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    opened = context.new_page()
    opened.set_default_timeout(30_000)
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    yield opened
    context.close()
    assert wrong == [], "the page had errors"


class Playing:
    """One play on the page."""

    def __init__(self, page: Page, address: str) -> None:
        self.page, self.address = page, address

    def begin(self, task: str, player: str, seed: int = 1, instruction: str = "", review: bool = False) -> None:
        page = self.page
        page.goto(f"{self.address}/play")
        page.get_by_label("Filter tasks").fill(task)
        page.get_by_label("Task", exact=True).select_option(task)
        page.get_by_label("Who plays").select_option(player)
        page.get_by_label("Seed").fill(str(seed))
        if instruction:
            page.get_by_label("Instruction").fill(instruction)
        if review:
            page.get_by_label("Ask me before each action").check()
        page.get_by_role("button", name="Play", exact=True).click()
        page.wait_for_url("**/play?play=*")

    def state(self) -> dict[str, Any]:
        identifier = self.page.url.rpartition("play=")[2]
        return dict(self.page.request.get(f"{self.address}/api/play/sessions/{identifier}").json())

    def until(self, ready: Callable[[dict[str, Any]], bool], seconds: float = 60) -> dict[str, Any]:
        state = self.state()
        for _ in range(int(seconds * 20)):
            if ready(state):
                return state
            self.page.wait_for_timeout(50)
            state = self.state()
        raise AssertionError(f"it did not come to that: {json.dumps(state)[:2000]}")

    def doing(self, doing: str, steps: int | None = None) -> dict[str, Any]:
        return self.until(lambda state: state["doing"] == doing and (steps is None or len(state["steps"]) == steps))

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a pixel of the screenshot is on the page."""
        frame, shown = self.page.locator(".play-screen .frame"), self.state()["screenshot"]
        frame.scroll_into_view_if_needed()
        box = frame.bounding_box()
        assert box is not None
        return box["x"] + (int(x) + 0.5) * box["width"] / shown["width"], box["y"] + (int(y) + 0.5) * box["height"] / shown[
            "height"
        ]

    def do(self, action: dict[str, Any]) -> None:
        """The action as a person does it on the screen that is shown."""
        mouse, keyboard = self.page.mouse, self.page.keyboard
        kind = action["kind"]
        if kind in ("click", "double_click"):
            mouse.click(*self.at(action["x"], action["y"]), click_count=2 if kind == "double_click" else 1)
        elif kind == "type":
            keyboard.type(action["text"])
        elif kind == "key":
            keyboard.press("+".join({"ctrl": "Control", "enter": "Enter", "tab": "Tab"}.get(key, key) for key in action["keys"]))
        elif kind == "drag":
            mouse.move(*self.at(action["x"], action["y"]))
            mouse.down()
            mouse.move(*self.at(action["x2"], action["y2"]), steps=5)
            mouse.up()
        else:
            raise AssertionError(f"this test cannot {kind}")


@contextmanager
def playing(page: Page, config: PlayConfig | None, folder: Path) -> Iterator[Playing]:
    """A server and its page, which is left before the server ends."""
    with served(config, folder) as address:
        yield Playing(page, address)
        page.goto("about:blank")


def config(tmp_path: Path, **more: Any) -> PlayConfig:
    return PlayConfig(output=tmp_path / "plays", **{"policies": ("oracle", "random"), **more})


@pytest.mark.parametrize(
    ("tasks", "options", "turns"),
    [
        ("forms:login", {}, 2),
        ("miniwob:login-user", {}, 2),
        ("desk:editor-write", {"width": 800, "height": 600}, 1),
    ],
    ids=["forms", "miniwob", "desk"],
)
def test_a_take_over_in_the_middle(page: Page, tmp_path: Path, tasks: str, options: dict[str, Any], turns: int) -> None:
    """The agent makes a step, the person the next `turns` with mouse and keyboard, the agent the rest; the result is graded and
    kept, and the viewer shows it."""
    with playing(page, config(tmp_path, tasks=tasks, options=options), tmp_path) as play:
        page.goto(f"{play.address}/play")
        task = page.get_by_label("Task", exact=True).input_value()
        play.begin(task, "oracle", review=True)
        play.doing("proposed", 0)
        page.get_by_role("button", name="Carry out").click()
        play.doing("proposed", 1)
        for number in range(1, 1 + turns):
            proposed = play.state()["proposal"]["actions"][0]
            page.get_by_role("button", name="Take over").click()
            play.doing("person")
            expect(page.locator(".play-screen .frame")).to_be_focused()
            play.do(proposed)
            play.doing("person", 1 + number)
            page.keyboard.press("F9")
            play.doing("proposed", 1 + number)
        page.get_by_label("Ask me before each action").uncheck()
        state = play.doing("ended")
        assert (state["reward"], state["status"]) == (1.0, "done"), state
        expect(page.get_by_text("success").first).to_be_visible()
        page.get_by_role("link", name="Look at the trajectory").click()
        page.wait_for_url("**/trajectory/**")
        expect(page.locator("h1")).to_contain_text(state["instruction"][:20])
    (trajectory,) = kept(tmp_path / "plays")
    makers = ["person" if step.extra.get("person") else "agent" for step in trajectory.steps]
    assert makers[: turns + 2] == ["agent", *["person"] * turns, "agent"]
    assert trajectory.policy == "oracle+person"
    assert trajectory.extra["play"]["person_steps"] == turns


def test_a_proposal_is_corrected_on_the_screen(page: Page, tmp_path: Path) -> None:
    with playing(page, config(tmp_path, tasks="forms:login"), tmp_path) as play:
        play.begin("forms-login", "random", review=True)
        play.doing("proposed", 0)
        page.get_by_label("Thought", exact=True).last.fill("It should look here.")
        page.mouse.click(*play.at(31, 47))
        expect(page.get_by_label("x", exact=True)).to_have_value("31")
        page.get_by_label("Action 1").select_option("double_click")
        page.get_by_role("button", name="Do this instead").click()
        step = play.doing("proposed", 1)["steps"][0]
        assert (step["by"], step["thought"], step["imitated"]) == ("corrected", "It should look here.", "reply")
        assert step["actions"] == [{"kind": "double_click", "x": 31.0, "y": 47.0}]
        page.locator(".play-steps li").first.get_by_role("button", name="learned", exact=True).click()
        play.until(lambda state: state["steps"][0]["imitated"] == "nothing")
        page.get_by_role("button", name="It cannot be done").click()
        play.doing("ended")
    (trajectory,) = kept(tmp_path / "plays")
    assert trajectory.status == "gave_up"
    corrected = trajectory.steps[0]
    assert corrected.extra["proposed"]["actions"][0]["kind"] == "click"
    assert corrected.extra["proposed"]["completion"]["text"].startswith("<tool_call>")
    assert corrected.imitated == "nothing"


def test_keys_of_the_page(page: Page, tmp_path: Path) -> None:
    """Without the mouse: pause, step, take over, hand back, carry out."""
    with playing(page, config(tmp_path, tasks="forms:login"), tmp_path) as play:
        play.begin("forms-login", "oracle")
        play.doing("ended")
        page.get_by_role("link", name="Play again").click()
        expect(page.get_by_label("Who plays")).to_have_value("oracle")
        page.get_by_label("Who plays").select_option("random")
        page.get_by_role("button", name="Play", exact=True).click()
        page.wait_for_url("**/play?play=*")
        play.until(lambda state: state["doing"] != "starting")
        expect(page.get_by_role("button", name="Pause")).to_be_enabled()  # the page must know of the play, too
        page.locator("h1").click()
        page.keyboard.press(" ")
        play.until(lambda state: state["paused"])
        page.keyboard.press("r")
        play.until(lambda state: state["review"])
        page.keyboard.press("s")
        state = play.doing("proposed")
        expect(page.get_by_role("button", name="Carry out")).to_be_visible()
        page.keyboard.press("Enter")
        play.until(lambda now: len(now["steps"]) > len(state["steps"]))
        page.keyboard.press("t")
        play.doing("person")
        page.get_by_role("button", name="Hand back").click()
        play.until(lambda now: now["driver"] == "agent")
        page.keyboard.press("?")
        expect(page.get_by_role("dialog")).to_contain_text("take over, or hand back")


def test_the_screen_of_a_hostile_page_runs_nothing(page: Page, tmp_path: Path) -> None:
    """What an environment, a task or a person writes is text. The verdict on an instruction of one's own is the reward."""
    html = f"<title>{HOSTILE}</title><button onclick='alert(document.title)'>go</button>"
    task = {"id": "hostile", "html": html, "instruction": HOSTILE, "check": {"javascript": "true"}}
    file = tmp_path / "tasks.jsonl"
    file.write_text(json.dumps(task) + "\n")
    size = {"width": 400, "height": 300}
    with playing(page, config(tmp_path, tasks=f"page:{file}", policies=(), options=size), tmp_path) as play:
        play.begin("hostile", "person", instruction=f"Press the button. {HOSTILE}")
        play.doing("person")
        play.do({"kind": "click", "x": 20, "y": 18})
        state = play.doing("person", steps=1)
        assert HOSTILE in state["text"], "the dialog's text is told"
        page.get_by_label("Text to type").fill(HOSTILE)
        page.get_by_label("Text to type").press("Enter")
        play.doing("person", steps=2)
        page.get_by_label("Keys to press").fill("enter")
        page.get_by_label("Keys to press").press("Enter")
        play.doing("person", steps=3)
        page.get_by_label("Answer").fill(HOSTILE)
        page.get_by_role("button", name="Done: grade it").click()
        play.doing("judging")
        page.get_by_role("button", name="Yes, it was done").click()
        assert play.doing("ended")["reward"] == 1.0
        expect(page.locator("h1")).to_contain_text("<script>")
        assert page.evaluate("window.hacked") is None
    (trajectory,) = kept(tmp_path / "plays")
    assert [step.action.kind for step in trajectory.steps if step.action] == ["click", "type", "key", "done"]


def test_on_a_phone(browser: Browser, tmp_path: Path) -> None:
    """A finger plays: taps land where they touch, a tap can mean something else, and the page is no wider than the screen."""
    context = browser.new_context(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True, device_scale_factor=2)
    page = context.new_page()
    with playing(page, config(tmp_path, tasks="forms:login", policies=()), tmp_path) as play:
        play.begin("forms-login", "person")
        play.doing("person")
        page.touchscreen.tap(*play.at(40, 60))
        state = play.doing("person", steps=1)
        assert state["steps"][0]["actions"] == [{"kind": "click", "x": 40, "y": 60}]
        page.get_by_label("What a tap on the screen does").select_option("double_click")
        page.touchscreen.tap(*play.at(41, 62))
        state = play.doing("person", steps=2)
        assert state["steps"][1]["actions"] == [{"kind": "double_click", "x": 41.0, "y": 62.0}]
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        page.once("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Discard").click()
        play.doing("ended")
        assert kept(tmp_path / "plays") == []
    context.close()


def test_playing_is_off_unless_it_was_asked_for(page: Page, tmp_path: Path) -> None:
    with playing(page, None, tmp_path) as play:
        page.goto(f"{play.address}/play")
        expect(page.locator("main")).to_contain_text("off")
        expect(page.locator("main code")).to_contain_text("stepladder play")
