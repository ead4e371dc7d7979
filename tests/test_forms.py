"""The forms environment: every task kind and every kind of action, demonstrations, mistakes, determinism."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.drawing import Canvas, FlatPngEncoder
from stepladder.envs.forms.draw import Painter
from stepladder.envs.forms.editing import TextField
from stepladder.envs.forms.environment import FormsEnvironment
from stepladder.envs.forms.tasks import KINDS, build
from stepladder.envs.forms.widgets import Slider
from stepladder.images import ImageStore, decode
from stepladder.interfaces import Demonstrator, Environment, EnvironmentFailure
from stepladder.types import ACTION_KINDS, Action, Observation, Region, Task
from stepladder.words import held_out


def environment(**options: Any) -> FormsEnvironment:
    return FormsEnvironment(ImageStore(), **options)


def task(kind: str) -> Task:
    return FormsEnvironment.tasks([kind])[0]


def test_protocols() -> None:
    assert isinstance(environment(), Environment)
    assert isinstance(environment(), Demonstrator)


@pytest.mark.parametrize("kind", KINDS)
def test_demonstrations_reach_the_goal(kind: str) -> None:
    async def run() -> None:
        env = environment()
        for seed in range(20):
            first = await env.reset(task(kind), seed)
            assert env.task.instruction
            assert await env.evaluate() == 0.0
            assert not first.done
            steps = 0
            seen = first
            async for thought, action in env.solve():
                assert thought.count("\n") == 1
                assert thought.splitlines()[1].startswith("Action: ")
                seen = await env.step(action)
                assert seen.text == "", (seed, thought, seen.text)
                steps += 1
            assert seen.done, seed
            assert await env.evaluate() == 1.0, (seed, env.task.instruction)
            assert steps <= env.task.max_steps

    asyncio.run(run())


@pytest.mark.parametrize("kind", KINDS)
def test_mistakes_are_harmless_and_can_be_put_right(kind: str) -> None:
    async def run() -> None:
        env = environment()
        for seed in range(20):
            await env.reset(task(kind), seed)
            random = Random(seed)
            for _ in range(seed % 3 + 1):
                after = await env.step((await env.mistake(random))[1])
                assert not after.done
                assert after.text == ""
            async for _, action in env.solve():
                after = await env.step(action)
            assert after.done
            assert await env.evaluate() == 1.0, (seed, env.task.instruction)

    asyncio.run(run())


def test_equal_seeds_show_equal_pixels() -> None:
    async def shots() -> list[tuple[str, str, str]]:
        env = environment()
        seen = []
        for kind in KINDS:
            for seed in (0, 7):
                observation = await env.reset(task(kind), seed)
                seen.append(observation)
                async for _, action in env.solve():
                    seen.append(await env.step(action))
        return [(o.screenshot.sha256 if o.screenshot else "", o.state_key, o.text) for o in seen]

    first, second = asyncio.run(shots()), asyncio.run(shots())
    assert first == second
    assert len({shot for shot, _, _ in first}) > len(KINDS) * 3


def test_painting_piece_by_piece_is_painting_afresh() -> None:
    async def run() -> None:
        env = environment()
        for kind in KINDS:
            await env.reset(task(kind), 3)
            form, painter = env._form, env._painter
            assert form is not None
            assert painter is not None
            random = Random(3)
            for _ in range(4):
                await env.step((await env.mistake(random))[1])
                await env.step(Action("key", keys=("tab",)))
                fresh = Painter(form.screen, form.theme, form.panel).paint()
                assert np.array_equal(painter.paint(), fresh), kind

    asyncio.run(run())


def test_different_seeds_differ() -> None:
    instructions = {build("fill-form", seed, 160, 210, "all").instruction for seed in range(30)}
    assert len(instructions) > 25


def test_words_of_one_part_only() -> None:
    for part in ("train", "heldout"):
        for seed in range(20):
            form = build("click-text", seed, 160, 210, part)
            labels = [widget.label for widget in form.screen.widgets]
            assert all(held_out(label) == (part == "heldout") for label in labels)


def test_larger_screens() -> None:
    async def run() -> None:
        env = environment(width=320, height=300)
        for kind in KINDS:
            observation = await env.reset(task(kind), 1)
            assert observation.screenshot is not None
            assert (observation.screenshot.width, observation.screenshot.height) == (320, 300)
            async for _, action in env.solve():
                await env.step(action)
            assert await env.evaluate() == 1.0

    asyncio.run(run())


def test_bad_options_and_tasks() -> None:
    with pytest.raises(ValueError, match="150 x 190"):
        environment(width=20)
    with pytest.raises(ValueError, match="heldout"):
        environment(words="some")
    with pytest.raises(ValueError, match="did you mean 'login'"):
        FormsEnvironment.tasks(["logn"])
    with pytest.raises(EnvironmentFailure, match="did you mean 'wizard'"):
        asyncio.run(environment().reset(Task("forms-wizzard", "", "forms"), 0))
    with pytest.raises(EnvironmentFailure, match="reset"):
        asyncio.run(environment().step(Action("wait")))


def test_close_twice() -> None:
    async def run() -> None:
        env = environment()
        await env.reset(task("login"), 0)
        await env.close()
        await env.close()

    asyncio.run(run())


def test_wrong_button_ends_without_reward() -> None:
    async def run() -> tuple[Observation, float, Observation]:
        env = environment()
        await env.reset(task("click-button"), 0)
        assert env._form is not None
        wrong = next(w for w in env._form.screen.widgets if w.id not in env._form.goal.presses)
        x, y, w, h = wrong.box
        ended = await env.step(Action("click", x + w / 2, y + h / 2))
        return ended, await env.evaluate(), await env.step(Action("click", 1, 1))

    ended, reward, later = asyncio.run(run())
    assert ended.done
    assert reward == 0.0
    assert later.done
    assert "ended" in later.text
    assert later.state_key == ended.state_key


def test_state_key_ignores_the_pointer() -> None:
    async def run() -> None:
        env = environment()
        first = await env.reset(task("login"), 0)
        moved = await env.step(Action("move", 3, 3))
        assert moved.state_key == first.state_key
        assert moved.screenshot == first.screenshot
        changed = await env.step(Action("key", keys=("tab",)))
        assert changed.state_key != first.state_key

    asyncio.run(run())


NONSENSE = [
    Action("click", 500, 20),
    Action("click", -1, 20),
    Action("click", float("nan"), 20),
    Action("scroll", 5, 5, amount=0),
    Action("scroll", 5, 5, amount=float("inf")),
    Action("scroll", 5, 5, amount=2),
    Action("scroll", 5, 5, amount=2, name="horizontal"),
    Action("drag", 5, 5),
    Action("drag", 5, 5, 900, 5),
    Action("key", keys=()),
    Action("key", keys=("hyper",)),
    Action("key", keys=("f5",)),
    Action("key", keys=("escape",)),
    Action("key_down", keys=("nokey",)),
    Action("type", text=""),
    Action("type", text="nobody listens"),
    Action("call", name="open_page", args={"url": "x"}),
    Action("right_click", 5, 5),
    Action("middle_click", 5, 5),
]


@pytest.mark.parametrize("action", NONSENSE, ids=lambda action: f"{action.kind}-{action.amount}-{action.x}-{action.keys}")
def test_nonsense_changes_nothing_and_says_so(action: Action) -> None:
    async def run() -> None:
        env = environment()
        first = await env.reset(task("click-button"), 0)
        after = await env.step(action)
        assert after.text
        assert after.screenshot == first.screenshot
        assert not after.done

    asyncio.run(run())


def test_done_and_fail_end_the_episode() -> None:
    async def run() -> None:
        env = environment()
        for kind in ("done", "fail"):
            await env.reset(task("login"), 0)
            assert (await env.step(Action(kind))).done
            assert await env.evaluate() == 0.0

    asyncio.run(run())


coordinates = st.one_of(st.none(), st.floats(-20, 250), st.integers(0, 210), st.just(float("nan")))
key_names = st.sampled_from(
    ["enter", "tab", "space", "ctrl", "shift", "a", "c", "v", "x", "backspace", "left", "up", "down", "home"]
)
actions = st.builds(
    Action,
    kind=st.sampled_from([kind for kind in ACTION_KINDS if kind not in ("done", "fail")]),
    x=coordinates,
    y=coordinates,
    x2=coordinates,
    y2=coordinates,
    text=st.text(max_size=12),
    keys=st.lists(key_names | st.text(max_size=3), max_size=3).map(tuple),
    amount=st.floats(-5, 5) | st.sampled_from([float("inf"), float("nan"), 1e300]),
    name=st.sampled_from(["", "horizontal", "f"]),
)


@settings(max_examples=60, deadline=None)
@given(kind=st.sampled_from(list(KINDS)), seed=st.integers(0, 50), steps=st.lists(actions, max_size=12))
def test_any_actions_leave_the_environment_whole(kind: str, seed: int, steps: list[Action]) -> None:
    async def run() -> None:
        env = environment(tree=True)
        await env.reset(task(kind), seed)
        for action in steps:
            observation = await env.step(action)
            assert observation.screenshot is not None
            assert observation.tree
            assert await env.evaluate() in (0.0, 1.0)
            for region in await env.regions():
                assert region.box[2] > 0
                assert region.box[3] > 0
        form = env._form
        assert form is not None
        pressed = tuple(form.screen.presses)
        if not env._ended and pressed == form.goal.presses[: len(pressed)]:  # a wrong final press cannot be taken back
            async for _, action in env.solve():
                await env.step(action)
            assert await env.evaluate() == 1.0

    asyncio.run(run())


def test_pages_go_forth_and_back() -> None:
    async def run() -> None:
        env = environment()
        await env.reset(task("wizard"), 0)
        assert env._form is not None
        screen = env._form.screen
        pages = set()
        async for _, action in env.solve():
            pages.add(screen.page)
            await env.step(action)
        assert pages == set(range(screen.pages))

    asyncio.run(run())


def test_modifiers_held_down_count() -> None:
    async def run() -> None:
        env = environment()
        await env.reset(task("login"), 0)
        assert env._form is not None
        entry = next(w for w in env._form.screen.widgets if isinstance(w, TextField))
        x, y, w, h = entry.box
        await env.step(Action("click", x + w / 2, y + h / 2))
        await env.step(Action("type", text="wrong"))
        await env.step(Action("key_down", keys=("Control",)))
        await env.step(Action("key", keys=("A",)))
        await env.step(Action("key_up", keys=("ctrl",)))
        await env.step(Action("key", keys=("Delete",)))
        assert entry.value == ""

    asyncio.run(run())


def test_mouse_down_and_up_are_a_drag() -> None:
    async def run() -> None:
        env = environment()
        await env.reset(task("slider"), 0)
        assert env._form is not None
        slider = next(w for w in env._form.screen.widgets if isinstance(w, Slider))
        await env.step(Action("mouse_down", *slider.position(slider.value)))
        await env.step(Action("move", *slider.position(slider.maximum)))
        await env.step(Action("mouse_up"))
        assert slider.value == slider.maximum

    asyncio.run(run())


def test_tree_lists_what_is_shown() -> None:
    async def run() -> None:
        env = environment(tree=True)
        observation = await env.reset(task("dismiss-dialog"), 2)
        tree = observation.tree
        assert tree is not None
        dialog = next(i for i, element in enumerate(tree) if element.role == "dialog")
        assert any(element.parent == dialog and element.role == "button" for element in tree)
        assert tree[0].role == "document"
        assert (await environment().reset(task("login"), 0)).tree is None

    asyncio.run(run())


@pytest.mark.parametrize("kind", KINDS)
def test_regions_lie_on_ink(kind: str) -> None:
    """Each region's pixels are not of one colour, and a click on the target of a region reaches a widget."""

    async def run() -> None:
        store = ImageStore()
        env = FormsEnvironment(store)
        for seed in range(6):
            observation = await env.reset(task(kind), seed)
            assert observation.screenshot is not None
            pixels = store.load(observation.screenshot)
            found = await env.regions()
            assert any(region.kind == "word" for region in found)
            for region in found:
                assert ink(pixels, region), (seed, region)
                if region.target is not None:
                    x, y, w, h = region.target
                    assert env._form is not None
                    assert env._form.screen.at(x + w / 2, y + h / 2) is not None

    asyncio.run(run())


def ink(pixels: np.ndarray, region: Region) -> bool:
    x, y, w, h = (round(value) for value in region.box)
    part = pixels[y : y + h, x : x + w].reshape(-1, 3)
    return bool((part != part[0]).any())


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 50), st.integers(1, 30), st.integers(1, 30)), max_size=6))
def test_png_encoder_is_lossless_over_a_sequence(boxes: list[tuple[int, int, int, int]]) -> None:
    encoder, canvas = FlatPngEncoder(), Canvas(47, 53, (1, 2, 3))
    for index, box in enumerate(boxes):
        canvas.fill(box, (index * 40, 7, 250))
        assert np.array_equal(decode(encoder.encode(canvas.pixels)), canvas.pixels)
