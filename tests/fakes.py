"""An environment for tests that fails where it is told to, and an agent with a one-word dialect."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from stepladder.images import ImageStore
from stepladder.interfaces import Environment, EnvironmentFailure, ParseError
from stepladder.rollout.pool import EnvironmentPool, PoolSettings
from stepladder.types import Action, ImageRef, Message, Observation, Region, Step, Task

BUTTON = Region("OK", "button", (20.0, 20.0, 30.0, 10.0), (20.0, 20.0, 30.0, 10.0), "button")


class FakeEnvironment:
    """The reward is 1 after `goal` clicks. `faults` maps "reset", "step", "evaluate" or "solve" to "crash", "hang" or "bug";
    each fault happens `times` times and then never again."""

    def __init__(
        self, images: ImageStore | None = None, *, goal: int = 2, faults: dict[str, str] | None = None, times: int = 10**9
    ) -> None:
        self.task = Task("fake", "", "fake")
        self.goal = goal
        self.faults = faults or {}
        self.times = times
        self.clicks = 0
        self.resets = 0
        self.closed = False
        self.actions: list[Action] = []

    async def reset(self, task: Task, seed: int) -> Observation:
        await self._fault("reset")
        self.task = Task(task.id, f"click {self.goal} times (seed {seed})", task.env, max_steps=task.max_steps)
        self.clicks = 0
        self.resets += 1
        return self._observe()

    async def step(self, action: Action) -> Observation:
        await self._fault("step")
        self.actions.append(action)
        self.clicks += action.kind == "click" and (action.x is None or _in_button(action.x, action.y or 0.0))
        return self._observe()

    async def evaluate(self) -> float:
        await self._fault("evaluate")
        return float(self.clicks == self.goal)

    async def close(self) -> None:
        self.closed = True

    async def regions(self) -> tuple[Region, ...]:
        return (BUTTON,)

    async def solve(self) -> AsyncIterator[tuple[str, Action]]:
        for number in range(self.goal):
            await self._fault("solve")
            yield f"Action: Click ({number}).", Action("click", 35, 25)

    def _observe(self) -> Observation:
        return Observation(screenshot=ImageRef(f"{self.clicks:064x}", 100, 80), done=self.clicks >= self.goal)

    async def _fault(self, place: str) -> None:
        await asyncio.sleep(0)
        fault = self.faults.get(place)
        if fault is None or self.times == 0:
            return
        self.times -= 1
        if fault == "crash":
            raise EnvironmentFailure("the browser is gone")
        if fault == "bug":
            raise KeyError("node")
        await asyncio.Event().wait()


def _in_button(x: float, y: float) -> bool:
    left, top, width, height = BUTTON.box
    return left <= x <= left + width and top <= y <= top + height


def pool_of(
    environments: Sequence[Environment], replacements: Sequence[Environment] = (), settings: PoolSettings | None = None
) -> EnvironmentPool:
    """A pool that lends `environments` (spares among them), and opens `replacements` one after another."""
    settings = settings or PoolSettings(memory=0, load=0)
    batches = iter([environments, *([one] for one in replacements)])

    async def open_many(count: int) -> Sequence[Environment]:
        await asyncio.sleep(0)
        batch = next(batches, ())
        if len(batch) != count:
            raise EnvironmentFailure("there is no other environment")
        return batch

    return EnvironmentPool(open_many, len(environments) - settings.spares, settings)


class WordAgent:
    """Says the kind of an action and nothing else."""

    name = "words"
    stop = ("!",)

    def prompt(self, task: Task, steps: Sequence[Step], observation: Observation) -> tuple[Message, ...]:
        assert observation.screenshot is not None
        history = "".join(f" {step.error or (step.action and step.action.kind)}" for step in steps)
        return (Message("user", (observation.screenshot, task.instruction + history)),)

    def parse(self, text: str, observation: Observation) -> tuple[str, Action]:
        if text not in ("click", "wait", "done", "fail"):
            raise ParseError(f"{text!r} is no action", 0)
        return "", Action(text)  # type: ignore[arg-type]

    def format(self, thought: str, action: Action, observation: Observation) -> str:
        return action.kind


class SentenceAgent(WordAgent):
    """Says several words in one reply."""

    def parse_several(self, text: str, observation: Observation) -> tuple[str, tuple[Action, ...]]:
        return "", tuple(self.parse(word, observation)[1] for word in text.split(" "))

    def format_several(self, thought: str, actions: Sequence[Action], observation: Observation) -> str:
        return " ".join(action.kind for action in actions)
