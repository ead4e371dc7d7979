"""Episodes that the environment itself acts out: demonstrations for behaviour cloning and perception."""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Container, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Protocol, cast, runtime_checkable

from stepladder.interfaces import Demonstrator, Environment, EnvironmentFailure, EnvironmentTimeout
from stepladder.rollout.episode import Deadlines, Watch, own_time
from stepladder.types import Action, ImageRef, Limits, Observation, Region, Status, Step, Task, Trajectory

Regions = tuple[Region, ...]
#: The policy of a trajectory in which a page was looked at and nothing done.
VISIT = "visit"
#: What is on a screen; None when that is known already, from elsewhere or from an earlier step.
Seen = Regions | None
#: Makes who shows how to go on, from a function that gives the latest observation.
Guide = Callable[[Callable[[], Observation]], Demonstrator]


@runtime_checkable
class HasRegions(Protocol):
    """An environment that knows where things are on its screen."""

    async def regions(self) -> Regions: ...


@runtime_checkable
class HasMistakes(Protocol):
    """An environment that knows wrong steps, as (thought, action), which end nothing and can be put right; None for none."""

    async def mistake(self, random: Random) -> tuple[str, Action] | None: ...


@runtime_checkable
class HasFinalScreen(Protocol):
    """An environment that need not show the screen on which an episode has ended: with `final_screen` False it does not."""

    final_screen: bool


class _Recorder:
    """Steps an environment and writes down what happens. Pictures in `known` are not looked at for regions again."""

    def __init__(
        self, environment: Environment, limits: Limits, regions: bool, known: Container[str], watch: Watch | None = None
    ) -> None:
        self.environment = environment
        self.watch = watch
        self.deadlines = Deadlines(limits)
        self.observation: Observation | None = None
        self.steps: list[Step] = []
        self.regions: list[Seen] = []
        self._with_regions = regions
        self._known = known
        self._looked_at: set[str] = set()

    async def look(self) -> Regions:
        assert isinstance(self.environment, HasRegions)
        return await self.deadlines.call("regions", self.environment.regions())

    async def look_once(self, screen: ImageRef | None) -> Seen:
        if screen is not None:
            if screen.sha256 in self._known or screen.sha256 in self._looked_at:
                return None
            self._looked_at.add(screen.sha256)
        return await self.look()

    async def act(self, thought: str, action: Action) -> None:
        assert self.observation is not None
        if self._with_regions:
            self.regions.append(await self.look_once(self.observation.screenshot))
        self.steps.append(Step(self.observation, action, thought))
        self.observation = await self.deadlines.call("step", self.environment.step(action), extra=action.seconds)

    async def again(self, step: Step) -> None:
        """Do what was done in `step`, no part of the loss."""
        assert self.observation is not None
        if self._with_regions:
            self.regions.append(await self.look_once(self.observation.screenshot))
        past = replace(step, observation=self.observation, prompt=None, completion=None, imitated="nothing")
        self.steps.append(past)
        for action in step.actions:
            self.observation = await self.deadlines.call("step", self.environment.step(action), extra=action.seconds)


async def run_demonstration(
    environment: Environment,
    task: Task,
    seed: int,
    *,
    limits: Limits,
    mistakes: Random | None = None,
    regions: bool = False,
    known: Container[str] = (),
    final: bool = True,
    watch: Watch | None = None,
) -> tuple[Trajectory, list[Seen]]:
    """The environment's own solution of `task`, graded as any other episode, and the regions on screen before each step.

    With `mistakes`, one wrong step comes first, so that a learner sees how to go on from there: what the environment's own
    `mistake(random)` gives, else a click beside everything. The number of such leading steps stands in `parts["mistakes"]`, and
    training gives them no loss.

    The list of regions is empty unless `regions` is set; it has None for a screenshot whose SHA-256 is in `known`, and from the
    second time on that a screenshot is seen. `final` False spares an environment that can do without it the last screen of an
    episode that it has ended. `watch` is called as by `stepladder.rollout.episode.act_out`. Raises
    TypeError when the environment cannot demonstrate, or has no regions where they are needed.
    """
    if not isinstance(environment, Demonstrator):
        raise TypeError(f"{type(environment).__name__} cannot demonstrate: it has no method solve()")
    needs_regions = regions or (mistakes is not None and not isinstance(environment, HasMistakes))
    if needs_regions and not isinstance(environment, HasRegions):
        raise TypeError(f"{type(environment).__name__} has no method regions()")
    if isinstance(environment, HasFinalScreen):
        environment.final_screen = final
    recorder = _Recorder(environment, limits, regions, known, watch)
    maximum = task.max_steps if limits.max_steps is None else limits.max_steps
    wrong = 0
    reward, error = None, None
    status: Status
    try:
        recorder.observation = await recorder.deadlines.call(
            "reset", environment.reset(task, seed), extra=own_time(environment, limits, "reset")
        )
        wrong_step = None if mistakes is None else await _mistake(recorder, mistakes)
        if wrong_step is not None:
            await recorder.act("", wrong_step)
            wrong = 1
        status = await _act_out(recorder, environment, maximum + wrong)
        reward = float(
            await recorder.deadlines.call("evaluate", environment.evaluate(), extra=own_time(environment, limits, "evaluate"))
        )
    except EnvironmentTimeout as failure:
        status, error = "timeout", str(failure)
    except EnvironmentFailure as failure:
        status, error = "env_error", str(failure)
    trajectory = Trajectory(
        id=f"{task.id}-{seed}-{'recovery' if mistakes is not None else 'oracle'}-0",
        task=getattr(environment, "task", task),
        steps=tuple(recorder.steps),
        final=recorder.observation,
        status=status,
        reward=reward,
        parts={"mistakes": float(wrong)} if wrong else {},
        seed=seed,
        policy="oracle",
        error=error,
    )
    return trajectory, recorder.regions


@dataclass(frozen=True)
class Replayed:
    """What came of `run_recovery`: the trajectory, the regions before each of its steps (see `run_demonstration`), and how many of
    the steps that were to be replayed led where they had led before; with fewer than all, nothing further was done."""

    trajectory: Trajectory
    regions: list[Seen]
    replayed: int


async def run_recovery(
    environment: Environment,
    past: Sequence[Step],
    after: Observation | None,
    task: Task,
    seed: int,
    *,
    limits: Limits,
    guide: Guide | None = None,
    regions: bool = False,
    known: Container[str] = (),
    identifier: str = "",
) -> Replayed:
    """Do again what was done in `past`, then what leads on from there to the goal, and grade it.

    The steps of `past` are marked as no part of the loss. Each must show the screen that it showed, and the last lead to `after`
    (None: anywhere). What leads on is said by `guide`, by default the environment itself. Raises TypeError when that cannot
    demonstrate.
    """
    recorder = _Recorder(environment, limits, regions and isinstance(environment, HasRegions), known)
    demonstrator = environment if guide is None else guide(lambda: _shown(recorder))
    if not isinstance(demonstrator, Demonstrator):
        raise TypeError(f"{type(demonstrator).__name__} cannot demonstrate: it has no method solve()")
    replayed, reward, error = 0, None, None
    status: Status = "max_steps"
    try:
        extra = own_time(environment, limits, "reset")
        recorder.observation = await recorder.deadlines.call("reset", environment.reset(task, seed), extra=extra)
        seen = [*(step.observation for step in past), after]
        while replayed < len(past) and not recorder.observation.done and same_state(recorder.observation, seen[replayed]):
            await recorder.again(past[replayed])
            replayed += 1
        if replayed == len(past) and same_state(recorder.observation, after) and not recorder.observation.done:
            status = await _act_out(recorder, demonstrator, len(past) + task.max_steps)
            extra = own_time(environment, limits, "evaluate")
            reward = float(await recorder.deadlines.call("evaluate", environment.evaluate(), extra=extra))
        elif not same_state(recorder.observation, after):
            replayed = min(replayed, len(past) - 1)
    except EnvironmentTimeout as failure:
        status, error = "timeout", str(failure)
    except EnvironmentFailure as failure:
        status, error = "env_error", str(failure)
    shown = getattr(environment, "task", task)
    steps = tuple(recorder.steps)
    trajectory = Trajectory(
        identifier, shown, steps, recorder.observation, status, reward, seed=seed, policy="recovery", error=error
    )
    return Replayed(trajectory, recorder.regions, replayed)


def same_state(here: Observation, before: Observation | None) -> bool:
    """Whether two observations show the same state: by their state keys where both have one, else by the screenshot, else by the
    text. Anything is the same as None."""
    if before is None:
        return True
    if here.state_key and before.state_key:
        return here.state_key == before.state_key
    if here.screenshot is not None or before.screenshot is not None:
        return here.screenshot == before.screenshot
    return here.text == before.text


def _shown(recorder: _Recorder) -> Observation:
    assert recorder.observation is not None
    return recorder.observation


async def look_at(
    environment: Environment, task: Task, seed: int, *, limits: Limits, known: Container[str] = ()
) -> tuple[Trajectory, list[Seen]]:
    """A task's first screen and what is where on it; nothing is done and nothing graded. The trajectory has no steps, the screen is
    its `final` one; the list has the regions of that screen, None when its SHA-256 is in `known`, and is empty when the environment
    failed. Raises TypeError when the environment has no regions."""
    if not isinstance(environment, HasRegions):
        raise TypeError(f"{type(environment).__name__} has no method regions()")
    recorder = _Recorder(environment, limits, True, known)
    seen: list[Seen] = []
    status: Status = "done"
    error = None
    try:
        recorder.observation = await recorder.deadlines.call(
            "reset", environment.reset(task, seed), extra=own_time(environment, limits, "reset")
        )
        seen.append(await recorder.look_once(recorder.observation.screenshot))
    except EnvironmentTimeout as failure:
        status, error = "timeout", str(failure)
    except EnvironmentFailure as failure:
        status, error = "env_error", str(failure)
    shown = getattr(environment, "task", task)
    trajectory = Trajectory(
        f"{task.id}-{seed}-{VISIT}-0", shown, (), recorder.observation, status, None, seed=seed, policy=VISIT, error=error
    )
    return trajectory, seen


async def _mistake(recorder: _Recorder, generator: Random) -> Action | None:
    if isinstance(recorder.environment, HasMistakes):
        turn = await recorder.deadlines.call("mistake", recorder.environment.mistake(generator))
        return None if turn is None else turn[1]
    assert recorder.observation is not None
    screen = recorder.observation.screenshot
    place = None if screen is None else empty_place(screen, await recorder.look(), generator)
    return None if place is None else Action("click", *place)


async def _act_out(recorder: _Recorder, demonstrator: Demonstrator, maximum: int) -> Status:
    solution = cast(AsyncGenerator[tuple[str, Action], None], demonstrator.solve())
    async with contextlib.aclosing(solution):
        while recorder.observation is not None and not recorder.observation.done:
            if recorder.watch is not None:
                await recorder.deadlines.call("watch", recorder.watch(recorder.environment, recorder.observation, recorder.steps))
            step = await recorder.deadlines.call("solve", _next(solution))
            if step is None:
                break
            if len(recorder.steps) >= maximum:
                return "max_steps"
            thought, action = step
            await recorder.act(thought, action)
            if action.kind in ("done", "fail"):
                return "done" if action.kind == "done" else "gave_up"
    return "done"


async def _next(solution: AsyncIterator[tuple[str, Action]]) -> tuple[str, Action] | None:
    return await anext(solution, None)


def empty_place(screen: ImageRef, regions: Regions, generator: Random) -> tuple[float, float] | None:
    """A point (x, y) in pixels where nothing is: half of the time close to a region, as a near miss would be, else anywhere.

    None when 200 attempts find none.
    """
    boxes = [box for region in regions for box in (region.box, region.target) if box is not None]
    for _ in range(200):
        if boxes and generator.random() < 0.5:
            left, top, width, height = generator.choice(boxes)
            angle, gap = generator.uniform(0, 2 * math.pi), generator.uniform(3, 15)
            x = left + width / 2 + math.cos(angle) * (width / 2 + gap)
            y = top + height / 2 + math.sin(angle) * (height / 2 + gap)
        else:
            x, y = generator.uniform(0, screen.width - 1), generator.uniform(0, screen.height - 1)
        inside = 0 <= x <= screen.width - 1 and 0 <= y <= screen.height - 1
        if inside and not any(_near(x, y, box) for box in boxes):
            return x, y
    return None


def _near(x: float, y: float, box: tuple[float, float, float, float], margin: float = 2.0) -> bool:
    left, top, width, height = box
    return left - margin <= x <= left + width + margin and top - margin <= y <= top + height + margin
