"""OSWorld's result directories: `<action space>/<observation type>/<model>/<domain>/<task>/{traj.jsonl, step_*.png, result.txt}`.

A line of traj.jsonl is one action; those of one model turn share `step_num`, and a line's screenshot shows the screen after it. The
screen before the first action is not stored. What is read keeps every line as it stands, so that writing it again gives the same
files; trajectories from elsewhere are written with the eight fields that OSWorld's own runners write.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from stepladder.agents.computer_13 import Computer13Agent
from stepladder.agents.coordinates import AbsoluteCoordinates
from stepladder.agents.osworld_agent import WAIT_SECONDS
from stepladder.agents.osworld_pyautogui import WORDS
from stepladder.agents.places import Places
from stepladder.agents.pyautogui_calls import read_actions, write_actions
from stepladder.agents.replies import read_reply
from stepladder.images import ImageStore
from stepladder.interchange.folder import ConvertError, TrajectoryFolder
from stepladder.interchange.pictures import checked_path
from stepladder.interchange.report import Report
from stepladder.interfaces import Agent, ParseError
from stepladder.types import Action, ImageRef, Observation, Status, Step, Task, Trajectory

NAME = "osworld"
STEPS, RESULT = "traj.jsonl", "result.txt"
_ENDS: dict[str, Status] = {"done": "done", "fail": "gave_up"}
_TIME = "%Y%m%d@%H%M%S"
Line = tuple[str, Mapping[str, Any]]


def read(source: Path, into: TrajectoryFolder, report: Report) -> None:
    """Every task directory below `source`, and every other file there. Raises ConvertError when there is none."""
    directories = sorted(path.parent for path in source.rglob(STEPS))
    if not directories:
        raise ConvertError(f"{source} holds no {STEPS}: it is no result directory of OSWorld")
    inside = set(directories)
    for directory in directories:
        name = directory.relative_to(source).as_posix()
        try:
            trajectory = read_task(directory, "" if name == "." else name, into, inside)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            report.drop_for(name, error)
            continue
        report.keep(into, trajectory)
    others = [path for path in sorted(source.rglob("*")) if path.is_file() and not inside & set(path.parents)]
    into.note_files({path.relative_to(source).as_posix(): into.attach(path) for path in others})


def read_task(directory: Path, name: str, into: TrajectoryFolder, inside: set[Path] | None = None) -> Trajectory:
    """One task directory, whose path below the results is `name`; `inside` are all of them. Raises OSError, and ValueError that
    names the line."""
    parts = PurePosixPath(name).parts
    lines = _lines((directory / STEPS).read_bytes().decode())
    agent: Agent | None = Computer13Agent() if "computer_13" in parts else None
    steps: list[Step] = []
    seen, used = Observation(), {STEPS, RESULT}
    error = None
    for turn in _turns(lines):
        shots = _shots(directory, turn, into)
        error = next((str(record["Error"]) for _, record in turn if "Error" in record), error)
        if any("Error" in record for _, record in turn):
            step = Step(seen, error=error)
        else:
            step = _step(agent, seen, [record for _, record in turn])
        kept = {"lines": [line for line, _ in turn], "screenshots": {shot: ref.sha256 for shot, ref in shots.items()}}
        steps.append(replace(step, extra={NAME: kept}))
        used.update(shots)
        if shots:
            seen = Observation(list(shots.values())[-1])
    reward = _reward(directory / RESULT)
    status: Status = "env_error" if error is not None or reward is None else _status(steps)
    others = [
        path for path in sorted(directory.rglob("*")) if path.is_file() and _owner(path, inside or set()) in (None, directory)
    ]
    named = {path.relative_to(directory).as_posix(): path for path in others}
    extra: dict[str, Any] = {
        "directory": name,
        "files": {place: into.attach(path) for place, path in named.items() if place not in used},
    }
    if (directory / RESULT).exists():
        extra["result"] = (directory / RESULT).read_bytes().decode()
    return Trajectory(
        id=name or directory.name,
        task=Task(
            f"osworld-{parts[-1] if parts else directory.name}",
            next((str(record["instruction"]) for _, record in lines if record.get("instruction")), ""),
            NAME,
            {"domain": parts[-2] if len(parts) > 1 else ""},
        ),
        steps=tuple(steps),
        final=seen,
        status=status,
        reward=None if status == "env_error" else reward,
        policy=parts[-3] if len(parts) > 2 else "",
        agent="computer_13" if agent is not None else "osworld_pyautogui",
        error=error,
        extra={NAME: extra},
    )


def _owner(path: Path, inside: set[Path]) -> Path | None:
    """The task directory that a file belongs to: the nearest one above it."""
    return next((parent for parent in path.parents if parent in inside), None)


def _lines(text: str) -> list[Line]:
    """(line with its end, record) of a file; an empty line is kept with the one before it. Raises ValueError that names the
    line."""
    found: list[Line] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if number > 1 and found:
            found[-1] = (f"{found[-1][0]}\n", found[-1][1])
        if not line.strip():
            if line and found:
                found[-1] = (found[-1][0] + line, found[-1][1])
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise ConvertError(f"{STEPS}, line {number} is no JSON: {error}") from error
        if not isinstance(record, dict):
            raise ConvertError(f"{STEPS}, line {number} must be an object, not {type(record).__name__}")
        found.append((line, record))
    return found


def _turns(lines: Sequence[Line]) -> Iterator[list[Line]]:
    """Lines of one model turn: neighbours with one `step_num`."""
    turn: list[Line] = []
    for line in lines:
        if turn and line[1].get("step_num", object()) != turn[-1][1].get("step_num"):
            yield turn
            turn = []
        turn.append(line)
    if turn:
        yield turn


def _step(agent: Agent | None, seen: Observation, records: Sequence[Mapping[str, Any]]) -> Step:
    thought = str(records[0].get("natural_language_action") or "")
    actions: list[Action] = []
    for record in records:
        said = _plain(record["action"])
        text = said if isinstance(said, str) else json.dumps(said)
        try:
            if agent is not None:
                actions += read_reply(agent, text, seen)[1]
            else:
                actions += read_actions(text, 0, Places(AbsoluteCoordinates(), seen.screenshot), WAIT_SECONDS)
        except ParseError as error:
            return Step(seen, error=f"{text[:200]}: {error}", thought=thought)
    return Step(seen, actions[0], thought, more=tuple(actions[1:]))


def _plain(action: Any) -> Any:
    """The command of Claude's actions, which are wrapped."""
    wrapped = isinstance(action, Mapping) and "action_type" in action and "input" in action
    return action.get("command", action) if wrapped else action


def _shots(directory: Path, turn: Sequence[Line], into: TrajectoryFolder) -> dict[str, ImageRef]:
    """The screenshots of a turn that are there and are pictures."""
    found: dict[str, ImageRef] = {}
    for _, record in turn:
        name = str(record.get("screenshot_file") or "")
        if name and PurePosixPath(name).name != name:
            raise ConvertError(f"screenshot_file is {name!r}; it must be the name of a file beside {STEPS}")
        try:
            if name:
                found[name] = into.images.put((directory / name).read_bytes())
        except (FileNotFoundError, ValueError):  # a run that was cut off; what is no picture is kept among the files
            continue
    return found


def _reward(path: Path) -> float | None:
    """The score; None where there is none, or no number."""
    try:
        found = float(path.read_text().strip())
    except (OSError, ValueError):
        return None
    return min(max(found, 0.0), 1.0) if math.isfinite(found) else None


def _status(steps: Sequence[Step]) -> Status:
    last = steps[-1].actions[-1:] if steps else ()
    return _ENDS.get(last[0].kind, "max_steps") if last else "max_steps"


# -------------------------------------------------------------------------------------------------------------------- writing


def write(source: TrajectoryFolder, target: Path, report: Report, model: str = "") -> None:
    """A result directory of everything in `source`. Raises ConvertError when a directory is there already."""
    for trajectory in source:
        own = trajectory.extra.get(NAME)
        if own is None:
            write_episode(target, trajectory, source.images, model=model)
        else:
            name = str(own["directory"])
            directory = _fresh(target / checked_path(name) if name else target)
            _write_as_read(directory, trajectory, source)
        report.count(len(trajectory.steps))
    for name, digest in source.files.items():
        source.detach(digest, target / checked_path(name))


def _fresh(directory: Path) -> Path:
    if (directory / STEPS).exists():
        raise ConvertError(f"{directory} is there already; write into another directory")
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def write_episode(target: Path, trajectory: Trajectory, images: ImageStore, began: float | None = None, model: str = "") -> Path:
    """The task directory of a trajectory below `target`, written as `write_task` does. The first episode of one of OSWorld's tasks
    stands under its id alone, as in OSWorld. Raises ConvertError for an episode that is there already."""
    name = str(trajectory.task.setup.get("id") or "").replace("/", "_")
    numbered = f"{name or trajectory.task.id}-{trajectory.seed}-{trajectory.index}".replace("/", "_")
    domain = str(trajectory.task.setup.get("domain") or trajectory.task.env).partition(":")[0]
    above = "/".join(part.replace("/", "_").replace(" ", "_") for part in (model or trajectory.policy or "policy", domain))
    folder = target / "pyautogui/screenshot" / checked_path(above)
    taken = not name or (folder / checked_path(name) / STEPS).exists()
    directory = _fresh(folder / checked_path((numbered if taken else name).replace(" ", "_")))
    write_task(directory, trajectory, images, began)
    return directory


def _write_as_read(directory: Path, trajectory: Trajectory, source: TrajectoryFolder) -> None:
    own = trajectory.extra[NAME]
    text = ""
    for step in trajectory.steps:
        text += "".join(step.extra[NAME]["lines"])
        for name, digest in step.extra[NAME]["screenshots"].items():
            (directory / checked_path(name)).write_bytes(source.images.get(ImageRef(digest, 0, 0)))
    (directory / STEPS).write_bytes(text.encode())
    for name, digest in own["files"].items():
        source.detach(digest, directory / checked_path(name))
    if "result" in own:
        (directory / RESULT).write_bytes(own["result"].encode())


def write_task(directory: Path, trajectory: Trajectory, images: ImageStore, began: float | None = None) -> None:
    """One task directory of a trajectory that is not from OSWorld. `began` is when its first action was done, in seconds since
    1970; trajectories do not say when they were played, so that without it the times are those of 1970."""
    moment = began or 0.0
    after = [*(step.observation for step in trajectory.steps[1:]), trajectory.final]
    with (directory / STEPS).open("w") as file:
        for number, (step, shown) in enumerate(zip(trajectory.steps, after, strict=True), start=1):
            moment += sum(step.seconds.values())
            stamp = f"{time.strftime(_TIME, time.gmtime(moment))}{int(moment % 1 * 1e6):06d}"
            picture = ""
            if shown is not None and shown.screenshot is not None:
                picture = f"step_{number}_{stamp}.png"
                (directory / picture).write_bytes(images.get(shown.screenshot))
            for place, code in enumerate(_codes(step)):
                last = place == max(len(step.actions), 1) - 1
                record = {
                    "step_num": number,
                    "action_timestamp": stamp,
                    "action": code,
                    "response": step.completion.text if step.completion is not None else step.thought,
                    "reward": 0,
                    "done": last and number == len(trajectory.steps) and trajectory.status in ("done", "gave_up"),
                    "info": {},
                    "screenshot_file": picture,
                }
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
        if trajectory.environment_failed:
            file.write(json.dumps({"Error": trajectory.error or trajectory.status}, ensure_ascii=False) + "\n")
    if trajectory.reward is not None and not trajectory.environment_failed:
        (directory / RESULT).write_text(f"{trajectory.reward}\n")


def _codes(step: Step) -> list[str]:
    """The actions of a turn as OSWorld's; what it has no words for is told as it is."""
    codes = []
    for action in step.actions:
        said = replace(action, text="") if action.kind in _ENDS else action
        try:
            codes.append(write_actions([said], Places(AbsoluteCoordinates(), step.observation.screenshot), WORDS))
        except ValueError:
            codes.append(f"{action.kind} {action.name}".strip())
    return codes or [""]
