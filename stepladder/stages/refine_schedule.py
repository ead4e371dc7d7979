"""Reinforcement learning and refinement in turns, in one command that can be interrupted (Entropulse, arXiv 2508.14040).

    stepladder refine --schedule --checkpoint runs/demo/sft/checkpoint --output runs/entropulse

A phase of reinforcement learning goes on until it reaches a plateau, or its ceiling of updates. Its successes refine the policy.
The next phase goes on from there. Every phase is a run directory of its own:

    rl-1/, refine-1/, rl-2/, ...   as `stepladder rl` and `stepladder refine` write them
    checkpoint/                    that of the last phase
    report.html, report.md, report.json
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console

from stepladder.config import ConfigError, to_dict
from stepladder.report import Curve, Measured, Report, write_report
from stepladder.rollout.plateau import PlayedUpdate, find_plateau
from stepladder.run import Run, read_phases
from stepladder.stages import refine, rl
from stepladder.stages.refine import RefineConfig, in_words, source_of
from stepladder.stages.rl_config import RlConfig
from stepladder.stats import success_rate

MAY_CHANGE = ("output", "track", "rl.environments", "rl.pool", "refine.environments", "refine.pool")


@dataclass(frozen=True)
class ScheduleConfig:
    """`phases` of reinforcement learning, each as `rl` says from the checkpoint of the one before, with a refinement as `refine`
    says between any two. A phase ends at a plateau as in `refine.plateau`, which is looked for after every window of updates, or
    after `rl.updates`. It is refined in any case. Outputs, the refined run, and the seeds, which differ from phase to phase, are
    the schedule's own."""

    output: Path = Path("runs/entropulse")
    phases: int = 2
    rl: RlConfig = field(default_factory=RlConfig)
    refine: RefineConfig = field(default_factory=RefineConfig)

    def check(self) -> None:
        """Raises ConfigError for what cannot be."""
        if self.phases < 2:
            raise ConfigError(f"phases is {self.phases}; it must be at least 2, or there is nothing between them")
        if self.rl.decay:
            raise ConfigError(f"rl.decay is {self.rl.decay}; it must be 0 where it is not known beforehand how long a phase is")
        self.rl.check()
        self.refine.plateau.check()


def main(config: ScheduleConfig, show: bool = True) -> Path:
    """Go through the phases, and return the exported checkpoint directory. Raises ConfigError, TaskError."""
    config.check()
    console = Console(stderr=True, quiet=not show)
    checkpoint, sentences = config.rl.checkpoint, list[str]()
    settings = {**to_dict(config), "algorithm": config.rl.algo.name}
    defaults = replace(ScheduleConfig(), rl=replace(RlConfig(), algo=type(config.rl.algo)()))
    with Run(config.output, settings, {"rl": config.rl.seed}, may_change=MAY_CHANGE, defaults=defaults) as run:
        for number in range(1, config.phases + 1):
            learning, refining = (config.output / f"{name}-{number}" for name in ("rl", "refine"))
            with run.phase(f"rl {number}") as phase:
                if not phase.done:
                    console.rule(f"phase {number}: reinforcement learning")
                    phase.result["sentence"] = _learn(config, learning, checkpoint, number, show)
            sentences.append(f"Phase {number}: {phase.result['sentence']}")
            console.print(f"  {sentences[-1]}", markup=False, highlight=False)
            checkpoint = learning / "checkpoint"
            if number == config.phases:
                break
            with run.phase(f"refine {number}") as phase:
                if not phase.done:
                    console.rule(f"phase {number}: refinement")
                    chosen = replace(config.refine, run=learning, output=refining, anyway=True, seed=config.refine.seed + number)
                    refined = refine.main(chosen, show)
                    phase.result["sentence"] = f"before {in_words(refined.before)}; after {in_words(refined.after)}."
            sentences.append(f"Refinement {number}: {phase.result['sentence']}")
            checkpoint = refining / "checkpoint"
    final, partial = config.output / "checkpoint", config.output / "checkpoint.partial"
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(checkpoint, partial)
    shutil.rmtree(final, ignore_errors=True)
    partial.replace(final)
    _report(config, sentences)
    return final


def _learn(config: ScheduleConfig, output: Path, checkpoint: Path, number: int, show: bool) -> str:
    """One phase of reinforcement learning, a window of updates at a time. Returns how it ended."""
    window, updates = config.refine.plateau.window, 0
    settings = replace(config.rl, checkpoint=checkpoint, output=output, seed=config.rl.seed + number - 1)
    played: Sequence[PlayedUpdate] = ()
    while updates < config.rl.updates:
        updates = min(updates + window, config.rl.updates)
        rl.main(replace(settings, updates=updates), show)
        played = [one for one in source_of(output).updates() if one.update < updates]  # a run that goes on may know later ones
        found = find_plateau(played, config.refine.plateau)
        if found is not None and found.reached:
            return found.sentence
    found = find_plateau(played, config.refine.plateau)
    ended = f"It ended after all of its {config.rl.updates} updates."
    return ended if found is None else f"{found.sentence} {ended}"


def _report(config: ScheduleConfig, sentences: Sequence[str]) -> None:
    phases = {name: float(state["seconds"]) for name, state in read_phases(config.output).items()}
    success, entropy, measured, start = dict[str, list[tuple[float, float]]](), dict[str, list[tuple[float, float]]](), [], 0
    for number in range(1, config.phases + 1):
        played = source_of(config.output / f"rl-{number}").updates()
        success[f"phase {number}"] = [(start + one.update, one.successes / one.episodes) for one in played]
        entropy[f"phase {number}"] = [(start + one.update, one.entropy) for one in played if one.entropy == one.entropy]
        start += played[-1].update + 1 if played else 0
        latest = played[-config.refine.plateau.window :]
        episodes, won = sum(one.episodes for one in latest), sum(one.successes for one in latest)
        if episodes:
            rate = success_rate(won, episodes)
            name = f"sampled training episodes, last {len(latest)} updates"
            measured.append(Measured(name, f"phase {number}", won / episodes, episodes, rate.low, rate.high))
    write_report(
        config.output,
        Report(
            title=f"Reinforcement learning and refinement: {config.rl.algo.name} on {config.rl.tasks}",
            summary=" ".join(sentences),
            rungs=(),
            baselines={},
            seconds=sum(phases.values()),
            curves=(
                Curve("Success of sampled episodes", "update", success, percent=True),
                Curve("Entropy of a token, nats", "update", entropy),
            ),
            phases=phases,
            validation=tuple(measured),
        ),
    )
