"""The viewer's pages in a real Chromium: every page, the keyboard, filters, scrubbing, comparison, live screens."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect
from viewer_browser import Tab, chromium, served, trajectory, url
from viewer_run import ALL_ACTIONS, BUTTONS, HEIGHT, TASK, WIDTH, episode, make_run, press, screen

from stepladder.images import ImageStore
from stepladder.policies.random import RandomPolicy
from stepladder.rollout.live import LiveScreens
from stepladder.run import Run
from stepladder.stages import evaluate as stage
from stepladder.stages.evaluate import EvaluateConfig
from stepladder.store import TrajectoryStore
from stepladder.types import Action, Completion, Message, Prompt, Sampling, Step

MANY = 700
#: The colours of all tokens.
SHADES = "[...document.querySelectorAll('.token')].map((token) => getComputedStyle(token).backgroundColor)"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("runs")
    directories = [make_run(folder / "first", "first", many=MANY), make_run(folder / "second", "second")]
    with served(directories) as found:
        yield found


@pytest.fixture
def tab(browser: Browser, address: str) -> Iterator[Tab]:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    tab = Tab(context.new_page(), address)
    yield tab
    context.close()
    assert tab.faults == []


# --------------------------------------------------------------------------------------------------------------- runs, one run


def test_runs_are_searched_sorted_and_opened_by_keys(tab: Tab) -> None:
    page = tab.open("/")
    names = page.locator("table.runs tbody th a")
    expect(names).to_have_count(2)
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.get_by_role("columnheader", name="Run")).to_have_attribute("aria-sort", "ascending")
    assert names.all_inner_texts() == ["first", "second"]
    page.get_by_role("button", name="Run", exact=True).click()
    assert names.all_inner_texts() == ["second", "first"]
    expect(page.locator(".sparkline path").first).to_be_attached()
    page.keyboard.press("/")
    page.keyboard.type("fir")
    expect(names).to_have_count(1)
    assert "q=fir" in url(page)
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("first")
    page.go_back()
    expect(page.get_by_role("searchbox")).to_have_value("fir")


def test_keys_are_listed_and_lead_around(tab: Tab) -> None:
    page = tab.open("/run/first")
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("search")
    expect(dialog).to_contain_text("live screens of the run")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    for keys, path in ((("g", "l"), "/live/first"), (("g", "p"), "/play"), (("g", "r"), "/")):
        for key in keys:
            page.keyboard.press(key)
        expect(page).to_have_url(tab.address + path)
    page.get_by_role("button", name="Colours").click()
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    page.get_by_role("button", name="Colours").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 26)"


def test_measurements_have_a_readout_and_alarms_lead_to_their_trajectories(tab: Tab) -> None:
    page = tab.open("/run/first?view=metrics")
    expect(page.get_by_role("heading", name="1 alarm")).to_be_visible()
    chart = page.locator("figure", has=page.get_by_text("entropy", exact=True))
    expect(chart).to_have_count(1)
    chart.locator("svg").hover(position={"x": 200, "y": 60})
    expect(chart.locator(".readout")).to_contain_text("at ")
    chart.locator("svg").focus()
    chart.locator("svg").press("Home")
    expect(chart.locator(".readout")).to_contain_text("1.5 at 0")
    page.get_by_label("Phase").select_option("sft")
    expect(page.locator("figure")).to_have_count(1)
    assert "phase=sft" in url(page)
    page.reload()
    expect(page.locator("figure .chart-title")).to_have_text("loss")
    page.get_by_role("link", name="press-0-first-0").click()
    expect(page.locator("h1")).to_have_text(TASK.instruction)


def test_tasks_show_intervals_and_lead_to_their_trajectories(tab: Tab) -> None:
    page = tab.open("/run/first?view=tasks")
    row = page.locator("table.tasks tbody tr", has_text=TASK.id)
    expect(row.locator(".interval")).to_have_attribute("aria-label", re.compile(r"^45\.5 %, interval \d\d\.?\d? to \d\d\.?\d? %$"))
    expect(row.get_by_title("env_error: 1")).to_have_text("1")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_selector("[role=grid]")
    assert f"task={TASK.id}" in url(page)
    expect(page.get_by_text("12 trajectories")).to_be_visible()


def test_tasks_open_on_the_store_of_the_headline(browser: Browser, tmp_path: Path) -> None:
    """And not on random clicks, whose store comes last by its name."""
    images = ImageStore(tmp_path / "run/images")
    with Run(tmp_path / "run", {"baselines": ["idle", "random"]}):
        for name, reward in (("checkpoint", 1.0), ("idle", 0.0), ("random", 0.0)):
            with TrajectoryStore(tmp_path / f"run/{name}.jsonl", "a") as store:
                store.append(episode(images, 1, (press("Open"),), reward, name))
    context = browser.new_context()
    with served([tmp_path / "run"]) as address:
        tab = Tab(context.new_page(), address)
        page = tab.open("/run/run?view=tasks")
        expect(page.get_by_label("Store")).to_have_value("checkpoint")
        expect(page.locator("table.tasks tbody .rate b")).to_have_text("100 %")
        page.get_by_label("Store").select_option("random")
        expect(page.locator("table.tasks tbody .rate b")).to_have_text("0 %")
        assert "store=random" in url(page)
        context.close()
    assert tab.faults == []


def test_long_lists_are_windowed(tab: Tab) -> None:
    page = tab.open("/run/first?view=trajectories")
    expect(page.get_by_text(f"{MANY + 12} trajectories")).to_be_visible()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/trajectories?" in request.url else None)
    assert page.locator(".rows-body .row").count() < 80
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    last = page.locator(f"#row-{MANY + 11}")
    expect(last).to_contain_text("scroll-down")
    expect(last).to_contain_text(str(MANY - 1))
    assert page.locator(".rows-body .row").count() < 80
    assert any("offset=600" in address for address in asked)
    assert not any("offset=200" in address for address in asked)


def test_filters_narrow_the_list_and_stay_in_the_address(tab: Tab) -> None:
    page = tab.open("/run/first?view=trajectories")
    page.get_by_label("Outcome").select_option("success")
    expect(page.get_by_text("355 trajectories")).to_be_visible()
    page.get_by_label("Fewest steps").fill("5")
    expect(page.get_by_text(f"{sum(n % 4 >= 2 and n % 5 == 4 for n in range(MANY)) + 1} trajectories")).to_be_visible()
    page.get_by_label("Status").select_option("done")
    expect(page.get_by_text("1 trajectory", exact=True)).to_be_visible()
    page.reload()
    expect(page.get_by_text("1 trajectory", exact=True)).to_be_visible()
    expect(page.get_by_label("Fewest steps")).to_have_value("5")
    page.get_by_role("button", name="Clear").click()
    expect(page.get_by_text(f"{MANY + 12} trajectories")).to_be_visible()
    page.get_by_role("button", name="Steps").click()
    expect(page.locator("#row-0")).to_contain_text("press-buttons")
    expect(page.get_by_role("columnheader", name="Steps")).to_have_attribute("aria-sort", "descending")


# ------------------------------------------------------------------------------------------------------------- one trajectory


def test_a_trajectory_is_scrubbed_by_keys_and_shows_every_action(tab: Tab) -> None:
    page = tab.open(trajectory("press-0-first-0"))
    for number, action in enumerate(ALL_ACTIONS):
        expect(page.locator(".kicker").first).to_contain_text(f"Step {number + 1} of {len(ALL_ACTIONS)}")
        expect(page.locator(f".marks .mark-{action.kind}")).to_have_count(1)
        expect(page.locator(".screen img")).to_have_js_property("complete", True)
        page.keyboard.press("ArrowRight")
    expect(page.locator(".step-head")).to_contain_text("End")
    assert "step=end" in url(page)
    page.keyboard.press("Home")
    expect(page.locator(".step-head h2")).to_have_text("click (100, 110)")
    page.get_by_role("button", name="Step 4: scroll").click()
    assert "step=4" in url(page)
    page.keyboard.press(" ")
    expect(page.locator(".kicker").first).to_contain_text("Step 6", timeout=4000)
    page.keyboard.press(" ")
    page.keyboard.press("]")
    expect(page.locator(".facts-line")).to_contain_text("attempt 1 of its group")
    page.keyboard.press("[")
    expect(page.locator(".facts-line")).to_contain_text("attempt 0 of its group")


def test_the_click_is_drawn_where_it_happened_and_its_element_outlined(tab: Tab) -> None:
    page = tab.open(trajectory("press-0-first-0"))
    expect(page.locator(".step-head .hit")).to_have_text("on button “Open”")
    drawn = page.evaluate(
        """() => {
            const box = (selector) => {
                const found = document.querySelector(selector).getBoundingClientRect();
                return [found.x, found.y, found.width, found.height];
            };
            return {frame: box(".frame"), dot: box(".mark .dot"), outline: box(".outline.under rect")};
        }"""
    )
    left, top, width, height = drawn["frame"]
    scale = width / WIDTH
    assert height == pytest.approx(HEIGHT * scale, abs=1)
    x, y, w, h = drawn["dot"]
    action = press("Open")
    assert (x + w / 2 - left, y + h / 2 - top) == pytest.approx((action.x * scale, action.y * scale), abs=1.5)
    x, y, w, h = drawn["outline"]
    assert (x - left, y - top) == pytest.approx((BUTTONS["Open"][0] * scale, BUTTONS["Open"][1] * scale), abs=2.5)
    assert (w, h) == pytest.approx((120 * scale, 40 * scale), abs=4)


def test_tree_and_picture_point_at_each_other(tab: Tab) -> None:
    page = tab.open(trajectory("press-0-first-0"))
    page.keyboard.press("3")
    save = page.get_by_role("treeitem").filter(has_text="Save")
    save.hover()
    expect(page.locator(".outline.pointed text")).to_have_text("button “Save”")
    frame = page.locator(".frame").bounding_box()
    assert frame is not None
    scale = frame["width"] / WIDTH
    page.mouse.move(frame["x"] + 100 * scale, frame["y"] + 230 * scale)
    expect(page.get_by_role("treeitem").filter(has_text="Close")).to_have_class("node pointed")
    expect(page.locator(".outline.pointed text")).to_have_text("button “Close”")
    expect(page.locator(".place")).to_have_text("100, 230")
    page.mouse.move(2, 300)
    expect(page.locator(".outline.pointed")).to_have_count(0)
    page.get_by_label("Filter the tree").fill("textbox")
    expect(page.get_by_role("treeitem")).to_have_count(1)


def test_tokens_are_coloured_and_the_prompt_is_as_the_model_saw_it(tab: Tab) -> None:
    page = tab.open(trajectory("press-0-first-0"))
    tokens = page.locator(".token")
    expect(tokens).to_have_count(9)
    shades: dict[str, list[str]] = {}
    for name in ("Log-probability", "Entropy", "Advantage"):
        page.get_by_role("button", name=name).click()
        shades[name] = page.evaluate(SHADES)
    assert len({tuple(shade) for shade in shades.values()}) == 3
    assert len(set(shades["Advantage"])) > 3
    tokens.nth(2).hover()
    expect(page.locator(".token-view .readout")).to_contain_text("token 102 · log-probability −")
    expect(page.locator("pre.raw")).to_have_text("I look at the window. Action: click number 0.")
    page.keyboard.press("2")
    expect(page.locator(".message")).to_have_count(2)
    expect(page.locator(".message.user")).to_contain_text(TASK.instruction)
    expect(page.locator(".message.user img")).to_have_count(1)
    first = page.locator(".message.user .content").evaluate("(node) => node.firstElementChild.tagName")
    assert first == "A", "the picture stands before the text"
    page.get_by_role("button", name="All 2,400 characters").click()
    expect(page.locator(".message.system .content")).not_to_have_class("content folded")
    page.keyboard.press("4")
    expect(page.locator(".time-row")).to_have_count(len(ALL_ACTIONS))
    page.keyboard.press("5")
    expect(page.locator("table.terms tr")).to_have_count(2)
    expect(page.locator(".step-content")).to_contain_text("made-up agent")


def test_a_failed_environment_says_so(tab: Tab) -> None:
    page = tab.open(trajectory("press-0-first-3"))
    expect(page.locator(".trajectory-head .badge")).to_have_text("environment failed")
    expect(page.locator(".trajectory-head .notice")).to_contain_text("the window is gone")


def test_what_is_not_there_is_named(tab: Tab) -> None:
    page = tab.open("/run/nothing")
    expect(page.get_by_role("alert")).to_contain_text("there is no run 'nothing'")
    expect(tab.open("/run/first/no/such").locator("h1")).to_have_text("There is no such page")
    tab.faults[:] = [fault for fault in tab.faults if "404" not in fault]


# ---------------------------------------------------------------------------------------------------------- compare, groups, live


def test_two_agents_are_compared_side_by_side(tab: Tab) -> None:
    page = tab.open(trajectory("press-1-first-1"))
    page.get_by_text("Compare", exact=True).click()
    page.locator(".menu-list a", has_text="second").first.click()
    page.wait_for_selector(".timeline")
    expect(page.locator(".facts-line")).to_contain_text("2 steps, then apart: in the same state they did different things")
    expect(page.locator(".parting")).to_have_count(1)
    expect(page.locator(".side")).to_have_count(2)
    expect(page.locator(".controls .where")).to_contain_text("the first difference")
    page.keyboard.press("Home")
    expect(page.locator(".side .did")).to_have_text(["click (100, 110)", "click (100, 110)"])
    page.keyboard.press("ArrowRight")
    expect(page.locator(".side .did")).to_have_text(["click (100, 170)", "click (100, 230)"])
    assert "row=2" in url(page)
    page.keyboard.press("d")
    expect(page.locator(".controls .where")).to_contain_text("the first difference")
    page.keyboard.press("End")
    expect(page.locator(".side .kicker")).to_have_text(["End", "End"])


def test_a_group_shows_advantages_and_its_members_are_marked_and_compared(tab: Tab) -> None:
    page = tab.open("/run/first?view=groups")
    expect(page.locator(".rows-body .row")).to_have_count(3)
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_selector(".member")
    expect(page.locator(".member")).to_have_count(4)
    expect(page.locator(".facts-line")).to_contain_text("advantages: group-normalised")
    expect(page.locator(".member .advantage .num")).to_have_count(3)
    expect(page.locator(".member").first.locator(".film img")).to_have_count(len(ALL_ACTIONS) + 1)
    for _ in range(2):
        page.keyboard.press("j")
        page.keyboard.press("x")
    expect(page.locator(".member .mark-this[aria-pressed=true]")).to_have_count(2)
    page.keyboard.press("c")
    page.wait_for_selector(".timeline")
    expect(page.locator(".side")).to_have_count(2)


def test_a_running_evaluation_is_followed_to_its_end(browser: Browser, tmp_path: Path) -> None:
    directory = tmp_path / "evaluation"
    images = ImageStore(directory / "images")
    played = episode(images, 3, (press("Open"), press("Save"), Action("done")), 1.0, "agent")
    waiting = Step(screen(images, seed=4))
    with (
        Run(directory, {"episodes": 2}) as run,
        TrajectoryStore(directory / "agent.jsonl", "a") as store,
        served([directory]) as address,
    ):
        context = browser.new_context()
        tab = Tab(context.new_page(), address)
        page = tab.open("/live/evaluation")
        expect(page.locator(".badge")).to_have_text("following")
        live = LiveScreens(directory, "agent")
        with live.episode(TASK, 3, played.id, "agent") as watch, live.episode(TASK, 4, "another", "agent") as other:
            show(watch, played.steps[0], ())
            show(other, waiting, ())
            expect(page.locator(".live-card")).to_have_count(2)
            expect(page.locator(".live-card").first).to_contain_text("waits for an action")
            expect(page.locator(".pipeline")).to_be_hidden()
            use = {"environment_use": 0.61, "engine_use": 0.9, "trainer_use": 0.4}
            run.log(7, "rollouts", **use, queue=3, open_groups=2, staleness=0.5, staleness_max=1, trainer_waited=2.0, dropped=1)
            expect(page.locator(".pipeline")).to_contain_text("3 groups waiting, 2 being played")
            expect(page.locator(".pipeline")).to_contain_text("1 groups too old")
            expect(page.locator(".pipeline dd").first).to_contain_text("61 %")
            page.locator(".live-card").first.click()
            expect(page.locator(".live-one")).to_contain_text(TASK.instruction)
            show(watch, played.steps[1], played.steps[:1])
            expect(page.locator(".live-one .did")).to_have_text("click (100, 110)")
            expect(page.locator(".live-one")).to_contain_text("it is time to click")
            expect(page.locator(".live-one .mark-click")).to_have_count(1)
        store.append(played)
        expect(page.locator(".finished li")).to_contain_text(TASK.id)
        store.close()
        run.close()
        expect(page.locator(".badge").first).to_have_text("ended", timeout=20_000)
        expect(page.locator("main")).to_contain_text("1 of 1 succeed")
        page.get_by_role("link", name=f"look at {TASK.id}").click()
        expect(page.locator(".trajectory-head .badge")).to_have_text("success 1")
        context.close()
        assert tab.faults == []


def test_an_evaluation_is_followed_while_it_runs(browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stage itself, in another thread."""
    go_on = threading.Event()

    class Patient(RandomPolicy):
        """Waits after the first turns of both episodes until somebody has looked on: they would be over by then."""

        turns = 0

        async def generate(self, messages: tuple[Message, ...], sampling: Sampling) -> tuple[Prompt, Completion]:
            self.turns += 1
            while self.turns > 2 and not go_on.is_set():
                await asyncio.sleep(0.01)
            return await super().generate(messages, sampling)

    monkeypatch.setattr(stage, "RandomPolicy", Patient)
    directory = tmp_path / "evaluation"
    directory.mkdir()
    config = EvaluateConfig(
        tasks="forms:login", policy="random", baselines=(), episodes=2, output=directory, environments=2, max_steps=4
    )
    evaluation = threading.Thread(target=stage.main, args=(config, False))
    evaluation.start()
    try:
        until = time.monotonic() + 60
        while len(list(directory.glob("live/*.json"))) < 2:
            assert evaluation.is_alive(), "the evaluation ended before it was looked at"
            assert time.monotonic() < until, "the evaluation did not come to its episodes"
            time.sleep(0.05)
        with served([directory]) as address:
            context = browser.new_context()
            tab = Tab(context.new_page(), address)
            page = tab.open("/live/evaluation")
            expect(page.locator(".badge").first).to_have_text("following", timeout=20_000)
            expect(page.locator(".live-card")).to_have_count(2, timeout=20_000)
            page.locator(".live-card").first.click()
            expect(page.locator(".live-one")).to_contain_text("forms-login")
            expect(page.locator(".live-one .mark-click")).to_have_count(1)
            go_on.set()
            evaluation.join(60)
            expect(page.locator(".badge").first).to_have_text("ended", timeout=20_000)
            expect(page.locator(".finished li")).to_have_count(2)
            expect(page.locator("main")).to_contain_text("of 2 succeed")
            context.close()
            assert tab.faults == []
    finally:
        go_on.set()
        evaluation.join(60)


def show(watch: Any, step: Step, before: tuple[Step, ...]) -> None:
    """Lets a watcher of an episode see the screen of `step`."""
    try:
        watch(None, step.observation, before).send(None)
    except StopIteration:
        return
    raise AssertionError("the watcher waited")
