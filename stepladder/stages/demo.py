"""The whole line in one command: demonstrations, a small Qwen3-VL from random weights, perception, behaviour cloning, evaluation.

    stepladder demo                      # or: make demo

Every phase is resumable: interrupt it, start it again, and it goes on where it was. The report lies in runs/demo/report.html.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from stepladder.codec import from_json, to_json
from stepladder.config import to_dict
from stepladder.images import ImageStore
from stepladder.report import Curve, Report, Rung, choose_strips, write_report
from stepladder.results import Result
from stepladder.run import Phase, Run, describe_machine, read_metrics, read_phases
from stepladder.stages import collect, evaluate, perceive, sft
from stepladder.stats import Rate
from stepladder.store import TrajectoryStore
from stepladder.tasks import load_tasks, task_set_hash

UNTRAINED, TRAINED = "untrained", "behaviour_cloning"
TITLES = {"collect": "demonstrations", "train": "training", "perceive": "perception test", "evaluate": "evaluation"}
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
#: The page is 210 pixels high; 224 is the next multiple of the 32 pixels of a visual token, so the model sees every pixel as it is.
SCREEN = {"height": 224}
#: Tasks that take longer to learn are drawn more often.
TASK_WEIGHTS = {
    "click-button": 3.0,
    "click-button-sequence": 3.0,
    "click-collapsible-nodelay": 1.5,
    "click-color": 2.0,
    "click-dialog-2": 1.5,
    "click-tab": 1.5,
    "click-test": 0.7,
    "click-test-2": 2.0,
    "click-test-transfer": 2.0,
    "click-widget": 3.0,
    "enter-text-dynamic": 1.5,
    "focus-text": 0.6,
    "form-sequence-2": 1.5,
    "login-user": 1.3,
}


@dataclass(frozen=True)
class DemoConfig:
    """`demonstrations` training seeds of each task are acted out; `episodes` held-out seeds of each are evaluated after training,
    the first `baseline_episodes` of them by the baselines and the first `untrained_episodes` before training, where nothing
    succeeds and every reply runs to its token limit. `seed` is that of the weights and of the order of the data."""

    output: Path = Path("runs/demo")
    tasks: str = "miniwob@demo"
    seed: int = 0
    demonstrations: int = 250
    episodes: int = 50
    baseline_episodes: int = 20
    untrained_episodes: int = 10
    max_tokens: int = 48
    screens: int = 60
    sft: sft.SftConfig = field(default_factory=lambda: sft.SftConfig(weights=TASK_WEIGHTS))


def main(config: DemoConfig, show: bool = True) -> Path:
    """Run what is left of the demo; the path of report.html."""
    console = Console(stderr=True, quiet=not show)
    settings = {**to_dict(config), "task_set": task_set_hash(load_tasks(config.tasks))}
    with Run(config.output, settings, seeds={"training": config.seed}, may_change=("output",)) as run:
        data, training = config.output / "collect", config.output / "sft"

        def phase(name: str, title: str, work: Callable[[Phase], None]) -> None:
            with run.phase(name) as record:
                if record.done:
                    console.print(f"[dim]{title}: done before, {record.seconds:.0f} s[/dim]")
                    return
                console.print(f"[bold]{title}[/bold]")
                work(record)
            console.print(f"  {record.seconds:.0f} s")

        def gather(record: Phase) -> None:
            collected = collect.main(
                collect.CollectConfig(tasks=config.tasks, output=data, episodes=config.demonstrations, options=SCREEN), show
            )
            kept, rejected = collected.kept.total(), collected.rejected.total()
            record.result |= {"kept": kept, "rejected": rejected, "missing": collected.missing.total()}
            console.print(f"  {kept} demonstrations kept, {rejected} failed and left out")

        def train(record: Phase) -> None:
            sft.main(replace(config.sft, demonstrations=data, output=training, seed=config.seed), show)

        def assess(record: Phase) -> None:
            for name in _policies(config):
                _evaluate(config, name, show)

        phase("collect", "1/5 Demonstrations: scripts act out the tasks in Chromium (about a minute and a half)", gather)
        phase("train", "2/5 Training from random weights: copying, perception, behaviour cloning (about nine minutes)", train)
        phase(
            "perceive", "3/5 Perception on words, fonts and sizes never seen (some seconds)", lambda r: _perceive(config, r, show)
        )
        phase("evaluate", "4/5 Evaluation on held-out seeds, with baselines (about two and a half minutes)", assess)
        console.print("[bold]5/5 Report[/bold]")
        report = _report(config, run)
        console.print(f"  {report}")
        return report


def _perceive(config: DemoConfig, record: Phase, show: bool) -> None:
    table = perceive.main(
        config.output / "sft" / "checkpoint",
        config.output / "collect",
        screens=config.screens,
        ignore_above=config.sft.ignore_above,
        show=show,
    )
    record.result |= {kind: {name: to_json(rate) for name, rate in row.items()} for kind, row in table.items()}


def _policies(config: DemoConfig) -> dict[str, tuple[str, int]]:
    """Name in the report -> (baseline or checkpoint directory, episodes a task)."""
    training = config.output / "sft"
    return {
        "random": ("random", config.baseline_episodes),
        "idle": ("idle", config.baseline_episodes),
        "oracle": ("oracle", config.baseline_episodes),
        UNTRAINED: (str(training / "untrained"), config.untrained_episodes),
        TRAINED: (str(training / "checkpoint"), config.episodes),
    }


def _evaluate(config: DemoConfig, name: str, show: bool) -> None:
    policy, episodes = _policies(config)[name]
    evaluate.main(
        evaluate.EvaluateConfig(
            tasks=config.tasks,
            policy=policy,
            baselines=(),
            episodes=episodes,
            output=config.output / "evaluate" / name,
            max_tokens=config.max_tokens,
            options=SCREEN,
        ),
        show,
    )


def _result(config: DemoConfig, name: str) -> Result:
    policy, _ = _policies(config)[name]
    path = config.output / "evaluate" / name / f"{evaluate.policy_name(policy)}.json"
    return from_json(Result, json.loads(path.read_text()), str(path))


def _curves(config: DemoConfig) -> tuple[Curve, ...]:
    """Held-out scores of every phase of training over its minutes."""
    curves = []
    for name, title in PHASE_TITLES.items():
        records = read_metrics(config.output / "sft", name)
        points = {
            label: [(record["seconds"] / 60, record[key]) for record in records if key in record]
            for key, label in SCORES[name].items()
        }
        points = {label: series for label, series in points.items() if series}
        if points:
            curves.append(Curve(title, "minutes in this phase", points, percent=True))
    return tuple(curves)


def _spent(phases: Mapping[str, Mapping[str, Any]], training: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Seconds by phase, in order; training is split into its own phases and what lies between them."""
    spent: dict[str, float] = {}
    for name, title in TITLES.items():
        if name == "train":
            parts = {PHASE_TITLES[part].lower(): float(state["seconds"]) for part, state in training.items()}
            spent |= {"preparing to train": phases[name]["seconds"] - sum(parts.values()), **parts}
        elif name in phases:
            spent[title] = phases[name]["seconds"]
    return spent


def _report(config: DemoConfig, run: Run) -> Path:
    with TrajectoryStore(
        config.output / "evaluate" / TRAINED / f"{evaluate.policy_name(_policies(config)[TRAINED][0])}.jsonl"
    ) as store:
        strips = choose_strips(store)
    images = ImageStore(config.output / "evaluate" / TRAINED / "images")
    perception = read_phases(config.output)["perceive"]["result"]
    phases = read_phases(config.output)
    return write_report(
        config.output,
        Report(
            title="A small Qwen3-VL learns real web tasks from pixels",
            summary=(
                "Random weights, demonstrations by scripts, perception and behaviour cloning on this machine's processor; "
                "success on seeds that training never used."
            ),
            rungs=(
                Rung(UNTRAINED, _result(config, UNTRAINED)),
                Rung(TRAINED, _result(config, TRAINED), phases["collect"]["seconds"] + phases["train"]["seconds"]),
            ),
            baselines={name: _result(config, name) for name in ("random", "idle", "oracle")},
            seconds=run.seconds,
            curves=_curves(config),
            perception={kind: {name: from_json(Rate, rate) for name, rate in row.items()} for kind, row in perception.items()},
            phases=_spent(phases, read_phases(config.output / "sft")),
            strips=strips,
            about={**evaluate.about(describe_machine()), "training seed": str(config.seed)},
            images=images,
        ),
    )
