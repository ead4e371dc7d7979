"""The report of the demo: the success of every rung on the same seeds, how it was learned, the same episodes before and after."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stepladder.codec import from_json
from stepladder.images import ImageStore
from stepladder.report import Curve, Report, Rung, Strip, choose_strips, write_report
from stepladder.results import Result
from stepladder.run import Run, describe_machine, read_metrics, read_phases
from stepladder.stages import evaluate
from stepladder.stages.policies import BASELINES, policy_name
from stepladder.stats import Rate
from stepladder.store import TrajectoryStore
from stepladder.types import Trajectory

#: The rungs in order, each with the phases of the run that lead to it from the one before.
RUNGS = {"untrained": (), "behaviour_cloning": ("collect", "sft"), "flywheel": ("flywheel",), "rl": ("rl",)}
TITLES = {
    "collect": "demonstrations",
    "sft": "training",
    "perceive": "perception test",
    "baselines": "baselines",
    "evaluate behaviour_cloning": "evaluation after cloning",
    "flywheel": "flywheel",
    "evaluate flywheel": "evaluation after the flywheel",
    "rl": "reinforcement learning",
    "evaluate rl": "evaluation after reinforcement learning",
}
PHASE_TITLES = {
    "copying": "Copying text",
    "perception": "Perception",
    "cloning_frozen": "Behaviour cloning, vision frozen",
    "cloning": "Behaviour cloning",
}
SCORES = {
    "copying": {"copied": "copied exactly"},
    "perception": {"seen": "words and widgets of held-back pages", "heldout_fonts_seen": "in fonts never seen"},
    "cloning_frozen": {"exact": "exact next action, held-back demonstrations"},
    "cloning": {"exact": "exact next action, held-back demonstrations"},
}
BEFORE_AND_AFTER = 4
READABLE = {"behaviour_cloning": "behaviour cloning", "flywheel": "the flywheel", "rl": "flywheel and reinforcement learning"}


def write(output: Path, run: Run, policies: Mapping[str, str]) -> Path:
    """Write the report of a finished demo into its directory. `policies` are the names of rungs and baselines as they were asked
    for in `stepladder eval`; the report names those of the baselines that were not played."""
    results = {
        name: _result(output, name, policy)
        for name, policy in policies.items()
        if name not in BASELINES or _result_file(output, name, policy).exists()
    }
    phases = read_phases(output)
    spent = {name: sum(phases[part]["seconds"] for part in parts) for name, parts in RUNGS.items() if name in results}
    rungs = tuple(Rung(name, results[name], seconds) for name, seconds in spent.items())
    perception = phases["perceive"]["result"]
    images, strips = _strips(output, policies, rungs[-1].name)
    seed = json.loads((output / "config.json").read_text())["seed"]
    return write_report(
        output,
        Report(
            title="A small Qwen3-VL learns real web tasks from pixels",
            summary=(
                "Random weights, demonstrations by scripts, perception and behaviour cloning"
                f"{'; then the agent learns from its own clicks' if len(rungs) > 2 else ''}. All on this machine's processor; "
                "success on seeds that training never used."
            ),
            rungs=rungs,
            baselines={name: results[name] for name in BASELINES if name in results},
            seconds=run.seconds,
            curves=(*([_ladder(rungs)] if len(rungs) > 2 else []), *_cloning(output / "sft"), *_own_clicks(output)),
            perception={kind: {name: from_json(Rate, rate) for name, rate in row.items()} for kind, row in perception.items()},
            phases=_spent(phases, read_phases(output / "sft")),
            strips=strips,
            about={**evaluate.about(describe_machine()), "training seed": str(seed)},
            images=images,
        ),
    )


def _result_file(output: Path, name: str, policy: str) -> Path:
    return output / "evaluate" / name / f"{policy_name(policy)}.json"


def _result(output: Path, name: str, policy: str) -> Result:
    path = _result_file(output, name, policy)
    return from_json(Result, json.loads(path.read_text()), str(path))


def _ladder(rungs: tuple[Rung, ...]) -> Curve:
    """Success over the minutes that were spent on getting there, evaluation left out."""
    minutes, rate, low, high = 0.0, [], [], []
    for rung in rungs:
        minutes += rung.seconds / 60
        rate.append((minutes, rung.result.rate or 0.0))
        low.append((minutes, rung.result.low))
        high.append((minutes, rung.result.high))
    names = ", ".join(rung.name.replace("_", " ") for rung in rungs)
    series = {"success": rate, "95 %, low": low, "95 %, high": high}
    return Curve(f"The ladder: {names}", "minutes of collecting and training", series, percent=True)


def _cloning(directory: Path) -> list[Curve]:
    """Held-out scores of every phase of supervised training over its minutes."""
    curves = []
    for name, title in PHASE_TITLES.items():
        points = _points(read_metrics(directory, name), SCORES[name])
        if points:
            curves.append(Curve(title, "minutes in this phase", points, percent=True))
    return curves


def _own_clicks(output: Path) -> list[Curve]:
    """Success of what the agent did on its own, over minutes."""
    rl = _points(
        read_metrics(output / "rl", "rl"), {"reward": "episodes sampled in training", "validation": "validation seeds, greedy"}
    )
    flywheel = _points(read_metrics(output / "flywheel", "flywheel"), {"success": "validation seeds, greedy"})
    curves = [("Flywheel", flywheel), ("Reinforcement learning", rl)]
    return [Curve(title, "minutes in this phase", points, percent=True) for title, points in curves if points]


def _points(records: list[dict[str, Any]], scores: Mapping[str, str]) -> dict[str, list[tuple[float, float]]]:
    points = {title: [(r["seconds"] / 60, r[key]) for r in records if key in r] for key, title in scores.items()}
    return {title: series for title, series in points.items() if series}


def _spent(phases: Mapping[str, Mapping[str, Any]], training: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Seconds by phase, in order; supervised training is split into its own phases and what lies between them."""
    spent: dict[str, float] = {}
    for name, title in TITLES.items():
        if name == "sft":
            parts = {PHASE_TITLES[part].lower(): float(state["seconds"]) for part, state in training.items()}
            spent |= {"preparing to train": phases[name]["seconds"] - sum(parts.values()), **parts}
        elif name in phases:
            spent[title] = phases[name]["seconds"]
    return spent


def _strips(output: Path, policies: Mapping[str, str], last: str) -> tuple[ImageStore, tuple[Strip, ...]]:
    """Episodes of the last rung, first those that the first trained rung had lost, beside that episode."""
    first = "behaviour_cloning"
    images, strips = ImageStore(), list[tuple[str, Strip]]()
    with _store(output, first, policies) as before, _store(output, last, policies) as after:
        lost = {(s.task, s.seed): s.id for s in before.summaries() if s.reward is not None and not s.success}
        shown: set[str] = set()
        for summary in after.summaries():
            start = (summary.task, summary.seed)
            if summary.success and start in lost and summary.task not in shown and len(shown) < BEFORE_AND_AFTER:
                shown.add(summary.task)
                strips.append((first, Strip(before.get(lost[start]), "After behaviour cloning.")))
                strips.append((last, Strip(after.get(summary.id), f"The same start after {READABLE[last]}.")))
        strips += [(last, strip) for strip in choose_strips(after)]
    for rung, strip in strips:
        _copy_pictures(ImageStore(output / "evaluate" / rung / "images", cache=0), images, strip.trajectory)
    return images, tuple(strip for _, strip in strips)


def _store(output: Path, name: str, policies: Mapping[str, str]) -> TrajectoryStore:
    return TrajectoryStore(output / "evaluate" / name / f"{policy_name(policies[name])}.jsonl")


def _copy_pictures(source: ImageStore, target: ImageStore, trajectory: Trajectory) -> None:
    observations = [step.observation for step in trajectory.steps] + ([trajectory.final] if trajectory.final is not None else [])
    for observation in observations:
        if observation.screenshot is not None and observation.screenshot not in target:
            target.put(source.get(observation.screenshot))
