"""What can be told about a step once it is known what came of it. Self-distillation shows it to the policy as its own teacher.

A builder looks at one step of an episode and says something in message space, pictures included, or nothing. What it says must not
hold more than a reader of the stored trajectories could know, so that every run can be looked at again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from stepladder.plugins import load
from stepladder.types import EVALUATOR, Action, Element, Group, ImageRef, Observation, Step, Trajectory

#: Text and pictures in order; nothing at all where there is nothing to say.
Content = tuple[str | ImageRef, ...]
#: What is said of step `number` of `trajectory`, a member of `group`.
FeedbackBuilder = Callable[[Trajectory, int, Group], Content]

FEEDBACK = {
    "screenshot": "stepladder.algos.feedback:screenshot",
    "tree": "stepladder.algos.feedback:tree_difference",
    "dialog": "stepladder.algos.feedback:dialog",
    "evaluator": "stepladder.algos.feedback:evaluator",
    "sibling": "stepladder.algos.feedback:sibling",
}
MAX_TEXT = 600
MAX_LINES = 20
#: Roles by which trees of browsers and desktops call what pops up.
_DIALOGS = ("alert", "alertdialog", "dialog", "notification")


def feedback_builder(name: str) -> FeedbackBuilder:
    """The builder behind a name of FEEDBACK or a dotted path. Raises PluginError that names the nearest valid name."""
    found: FeedbackBuilder = load(name, FEEDBACK, "feedback")
    return found


def after(trajectory: Trajectory, number: int) -> Observation | None:
    """What was seen after a step; None when the episode broke before."""
    steps = trajectory.steps
    return steps[number + 1].observation if number + 1 < len(steps) else trajectory.final


def screenshot(trajectory: Trajectory, number: int, group: Group) -> Content:
    """The screen that the action led to."""
    seen = after(trajectory, number)
    if seen is None or seen.screenshot is None:
        return ()
    return ("The screen after your action:\n", seen.screenshot)


def tree_difference(trajectory: Trajectory, number: int, group: Group) -> Content:
    """What came, went and changed in the accessibility tree, at most MAX_LINES lines."""
    before, seen = trajectory.steps[number].observation, after(trajectory, number)
    if seen is None or before.tree is None or seen.tree is None:
        return ()
    old, new = _named(before.tree), _named(seen.tree)
    lines = [f"+ {_said(new[key])}" for key in new if key not in old]
    lines += [f"- {_said(old[key])}" for key in old if key not in new]
    lines += [
        f"~ {_said(old[key])} is now {_said(new[key])}"
        for key in new
        if key in old and (old[key].value, old[key].states) != (new[key].value, new[key].states)
    ]
    if not lines:
        return ("Your action changed nothing that the accessibility tree shows.",)
    more = [f"and {len(lines) - MAX_LINES} more"] if len(lines) > MAX_LINES else []
    return ("What your action changed:\n" + "\n".join([*lines[:MAX_LINES], *more]),)


def dialog(trajectory: Trajectory, number: int, group: Group) -> Content:
    """The text of what popped up after the action: what the environment says of it, or the dialogs of the tree."""
    before, seen = trajectory.steps[number].observation, after(trajectory, number)
    if seen is None:
        return ()
    if seen.text and seen.text != before.text:
        return (f"The answer to your action: {seen.text[:MAX_TEXT]}",)
    known = {element.name for element in before.tree or () if element.role in _DIALOGS}
    texts = [
        _texts(seen.tree or (), place)
        for place, one in enumerate(seen.tree or ())
        if one.role in _DIALOGS and one.name not in known
    ]
    said = "; ".join(filter(None, texts))
    return (f"A dialog came up: {said[:MAX_TEXT]}",) if said else ()


def evaluator(trajectory: Trajectory, number: int, group: Group) -> Content:
    """What the evaluator said of the whole episode."""
    said = str(trajectory.extra.get(EVALUATOR, ""))
    return (f"The evaluation of the episode: {said[:MAX_TEXT]}",) if said else ()


def sibling(trajectory: Trajectory, number: int, group: Group) -> Content:
    """What another member of the group did that succeeded: from the same state where it was there, else from its beginning on."""
    state = trajectory.steps[number].observation.state_key
    others = [one for one in group if one.id != trajectory.id and one.success]
    for other in others:
        for step in reversed(other.steps):  # what it did last in a state is what led on from it
            if state and step.observation.state_key == state and step.actions:
                return (f"A successful attempt did this here: {_deed(step)}",)
    if not others:
        return ()
    shortest = min(others, key=lambda one: (len(one.steps), one.id))
    deeds = [f"{place}. {_deed(step)}" for place, step in enumerate(shortest.steps, 1)]
    more = [f"and {len(deeds) - MAX_LINES} more"] if len(deeds) > MAX_LINES else []
    return ("A successful attempt:\n" + "\n".join([*deeds[:MAX_LINES], *more]),)


def _named(tree: Sequence[Element]) -> dict[tuple[str, str, int], Element]:
    """Elements by role and name, and by how many were called so before."""
    found: dict[tuple[str, str, int], Element] = {}
    for element in tree:
        if element.name or element.value:
            place = 0
            while (element.role, element.name, place) in found:
                place += 1
            found[element.role, element.name, place] = element
    return found


def _said(element: Element) -> str:
    value = f" = {element.value[:80]!r}" if element.value else ""
    states = f" ({', '.join(element.states)})" if element.states else ""
    return f"{element.role} {element.name[:80]!r}{value}{states}"


def _texts(tree: Sequence[Element], root: int) -> str:
    """The names of an element and of all that it holds."""
    inside, texts = {root}, []
    for place, element in enumerate(tree):
        if place == root or element.parent in inside:
            inside.add(place)
            texts.append(element.name)
    return " ".join(dict.fromkeys(filter(None, texts)))


def _deed(step: Step) -> str:
    thought = step.thought.strip().rpartition("\n")[2]
    return f"{thought[:200]} " * bool(thought) + ", then ".join(map(_action, step.actions))


def _action(action: Action) -> str:
    """An action in words that belong to no dialect."""
    parts = [action.kind.replace("_", " ")]
    if action.x is not None and action.y is not None:
        parts.append(f"at ({action.x:.0f}, {action.y:.0f})")
    if action.x2 is not None and action.y2 is not None:
        parts.append(f"to ({action.x2:.0f}, {action.y2:.0f})")
    if action.text:
        parts.append(repr(action.text[:80]))
    if action.keys:
        parts.append("+".join(action.keys))
    if action.name:
        parts.append(action.name)
    if action.amount:
        parts.append(f"by {action.amount:g}")
    return " ".join(parts)
