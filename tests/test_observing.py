"""Agents that read the accessibility tree, or point at marks by number, in whole evaluations; environments without a tree."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeEnvironment

from stepladder.config import ConfigError
from stepladder.images import ImageStore
from stepladder.interfaces import Agent, EnvironmentFailure
from stepladder.rollout.observing import TreeNeeded, observed, observing_options
from stepladder.stages.evaluate import EvaluateConfig, main
from stepladder.store import TrajectoryStore
from stepladder.types import Action, Completion, Element, Message, Observation, Prompt, Sampling, Task, Trajectory

FORMS = EvaluateConfig(tasks="forms:click-button", baselines=(), episodes=6, environments=3)
_WANTED = re.compile(r'(?:Click|Press)(?: on)?(?: the)? "([^"]+)"')
_MARK = re.compile(r"^(\d+)\tbutton\t([^\t\n]*)\t", re.MULTILINE)
_PLACE = re.compile(r"^button\t([^\t\n]*)\t.*\((\d+), (\d+)\)\t\((\d+), (\d+)\)$", re.MULTILINE)


class _Reader:
    """A policy that reads what it is told, looks at no picture, and answers in code."""

    name = "reader"
    version = 0

    def __init__(self, agent: Agent) -> None:
        self.agent = agent

    async def generate(self, messages: tuple[Message, ...], sampling: Sampling) -> tuple[Prompt, Completion]:
        told = "\n".join(message.text for message in messages)
        wanted = _WANTED.search(told)
        assert wanted is not None, told
        shown = messages[-1].text
        code = self.code(wanted[1].lower(), shown)
        return Prompt(messages), Completion(f"## Action:\nClick it.\n## Code:\n```python\n{code}\n```")

    def code(self, wanted: str, shown: str) -> str:
        raise NotImplementedError


class Pointing(_Reader):
    """Points at the button by the number of its mark."""

    def code(self, wanted: str, shown: str) -> str:
        number = next((number for number, name in _MARK.findall(shown) if name.lower() == wanted), "1")
        return f"pyautogui.click(tag_{number})"


class Measuring(_Reader):
    """Clicks the middle of the button, whose box it reads in the table."""

    def code(self, wanted: str, shown: str) -> str:
        boxes = {name.lower(): tuple(map(int, box)) for name, *box in _PLACE.findall(shown)}
        left, top, width, height = boxes[wanted]
        return f"pyautogui.click(x={left + width // 2}, y={top + height // 2})"


def episodes(folder: Path) -> list[Trajectory]:
    with TrajectoryStore(next(folder.glob("test_observing*.jsonl"))) as store:
        return list(store)


@pytest.mark.parametrize("dialect", ["osworld_pyautogui", "opencua"])
@pytest.mark.parametrize("tasks", ["forms:click-button", "miniwob:click-button"])
def test_an_agent_points_at_marks(tmp_path: Path, dialect: str, tasks: str) -> None:
    config = replace(FORMS, tasks=tasks, policy="test_observing:Pointing", dialect=dialect, observe="som", output=tmp_path)
    found = main(config, show=False)
    assert (found.n, found.rate, found.missing) == (6, 1.0, {})
    images = ImageStore(tmp_path / "images")
    for item in episodes(tmp_path):
        (step,) = item.steps
        seen = step.observation
        assert seen.tree is not None
        assert seen.screenshot is not None
        assert step.action is not None
        assert (images.load(seen.screenshot) == (255, 0, 0)).all(axis=2).any(), "the marks are drawn"
        assert step.prompt is not None
        assert seen.screenshot in step.prompt.images
    recorded = json.loads((tmp_path / "config.json").read_text())
    assert recorded["observe"] == "som"
    assert recorded["options"] == {}
    with pytest.raises(ConfigError, match="observe was 'som' and is now"):
        main(replace(config, observe=None), show=False)


def test_without_marks_nobody_can_point(tmp_path: Path) -> None:
    config = replace(FORMS, policy="test_observing:Pointing", dialect="osworld_pyautogui", output=tmp_path)
    found = main(config, show=False)
    assert (found.n, found.rate) == (6, 0.0)
    for item in episodes(tmp_path):
        assert all(step.observation.tree is None and step.error is not None for step in item.steps)


@pytest.mark.parametrize(
    ("dialect", "observe", "pictures"),
    [
        ("osworld_pyautogui", "a11y_tree", 0),
        ("osworld_pyautogui", "screenshot_a11y_tree", 1),
        ("opencua", "screenshot_a11y_tree", 1),
        ("evocua_s1", "screenshot_a11y_tree", 1),
    ],
)
def test_an_agent_reads_the_table(tmp_path: Path, dialect: str, observe: str, pictures: int) -> None:
    config = replace(FORMS, policy="test_observing:Measuring", dialect=dialect, observe=observe, output=tmp_path)
    found = main(config, show=False)
    assert (found.n, found.rate, found.missing) == (6, 1.0, {})
    for item in episodes(tmp_path):
        prompt = item.steps[0].prompt
        assert prompt is not None
        assert len(prompt.images) == pictures


def test_baselines_are_shown_what_they_always_are(tmp_path: Path) -> None:
    config = replace(FORMS, policy="random", baselines=("idle",), observe="som", output=tmp_path, episodes=1)
    main(config, show=False)
    for name in ("random", "idle"):
        with TrajectoryStore(tmp_path / f"{name}.jsonl") as store:
            assert all(step.observation.tree is None for item in store for step in item.steps)


class NoTree(FakeEnvironment):
    """Has no tree, and no option for it."""

    def __init__(self, images: ImageStore) -> None:
        super().__init__(images)

    @classmethod
    def tasks(cls, names: Any = None) -> list[Task]:
        return [Task("fake", "Click it.", "test_observing:NoTree", max_steps=3)]


def test_an_environment_without_a_tree_fails_and_the_agent_does_not(tmp_path: Path) -> None:
    images = ImageStore()
    assert observing_options("test_observing:NoTree", {}, "som") == {}
    for observe in ("a11y_tree", "som"):
        environment = observed(NoTree(images), observe, images)  # type: ignore[arg-type]
        with pytest.raises(EnvironmentFailure, match="shows no accessibility tree"):
            asyncio.run(environment.reset(NoTree.tasks()[0], 0))
    plain = NoTree(images)
    assert observed(plain, "screenshot", images) is plain


def test_the_last_observation_needs_no_tree() -> None:
    shown = iter(
        [
            Observation(tree=(Element("button", "a"),)),
            Observation(tree=(Element("button", "a"),)),
            Observation(done=True),
            Observation(),
            Observation(),
        ]
    )

    class Screens(FakeEnvironment):
        reset_deadline = 77.0

        async def reset(self, task: Task, seed: int) -> Observation:
            return next(shown)

        async def step(self, action: Action) -> Observation:
            return next(shown)

    async def play() -> None:
        inner = Screens()
        environment: Any = TreeNeeded(inner)
        assert (environment.reset_deadline, environment.goal) == (77.0, 2)
        assert (await environment.reset(Task("t", "", "fake"), 0)).tree
        assert (await environment.step(Action("wait"))).tree
        assert (await environment.step(Action("wait"))).done
        await environment.step(Action("done"))
        with pytest.raises(EnvironmentFailure, match="shows no accessibility tree"):
            await environment.step(Action("wait"))
        await environment.close()
        assert inner.closed

    asyncio.run(play())


def test_what_environments_are_asked_for() -> None:
    assert observing_options("forms", {"height": 224}, "screenshot") == {"height": 224}
    for name in ("forms", "miniwob", "page", "desk", "osworld"):
        assert observing_options(name, {"width": 300}, "a11y_tree") == {"width": 300, "tree": True}
    assert observing_options("bridge", {}, "som") == {}, "a server is told by whoever starts it"
    with pytest.raises(ConfigError, match="observe is 'som', which needs the accessibility tree"):
        observing_options("forms", {"tree": False}, "som")
    assert observing_options("forms", {"tree": False}, "screenshot") == {"tree": False}
