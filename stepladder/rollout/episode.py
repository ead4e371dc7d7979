"""One episode: observe, ask, read, act, until it is over; then the task's own check gives the reward.

Whatever goes wrong becomes the trajectory's status. A reply that is no action is an error on its step, a broken environment is
`env_error` or `timeout` without a reward (law 4). Only a broken policy, a mistake in this program and cancellation come out as
exceptions.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from stepladder.agents.replies import read_reply
from stepladder.interfaces import Agent, ContextFull, Environment, EnvironmentFailure, EnvironmentTimeout, ParseError, Policy
from stepladder.types import Action, Limits, Observation, Sampling, Status, Step, Task, Trajectory

T = TypeVar("T")
Watch = Callable[[Environment, Observation], Awaitable[None]]
_logger = logging.getLogger(__name__)


class Deadlines:
    """The seconds that an episode's environment may take, in all and in one call, and the one place where environments are awaited.

    Only the time within `call` counts: a policy that is slow to answer is not the environment's fault.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._left = limits.deadline

    async def call(self, what: str, work: Awaitable[T], extra: float = 0.0) -> T:
        """The result of `work`. `extra` seconds are granted on top of both limits.

        Raises EnvironmentTimeout when the time is up and EnvironmentFailure for every other error of the environment.
        """
        self._left += extra
        seconds = min(self._limits.step_deadline + extra, self._left)
        started = time.monotonic()
        try:
            async with asyncio.timeout(seconds):
                return await work
        except TimeoutError as error:
            message = f"{what} took longer than {max(seconds, 0.0):.1f} s"
            if seconds == self._left:
                message += f", all that was left of the {self._limits.deadline:g} s for the environment in one episode"
            raise EnvironmentTimeout(message) from error
        except EnvironmentFailure:
            raise
        except Exception as error:
            _logger.warning("the environment's %s failed", what, exc_info=True)
            raise EnvironmentFailure(f"{what}: {type(error).__name__}: {error}") from error
        finally:
            self._left -= time.monotonic() - started


def own_time(environment: Environment, limits: Limits, what: str) -> float:
    """Seconds beyond the limit of a call that an environment grants itself for it, by its attribute `<what>_deadline`: some must
    start applications to begin, or wait for files to be graded."""
    return max(0.0, float(getattr(environment, f"{what}_deadline", 0.0)) - limits.step_deadline)


@dataclass
class _Progress:
    """What is known of an episode so far; survives the failure of its environment."""

    task: Task
    steps: list[Step] = field(default_factory=list)
    observation: Observation | None = None
    tokens: int = 0
    parse_errors: int = 0


async def run_episode(
    environment: Environment,
    agent: Agent,
    policy: Policy,
    task: Task,
    seed: int,
    *,
    sampling: Sampling,
    limits: Limits,
    group: str = "",
    index: int = 0,
    watch: Watch | None = None,
) -> Trajectory:
    """Play `task` once from the state that `seed` names and grade the state reached.

    The agent's stop strings are added to those of `sampling`. With `sampling.seed` set, every step samples with its own seed,
    derived from it, the task, `seed`, `index` and the step's number. `watch` is called with the environment and every observation
    before the policy is asked.
    """
    sampling = replace(sampling, stop=(*sampling.stop, *(text for text in agent.stop if text not in sampling.stop)))
    deadlines = Deadlines(limits)
    progress = _Progress(task)
    reward, error, status = None, None, None
    try:
        progress.observation = await deadlines.call(
            "reset", environment.reset(task, seed), extra=own_time(environment, limits, "reset")
        )
        progress.task = getattr(environment, "task", task)
        while status is None:
            status = _exhausted(progress, limits)
            if status is None:
                if watch is not None and progress.observation is not None:
                    await deadlines.call("watch", watch(environment, progress.observation))
                step_seed = _derive(sampling.seed, task.id, seed, index, len(progress.steps))
                status = await _step(progress, environment, agent, policy, replace(sampling, seed=step_seed), limits, deadlines)
        reward = float(await deadlines.call("evaluate", environment.evaluate(), extra=own_time(environment, limits, "evaluate")))
    except EnvironmentTimeout as failure:
        status, error = "timeout", str(failure)
    except EnvironmentFailure as failure:
        status, error = "env_error", str(failure)
    return Trajectory(
        id=episode_id(task.id, seed, group or policy.name, index),
        task=progress.task,
        steps=tuple(progress.steps),
        final=progress.observation,
        status=status,
        reward=reward,
        group=group,
        index=index,
        seed=seed,
        agent=agent.name,
        policy=policy.name,
        error=error,
    )


def episode_id(task: str, seed: int, group: str, index: int) -> str:
    """The id of an episode's trajectory; one that belongs to no group has the policy's name in the group's place."""
    return f"{task}-{seed}-{group}-{index}"


async def _step(
    progress: _Progress,
    environment: Environment,
    agent: Agent,
    policy: Policy,
    sampling: Sampling,
    limits: Limits,
    deadlines: Deadlines,
) -> Status | None:
    """One turn; the status if it was the last one. The turn is recorded before the environment acts, so that a failure keeps it."""
    observation = progress.observation
    assert observation is not None
    if limits.max_tokens is not None:
        sampling = replace(sampling, max_tokens=min(sampling.max_tokens, limits.max_tokens - progress.tokens))
    started = time.perf_counter()
    try:
        prompt, completion = await policy.generate(agent.prompt(progress.task, progress.steps, observation), sampling)
    except ContextFull:
        return "context_full"
    step = Step(observation, prompt=prompt, completion=completion, seconds={"policy": time.perf_counter() - started})
    progress.tokens += 0 if completion.tokens is None else len(completion.tokens)
    try:
        thought, actions = read_reply(agent, completion.text, observation)
    except ParseError as error:
        progress.steps.append(replace(step, error=str(error)))
        progress.parse_errors += 1
        return "parse_error" if progress.parse_errors >= limits.max_parse_errors else None
    progress.parse_errors = 0
    progress.steps.append(replace(step, action=actions[0], more=actions[1:], thought=thought))
    started = time.perf_counter()
    said, status = [], None
    for action in actions:
        progress.observation = shown = await deadlines.call("step", environment.step(action), extra=action.seconds)
        said.append(shown.text)
        if len(said) > 1:
            progress.observation = replace(shown, text="\n".join(filter(None, said)))
        status = _ended(action, shown)
        if status is not None:
            break
    seconds = {**step.seconds, "environment": time.perf_counter() - started}
    # What stands after the end of the episode was not done.
    progress.steps[-1] = replace(progress.steps[-1], more=actions[1 : len(said)], seconds=seconds)
    return status


def _ended(action: Action, observation: Observation) -> Status | None:
    if action.kind == "fail":
        return "gave_up"
    return "done" if action.kind == "done" or observation.done else None


def _exhausted(progress: _Progress, limits: Limits) -> Status | None:
    if len(progress.steps) >= (progress.task.max_steps if limits.max_steps is None else limits.max_steps):
        return "max_steps"
    if limits.max_tokens is not None and progress.tokens >= limits.max_tokens:
        return "max_tokens"
    return None


def _derive(seed: int | None, *parts: object) -> int | None:
    """A seed in 0..2^63-1 that differs for different parts; None stays None."""
    if seed is None:
        return None
    digest = hashlib.sha256(repr((seed, *parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
