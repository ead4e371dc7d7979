"""The report of a training (`sft`, `rl`, `flywheel`), from the files of its run directory alone.

`finish` writes it at the end of the stage, `write` (`stepladder report RUN`) at any time, of a run that is going on too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from stepladder.alarms import Alarm, read_alarms
from stepladder.errors import UserError
from stepladder.images import ImageStore
from stepladder.report import Measured, Report, Strip, choose_strips, write_report
from stepladder.report.words import counted, duration, percent, readable
from stepladder.run import flatten, read_metrics, read_phases
from stepladder.stages.evaluate import about
from stepladder.stages.training_curves import curves_of, held_out_scores, turns_of
from stepladder.stages.training_domains import domains_of
from stepladder.stats import success_rate
from stepladder.store import TrajectoryStore
from stepladder.types import Trajectory

#: The setting that only one kind of training has.
KINDS = {"cloning": "sft", "algo": "rl", "turns": "flywheel"}
TITLES = {"sft": "Supervised training", "rl": "Reinforcement learning", "flywheel": "Data flywheel"}
#: Of the latest episodes of each store so many are looked at, and so many successes and failures shown.
LATEST = 40
SHOWN = 3
#: Alarms whose first episode is shown.
ALARMED = 3


def finish(directory: Path, again: bool = True) -> None:
    """Write the report of a training that is over; without `again` only where there is none. A training does not fail because its
    report does: what went wrong is said."""
    if not again and (directory / "report.html").exists():
        return
    try:
        write(directory)
    except Exception as error:  # whatever it is, the training is whole
        message = f"no report: {type(error).__name__}: {error}. `stepladder report {directory}` tries again"
        Console(stderr=True).print(message, markup=False, highlight=False, soft_wrap=True)


def write(directory: Path) -> Path:
    """Write report.html, report.md and report.json into the run directory; the path of the first. Raises UserError for what is no
    directory of a training, RunError and StoreError for files that cannot be read."""
    config = _object(directory / "config.json")
    kind = _kind(directory, config)
    records, phases, alarms = read_metrics(directory), read_phases(directory), tuple(read_alarms(directory))
    validation = _VALIDATION[kind](records)
    seconds = float(sum(state["seconds"] for state in phases.values()))
    images, strips = _strips(directory, kind, alarms)
    return write_report(
        directory,
        Report(
            title=f"{TITLES[kind]}: {_subject(kind, config)}",
            summary=_summary(kind, records, phases, alarms, validation, seconds),
            rungs=(),
            baselines={},
            seconds=seconds,
            curves=curves_of(directory, kind, records, phases),
            phases={name: float(state["seconds"]) for name, state in phases.items()},
            strips=strips,
            about=_about(directory, config),
            images=images,
            validation=validation,
            domains=domains_of(records) if kind == "rl" else (),
            alarms=alarms,
            settings=_changed(config, _object(directory / "defaults.json")),
        ),
    )


def _kind(directory: Path, config: Mapping[str, Any]) -> str:
    if not config:
        raise UserError(f"{directory} is no run directory: it has no config.json with settings")
    kind = next((kind for setting, kind in KINDS.items() if setting in config), None)
    if kind is None:
        raise UserError(
            f"{directory} holds no training by `stepladder sft`, `rl` or `flywheel`; "
            "`stepladder eval` and `stepladder demo`, started again with the same settings, write their own reports"
        )
    return kind


def _object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty where there is no file. Raises UserError."""
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except ValueError as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise UserError(f"{path} holds no object of settings")
    return found


def _subject(kind: str, config: Mapping[str, Any]) -> str:
    """What was trained on: the task set, with the algorithm, or where the demonstrations lie."""
    if kind == "sft":
        return str(config.get("demonstrations", ""))
    return f"{config['algorithm']} on {config.get('tasks')}" if "algorithm" in config else str(config.get("tasks", ""))


def _summary(
    kind: str,
    records: Sequence[Mapping[str, Any]],
    phases: Mapping[str, Mapping[str, Any]],
    alarms: Sequence[Alarm],
    validation: Sequence[Measured],
    seconds: float,
) -> str:
    if kind == "rl":
        updates = [record for record in records if record["phase"] == "rl" and record["step"] > 0]
        episodes = counted(int(sum(record.get("episodes", 0) for record in updates)), "episode")
        done = f"{counted(len(updates), 'update')}, {episodes}"
    elif kind == "flywheel":
        trained = [state["result"].get("kept", 0) for name, state in phases.items() if name.endswith(": train") and state["done"]]
        done = f"{counted(len(trained), 'turn')}, {sum(trained):,} of the agent's own successes kept"
    else:
        done = ", ".join(readable(name) for name in phases)
    sentences = [f"{done or 'Nothing done yet'}; {duration(seconds)} of running time."]
    if kind != "sft" and validation:
        sentences.append(f"Validation: {percent(validation[0].rate)} at first, {percent(validation[-1].rate)} at last.")
    if not phases or not all(state["done"] for state in phases.values()):
        sentences.append("The run is not over.")
    sentences.append(f"{counted(len(alarms), 'alarm')}." if alarms or kind != "sft" else "")
    return " ".join(filter(None, sentences))


def _about(directory: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """Machine and versions of the latest start, and what names the run."""
    starts = _object(directory / "environment.json").get("starts") or []
    found = about(starts[-1]) if starts else {}
    if starts:
        seeds = ", ".join(f"{name} {seed}" for name, seed in starts[-1].get("seeds", {}).items())
        found |= {"started": found.pop("written"), "starts": str(len(starts)), "seeds": seeds}
    if "task_set" in config:
        found["task set"] = str(config["task_set"])
    return found


def _changed(config: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Dotted name -> (value, default) of the settings that differ; empty where nobody has written down the defaults."""
    if not defaults:
        return {}
    ours, others = flatten(config), flatten(defaults)
    names = [name for name in dict.fromkeys([*others, *ours]) if name.partition(".")[0] in defaults]
    return {
        name: (_value(ours, name), _value(others, name))
        for name in names
        if (name in ours) != (name in others) or ours.get(name) != others.get(name)
    }


def _value(settings: Mapping[str, Any], name: str) -> str:
    value = settings.get(name, "–")
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


# ------------------------------------------------------------------------------------------------------------ what it came to


def _sft_scores(records: Sequence[Mapping[str, Any]]) -> tuple[Measured, ...]:
    """The last scores of every phase."""
    last = {str(record["phase"]): record for record in records}
    return tuple(
        Measured(f"{readable(phase)}: {readable(name)}", f"update {record['step']}", value)
        for phase, record in last.items()
        for name, value in held_out_scores(record).items()
    )


def _rl_validation(records: Sequence[Mapping[str, Any]]) -> tuple[Measured, ...]:
    found = []
    for record in records:
        if record["phase"] != "rl" or "validation" not in record:
            continue
        at, rate = f"update {record['step']}", float(record["validation"])
        n = int(record.get("validation_episodes", 0))
        measured = success_rate(round(rate * n), n) if n else None
        found.append(
            Measured("validation seeds, greedy", at, rate)
            if measured is None
            else Measured("validation seeds, greedy", at, rate, n, measured.low, measured.high)
        )
    return tuple(found)


def _flywheel_validation(records: Sequence[Mapping[str, Any]]) -> tuple[Measured, ...]:
    return tuple(
        Measured("validation seeds, greedy", f"turn {one['step']}", one["success"], int(one["n"]), one["low"], one["high"])
        for one in records
        if one["phase"] == "flywheel"
    )


_VALIDATION: dict[str, Callable[[Sequence[Mapping[str, Any]]], tuple[Measured, ...]]] = {
    "sft": _sft_scores,
    "rl": _rl_validation,
    "flywheel": _flywheel_validation,
}


# ------------------------------------------------------------------------------------------------------------------ episodes


def _strips(directory: Path, kind: str, alarms: Iterable[Alarm]) -> tuple[ImageStore | None, tuple[Strip, ...]]:
    """Episodes that alarms name, then the latest ones; of a flywheel those of the last turn that was played."""
    folders = {"rl": [directory], "flywheel": turns_of(directory)}.get(kind, [])
    played = [folder for folder in folders if any(folder.glob("rollouts-*.jsonl"))]
    if not played:
        return None, ()
    images = ImageStore(played[-1] / "images", cache=0)
    latest: list[Trajectory] = []
    named: list[Strip] = []
    wanted = {alarm.trajectories[0]: alarm for alarm in reversed(list(alarms)) if alarm.trajectories}
    for path in sorted(played[-1].glob("rollouts-*.jsonl")):
        store_name = path.relative_to(directory).with_suffix("").as_posix()
        with TrajectoryStore(path) as store:
            for (its_store, identifier), alarm in wanted.items():
                if its_store == store_name and identifier in store and len(named) < ALARMED:
                    note = f"Named by the alarm of update {alarm.step}: {alarm.message}."
                    named.append(Strip(store.get(identifier), note))
            graded = [summary for summary in store.summaries() if summary.reward is not None]
            latest += [store.get(summary.id) for summary in graded[-LATEST:]]
    shown = {strip.trajectory.id for strip in named}
    others = choose_strips([one for one in latest if one.id not in shown and _seen(one, images)], SHOWN, SHOWN)
    return images, (*(strip for strip in named if _seen(strip.trajectory, images)), *others)


def _seen(trajectory: Trajectory, images: ImageStore) -> bool:
    """Whether there is a picture of it, and all pictures are still there."""
    observations = [step.observation for step in trajectory.steps] + ([trajectory.final] if trajectory.final is not None else [])
    pictures = [one.screenshot for one in observations if one.screenshot is not None]
    return bool(pictures) and all(picture in images for picture in pictures)
