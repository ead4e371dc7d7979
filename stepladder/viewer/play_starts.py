"""Where a play can start and who can play, beyond tasks and policies: an instruction of one's own, a plain desktop, a web page, the
environment's own demonstrator."""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, cast
from urllib.parse import urlsplit

from stepladder.config import ConfigError
from stepladder.interfaces import Demonstrator, Environment, EnvironmentFailure
from stepladder.recorder.merge import STILL
from stepladder.types import Action, Observation, Status, Step, Task

ORACLE = "oracle"
#: Tag of a task that has neither instruction nor check: where a play with an instruction of one's own starts.
START = "start"
#: Seconds in which a person says whether an instruction of their own was carried out; longer than any play is kept.
VERDICT_DEADLINE = 7 * 86400.0
Judge = Callable[[Observation], Awaitable[float]]


def start_of(where: str) -> Task:
    """The start that `where` names: "desktop", or the address of a web page. Raises ConfigError."""
    if where == "desktop":
        return Task("desktop", "", "stepladder.envs.desktop.plain:PlainDesktop", tags=(START,))
    address = urlsplit(where)
    if address.scheme not in ("http", "https") or not address.hostname:
        raise ConfigError(f"starts: {where!r} is none; write desktop, or an address that begins with http:// or https://")
    return Task(where, "", "page", {"url": where, "network": [address.hostname]}, tags=(START,))


class OwnInstruction:
    """The environment of `start` with an instruction of a person's own, who also says in the end, through `judge`, whether it was
    carried out: there is no other check. Everything else is the inner environment's own."""

    evaluate_deadline = VERDICT_DEADLINE

    def __init__(self, environment: Environment, instruction: str, judge: Judge) -> None:
        self.task = Task("", instruction, "")
        self._environment, self._instruction, self._judge = environment, instruction, judge
        self._last: Observation | None = None

    async def reset(self, task: Task, seed: int) -> Observation:
        """See `Environment.reset`."""
        self._last = await self._environment.reset(task, seed)
        digest = hashlib.sha256(self._instruction.encode()).hexdigest()[:8]
        self.task = replace(task, id=f"{task.id}-own-{digest}", instruction=self._instruction, check={}, tags=(*task.tags, "own"))
        return self._last

    async def step(self, action: Action) -> Observation:
        """See `Environment.step`. That the start's own task is solved does not end it."""
        self._last = await self._environment.step(action)
        return self._last

    async def evaluate(self) -> float:
        """What the person says of the last screen."""
        if self._last is None:
            raise EnvironmentFailure("the environment was not reset")
        return await self._judge(self._last)

    async def close(self) -> None:
        """See `Environment.close`."""
        await self._environment.close()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._environment, name)


class DemonstratorActor:
    """The environment's own solution as an actor. It goes on for as long as what it proposes is done, whoever does it. After
    anything else it begins again, from the screen as it is: solutions that look at the screen go on from there."""

    name = ORACLE
    dialect = ""
    interruptible = False

    def __init__(self, environment: Environment) -> None:
        if not isinstance(environment, Demonstrator):
            raise TypeError(f"{type(environment).__name__} cannot demonstrate: it has no method solve()")
        self._environment = environment
        self._solution: AsyncGenerator[tuple[str, Action], None] | None = None
        #: What was proposed last, and after how many steps.
        self._proposed: tuple[str, Action] | None = None
        self._after = -1

    async def turn(self, task: Task, steps: Sequence[Step], observation: Observation) -> Step | Status:
        """See `Actor.turn`. Where nothing is left to be done, it says so."""
        if self._solution is None or not self._stands(steps):
            await self.close()
            self._solution, self._proposed = cast(AsyncGenerator[tuple[str, Action], None], self._environment.solve()), None
        if self._proposed is None or len(steps) != self._after:
            self._proposed, self._after = await self._next(self._solution), len(steps)
        thought, action = self._proposed
        return Step(observation, action, thought)

    def _stands(self, steps: Sequence[Step]) -> bool:
        """Whether nothing but what was proposed has happened since."""
        if self._proposed is None or len(steps) == self._after:
            return True
        if len(steps) != self._after + 1:
            return False
        done = steps[-1].actions
        return len(done) == 1 and _alike(done[0], self._proposed[1])

    async def _next(self, solution: AsyncGenerator[tuple[str, Action], None]) -> tuple[str, Action]:
        try:
            move = await anext(solution, None)
        except EnvironmentFailure:
            raise
        except Exception as error:
            raise EnvironmentFailure(f"solve: {type(error).__name__}: {error}") from error
        return move if move is not None else ("", Action("done"))

    async def close(self) -> None:
        """Let go of the solution. May be called twice."""
        solution, self._solution = self._solution, None
        if solution is not None:
            with contextlib.suppress(Exception):
                await solution.aclose()


def _alike(first: Action, second: Action) -> bool:
    """Whether two actions do the same, to within what a hand on the mouse can tell."""
    ends = [((action.x, action.y), (action.x2, action.y2)) for action in (first, second)]
    near = all(
        one == other or (None not in (*one, *other) and math.dist(cast(Any, one), cast(Any, other)) <= STILL)
        for one, other in zip(*ends, strict=True)
    )
    return near and replace(first, x=None, y=None, x2=None, y2=None) == replace(second, x=None, y=None, x2=None, y2=None)
