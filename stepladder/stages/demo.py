"""The whole line in one command: demonstrations, a small Qwen3-VL from random weights, perception, behaviour cloning, evaluation;
then further up the ladder: the data flywheel, reinforcement learning, an evaluation after each rung.

    stepladder demo                                    # or: make demo
    stepladder demo --set last=behaviour_cloning       # stops there; without `last` it goes on later

Every phase is resumable: interrupt it, start it again, and it goes on where it was. The report lies in runs/demo/report.html.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from rich.console import Console

from stepladder.algos.grpo import Grpo
from stepladder.codec import to_json
from stepladder.config import to_dict
from stepladder.run import Phase, Run
from stepladder.stages import collect, demo_report, evaluate, flywheel, perceive, rl, sft
from stepladder.stages.policies import BASELINES
from stepladder.stages.rl_config import RlConfig
from stepladder.tasks import load_tasks, task_set_hash
from stepladder.train.optimizer import OptimizerConfig

#: The page is 210 pixels high; 224 is the next multiple of the 32 pixels of a visual token, so the model sees every pixel as it is.
SCREEN = {"height": 224}
#: Tasks that take longer to learn are drawn more often.
TASK_WEIGHTS = {
    "choose-list": 2.0,
    "circle-center": 1.3,
    "click-button": 3.0,
    "click-collapsible-nodelay": 1.5,
    "click-color": 2.0,
    "click-dialog-2": 1.5,
    "click-tab": 1.5,
    "click-test": 0.7,
    "click-widget": 3.0,
    "copy-paste": 1.3,
    "enter-text-dynamic": 1.5,
    "enter-time": 1.3,
    "focus-text": 0.6,
    "form-sequence-2": 1.5,
    "form-sequence-3": 2.0,
    "highlight-text": 2.0,
    "login-user": 1.3,
}


#: The trained rungs: name in the report -> where its checkpoint lies in the run.
CHECKPOINTS = {
    "untrained": "sft/untrained",
    "behaviour_cloning": "sft/checkpoint",
    "flywheel": "flywheel/checkpoint",
    "rl": "rl/checkpoint",
}
LastRung = Literal["behaviour_cloning", "flywheel", "rl"]
#: Who is told of the measurements does not change them.
TRACK = ("track", "sft.track", "flywheel.track", "flywheel.train.track", "rl.track")


def _cloning_settings() -> sft.SftConfig:
    default = sft.SftConfig(weights=TASK_WEIGHTS)
    return replace(default, cloning=replace(default.cloning, steps=480, score_every=120))


def flywheel_settings() -> flywheel.FlywheelConfig:
    """One short turn of the small model."""
    default = flywheel.FlywheelConfig(turns=1, starts=10, attempts=1, validation=5)
    return replace(default, train=replace(default.train, cloning=replace(default.train.cloning, steps=60, lr=6e-4)))


def rl_settings() -> RlConfig:
    """Some minutes of GRPO on the small model."""
    return RlConfig(
        algo=Grpo(updates=3),
        updates=10,
        groups=24,
        rounds=1,
        optimizer=OptimizerConfig(lr=2.5e-4, adam_lr=2e-4),
        warmup=2,
        decay=0.6,
        evaluate_every=10,
        validation=5,
        export="last",
        save_every=5,
    )


@dataclass(frozen=True)
class DemoConfig:
    """`demonstrations` training seeds of each task are acted out, and `visits` others only looked at; `episodes` held-out seeds of
    each are evaluated after every rung, the first `baseline_episodes` of them by the baselines and the first `untrained_episodes`
    before training, where nothing succeeds and every reply runs to its token limit. `seed` is that of the weights, of the order of
    the data and of sampling. `last` is the last rung that is climbed: "behaviour_cloning", "flywheel" or "rl". `track` names
    trackers (`stepladder.tracking`) of the measurements of all stages."""

    output: Path = Path("runs/demo")
    tasks: str = "miniwob@demo"
    seed: int = 0
    last: LastRung = "rl"
    demonstrations: int = 60
    visits: int = 200
    episodes: int = 20
    baseline_episodes: int = 5
    untrained_episodes: int = 5
    max_tokens: int = 48
    screens: int = 60
    track: tuple[str, ...] = ()
    sft: sft.SftConfig = field(default_factory=_cloning_settings)
    flywheel: flywheel.FlywheelConfig = field(default_factory=flywheel_settings)
    rl: RlConfig = field(default_factory=rl_settings)


def main(config: DemoConfig, show: bool = True) -> Path:
    """Run what is left of the demo; the path of report.html."""
    console = Console(stderr=True, quiet=not show)
    settings = {**to_dict(config), "task_set": task_set_hash(load_tasks(config.tasks))}
    with Run(
        config.output, settings, seeds={"training": config.seed}, may_change=("output", "last", *TRACK), trackers=config.track
    ) as run:

        def phase(name: str, title: str, work: Callable[[Phase], None]) -> None:
            with run.phase(name) as record:
                if record.done:
                    console.print(f"[dim]{title}: done before, {record.seconds:.0f} s[/dim]")
                    return
                console.print(f"[bold]{title}[/bold]")
                work(record)
            console.print(f"  {record.seconds:.0f} s")

        def measure(rung: str, title: str) -> None:
            phase(f"evaluate {rung}", title, lambda _: _evaluate(config, rung, show))

        phase(
            "collect",
            "Demonstrations: scripts act out the tasks in Chromium; further pages are looked at (about two minutes)",
            lambda record: _collect(config, record, show, console),
        )
        phase(
            "sft",
            "Training from random weights: copying, perception, behaviour cloning (about fifteen minutes)",
            lambda _: _clone(config, show),
        )
        phase(
            "perceive",
            "Perception on words, fonts and sizes never seen (some seconds)",
            lambda record: _perceive(config, record, show),
        )
        phase("baselines", "Baselines on held-out seeds (about a minute)", lambda _: _baselines(config, show))
        measure("behaviour_cloning", "Evaluation on held-out seeds (about a minute)")
        if config.last in ("flywheel", "rl"):
            phase(
                "flywheel",
                "Flywheel: it plays, keeps its successes, learns from them (about two minutes and a half)",
                lambda _: _turn(config, show),
            )
            measure("flywheel", "Evaluation on the same seeds after the flywheel (about a minute)")
        if config.last == "rl":
            phase(
                "rl",
                "Reinforcement learning: groups of episodes from equal starts (about seven minutes)",
                lambda _: _reinforce(config, show),
            )
            measure("rl", "Evaluation on the same seeds after reinforcement learning (about a minute)")
        rungs = list(CHECKPOINTS)[: list(CHECKPOINTS).index(config.last) + 1]
        report = demo_report.write(config.output, run, {name: policy_of(config, name) for name in (*BASELINES, *rungs)})
        console.print(f"[bold]Report[/bold]\n  {report}")
        return report


def policy_of(config: DemoConfig, name: str) -> str:
    """What `stepladder eval` calls the policy of a rung or baseline: a baseline's name, or a checkpoint directory."""
    return name if name in BASELINES else str(config.output / CHECKPOINTS[name])


def _collect(config: DemoConfig, record: Phase, show: bool, console: Console) -> None:
    settings = collect.CollectConfig(
        tasks=config.tasks,
        output=config.output / "collect",
        episodes=config.demonstrations,
        visits=config.visits,
        options=SCREEN,
    )
    collected = collect.main(settings, show)
    kept, rejected = collected.kept.total(), collected.rejected.total()
    record.result |= {"kept": kept, "rejected": rejected, "missing": collected.missing.total()}
    visited = collected.visited.total()
    record.result["visited"] = visited
    console.print(f"  {kept} demonstrations kept, {rejected} failed and left out; {visited} pages looked at")


def _clone(config: DemoConfig, show: bool) -> None:
    output = config.output / "sft"
    settings = replace(config.sft, demonstrations=config.output / "collect", output=output, seed=config.seed)
    sft.main(replace(settings, track=config.track or config.sft.track), show)


def _perceive(config: DemoConfig, record: Phase, show: bool) -> None:
    table = perceive.main(
        config.output / CHECKPOINTS["behaviour_cloning"],
        config.output / "collect",
        screens=config.screens,
        ignore_above=config.sft.ignore_above,
        show=show,
    )
    record.result |= {kind: {name: to_json(rate) for name, rate in row.items()} for kind, row in table.items()}


def _turn(config: DemoConfig, show: bool) -> None:
    settings = replace(
        config.flywheel,
        checkpoint=config.output / CHECKPOINTS["behaviour_cloning"],
        demonstrations=config.output / "collect",
        output=config.output / "flywheel",
        tasks=config.tasks,
        seed=config.seed,
        max_tokens=config.max_tokens,
        options=SCREEN,
        train=replace(config.flywheel.train, weights=config.sft.weights),
        track=config.track or config.flywheel.track,
    )
    flywheel.main(settings, show)


def _reinforce(config: DemoConfig, show: bool) -> None:
    settings = replace(
        config.rl,
        checkpoint=config.output / CHECKPOINTS["flywheel"],
        output=config.output / "rl",
        tasks=config.tasks,
        seed=config.seed,
        max_tokens=config.max_tokens,
        options=SCREEN,
        track=config.track or config.rl.track,
    )
    rl.main(settings, show)


def _baselines(config: DemoConfig, show: bool) -> None:
    for name in (*BASELINES, "untrained"):
        _evaluate(config, name, show)


def _evaluate(config: DemoConfig, name: str, show: bool) -> None:
    episodes = {"untrained": config.untrained_episodes, **dict.fromkeys(BASELINES, config.baseline_episodes)}
    settings = evaluate.EvaluateConfig(
        tasks=config.tasks,
        policy=policy_of(config, name),
        baselines=(),
        episodes=episodes.get(name, config.episodes),
        output=config.output / "evaluate" / name,
        max_tokens=config.max_tokens,
        options=SCREEN,
        track=config.track,
    )
    evaluate.main(settings, show)
