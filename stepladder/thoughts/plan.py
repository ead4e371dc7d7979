"""Thoughts from a plan: the whole solved episode is known, so every step can say what is to be done, what is done, what comes next.

    Observation:                                                            only at the level "observation"
    I see textbox "Hi", focused; button "Send".

    Thought:
    Done: 1 of 3, type "Hi". The text is written. Next: click the "Send" button. It is at the bottom left.
    Then: click the "Close" button.
    Action: Click the "Send" button.

The sentences are fixed and short, on one line, each after what it follows from: the reason, which is that of the demonstrator,
where it gave one, before the step that it is the reason for, and what comes later last. An episode of one step has neither "Done"
nor "Then". Leading wrong steps keep what they have: they are history and are not learned.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from stepladder.agents.markdown_reply import Sections
from stepladder.agents.thought_levels import Level
from stepladder.data.boxes import center
from stepladder.data.shown_elements import Shown
from stepladder.thoughts.wording import distance, element_of, elements, named, part_of_screen, phrase, quoted, sentence
from stepladder.types import ImageRef, Region, Step, Trajectory

#: What is on a screen; nothing where that is not known.
Regions = Callable[[ImageRef], Sequence[Region]]


@dataclass(frozen=True)
class PlanSettings:
    """`later` steps are named behind the next one (0: none, for where they depend on what is not to be seen yet), `elements` near
    the target at the level "observation"; `reasons` keeps the demonstrator's own reason."""

    later: int = 3
    elements: int = 4
    reasons: bool = True


def with_plan(
    trajectory: Trajectory, regions: Regions, level: Level, settings: PlanSettings | None = None, first: int | None = None
) -> Trajectory:
    """The trajectory with a thought of `level` at each step from `first` on (default: behind its leading wrong steps), its replies
    no longer those that were sampled."""
    settings = settings or PlanSettings()
    start = int(trajectory.parts.get("mistakes", 0)) if first is None else first
    shown = [_elements(step, regions) for step in trajectory.steps]
    phrases = [phrase(step, found) for step, found in zip(trajectory.steps, shown, strict=True)]
    steps = list(trajectory.steps)
    for index in range(start, len(steps)):
        step = steps[index]
        if step.actions:
            text = _thought(steps[index], phrases[start:], index - start, shown[index], settings)
            seen = "" if level != "observation" else observed(trajectory.steps, index, shown, settings.elements)
            sections = Sections(seen, text, sentence(phrases[index]))
            steps[index] = replace(step, thought=sections.text, prompt=None, completion=None)
    return replace(trajectory, steps=tuple(steps))


def observed(steps: Sequence[Step], index: int, shown: Sequence[Sequence[Shown]], count: int) -> str:
    """The `count` elements nearest to what step `index` is about, in reading order: the place it points at, else the field that
    has the focus, else the place that was pointed at last."""
    found, action = shown[index], steps[index].action
    place = None if action is None or action.x is None or action.y is None else (action.x, action.y)
    if place is None:
        focused = next((element for element in found if "focused" in element.states), None)
        before = next((one.action for one in reversed(steps[:index]) if one.action is not None and one.action.x is not None), None)
        if focused is not None:
            place = center(focused.box)
        elif before is not None and before.x is not None and before.y is not None:
            place = before.x, before.y
    near = found if place is None else sorted(found, key=lambda element: distance(element, *place))
    chosen = [element for element in found if any(element is one for one in near[:count])]
    texts = [", ".join((named(element), *element.states)) for element in chosen]
    said = steps[index].observation.text.strip()
    parts = [f"I see {'; '.join(texts)}." if texts else "", f"It says {quoted(said)}." if said else ""]
    return " ".join(part for part in parts if part) or "I see nothing that can be used."


def _thought(step: Step, phrases: Sequence[str], index: int, found: Sequence[Shown], settings: PlanSettings) -> str:
    parts = []
    if len(phrases) > 1:
        parts.append(f"Done: {index} of {len(phrases)}, {phrases[index - 1]}." if index else f"Done: 0 of {len(phrases)}.")
    reason = " ".join(Sections.of(step.thought).thought.split())
    if reason and settings.reasons:
        parts.append(sentence(reason))
    parts.append(f"Next: {phrases[index]}.")
    screen, action = step.observation.screenshot, step.action
    if screen is not None and action is not None and action.x is not None and action.y is not None:
        target = element_of(action, found)
        parts.append(f"It is {_unnamed(target, phrases[index])}at the {part_of_screen(screen, action.x, action.y)}.")
    later = phrases[index + 1 :]
    if later and settings.later:
        more = len(later) - settings.later
        parts.append(f"Then: {'; '.join([*later[: settings.later], *([f'{more} more'] if more > 0 else [])])}.")
    return " ".join(parts)


def _unnamed(target: Shown | None, said: str) -> str:
    """What of an element's kind and text was not `said` yet; empty where all was."""
    if target is None or (target.text and target.text in said and target.kind in said):
        return ""
    if target.text and target.text in said:
        return f"the {target.kind} "
    return "" if not target.text and target.kind in said else f"the {named(target)} "


def _elements(step: Step, regions: Regions) -> list[Shown]:
    screen = step.observation.screenshot
    return [] if screen is None else elements(step.observation, regions(screen))
