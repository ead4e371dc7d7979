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
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

from stepladder.agents.replies import read_completion
from stepladder.interfaces import Agent, ContextFull, Environment, EnvironmentFailure, EnvironmentTimeout, ParseError, Policy
from stepladder.types import EVALUATOR, Action, Limits, Observation, Sampling, Status, Step, Task, Trajectory

T = TypeVar("T")
#: Called with the environment, what it shows, and the turns so far.
Watch = Callable[[Environment, Observation, Sequence[Step]], Awaitable[None]]
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
    parse_errors: int = 0


class Actor(Protocol):
    """Who decides in an episode what is done: a policy that is asked in an agent's words, a person, or both in turn."""

    @property
    def name(self) -> str:
        """The policy of the trajectory."""

    @property
    def dialect(self) -> str:
        """The name of the trajectory's agent; empty where nothing is said in words."""

    async def turn(self, task: Task, steps: Sequence[Step], observation: Observation) -> Step | Status:
        """The next turn, at `observation` and not carried out yet; a step without an action is a reply that could not be read. Or
        the status with which the episode is over. Raises EnvironmentFailure when it had to ask the environment, which broke."""


@dataclass(frozen=True)
class PolicyActor:
    """`policy`, asked in the words of `agent`. The agent's stop strings are added to those of `sampling`. With `sampling.seed` set,
    every step samples with its own seed, derived from it, `seeded_by` and the step's number. An episode's replies have at most
    `max_tokens` tokens together."""

    agent: Agent
    policy: Policy
    sampling: Sampling
    max_tokens: int | None = None
    seeded_by: tuple[object, ...] = ()

    @property
    def name(self) -> str:
        """See `Actor.name`."""
        return self.policy.name

    @property
    def dialect(self) -> str:
        """See `Actor.dialect`."""
        return self.agent.name

    async def turn(self, task: Task, steps: Sequence[Step], observation: Observation) -> Step | Status:
        """See `Actor.turn`."""
        sampling = self.sampling
        stop = (*sampling.stop, *(text for text in self.agent.stop if text not in sampling.stop))
        sampling = replace(sampling, stop=stop, seed=_derive(sampling.seed, *self.seeded_by, len(steps)))
        if self.max_tokens is not None:
            sampling = replace(sampling, max_tokens=min(sampling.max_tokens, self.max_tokens - _sampled_tokens(steps)))
        started = time.perf_counter()
        try:
            prompt, completion = await self.policy.generate(self.agent.prompt(task, steps, observation), sampling)
        except ContextFull:
            return "context_full"
        step = Step(observation, prompt=prompt, completion=completion, seconds={"policy": time.perf_counter() - started})
        try:
            thought, actions = read_completion(self.agent, completion, observation)
        except ParseError as error:
            return replace(step, error=str(error))
        return replace(step, action=actions[0], more=actions[1:], thought=thought)


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
    """Play `task` once from the state that `seed` names and grade the state reached; see `PolicyActor` for who acts and
    `act_out` for everything else."""
    actor = PolicyActor(agent, policy, sampling, limits.max_tokens, (task.id, seed, index))
    return await act_out(environment, actor, task, seed, limits=limits, group=group, index=index, watch=watch)


async def act_out(
    environment: Environment,
    actor: Actor,
    task: Task,
    seed: int,
    *,
    limits: Limits,
    group: str = "",
    index: int = 0,
    watch: Watch | None = None,
) -> Trajectory:
    """Let `actor` play `task` once from the state that `seed` names and grade the state reached.

    `watch` is called with the environment, every observation and the turns so far before the actor is asked.
    """
    deadlines = Deadlines(limits)
    progress = _Progress(task)
    reward, error, status, explanation = None, None, None, ""
    try:
        progress.observation = await deadlines.call(
            "reset", environment.reset(task, seed), extra=own_time(environment, limits, "reset")
        )
        progress.task = getattr(environment, "task", task)
        while status is None:
            status = _exhausted(progress, limits)
            if status is None:
                observation = progress.observation
                assert observation is not None
                if watch is not None:
                    await deadlines.call("watch", watch(environment, observation, progress.steps))
                turn = await actor.turn(progress.task, progress.steps, observation)
                status = turn if isinstance(turn, str) else await _carry_out(progress, environment, turn, limits, deadlines)
        reward = float(await deadlines.call("evaluate", environment.evaluate(), extra=own_time(environment, limits, "evaluate")))
        explanation = str(getattr(environment, "explanation", ""))
    except EnvironmentTimeout as failure:
        status, error = "timeout", str(failure)
    except EnvironmentFailure as failure:
        status, error = "env_error", str(failure)
    return Trajectory(
        id=episode_id(task.id, seed, group or actor.name, index),
        task=progress.task,
        steps=tuple(progress.steps),
        final=progress.observation,
        status=status,
        reward=reward,
        group=group,
        index=index,
        seed=seed,
        agent=actor.dialect,
        policy=actor.name,
        error=error,
        extra={EVALUATOR: explanation} if explanation else {},
    )


def episode_id(task: str, seed: int, group: str, index: int) -> str:
    """The id of an episode's trajectory; one that belongs to no group has the policy's name in the group's place."""
    return f"{task}-{seed}-{group}-{index}"


async def _carry_out(
    progress: _Progress, environment: Environment, step: Step, limits: Limits, deadlines: Deadlines
) -> Status | None:
    """Do what was decided; the status if it was the last turn. The turn is recorded before the environment acts, so that a failure
    keeps it."""
    progress.steps.append(step)
    if step.action is None:
        progress.parse_errors += 1
        return "parse_error" if progress.parse_errors >= limits.max_parse_errors else None
    progress.parse_errors = 0
    started = time.perf_counter()
    said, status = [], None
    for action in step.actions:
        progress.observation = shown = await deadlines.call("step", environment.step(action), extra=action.seconds)
        said.append(shown.text)
        if len(said) > 1:
            progress.observation = replace(shown, text="\n".join(filter(None, said)))
        status = _ended(action, shown)
        if status is not None:
            break
    seconds = {**step.seconds, "environment": time.perf_counter() - started}
    # What stands after the end of the episode was not done.
    progress.steps[-1] = replace(step, more=step.actions[1 : len(said)], seconds=seconds)
    return status


def _ended(action: Action, observation: Observation) -> Status | None:
    if action.kind == "fail":
        return "gave_up"
    return "done" if action.kind == "done" or observation.done else None


def _exhausted(progress: _Progress, limits: Limits) -> Status | None:
    if len(progress.steps) >= (progress.task.max_steps if limits.max_steps is None else limits.max_steps):
        return "max_steps"
    if limits.max_tokens is not None and _sampled_tokens(progress.steps) >= limits.max_tokens:
        return "max_tokens"
    return None


def _sampled_tokens(steps: Sequence[Step]) -> int:
    return sum(len(step.completion.tokens) for step in steps if step.completion is not None and step.completion.tokens is not None)


def _derive(seed: int | None, *parts: object) -> int | None:
    """A seed in 0..2^63-1 that differs for different parts; None stays None."""
    if seed is None:
        return None
    digest = hashlib.sha256(repr((seed, *parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
