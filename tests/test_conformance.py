"""The checks for plug-ins pass what keeps its contract and name what breaks it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from stepladder.agents.conformance import ACTIONS, check_agent
from stepladder.agents.qwen_vl import QwenVLAgent
from stepladder.envs.conformance import check_environment, every_action
from stepladder.envs.forms.environment import FormsEnvironment
from stepladder.errors import NotConforming
from stepladder.images import ImageStore
from stepladder.types import ACTION_KINDS, Action, Observation, Task

LOGIN = FormsEnvironment.tasks(["login"])


def forms() -> FormsEnvironment:
    return FormsEnvironment(ImageStore())


def test_forms_keep_the_contract() -> None:
    asyncio.run(check_environment(forms, FormsEnvironment.tasks()))


@pytest.mark.parametrize("thought", ["none", "action", "full"])
@pytest.mark.parametrize("grid", [1, 10])
def test_qwen_vl_keeps_the_contract(thought: Any, grid: int) -> None:
    for screenshots in (1, 3):
        agent = QwenVLAgent(screenshots=screenshots, thought=thought, system="full", grid=grid)
        said = check_agent(agent, tolerance=grid * 0.21 / 2 + 1e-9)
        assert {action.kind for action in ACTIONS} == {action.kind for action in said}


def test_every_kind_of_action_is_tried() -> None:
    assert {action.kind for action in every_action()} == {action.kind for action in ACTIONS} == set(ACTION_KINDS)


class NoInstruction(FormsEnvironment):
    async def reset(self, task: Task, seed: int) -> Observation:
        shown = await super().reset(task, seed)
        self.task = replace(self.task, instruction=" ")
        return shown


class Forgetful(FormsEnvironment):
    resets = 0

    async def reset(self, task: Task, seed: int) -> Observation:
        Forgetful.resets += 1
        return await super().reset(task, seed + Forgetful.resets)


class Percent(FormsEnvironment):
    async def evaluate(self) -> float:
        return 100 * await super().evaluate() + 2


class Silent(FormsEnvironment):
    async def step(self, action: Action) -> Observation:
        await super().step(action)
        return Observation()


class Hopeless(FormsEnvironment):
    async def evaluate(self) -> float:
        return 0.0


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (NoInstruction, "`task` must be the task with its instruction filled in"),
        (Forgetful, "differs"),
        (Percent, "must give a number from 0 to 1, not 2"),
        (Silent, "shows nothing"),
        (Hopeless, "the demonstration ends with a reward of 0"),
    ],
)
def test_an_environment_that_breaks_the_contract_is_told_where(kind: type[FormsEnvironment], message: str) -> None:
    with pytest.raises(NotConforming, match=message):
        asyncio.run(check_environment(lambda: kind(ImageStore()), LOGIN))


def test_an_environment_may_say_that_it_is_not_deterministic() -> None:
    asyncio.run(check_environment(lambda: Forgetful(ImageStore()), LOGIN, deterministic=False))
    with pytest.raises(NotConforming, match="no task"):
        asyncio.run(check_environment(forms, []))


class Deaf(QwenVLAgent):
    def parse(self, text: str, observation: Observation) -> tuple[str, Action]:
        return "", Action("click", x=1, y=1)


class Fragile(QwenVLAgent):
    def parse(self, text: str, observation: Observation) -> tuple[str, Action]:
        return super().parse(text, observation) if text else ("", Action(text[0]))  # type: ignore[arg-type]


class Dumb(QwenVLAgent):
    def format(self, thought: str, action: Action, observation: Observation) -> str:
        raise ValueError("this dialect says nothing")


class Counting(QwenVLAgent):
    calls = 0

    def prompt(self, task: Any, steps: Any, observation: Any) -> Any:
        self.calls += 1
        return super().prompt(replace(task, instruction=f"{task.instruction} {self.calls}"), steps, observation)


class Blind(QwenVLAgent):
    def prompt(self, task: Any, steps: Any, observation: Any) -> Any:
        return super().prompt(task, steps, replace(observation, screenshot=None))


@pytest.mark.parametrize(
    ("agent", "message"),
    [
        (Deaf(), "law 1: .* `x` differs"),
        (Fragile(), r"parse of '' raises IndexError.*; it may raise ParseError alone"),
        (Dumb(), "can say none of"),
        (Counting(), r"differs from call to call.*\(law 3\)"),
        (Blind(), "shows the present screenshot"),
    ],
)
def test_an_agent_that_breaks_the_contract_is_told_where(agent: QwenVLAgent, message: str) -> None:
    with pytest.raises(NotConforming, match=message):
        check_agent(agent)
