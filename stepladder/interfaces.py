"""The plug-ins: what an environment, an agent, a policy and a reward must offer.

A class fits by having the methods; nothing is inherited and nothing is registered. Slow methods are coroutines.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol, runtime_checkable

from stepladder.types import Action, Completion, Message, Observation, Prompt, Sampling, Step, Task, Trajectory


class EnvironmentFailure(Exception):
    """The environment broke (crash, lost connection, page that never loads). The episode ends as `env_error`, without a reward."""


class EnvironmentTimeout(EnvironmentFailure):
    """The environment did not answer in time. The episode ends as `timeout`, without a reward."""


class ParseError(ValueError):
    """Model text that is no action. `position` is the character offset in the text where reading stopped."""

    def __init__(self, message: str, position: int = 0) -> None:
        super().__init__(message)
        self.position = position


@runtime_checkable
class Environment(Protocol):
    """Where an episode happens. One instance runs one episode at a time; `reset` starts a fresh one."""

    async def reset(self, task: Task, seed: int) -> Observation:
        """Start `task`; equal seeds start equal states. Raises EnvironmentFailure."""

    async def step(self, action: Action) -> Observation:
        """Carry out one action and show the settled result. Any `Action` is accepted: one that cannot be done changes nothing
        and says so in `Observation.text`. Raises EnvironmentFailure."""

    async def evaluate(self) -> float:
        """The task reward in [0, 1] of the state reached. Raises EnvironmentFailure. An environment that can say why has an
        attribute `explanation`, a text that is kept with the trajectory."""

    async def close(self) -> None:
        """Free everything. May be called twice, and after a failure."""


@runtime_checkable
class Demonstrator(Protocol):
    """An environment that knows how its task is done."""

    def solve(self) -> AsyncIterator[tuple[str, Action]]:
        """Yield (thought, action) one by one; the caller steps the environment with each before it asks for the next."""


@runtime_checkable
class Agent(Protocol):
    """A model family's dialect: how it is asked and how its answers are read."""

    @property
    def name(self) -> str:
        """What trajectories and reports call it."""

    @property
    def stop(self) -> tuple[str, ...]:
        """Strings that end a reply."""

    def prompt(self, task: Task, steps: Sequence[Step], observation: Observation) -> tuple[Message, ...]:
        """The messages for the next decision, history windowed. The same function serves rollout, training and evaluation
        (law 3)."""

    def parse(self, text: str, observation: Observation) -> tuple[str, Action]:
        """(thought, action) of a reply. Raises ParseError, and nothing else, for text that is no action (law 1)."""

    def format(self, thought: str, action: Action, observation: Observation) -> str:
        """The reply that says `action`; `parse` reads it back to within the dialect's coordinate grid. Raises ValueError for an
        action that the dialect cannot say."""


@runtime_checkable
class Policy(Protocol):
    """Something that answers messages: a local model, a server, a script."""

    @property
    def name(self) -> str:
        """What trajectories and reports call it."""

    @property
    def version(self) -> int:
        """Counts the weight updates that it has received."""

    async def generate(self, messages: tuple[Message, ...], sampling: Sampling) -> tuple[Prompt, Completion]:
        """Answer. Raises ContextFull when the prompt is longer than the model can read."""


class ContextFull(Exception):
    """The prompt does not fit the model's context."""


@runtime_checkable
class Reward(Protocol):
    """Named reward terms for every member of a group, unclamped."""

    def __call__(self, group: list[Trajectory]) -> list[dict[str, float]]: ...
