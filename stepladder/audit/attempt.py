"""One episode that is steered action by action, recorded and graded like any other."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import cast

from stepladder.interfaces import Demonstrator, Environment, EnvironmentFailure, EnvironmentTimeout
from stepladder.rollout.demonstrate import HasFinalScreen, HasRegions
from stepladder.rollout.episode import Deadlines, own_time
from stepladder.types import Action, Limits, Observation, Region, Status, Step, Task, Trajectory

#: A solution may wait for something between two of its actions. So long, in seconds, is waited at most where it is played again.
LONGEST_PAUSE = 3.0


class Void(Exception):
    """An episode that says nothing about the reward; the message says why."""


@dataclass(frozen=True)
class Turn:
    """One action of a solution, what was seen before it, and the seconds that the solution had waited before it."""

    observation: Observation
    thought: str
    action: Action
    pause: float


@dataclass(frozen=True)
class Recording:
    """How a solution went: its turns, the last screen, and what it earned (None when the environment failed)."""

    turns: tuple[Turn, ...]
    final: Observation | None
    trajectory: Trajectory

    @property
    def acting(self) -> tuple[int, ...]:
        """The turns that do something: without waiting, and without saying that all is done where no answer is asked for."""
        return tuple(number for number, turn in enumerate(self.turns) if acts(turn.action))

    def after(self, number: int) -> Observation | None:
        """What was seen after a turn."""
        return self.turns[number + 1].observation if number + 1 < len(self.turns) else self.final


def acts(action: Action) -> bool:
    """Whether an action does something, or says something that is asked for."""
    return action.kind not in ("wait", "done", "fail") or (action.kind == "done" and bool(action.text))


class Attempt:
    """An episode under way. `act` records; nothing happens any more once it is `over`."""

    def __init__(self, environment: Environment, limits: Limits) -> None:
        self.environment = environment
        self.deadlines = Deadlines(limits)
        self.limits = limits
        self.observation: Observation | None = None
        self.steps: list[Step] = []
        self.status: Status | None = None

    @property
    def over(self) -> bool:
        return self.status is not None

    async def begin(self, task: Task, seed: int) -> None:
        environment = self.environment
        if isinstance(environment, HasFinalScreen):
            environment.final_screen = True
        extra = own_time(environment, self.limits, "reset")
        self.observation = await self.deadlines.call("reset", environment.reset(task, seed), extra=extra)

    async def act(self, action: Action, thought: str = "") -> Observation:
        assert self.observation is not None
        self.steps.append(Step(self.observation, action, thought))
        self.observation = await self.deadlines.call("step", self.environment.step(action), extra=action.seconds)
        if action.kind == "fail":
            self.status = "gave_up"
        elif action.kind == "done" or self.observation.done:
            self.status = "done"
        return self.observation

    async def regions(self) -> tuple[Region, ...]:
        """What is where on the screen; nothing where the environment does not know."""
        if not isinstance(self.environment, HasRegions):
            return ()
        return await self.deadlines.call("regions", self.environment.regions())

    async def grade(self) -> float:
        """The task reward; who has not ended the episode says that all is done."""
        if not self.over:
            await self.act(Action("done"))
        extra = own_time(self.environment, self.limits, "evaluate")
        return float(await self.deadlines.call("evaluate", self.environment.evaluate(), extra=extra))

    @contextlib.asynccontextmanager
    async def solution(self) -> AsyncGenerator[Callable[[], Awaitable[tuple[str, Action] | None]], None]:
        """The environment's own solution from here: a function that gives its next (thought, action), None at its end."""
        assert isinstance(self.environment, Demonstrator)
        turns = cast(AsyncGenerator[tuple[str, Action], None], self.environment.solve())

        async def following() -> tuple[str, Action] | None:
            return await self.deadlines.call("solve", _next(turns))

        async with contextlib.aclosing(turns):
            yield following


async def attempt(
    environment: Environment, task: Task, seed: int, name: str, body: Callable[[Attempt], Awaitable[None]]
) -> Trajectory:
    """Start `task`, let `body` act, and grade what is there. A failure of the environment is the status of the trajectory, which
    has no reward then. Raises Void as `body` does."""
    limits = Limits()
    one = Attempt(environment, limits)
    reward, error = None, None
    try:
        await one.begin(task, seed)
        await body(one)
        reward = await one.grade()
        status: Status = one.status or "done"
    except EnvironmentTimeout as failure:
        status, error = "timeout", str(failure)
    except EnvironmentFailure as failure:
        status, error = "env_error", str(failure)
    shown = getattr(environment, "task", task)
    return Trajectory(
        f"{task.id}-{seed}-{name}",
        shown,
        tuple(one.steps),
        one.observation,
        status,
        reward,
        seed=seed,
        policy=name.partition("-")[0],
        error=error,
    )


async def record(environment: Environment, task: Task, seed: int) -> Recording:
    """The environment's own solution, played to its end."""
    turns: list[Turn] = []

    async def solve(one: Attempt) -> None:
        async with one.solution() as following:
            while not one.over:
                asked = time.monotonic()
                turn = await following()
                if turn is None or len(turns) >= task.max_steps:
                    break
                assert one.observation is not None
                turns.append(Turn(one.observation, turn[0], turn[1], time.monotonic() - asked))
                await one.act(turn[1], turn[0])

    trajectory = await attempt(environment, task, seed, "oracle", solve)
    return Recording(tuple(turns), trajectory.final, trajectory)


@contextlib.asynccontextmanager
async def followed(one: Attempt, recording: Recording, count: int) -> AsyncGenerator[tuple[str, Action] | None, None]:
    """Let the solution act `count` times, and give its next turn without doing it. Raises Void when it goes another way than it
    did when it was recorded."""
    async with one.solution() as following:
        for number in range(count + 1):
            turn = await following()
            expected = recording.turns[number].action.kind if number < len(recording.turns) else None
            if (None if turn is None else turn[1].kind) != expected or (one.over and turn is not None):
                raise Void(f"the solution went another way than before at step {number + 1}")
            if number == count or turn is None:
                yield turn
                return
            await one.act(turn[1], turn[0])


async def replay(one: Attempt, turns: Sequence[Turn]) -> None:
    """Do again what was recorded, without looking, as somebody would who has not noticed what went wrong."""
    for turn in turns:
        if one.over:
            return
        await asyncio.sleep(min(turn.pause, LONGEST_PAUSE))
        await one.act(turn.action, turn.thought)


async def _next(turns: AsyncGenerator[tuple[str, Action], None]) -> tuple[str, Action] | None:
    return await anext(turns, None)
