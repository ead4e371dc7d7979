"""The same screen, another wish: a demonstrated click as an answer to the instruction that names another label of the screen.

Demonstrations show one click a screen, which a small model would rather remember than look for. Told to click NO where YES was
demonstrated, it has to compare the instruction with the screen. The idea is hindsight relabelling (M. Andrychowicz et al., arXiv
1707.01495); here what is asked for is exchanged, and the environment's regions say where that is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from stepladder.data.perception import reachable
from stepladder.data.whole_words import whole_words
from stepladder.types import Action, Box, ImageRef, Observation, Region, Step, Trajectory

CLICKS = ("click", "double_click", "right_click")


def relabel(trajectory: Trajectory, regions: Sequence[Region], random: Random) -> Trajectory | None:
    """The first step of `trajectory` for another label, as an item of one step; None where it names no label that it clicks, or
    the screen has no other of that kind.

    The two labels change places in the instruction and the thought, so that "ONE, then TWO" becomes "TWO, then ONE".
    """
    first = trajectory.steps[0]
    action, screen = first.action, first.observation.screenshot
    if action is None or screen is None or action.kind not in CLICKS or action.x is None or action.y is None:
        return None
    labels = _labels(screen, regions)
    old = _clicked(action, labels, trajectory.task.instruction)
    if old is None:
        return None
    kind, place = labels[old]
    others = sorted(text for text, (other_kind, other) in labels.items() if other_kind == kind and not _overlap(other, place))
    if not others:
        return None
    new = random.choice(others)
    box = labels[new][1]
    task = replace(trajectory.task, instruction=_swapped(trajectory.task.instruction, old, new), check={}, tags=("relabelled",))
    step = Step(
        Observation(screen),
        replace(action, x=box[0] + box[2] / 2, y=box[1] + box[3] / 2),
        _swapped(first.thought, old, new),
    )
    return Trajectory(f"{trajectory.id}-{new}-for-{old}", task, (step,), None, "done", 1.0, policy="known")


def _labels(screen: ImageRef, regions: Sequence[Region]) -> dict[str, tuple[str, Box]]:
    """What can be clicked by its name: text -> (kind, box). Texts that stand in two places are left out."""
    found: dict[str, set[tuple[str, Box]]] = {}
    for region in regions:
        kind, box = (region.target_kind or region.kind, region.target or region.box)
        if region.text.strip() and (region.target is not None or region.kind != "word"):
            found.setdefault(region.text.strip(), set()).add((kind, box))
    single = {text: next(iter(places)) for text, places in found.items() if len(places) == 1}
    return {text: (kind, box) for text, (kind, box) in single.items() if reachable(screen, box, regions)}


def _clicked(action: Action, labels: dict[str, tuple[str, Box]], instruction: str) -> str | None:
    """The longest label under the click that stands in the instruction."""
    assert action.x is not None
    assert action.y is not None
    hit = [
        text
        for text, (_, (left, top, width, height)) in labels.items()
        if left <= action.x < left + width and top <= action.y < top + height and whole_words(text).search(instruction)
    ]
    return max(hit, key=len, default=None)


def _overlap(first: Box, second: Box) -> bool:
    return all(first[axis] < second[axis] + second[axis + 2] and second[axis] < first[axis] + first[axis + 2] for axis in (0, 1))


def _swapped(text: str, old: str, new: str) -> str:
    """`text` with the two labels in each other's place."""
    other = {old: new, new: old}
    return whole_words(old, new).sub(lambda match: other[match[0]], text)
