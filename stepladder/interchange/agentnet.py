"""AgentNet's JSONL: one recorded trajectory a line, `{task_id, instruction, traj: [{index, image, value: {code, thought, ...}}]}`.

Places in the code are shares of the screen. Every field is kept, so that writing a trajectory that was read gives its record again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stepladder.agents.code_coordinates import Shares
from stepladder.agents.markdown_code import WAIT_SECONDS
from stepladder.agents.markdown_reply import Sections
from stepladder.agents.opencua import WORDS
from stepladder.agents.places import Places
from stepladder.agents.pyautogui_calls import read_actions, write_actions
from stepladder.interchange.folder import ConvertError, TrajectoryFolder
from stepladder.interchange.pictures import checked_path, kind_of
from stepladder.interchange.records import fields_of, read_records
from stepladder.interchange.report import Report
from stepladder.interfaces import ParseError
from stepladder.types import Observation, Status, Step, Task, Trajectory

NAME = "agentnet"


def read(source: Path, into: TrajectoryFolder, report: Report, pictures: Path | None = None) -> None:
    """Every line of `source`, whose screenshots are in `pictures` (default: `images/` beside it). Raises ConvertError."""
    pictures = pictures or source.parent / "images"
    for place, record in read_records(source, report):
        try:
            trajectory = read_record(fields_of(record), pictures, into)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            report.drop_for(place, error)
            continue
        report.keep(into, trajectory)


def read_record(record: Mapping[str, Any], pictures: Path, into: TrajectoryFolder) -> Trajectory:
    """One record. Raises OSError, ValueError, KeyError, TypeError for one that is not of this format; a step whose code cannot be
    read becomes a step with an error."""
    steps = []
    for one in record["traj"]:
        value = one["value"]
        name = str(one["image"])
        observation = Observation(into.images.put((pictures / checked_path(name)).read_bytes()))
        extra = {NAME: {**one, "value": dict(value)}}
        thought = _thought(value)
        try:
            actions = read_actions(str(value["code"]), 0, Places(Shares(), observation.screenshot), WAIT_SECONDS)
        except ParseError as error:
            steps.append(Step(observation, thought=thought, error=str(error), extra=extra))
            continue
        steps.append(Step(observation, actions[0], thought, more=actions[1:], extra=extra))
    if not steps:
        raise ConvertError("the trajectory has no step")
    last = steps[-1].actions[-1:]
    statuses: dict[str, Status] = {"done": "done", "fail": "gave_up"}
    completed = record.get("task_completed")
    return Trajectory(
        id=f"agentnet-{record['task_id']}",
        task=Task(str(record["task_id"]), str(record["instruction"]), NAME, max_steps=len(steps)),
        steps=tuple(steps),
        final=None,
        status=statuses.get(last[0].kind, "max_steps") if last else "max_steps",
        reward=None if completed is None else float(bool(completed)),
        policy="person",
        extra={NAME: {key: None if key == "traj" else value for key, value in record.items()}},
    )


def _thought(value: Mapping[str, Any]) -> str:
    texts = {name: str(value.get(name) or "").strip() for name in ("observation", "thought", "action")}
    return Sections(**texts).text


def write(source: TrajectoryFolder, target: Path, report: Report) -> None:
    """One record a line into `target`, the screenshots into `images/` beside it. Trajectories with an action that has no code in
    this format are dropped. Raises ConvertError when the file is there already."""
    if target.exists():
        raise ConvertError(f"{target} is there already; write into another file")
    pictures = target.parent / "images"
    pictures.mkdir(parents=True, exist_ok=True)
    with target.open("w") as file:
        for trajectory in source:
            try:
                record = write_record(trajectory, pictures, source)
            except (ValueError, KeyError) as error:
                report.drop(trajectory.id, str(error))
                continue
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
            report.count(len(trajectory.steps))


def write_record(trajectory: Trajectory, pictures: Path, source: TrajectoryFolder) -> dict[str, Any]:
    """The record of a trajectory, its screenshots written. Raises ValueError for a step without screenshot or code."""
    steps = []
    for number, step in enumerate(trajectory.steps):
        shown = step.observation.screenshot
        if shown is None:
            raise ConvertError(f"step {number} has no screenshot")
        one, data = step.extra.get(NAME), source.images.get(shown)
        if one is None:
            if step.action is None:
                raise ConvertError(f"step {number} has no action")
            said = Sections.of(step.thought)
            value = {"code": write_actions(step.actions, Places(Shares(), shown), WORDS)}
            value |= {"observation": said.observation} if said.observation else {}
            one = {
                "index": number,
                "image": f"{shown.sha256}.{kind_of(data)}",
                "value": {**value, "thought": said.thought, "action": said.action},
            }
        picture = pictures / checked_path(str(one["image"]))
        if picture.exists() and picture.read_bytes() != data:
            raise ConvertError(f"step {number}: another trajectory has a different picture {picture.name}")
        picture.write_bytes(data)
        steps.append(one)
    own = trajectory.extra.get(NAME)
    if own is None:
        own = {"task_id": trajectory.id, "instruction": trajectory.task.instruction}
        if trajectory.reward is not None:
            own["task_completed"] = trajectory.success
    return {**own, "traj": steps}
