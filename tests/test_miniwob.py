"""MiniWoB++: the catalogue, equal pixels for equal seeds, reset, step, evaluate, time on the page, mistakes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from random import Random

import pytest

from stepladder import seeds
from stepladder.envs import environment_class
from stepladder.envs.browser import catalogue
from stepladder.envs.browser.miniwob import MiniWobEnvironment, style_pictures
from stepladder.envs.browser.oracles import ORACLES
from stepladder.envs.browser.oracles.mistakes import DECOYS, KINDS, NONE
from stepladder.images import ImageStore
from stepladder.interfaces import Demonstrator, Environment, EnvironmentFailure
from stepladder.tasks import load_tasks
from stepladder.types import Action, Observation

#: Loaded machines are slow to start a browser; how long the page takes is no part of what is tested.
PATIENT = 120.0


def with_environment(use: Callable[[MiniWobEnvironment], Awaitable[None]], **options: object) -> None:
    async def run() -> None:
        environment = MiniWobEnvironment(ImageStore(), deadline=PATIENT, **options)  # type: ignore[arg-type]
        try:
            await use(environment)
        finally:
            await environment.close()

    asyncio.run(run())


async def solve(environment: MiniWobEnvironment) -> float:
    async for _, action in environment.solve():
        if action.kind == "fail" or (await environment.step(action)).done:
            break
    return await environment.evaluate()


# ---------------------------------------------------------------------------------------------------------------- catalogue


def test_the_catalogue_describes_every_page_of_the_wheel() -> None:
    pages = {path.stem for path in (catalogue.html_directory() / "miniwob").glob("*.html")}
    assert set(catalogue.entries()) == pages
    assert len(pages) == 130
    assert [entry.name for entry in catalogue.entries().values() if entry.category not in catalogue.CATEGORIES] == []


def test_tags_are_the_documented_ones() -> None:
    documented = {line.split()[0] for line in (catalogue.__doc__ or "").split("Tags:")[1].splitlines() if line[:1].islower()}
    assert {tag for entry in catalogue.entries().values() for tag in entry.tags} == documented


def test_the_demo_set_has_reading_and_several_steps() -> None:
    demo = [catalogue.entry(name) for name in catalogue.named_set("demo")]
    assert len(demo) >= 24
    for tag, least in (("multi_step", 6), ("reading", 7), ("typing", 1)):
        assert sum(tag in entry.tags for entry in demo) >= least, tag
    assert all(entry.name in ORACLES for entry in demo)


def test_named_sets_and_names_are_checked() -> None:
    assert set(catalogue.named_set("oracle")) == set(ORACLES)
    assert "login-user" in catalogue.named_set("multi_step")
    with pytest.raises(ValueError, match="did you mean 'demo'"):
        catalogue.named_set("demos")
    with pytest.raises(ValueError, match="did you mean 'click-test'"):
        catalogue.task("click-tset")


def test_seeds_for_training_and_for_testing_are_disjoint() -> None:
    train, heldout = seeds.train_seeds(1000), seeds.heldout_seeds(1000)
    assert list(train) == list(seeds.train_seeds(1000))
    assert set(train).isdisjoint(heldout)
    everything = seeds.train_seeds(seeds.HELDOUT - seeds.VALIDATION_SEEDS)
    validation = seeds.validation_seeds(seeds.VALIDATION_SEEDS)
    assert max(everything) < min(validation)
    assert max(validation) < min(heldout)
    with pytest.raises(ValueError, match="are not all among them"):
        seeds.train_seeds(2, start=max(everything))
    with pytest.raises(ValueError, match="are not all among them"):
        seeds.validation_seeds(seeds.VALIDATION_SEEDS + 1)
    with pytest.raises(ValueError, match="must not be negative"):
        seeds.heldout_seeds(1, start=-1)


def test_tasks_by_specification() -> None:
    assert len(load_tasks("miniwob")) == 130
    assert [task.id for task in load_tasks("miniwob@demo")] == list(catalogue.named_set("demo"))
    task = load_tasks("miniwob:login-user", split="heldout")[0]
    assert (task.env, task.split, task.max_steps) == ("miniwob", "heldout", catalogue.entry("login-user").max_steps)
    assert "multi_step" in task.tags


# -------------------------------------------------------------------------------------------------------------- environment


def test_it_is_an_environment_that_demonstrates() -> None:
    assert environment_class("miniwob") is MiniWobEnvironment
    environment = MiniWobEnvironment(ImageStore())
    assert isinstance(environment, Environment)
    assert isinstance(environment, Demonstrator)
    with pytest.raises(ValueError, match="step_seconds"):
        MiniWobEnvironment(ImageStore(), step_seconds=-1)


def test_an_episode_won_and_one_lost() -> None:
    async def use(environment: MiniWobEnvironment) -> None:
        observation = await environment.reset(catalogue.task("click-test-2"), 3)
        assert observation.screenshot is not None
        assert (observation.screenshot.width, observation.screenshot.height) == (160, 210)
        assert environment.task.instruction == "Click button ONE."
        assert not observation.done
        assert await environment.evaluate() == 0
        assert await solve(environment) == 1
        assert environment.raw_reward == 1

        await environment.reset(catalogue.task("click-test-2"), 3)
        assert environment.raw_reward == 0
        place = await environment.evaluate_script(
            "(r => [r.left + r.width / 2, r.top + r.height / 2])(document.getElementById('subbtn2').getBoundingClientRect())"
        )
        observation = await environment.step(Action("click", x=place[0], y=place[1]))
        assert observation.done
        assert await environment.evaluate() == 0
        assert environment.raw_reward == -1

    with_environment(use)


def test_the_final_screen_can_be_left_out() -> None:
    async def use(environment: MiniWobEnvironment) -> None:
        environment.final_screen = False
        for reward, seed in ((1, 3), (1, 4)):
            first = await environment.reset(catalogue.task("click-test-2"), seed)
            assert first.screenshot is not None, "an episode that follows an ended one begins as any other"
            _, action = await anext(environment.solve())
            last = await environment.step(action)
            assert (last.screenshot, last.done) == (None, True)
            assert await environment.evaluate() == environment.raw_reward == reward

    with_environment(use)


def test_unknown_tasks_and_settings_are_failures_that_name_them() -> None:
    async def use(environment: MiniWobEnvironment) -> None:
        task = catalogue.task("click-test")
        with pytest.raises(EnvironmentFailure, match="did you mean 'click-test'"):
            await environment.reset(replace(task, id="clck-test"), 0)
        with pytest.raises(EnvironmentFailure, match="'mdoe'"):
            await environment.reset(replace(task, setup={"mdoe": "test"}), 0)
        with pytest.raises(EnvironmentFailure, match="'default' or 'test'"):
            await environment.reset(replace(task, setup={"mode": "tset"}), 0)
        await environment.reset(replace(catalogue.task("click-test-transfer"), setup={"mode": "test"}), 0)
        assert environment.task.instruction == "Click button TWO."
        await environment.reset(catalogue.task("click-test-transfer"), 0)
        assert environment.task.instruction == "Click button ONE."

    with_environment(use)


def test_a_page_that_is_gone_is_loaded_again() -> None:
    async def use(environment: MiniWobEnvironment) -> None:
        await environment.reset(catalogue.task("click-test"), 0)
        await environment.evaluate_script("delete window.stepladderPictures")
        await environment.reset(catalogue.task("click-test"), 1)
        assert await solve(environment) == 1

    with_environment(use)


def test_the_last_picture_shows_the_page_and_not_a_cover() -> None:
    async def use(environment: MiniWobEnvironment) -> None:
        before = await environment.reset(catalogue.task("click-test"), 0)
        async for _, action in environment.solve():
            after = await environment.step(action)
        assert after.done
        assert before.screenshot is not None
        assert after.screenshot is not None
        first, last = (environment.images.load(ref) for ref in (before.screenshot, after.screenshot))
        assert (first == last).all(axis=2).mean() > 0.6

    with_environment(use)


# --------------------------------------------------------------------------------------------------------------------- time


def test_time_passes_with_actions_alone() -> None:
    async def use(environment: MiniWobEnvironment) -> None:
        await environment.reset(catalogue.task("click-test"), 0)
        now = "Date.now() - 1519898400000"
        assert await environment.evaluate_script(now) == 0
        await environment.evaluate_script("window.told = [], setTimeout(() => told.push(Date.now()), 700), 0")
        await environment.step(Action("move", x=1, y=1))
        assert await environment.evaluate_script(now) == 500
        assert await environment.evaluate_script("told.length") == 0
        await environment.step(Action("wait", seconds=0.25))
        assert await environment.evaluate_script("told.map((at) => at - 1519898400000)") == [700]
        assert await environment.evaluate_script(now) == 750

    with_environment(use)


def test_timers_fire_in_order_and_one_that_fails_stops_no_other() -> None:
    async def use(environment: MiniWobEnvironment) -> None:
        await environment.reset(catalogue.task("click-test"), 0)
        await environment.evaluate_script(
            """(() => {
              window.told = [];
              const repeat = setInterval(() => { told.push('interval'); if (told.length > 5) clearInterval(repeat); }, 100);
              setTimeout(() => { told.push('late'); setTimeout(() => told.push('nested')); }, 150);
              setTimeout(() => { throw new Error('on purpose'); }, 20);
              setTimeout((word) => told.push(word), 10, 'early');
              clearTimeout(setTimeout(() => told.push('never'), 5));
              requestAnimationFrame((at) => told.push(Math.round(at)));
            })()"""
        )
        await environment.step(Action("wait", seconds=0.25))
        told = await environment.evaluate_script("told")
        assert told == ["early", 17, "interval", "late", "nested", "interval"]

    with_environment(use)


def test_an_endless_chain_of_timers_ends_with_its_time() -> None:
    async def use(environment: MiniWobEnvironment) -> None:
        await environment.reset(catalogue.task("click-test"), 0)
        await environment.evaluate_script("window.count = 0, (function again() { count += 1; setTimeout(again, 0); })()")
        await environment.step(Action("wait", seconds=0.1))
        assert 90 <= await environment.evaluate_script("count") <= 110

    with_environment(use)


# -------------------------------------------------------------------------------------------------------------- determinism

SAMPLE = (
    "click-button", "click-tab", "click-dialog-2", "login-user", "email-inbox", "click-pie", "text-transform", "moving-items",
    "choose-date", "use-slider", "social-media", "terminal", "drag-cube", "book-flight", "click-color",
)  # fmt: skip


async def starts(environment: MiniWobEnvironment, names: tuple[str, ...], seed: int) -> list[Observation]:
    return [await environment.reset(catalogue.task(name), seed) for name in names]


def test_equal_seeds_start_with_equal_pixels_in_two_browsers() -> None:
    async def run() -> None:
        images = ImageStore()
        first = MiniWobEnvironment(images, reuse_pages=False, deadline=PATIENT)
        second = MiniWobEnvironment(images, deadline=PATIENT)
        try:
            one, two = await starts(first, SAMPLE, 7), await starts(second, SAMPLE, 7)
            unequal = [name for name, a, b in zip(SAMPLE, one, two, strict=True) if a.screenshot != b.screenshot]
            assert unequal == []
            other = await starts(second, SAMPLE, 8)
            assert sum(a.screenshot != b.screenshot for a, b in zip(one, other, strict=True)) >= len(SAMPLE) - 3
        finally:
            await first.close()
            await second.close()

    asyncio.run(run())


def test_a_page_that_was_played_on_starts_like_a_new_one() -> None:
    names = ("click-tab", "click-checkboxes", "enter-text", "click-collapsible-2", "form-sequence", "stock-market", "click-dialog")

    async def run() -> None:
        fresh, kept = await MiniWobEnvironment.create_many(ImageStore(), 2, deadline=PATIENT)
        try:
            for name in names:
                await kept.reset(catalogue.task(name), 5)
                await solve(kept)
                again = await kept.reset(catalogue.task(name), 6)
                assert again.screenshot == (await fresh.reset(catalogue.task(name), 6)).screenshot, name
                assert kept.task == fresh.task
        finally:
            await fresh.close()
            await kept.close()

    asyncio.run(run())


# ----------------------------------------------------------------------------------------------------------------- mistakes


def test_mistakes_are_described_for_tasks_that_have_a_demonstrator() -> None:
    assert set(KINDS) <= set(ORACLES)
    assert set(catalogue.entries()) >= NONE
    assert {kind for kinds in KINDS.values() for kind in kinds} == {"background", "typing", *DECOYS}


def test_demonstrators_recover_from_mistakes() -> None:
    names = (*catalogue.named_set("demo"), "email-inbox", "order-food", "click-shades", "use-spinner", "click-tab-2", "odd-or-even")

    async def use(environment: MiniWobEnvironment) -> None:
        for name in names:
            for seed in (11, 12):
                random = Random(seed)
                await environment.reset(catalogue.task(name), seed)
                for _ in range(2):
                    wrong = await environment.mistake(random)
                    assert wrong is not None, name
                    thought, action = wrong
                    assert "\nAction: " in thought
                    observation = await environment.step(action)
                    assert (observation.done, observation.text) == (False, ""), f"{name}, seed {seed}: {thought}"
                assert await solve(environment) == 1, f"{name}, seed {seed}"

    with_environment(use)


def test_there_is_no_mistake_where_every_step_counts() -> None:
    async def use(environment: MiniWobEnvironment) -> None:
        await environment.reset(catalogue.task("moving-items"), 0)
        assert await environment.mistake(Random(0)) is None

    with_environment(use)


def test_pages_behind_a_symbolic_link_show_their_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A virtual environment is often reached through a link; pictures beside the page are then elsewhere for the browser."""
    spec = find_spec("miniwob")
    assert spec is not None
    assert spec.origin is not None
    link = tmp_path / "miniwob"
    link.symlink_to(Path(spec.origin).parent)
    monkeypatch.setattr(spec, "origin", str(link / "__init__.py"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: spec)

    async def use(environment: MiniWobEnvironment) -> None:
        assert (await environment.reset(catalogue.task("click-dialog"), 0)).screenshot is not None

    with_environment(use)


def test_pictures_of_styles_are_known_beforehand() -> None:
    pages = catalogue.html_directory() / "miniwob"
    assert any("ui-icons" in url for url in style_pictures(pages / "click-dialog.html"))
    assert any("retweet-hover.png" in url for url in style_pictures(pages / "social-media.html"))
    assert style_pictures(pages / "click-test.html") == ()
