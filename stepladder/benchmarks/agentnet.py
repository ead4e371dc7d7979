"""AgentNetBench: recorded trajectories whose next action is asked for step by step, with the recorded history.

A folder holds one JSON file a trajectory and the screenshots in `images/`. Places are shares of the screen.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepladder.errors import UserError
from stepladder.images import ImageStore
from stepladder.types import Action, ActionKind, ImageRef, Observation, Step, Task

NAME = "agentnetbench"
_POINTED: dict[str, ActionKind] = {
    "click": "click",
    "doubleclick": "double_click",
    "rightclick": "right_click",
    "middleclick": "middle_click",
    "tripleclick": "triple_click",
    "moveto": "move",
}
_NAMES = {
    "click": "click",
    "double_click": "doubleClick",
    "right_click": "rightClick",
    "middle_click": "middleClick",
    "triple_click": "tripleClick",
    "move": "moveTo",
    "mouse_down": "mouseDown",
    "mouse_up": "mouseUp",
    "key_down": "keyDown",
    "key_up": "keyUp",
}


class BenchmarkError(UserError, ValueError):
    """A file of a benchmark that cannot be read; the message names it and what is wrong."""


@dataclass(frozen=True)
class AgentNetStep:
    """One question: `steps` happened before, `observation` is seen, `recorded` (or one of `alternatives`) should be done."""

    id: str
    task: Task
    number: int
    steps: tuple[Step, ...]
    observation: Observation
    gold: Step
    recorded: tuple[Mapping[str, Any], ...]
    alternatives: tuple[tuple[Mapping[str, Any], ...], ...]
    milestone: bool = False


def load(folder: Path, images: ImageStore) -> list[AgentNetStep]:
    """Every step of every trajectory in `folder`, the screenshots known to `images`. Raises BenchmarkError."""
    files = sorted(folder.glob("*.json"))
    if not files:
        raise BenchmarkError(f"{folder} holds no JSON file; AgentNetBench has one for each trajectory")
    return [step for path in files for step in _trajectory(path, folder / "images", images)]


def _trajectory(path: Path, pictures: Path, images: ImageStore) -> list[AgentNetStep]:
    try:
        record = json.loads(path.read_text())
        task = Task(str(record["task_id"]), str(record["high_level_task_description"]), NAME)
        found: list[AgentNetStep] = []
        for number, one in enumerate(record["steps"]):
            screenshot = images.put_file(picture(pictures, str(one["image"])))
            observation = Observation(screenshot)
            recorded = tuple(one["ground_truth_actions"])
            actions = canonical(recorded, screenshot)
            said = one.get("inner_monologue") or {}
            gold = Step(observation, actions[0], _thought(said), more=actions[1:])
            found.append(
                AgentNetStep(
                    f"{task.id}-{one.get('step_num', number)}",
                    task,
                    int(one.get("step_num", number)),
                    tuple(step.gold for step in found),
                    observation,
                    gold,
                    recorded,
                    tuple(tuple(other) for other in one.get("alternative_options") or ()),
                    bool(one.get("milestone", False)),
                )
            )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BenchmarkError(f"{path} is no trajectory of AgentNetBench: {type(error).__name__}: {error}") from error
    return found


def picture(folder: Path, name: str) -> Path:
    """A picture by its name in a record; never one outside of the folder. Raises FileNotFoundError."""
    path = folder / name
    if not (path.resolve().is_relative_to(folder.resolve()) and path.is_file()):
        raise FileNotFoundError(f"no picture {name!r} in {folder}")
    return path


def _thought(said: Mapping[str, Any]) -> str:
    action = str(said.get("low_level_instruction") or "").strip()
    lines = [str(said.get("thought") or "").strip(), f"Action: {action}" if action else ""]
    return "\n".join(line for line in lines if line)


def canonical(recorded: Sequence[Mapping[str, Any]], screenshot: ImageRef) -> tuple[Action, ...]:
    """Recorded actions as ours, at least one. Raises ValueError for a type that is not known."""
    actions = [action for one in recorded for action in _canonical(one, screenshot)]
    if not actions:
        raise ValueError("a step has no recorded action")
    return tuple(actions)


def _canonical(record: Mapping[str, Any], screenshot: ImageRef) -> list[Action]:
    kind, params = str(record["type"]).lower(), record.get("params") or {}
    position = params.get("position")
    x, y = (None, None) if position is None else (position["x"] * screenshot.width, position["y"] * screenshot.height)
    if kind in _POINTED:
        return [Action(_POINTED[kind], x, y)]
    if kind == "dragto":
        return [Action("drag", x2=x, y2=y)]
    if kind in ("scroll", "hscroll"):
        return [Action("scroll", x, y, amount=float(params.get("amount", 0)), name="horizontal" if kind == "hscroll" else "")]
    if kind == "write":
        text = str(params.get("text", params.get("content", params.get("message", ""))))
        return [Action("type", text=text)]
    keys = params.get("keys", params.get("key", ()))
    keys = [keys] if isinstance(keys, str) else [str(key) for key in keys]
    if kind == "press":
        return [Action("key", keys=(key,)) for key in keys]
    if kind in ("hotkey", "keydown", "keyup"):
        kinds: dict[str, ActionKind] = {"hotkey": "key", "keydown": "key_down", "keyup": "key_up"}
        return [Action(kinds[kind], keys=tuple(keys))]
    if kind == "wait":
        return [Action("wait", seconds=float(params.get("seconds", 1.0)))]
    if kind == "terminate":
        failed = "fail" in str(params.get("status", "success")).lower()
        return [Action("fail" if failed else "done", text=str(params.get("answer", "")))]
    raise ValueError(f"recorded actions of type {record['type']!r} are not known")


def predicted(actions: Sequence[Action], screenshot: ImageRef) -> list[dict[str, Any]]:
    """Our actions as AgentNetBench's."""
    return [_predicted(action, screenshot) for action in actions]


def _predicted(action: Action, screenshot: ImageRef) -> dict[str, Any]:
    place: dict[str, Any] = {}
    x, y = (action.x2, action.y2) if action.kind == "drag" else (action.x, action.y)
    if x is not None and y is not None:
        place = {"position": {"x": x / screenshot.width, "y": y / screenshot.height}}
    if action.kind == "drag":
        return {"type": "dragTo", "params": place}
    if action.kind == "scroll":
        return {"type": "hscroll" if action.name == "horizontal" else "scroll", "params": {**place, "amount": action.amount}}
    if action.kind == "type":
        return {"type": "write", "params": {"text": action.text}}
    if action.kind == "key":
        return {"type": "press" if len(action.keys) == 1 else "hotkey", "params": {"keys": list(action.keys)}}
    if action.kind in ("done", "fail"):
        return {"type": "terminate", "params": {"status": "success" if action.kind == "done" else "failure"}}
    if action.kind in _NAMES:
        return {"type": _NAMES[action.kind], "params": {**place, **({"keys": list(action.keys)} if action.keys else {})}}
    return {"type": action.kind, "params": {}}
