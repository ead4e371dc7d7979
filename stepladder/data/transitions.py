"""Two screens and the action between them: what an inverse-dynamics model learns from and is asked about (VPT, arXiv 2206.11795).

An item is a trajectory whose first step shows the screen before and waits, and whose last step shows the screen after and says
what was done, in the words of any agent that shows two screenshots. Places are those of the screen before; both have the same
size. What the task was is not told: a recording need not say it, and the answer stands on the screens.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stepladder.types import Action, Observation, Step, Task, Trajectory

QUESTION = "What was done between the two screenshots?"
#: Nothing was done, as far as can be known: what is shown between the two screenshots of an item.
_WAIT = Action("wait", seconds=1.0)
#: Kinds of actions that leave no trace between two screens, or end the episode.
UNSEEN = ("wait", "done", "fail", "call")


@dataclass(frozen=True, slots=True, eq=False)
class Transition:
    """What was seen before and after an action, which is None where it is not known. `index` is its step in the trajectory
    `source`."""

    before: Observation
    after: Observation
    action: Action | None
    source: str
    index: int

    @property
    def key(self) -> str:
        """Where it is from."""
        return f"{self.source}#{self.index}"


def transitions(trajectory: Trajectory) -> list[Transition]:
    """Each pair of successive screens of a trajectory that differ and have the same size, with the one action that was done
    between them. Pairs between which several actions were done, or one that leaves no trace, are left out."""
    found = []
    for index, (before, after) in enumerate(successive(trajectory)):
        step = trajectory.steps[index]
        if comparable(before, after) and not step.more and (step.action is None or step.action.kind not in UNSEEN):
            found.append(Transition(before, after, step.action, trajectory.id, index))
    return found


def successive(trajectory: Trajectory) -> Iterator[tuple[Observation, Observation]]:
    """What each step saw and what was seen after it; the last one has no end where the trajectory does not show its end."""
    seen = [step.observation for step in trajectory.steps]
    yield from itertools.pairwise(seen)
    if seen and trajectory.final is not None:
        yield seen[-1], trajectory.final


def comparable(before: Observation, after: Observation) -> bool:
    """Whether something can be seen to have happened: two different screenshots of one size."""
    first, second = before.screenshot, after.screenshot
    if first is None or second is None or first.sha256 == second.sha256:
        return False
    return (first.width, first.height) == (second.width, second.height)


def question_steps(before: Observation) -> tuple[Step, ...]:
    """The past of an item: the screen before."""
    return (Step(Observation(before.screenshot), _WAIT, imitated="nothing"),)


def question_task() -> Task:
    """The task of an item: what is asked."""
    return Task("inverse-dynamics", QUESTION, "transitions", max_steps=1, tags=("inverse-dynamics",))


def as_item(transition: Transition) -> Trajectory:
    """The question with its answer. Raises ValueError for a transition whose action is not known."""
    if transition.action is None:
        raise ValueError(f"{transition.key}: it is not known what was done there")
    name = hashlib.sha256(transition.key.encode()).hexdigest()[:12]
    steps = (*question_steps(transition.before), Step(Observation(transition.after.screenshot), transition.action))
    return Trajectory(f"inverse-dynamics-{name}", question_task(), steps, None, "done", 1.0, policy="known")


def same_action(first: Action, second: Action, tolerance: float) -> bool:
    """Whether two actions do the same: equal in kind, text, keys, name and direction, and no place further away than `tolerance`
    pixels."""
    if (first.kind, first.text, first.keys, first.name) != (second.kind, second.text, second.keys, second.name):
        return False
    if (first.amount > 0) != (second.amount > 0) or (first.amount < 0) != (second.amount < 0):
        return False
    places = ((first.x, first.y, second.x, second.y), (first.x2, first.y2, second.x2, second.y2))
    return all(_near(*place, tolerance) for place in places)


def _near(x: float | None, y: float | None, other_x: float | None, other_y: float | None, tolerance: float) -> bool:
    if x is None or y is None or other_x is None or other_y is None:
        return (x is None or y is None) == (other_x is None or other_y is None)
    return (x - other_x) ** 2 + (y - other_y) ** 2 <= tolerance**2


def relabelled(trajectory: Trajectory, answers: Sequence[tuple[Action | None, float]], least: float) -> tuple[Trajectory, int, int]:
    """(a recording as a demonstration, labels that are imitated, labels that are not), from an answer and its confidence for each
    pair of successive screens; the action is None where none could be read or asked for.

    Screens after which nothing was seen to happen are left out. An answer with a confidence below `least` is history that nobody
    imitates. Behind an answer that could not be read nothing is known of the past, so the rest is left out.
    """
    steps, kept, doubtful = list[Step](), 0, 0
    for (before, after), (action, confidence) in zip(successive(trajectory), answers, strict=True):
        if not comparable(before, after):
            continue
        if action is None:
            break
        sure = confidence >= least
        kept, doubtful = kept + sure, doubtful + (not sure)
        steps.append(Step(before, action, imitated="reply" if sure else "nothing", extra={"confidence": confidence}))
    return (
        Trajectory(
            f"{trajectory.id}-labelled",
            trajectory.task,
            tuple(steps),
            trajectory.final,
            "done",
            trajectory.reward,
            parts={**trajectory.parts, "curated": 1.0},
            seed=trajectory.seed,
            policy="inverse-dynamics",
        ),
        kept,
        doubtful,
    )
