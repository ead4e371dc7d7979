"""The shaped reward of slime's OSWorld cookbook: task + alpha * partial - penalties, each term by itself and unclamped.

Source: THUDM/slime, examples/osworld/reward.py and env.py. `partial_score`, `penalties` and `shaped` give the cookbook's numbers
for the cookbook's own step signals; `step_signals` reads these signals off a Trajectory. docs/rewards.md lists what differs.
"""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

from PIL import Image, ImageChops, ImageStat

from stepladder.config import ConfigError
from stepladder.images import ImageStore, Pixels
from stepladder.rewards.outcome import task_reward
from stepladder.types import Action, Element, Observation, Step, Trajectory

T = TypeVar("T")
ALPHA = 0.3
#: How many steps count as fitting for a task of this complexity.
COMPLEXITY = {"low": (2, 5), "medium": (5, 12), "high": (10, 25)}
#: A type of action belongs to the first of these that is part of its name.
MODALITIES = ("click", "type", "key", "scroll", "drag", "wait")
#: The type of a reply that was no action.
UNKNOWN = "unknown"
#: These need nothing of the environment, so it cannot refuse them. The cookbook says the same of its WAIT, DONE and FAIL.
_NEVER_REFUSED = ("wait", "done", "fail")
#: Roles of bare text, as browsers and drawn forms call it.
_TEXT_ROLES = ("StaticText", "InlineTextBox", "text")
_THUMBNAIL = (64, 64)


@dataclass(frozen=True, slots=True)
class PartialWeights:
    """What each component counts in the partial score; the defaults are those of reward.py."""

    action_parse_valid: float = 0.10
    action_executed: float = 0.15
    a11y_grounding: float = 0.30
    tool_calling: float = 0.25
    efficiency: float = 0.05
    screen_change: float = 0.05
    a11y_change: float = 0.05
    terminal_change: float = 0.05


@dataclass(frozen=True, slots=True)
class Preset:
    weights: PartialWeights
    complexity: str


#: "reward" is the default of reward.py, "grpo_config" what grpo_config.yaml sets (its other weights keep their default). Both have
#: the same alpha.
PRESETS = {
    "reward": Preset(PartialWeights(), "medium"),
    "grpo_config": Preset(PartialWeights(a11y_grounding=0.10, tool_calling=0.15), "low"),
}


@dataclass(frozen=True, slots=True)
class StepSignals:
    """What the reward knows of one step, under the cookbook's names.

    `screen_diff` is in [0, 1], `a11y_delta` is the relative change of the tree's length, at most 1, `terminal_changed` is 0 or 1.
    `coordinate` is compared with that of the step before and nothing else.
    """

    action_type: str = UNKNOWN
    action_parsed: bool = False
    action_executed: bool = False
    a11y_grounded: bool = False
    coordinate: tuple[float, ...] | None = None
    fallback_used: bool = False
    screen_diff: float = 0.0
    a11y_delta: float = 0.0
    terminal_changed: float = 0.0

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> StepSignals:
        """From a `step_signal` of the cookbook; keys that its reward does not read are passed over."""
        known = {spec.name: record[spec.name] for spec in fields(cls) if spec.name in record}
        if known.get("coordinate") is not None:
            known["coordinate"] = tuple(known["coordinate"])
        return cls(**known)


# ------------------------------------------------------------------------------------------------------- the cookbook's numbers


def efficiency(turns: int, max_steps: int) -> float:
    """The share of the allowed steps that was not needed."""
    return 1.0 if turns <= 0 else max(0.0, (max_steps - turns) / max_steps)


def tool_calling(signals: Sequence[StepSignals], complexity: str = "medium") -> float:
    """How varied the actions are, and whether there are about as many as the task should need."""
    low, high = _choose(complexity, COMPLEXITY, "complexity")
    if not signals:
        return 0.0
    count, types = len(signals), {signal.action_type for signal in signals}
    if count < low:
        fitting = count / low
    else:
        fitting = 1.0 if count <= high else max(0.5, high / count)
    modalities = {next((word for word in MODALITIES if word in name.lower()), None) for name in types} - {None}
    return 0.4 * min(1.0, len(types) / 3.0) + 0.4 * fitting + 0.2 * min(1.0, len(modalities) / 2.0)


def partial_score(
    signals: Sequence[StepSignals],
    weights: PartialWeights | None = None,
    *,
    turns: int | None = None,
    max_steps: int = 15,
    complexity: str = "medium",
    a11y: bool = True,
) -> tuple[float, dict[str, float]]:
    """The weighted score and its components, under the cookbook's names.

    `turns` is the number of steps unless it is given. `a11y` False is every `a11y_mode` but "full": both components of the
    tree are 0, and the other weights stay as they are, so that the score can no longer reach 1.
    """
    weights = PartialWeights() if weights is None else weights
    count = max(1, len(signals))  # the cookbook gives 0 for each component when there is no step

    def mean(name: str) -> float:
        return float(sum(getattr(signal, name) for signal in signals) / count)

    components = {
        "action_parse_valid": mean("action_parsed"),
        "action_executed": mean("action_executed"),
        "a11y_grounding": mean("a11y_grounded") if a11y else 0.0,
        "tool_calling": tool_calling(signals, complexity),
        "efficiency": efficiency(len(signals) if turns is None else turns, max_steps),
        "screen_diff": mean("screen_diff"),
        "a11y_delta": mean("a11y_delta") if a11y else 0.0,
        "terminal_changed": mean("terminal_changed"),
    }
    # Weights and components stand in the same order; three of them have different names in the cookbook.
    terms = [getattr(weights, spec.name) * value for spec, value in zip(fields(weights), components.values(), strict=True)]
    return float(sum(terms)), components


def penalties(signals: Sequence[StepSignals]) -> dict[str, float]:
    """What is taken off, as numbers from 0 up.

    A repeat has the type and the place of the step before. Two steps without a place are equal in place, so typing twice in a
    row is a repeat whatever was typed; the cookbook counts it so.
    """
    count = len(signals)
    if not count:
        return dict.fromkeys(("repeat_penalty", "invalid_penalty", "fallback_penalty", "wait_penalty"), 0.0)
    pairs = list(itertools.pairwise(signals))
    repeats = sum(one.action_type == two.action_type and one.coordinate == two.coordinate for one, two in pairs)
    invalid = sum(signal.action_type == UNKNOWN for signal in signals) if count > 1 else 0  # a single step is let off
    fallbacks = sum(signal.fallback_used for signal in signals)
    waits = sum(signal.action_type.lower() == "wait" for signal in signals)
    return {
        "repeat_penalty": min(0.30, repeats / count * 0.40),
        "invalid_penalty": min(0.15, invalid / count * 0.30),
        "fallback_penalty": min(0.5, fallbacks / count * 0.5),
        "wait_penalty": min(0.3, waits / count * 0.3),
    }


def shaped(task: float, partial: float, taken_off: Mapping[str, float], alpha: float = ALPHA) -> float:
    """task + alpha * partial - penalties, unclamped. The cookbook trains on `clamped` of it."""
    return task + alpha * partial - sum(taken_off.values())


def clamped(reward: float) -> float:
    """Within 0 and 1, as the cookbook ends. It hides the partial credit of every success and most penalties of failures."""
    return max(0.0, min(1.0, reward))


# ------------------------------------------------------------------------------------------------- the signals of a trajectory


def step_signals(trajectory: Trajectory, images: ImageStore | None = None) -> list[StepSignals]:
    """The signals of every step, each judged by the observation after it. `images` as in `ShapedReward`."""
    after = [*(step.observation for step in trajectory.steps[1:]), trajectory.final]
    return [_signals(step, shown, images) for step, shown in zip(trajectory.steps, after, strict=False)]


def _signals(step: Step, after: Observation | None, images: ImageStore | None) -> StepSignals:
    action, before = step.action, step.observation
    if action is None:
        return StepSignals()  # nothing was done, so nothing that changed would be its doing
    places = (action.x, action.y, action.x2, action.y2)
    signals = StepSignals(
        # The cookbook's types are pyautogui's names, of which "write" and "press" fit no modality, so that typing counts for
        # nothing there. Kinds of `Action` do fit: typing is "type", every key is "key", waiting is "wait".
        action_type=action.kind,
        action_parsed=True,
        action_executed=True,
        a11y_grounded=grounded(action, before.tree),
        coordinate=tuple(place for place in places if place is not None) or None,
    )
    if after is None:
        return signals
    executed = action.kind in _NEVER_REFUSED or not refused(before, after)
    return replace(
        signals,
        action_executed=executed,
        screen_diff=screen_change(before, after, images),
        a11y_delta=tree_change(before.tree, after.tree),
        # A refusal is no output, and neither is its absence afterwards.
        terminal_changed=float(executed and after.text not in ("", before.text)),
    )


def refused(before: Observation, after: Observation) -> bool:
    """Whether the environment said that the action could not be done: it changed nothing and there is a text that says so.

    A text alone is not enough: dialogs and tools speak through it too. Where neither state nor screenshot can be compared, nothing
    counts as refused.
    """
    if not after.text or before.url != after.url:
        return False
    if before.state_key and after.state_key:
        return before.state_key == after.state_key
    return before.screenshot is not None and before.screenshot == after.screenshot


def grounded(action: Action, tree: Sequence[Element] | None) -> bool:
    """Whether an action with a place was aimed at an element that has nothing below it but text, or at such a text.

    Elements around others do not count: the whole page is one. The cookbook asks instead whether the text of the tree contains
    the first quoted text of the action, which a click with coordinates does not have.
    """
    if tree is None or action.x is None or action.y is None:
        return False
    around = {element.parent for element in tree if element.box is not None and element.role not in _TEXT_ROLES}
    return any(_within(element, action.x, action.y) for index, element in enumerate(tree) if index not in around)


def screen_change(before: Observation, after: Observation, images: ImageStore | None = None) -> float:
    """How much the screen changed, from 0 to 1.

    With `images` the cookbook's measure, `thumbnail_difference`. Without, pixels cannot be read: 1 when the screenshots are not
    the same file, else 0 (by `state_key` where there is no screenshot), which makes far more of a small change.
    """
    if before.screenshot is None or after.screenshot is None:
        return 0.0 if images is not None else float(before.state_key != after.state_key)
    if before.screenshot == after.screenshot:
        return 0.0
    if images is None:
        return 1.0
    return thumbnail_difference(images.load(before.screenshot), images.load(after.screenshot))


def thumbnail_difference(first: Pixels, second: Pixels) -> float:
    """Mean absolute difference of two screens, made 64 x 64 and grey. The cookbook calls a screen changed from 0.005 on, but that
    decides what is shown to the model; the reward takes the number itself."""
    one, two = (Image.fromarray(pixels).convert("L").resize(_THUMBNAIL, Image.Resampling.BILINEAR) for pixels in (first, second))
    return float(ImageStat.Stat(ImageChops.difference(one, two)).mean[0] / 255.0)


def tree_change(before: Sequence[Element] | None, after: Sequence[Element] | None) -> float:
    """How much longer or shorter the tree became, written out, relative to what it was, at most 1."""
    if not before or after is None:
        return 0.0
    length = _length(before)
    return min(1.0, abs(_length(after) - length) / max(1, length))


def _length(tree: Sequence[Element]) -> int:
    """Characters of a tree written as one line an element."""
    return sum(len(" ".join((element.role, element.name, element.value, *element.states))) + 1 for element in tree)


def _within(element: Element, x: float, y: float) -> bool:
    if element.box is None:
        return False
    left, top, width, height = element.box
    return left <= x < left + width and top <= y < top + height


# ---------------------------------------------------------------------------------------------------------------- the reward


class ShapedReward:
    """`task`, the components, `partial`, the penalties (positive, taken off), `shaped`, and `shaped_clamped`.

    preset      weights and complexity, "reward" or "grpo_config"
    weights     by field of `PartialWeights`, in place of the preset's
    alpha       what the partial score counts beside the task reward
    complexity  "low", "medium", "high" in place of the preset's: how many steps the task should need
    max_steps   the steps allowed, for efficiency; the task's own number unless it is given
    a11y        False leaves the components of the accessibility tree at 0; so does an environment that gives no tree
    images      the store of the screenshots, for the cookbook's measure of change; see `screen_change`
    """

    main = "shaped"

    def __init__(
        self,
        preset: str = "reward",
        *,
        weights: Mapping[str, float] | None = None,
        alpha: float = ALPHA,
        complexity: str | None = None,
        max_steps: int | None = None,
        a11y: bool = True,
        images: ImageStore | None = None,
    ) -> None:
        chosen, weights = _choose(preset, PRESETS, "preset"), {} if weights is None else weights
        names = {spec.name: spec.name for spec in fields(PartialWeights)}
        self.weights = replace(chosen.weights, **{_choose(name, names, "a weight"): value for name, value in weights.items()})
        for name, value in {"alpha": alpha, **weights}.items():
            if not math.isfinite(value):
                raise ConfigError(f"{name} is {value}; it must be a finite number")
        self.complexity = chosen.complexity if complexity is None else complexity
        _choose(self.complexity, COMPLEXITY, "complexity")
        if max_steps is not None and max_steps < 1:
            raise ConfigError(f"max_steps is {max_steps}; it must be 1 or more")
        self.alpha, self.max_steps, self.a11y, self.images = alpha, max_steps, a11y, images

    def __call__(self, group: list[Trajectory]) -> list[dict[str, float]]:
        rewards = [task_reward(trajectory) for trajectory in group]
        return [{} if task is None else self._terms(float(task), member) for task, member in zip(rewards, group, strict=True)]

    def _terms(self, task: float, trajectory: Trajectory) -> dict[str, float]:
        signals = step_signals(trajectory, self.images)
        allowed = max(1, trajectory.task.max_steps) if self.max_steps is None else self.max_steps
        partial, components = partial_score(signals, self.weights, max_steps=allowed, complexity=self.complexity, a11y=self.a11y)
        taken_off = penalties(signals)
        reward = shaped(task, partial, taken_off, self.alpha)
        return {
            "task": task,
            **components,
            "partial": partial,
            **taken_off,
            "shaped": reward,
            "shaped_clamped": clamped(reward),
        }


def _choose(name: str, table: Mapping[str, T], what: str) -> T:
    if name not in table:
        near = difflib.get_close_matches(name, table, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"it must be one of {', '.join(table)}"
        raise ConfigError(f"{what} is {name!r}; {hint}")
    return table[name]
