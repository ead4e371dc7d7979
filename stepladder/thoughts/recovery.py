"""Reflection on one's own failures: the wrong step stays in the history and is not learned; the step that notices it is.

A failure and a success of the same start saw the same states up to a fork, where they did different things (`compare.divergence`).
The failure is replayed up to and with its wrong step, and from there the environment's own solution, or what the success did where
that can still be done, leads to the goal. Where the environment does not come back to the recorded states, or cannot be opened, the
recovery is the one step after the mistake, where a recorded action fits the recorded screen.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace

from stepladder.agents.markdown_reply import Sections
from stepladder.agents.thought_levels import Level
from stepladder.compare.divergence import divergence
from stepladder.compare.forks import still_applies
from stepladder.data.shown_elements import Shown
from stepladder.interfaces import Demonstrator, Environment
from stepladder.rollout.demonstrate import Seen, run_recovery, same_state
from stepladder.thoughts.plan import PlanSettings, Regions, with_plan
from stepladder.thoughts.wording import element_of, elements, named, phrase
from stepladder.types import Action, Limits, Observation, Step, Trajectory

#: Behind the id of a failure, in that of its recovery.
SUFFIX = "~recovered"


@dataclass(frozen=True)
class Fork:
    """Step `at` of `failure` was wrong; `success` did something else in the same state."""

    failure: Trajectory
    success: Trajectory
    at: int

    @property
    def past(self) -> tuple[Step, ...]:
        """The steps of the failure up to and with the wrong one."""
        return self.failure.steps[: self.at + 1]

    @property
    def after(self) -> Observation | None:
        """What the wrong step led to; None where that was not kept."""
        return self.failure.final if self.at + 1 == len(self.failure.steps) else self.failure.steps[self.at + 1].observation


def find_fork(failure: Trajectory, successes: Sequence[Trajectory]) -> Fork | None:
    """The fork with the success that parts from the failure last, among equals with the shortest. None where it parts from none by
    what it did."""
    forks = []
    for success in successes:
        parted = divergence(success, failure)
        if parted is not None and parted.reason == "actions" and parted.decided is not None:
            forks.append(Fork(failure, success, parted.decided))
    return min(forks, key=lambda fork: (-fork.at, len(fork.success.steps), fork.success.id), default=None)


@dataclass(frozen=True)
class Recovered:
    """A trajectory whose steps up to `first` are no part of the loss, or None and why there is none; `regions` as of
    `run_demonstration`. `broken` says that the environment failed, so that it is worth another try."""

    trajectory: Trajectory | None
    reason: str = ""
    first: int = 0
    regions: tuple[Seen, ...] = ()
    broken: bool = False


async def replayed(environment: Environment, fork: Fork, limits: Limits, known: Sequence[str] | set[str] = ()) -> Recovered:
    """The recovery in the environment; without one the reason."""
    guide = None if isinstance(environment, Demonstrator) else _follower(fork)
    failure = fork.failure
    found = await run_recovery(
        environment,
        fork.past,
        fork.after,
        failure.task,
        failure.seed,
        limits=limits,
        guide=guide,
        regions=True,
        known=known,
        identifier=f"{failure.id}{SUFFIX}",
    )
    one, first = found.trajectory, len(fork.past)
    if one.environment_failed:
        return Recovered(None, "the environment failed", broken=True)
    if found.replayed < first:
        return Recovered(None, "the environment did not come back to the recorded states")
    if len(one.steps) == first:
        return Recovered(None, "it ended with its mistake" if one.final is None or one.final.done else "nobody led on from there")
    if not one.success:
        return Recovered(None, "what led on from there did not succeed")
    return Recovered(replace(one, parts={"recovered": 1.0}, agent=failure.agent), "", first, tuple(found.regions))


def recorded(fork: Fork, successes: Sequence[Trajectory]) -> Recovered:
    """The step after the mistake from what was recorded: what a success did in that very state, else what the success of the fork
    did, where that can still be done on this screen."""
    here, failure, first = fork.after, fork.failure, len(fork.past)
    if here is None or here.done:
        return Recovered(None, "it ended with its mistake")
    visits = [step for success in successes for step in success.steps if step.actions and same_state(step.observation, here)]
    right = visits[-1] if visits else fork.success.steps[fork.at]
    if not visits and not _still(right, fork.past[-1].observation, here):
        return Recovered(None, "no recovery is recorded, and the right action no longer applies")
    masked = tuple(replace(step, prompt=None, completion=None, imitated="nothing") for step in fork.past)
    next_step = replace(right, observation=here, prompt=None, completion=None, imitated="reply")
    made = replace(
        failure,
        id=f"{failure.id}{SUFFIX}",
        steps=(*masked, next_step),
        final=None,
        parts={**failure.parts, "curated": 1.0, "recovered": 1.0},
    )
    return Recovered(made, "", first)


def with_reflection(recovered: Recovered, regions: Regions, level: Level, settings: PlanSettings | None = None) -> Trajectory:
    """The recovery with plans for thoughts, of which the first begins with what went wrong."""
    one = recovered.trajectory
    assert one is not None
    at = recovered.first
    wrong, step = one.steps[at - 1], one.steps[at]
    screen = wrong.observation.screenshot
    found = elements(wrong.observation, () if screen is None else regions(screen))
    planned = with_plan(one, regions, level, settings, first=at)
    steps = list(planned.steps)
    sections = Sections.of(steps[at].thought)
    regret = noticed(wrong, step.observation, found)
    steps[at] = replace(steps[at], thought=replace(sections, thought=f"{regret} {sections.thought}").text)
    return replace(planned, steps=tuple(steps))


def noticed(wrong: Step, after: Observation, found: Sequence[Shown]) -> str:
    """One or two sentences that say what the last step was, and that it was wrong; `found` are the elements it was taken on."""
    if not wrong.actions:
        return "The last reply could not be read, so nothing was done."
    target = element_of(wrong.action, found)
    what = phrase(wrong, found)
    on = f", on the {named(target)}" if target is not None and named(target) not in what else ""
    came = "It has changed nothing." if same_state(after, wrong.observation) else "That is not what was asked for."
    return f"The last step was wrong: {what}{on}. {came}"


def _still(step: Step, before: Observation, after: Observation) -> bool:
    return bool(step.actions) and all(still_applies(action, before, after) for action in step.actions)


class _Follower:
    """Shows what a success did from a fork on, for as long as that can still be done."""

    def __init__(self, steps: Sequence[Step], shown: Callable[[], Observation]) -> None:
        self._steps, self._shown = steps, shown

    async def solve(self) -> AsyncIterator[tuple[str, Action]]:
        for step in self._steps:
            for action in step.actions:
                here = self._shown()
                if not still_applies(action, step.observation, here) and not same_state(here, step.observation):
                    return
                yield step.thought, action


def _follower(fork: Fork) -> Callable[[Callable[[], Observation]], Demonstrator]:
    return lambda shown: _Follower(fork.success.steps[fork.at :], shown)
