"""One question, one answer, which a program checks: what reinforcement learning with verifiable rewards (rung 7) plays."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
from collections.abc import AsyncIterator, Iterable
from random import Random
from typing import get_args

from stepladder.drawing import FlatPngEncoder
from stepladder.envs.reasoning import tasks
from stepladder.envs.reasoning.problem import Problem, problem_of
from stepladder.images import ImageStore
from stepladder.interfaces import EnvironmentFailure
from stepladder.types import Action, ImageRef, Observation, Region, Task
from stepladder.verifiers import verify
from stepladder.verifiers.sandbox import Isolation, ProgramLimits


class ReasoningEnvironment:
    """Questions from a seed; the same seed gives the same question, and no question of a training seed is one of a held-out seed.

    The answer is the text of an action `done`; with `fail` there is none, and anything else changes nothing. Questions of
    arithmetic and programs have no screenshot, those about screens have one of `width` x `height` pixels; the text beside it says
    how to answer. `isolation` is that of programs (`stepladder.verifiers.sandbox`).
    """

    def __init__(self, images: ImageStore, *, width: int = 224, height: int = 224, isolation: Isolation = "auto") -> None:
        if width < 160 or height < 200:
            raise ValueError(f"a screen with a question needs at least 160 x 200 pixels, not {width} x {height}")
        if isolation not in get_args(Isolation):
            raise ValueError(f"isolation is {isolation!r}; it must be one of {', '.join(get_args(Isolation))}")
        self.images, self.width, self.height, self.isolation = images, width, height, isolation
        self.task = Task("reasoning", "", "reasoning")
        limits = ProgramLimits()
        #: Seconds that grading may take, on a machine that is busy with other things.
        self.evaluate_deadline = limits.start + limits.seconds + 30.0
        self._encoder = FlatPngEncoder()
        self._problem: Problem | None = None
        self._shown: ImageRef | None = None
        self._answer: str | None = None
        self._ended = False

    @classmethod
    def tasks(cls, kinds: Iterable[str] | None = None) -> list[Task]:
        """One task for each kind (all without `kinds`); `reset` fills in the question. Raises ValueError for unknown kinds."""
        return tasks.tasks(kinds)

    async def reset(self, task: Task, seed: int) -> Observation:
        try:
            kind = tasks.kind_of(task)
        except ValueError as error:
            raise EnvironmentFailure(str(error)) from error
        make = tasks.maker_of(kind, self.width, self.height)
        # The text of a question about a screen says little of what is asked: those are held out by their seeds alone.
        self._problem = problem = problem_of(kind, seed, make, split=tasks.KINDS[kind].ask is None)
        self._shown = None if problem.pixels is None else self.images.put(self._encoder.encode(problem.pixels))
        self._answer, self._ended = None, False
        self.task = dataclasses.replace(task, instruction=problem.question, check=problem.check)
        return self._observe(problem.form)

    async def step(self, action: Action) -> Observation:
        problem = self._started()
        if self._ended:
            return self._observe("The episode has ended: nothing changes any more.")
        if action.kind not in ("done", "fail"):
            return self._observe(f"A question cannot be answered by {action.kind!r}. {problem.form}")
        self._ended, self._answer = True, action.text if action.kind == "done" else None
        return self._observe("No answer." if self._answer is None else "Answered.")

    async def evaluate(self) -> float:
        """1 when the answer is right, else 0. Raises EnvironmentFailure when the sandbox of a program does not start."""
        problem = self._started()
        if self._answer is None:
            return 0.0
        return float(await asyncio.to_thread(verify, problem.check, self._answer, self.isolation))

    async def close(self) -> None:
        self._problem = self._shown = None

    async def regions(self) -> tuple[Region, ...]:
        """Words and widgets of the screen, with their boxes; none where there is no screen."""
        return self._started().regions

    async def solve(self) -> AsyncIterator[tuple[str, Action]]:
        """(thought, answer): the thought leads to the answer in short steps."""
        problem = self._started()
        if not self._ended:
            yield problem.thought, Action("done", text=problem.answer)

    async def mistake(self, random: Random) -> None:
        """No wrong step can be put right: the first answer counts."""

    def _started(self) -> Problem:
        if self._problem is None:
            raise EnvironmentFailure("the reasoning environment has no episode; call reset first")
        return self._problem

    def _observe(self, text: str) -> Observation:
        problem = self._started()
        state = (self.task.id, problem.question, None if self._shown is None else self._shown.sha256, self._answer, self._ended)
        digest = hashlib.sha256(repr(state).encode()).hexdigest()[:16]
        return Observation(self._shown, None, text, f"reasoning:{tasks.kind_of(self.task)}", digest, self._ended)
