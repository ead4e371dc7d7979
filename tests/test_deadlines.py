"""Deadlines bound the environment's time, in one call and in the whole episode; the policy's time is its own."""

from __future__ import annotations

import asyncio

import pytest
from fakes import FakeEnvironment, WordAgent

from stepladder.interfaces import EnvironmentTimeout
from stepladder.policies.scripted import ScriptedPolicy
from stepladder.rollout.episode import Deadlines, run_episode
from stepladder.types import Completion, Limits, Message, Observation, Prompt, Sampling, Task, Trajectory

TASK = Task("fake", "", "fakes:FakeEnvironment", max_steps=5)


class SlowPolicy(ScriptedPolicy):
    """Thinks for `seconds` before every reply."""

    seconds = 0.3

    async def generate(self, messages: tuple[Message, ...], sampling: Sampling) -> tuple[Prompt, Completion]:
        await asyncio.sleep(self.seconds)
        return await super().generate(messages, sampling)


def play(environment: FakeEnvironment, limits: Limits) -> Trajectory:
    policy = SlowPolicy(["click", "click"])
    return asyncio.run(run_episode(environment, WordAgent(), policy, TASK, 0, sampling=Sampling(), limits=limits))


def test_a_slow_policy_is_not_the_environments_fault() -> None:
    trajectory = play(FakeEnvironment(), Limits(deadline=0.25, step_deadline=0.25))
    assert (trajectory.status, trajectory.reward, trajectory.error) == ("done", 1.0, None)
    assert sum(step.seconds["policy"] for step in trajectory.steps) > 0.5


def test_a_slow_policy_does_not_hide_an_environment_that_hangs() -> None:
    trajectory = play(FakeEnvironment(faults={"evaluate": "hang"}), Limits(deadline=0.25))
    assert (trajectory.status, trajectory.reward) == ("timeout", None)
    assert "of the 0.25 s for the environment" in (trajectory.error or "")


def test_calls_share_the_time_of_their_episode() -> None:
    async def main() -> None:
        deadlines = Deadlines(Limits(deadline=0.4, step_deadline=10))
        await deadlines.call("reset", asyncio.sleep(0.25))
        await asyncio.sleep(0.3)
        await deadlines.call("step", asyncio.sleep(0.3), extra=0.3)
        with pytest.raises(EnvironmentTimeout, match=r"step took longer than 0\.\d s, all that was left of the 0\.4 s"):
            await deadlines.call("step", asyncio.sleep(0.3))

    asyncio.run(main())


class SlowToStart(FakeEnvironment):
    async def reset(self, task: Task, seed: int) -> Observation:
        await asyncio.sleep(0.3)
        return await super().reset(task, seed)

    async def evaluate(self) -> float:
        await asyncio.sleep(0.3)
        return await super().evaluate()


def test_an_environment_may_grant_itself_time_for_its_resets_and_grading() -> None:
    limits = Limits(deadline=2.0, step_deadline=0.1)
    hasty, slow = SlowToStart(), SlowToStart()
    assert play(hasty, limits).status == "timeout"
    slow.reset_deadline = 1.0  # type: ignore[attr-defined]
    assert "evaluate took longer" in (play(slow, limits).error or "")
    slow.evaluate_deadline = 1.0  # type: ignore[attr-defined]
    assert play(slow, limits).status == "done"
