"""Reinforcement learning that waits for its episodes, beside the same that does not: speed, use of environments, what is learned.

    python bench/asynchronous.py latency CHECKPOINT [--updates 8] [--environments 32] [--fewer 12] [--rounds 1] [--median 1.5]
    python bench/asynchronous.py success CHECKPOINT [--updates 10] [--seeds 0,1,2] [--episodes 25] [--rate 5e-4]

latency    Environments whose steps take as long as those of real machines (`rollout.slowed`). Both loops get as many environments
           as an update has episodes, so that no episode of the synchronous one waits for a place. With --fewer the asynchronous one
           has that many, for it never waits for the last episode and needs fewer to keep the trainer at work, and the synchronous
           one is run with as many, too. The synchronous loop has two ranks, a core each; the asynchronous one a trainer, a replica
           of the model and two processes that play, on the same cores. They run in turn, round after round. Ratios are to the
           synchronous loop with an environment for every episode.
           samples     episodes in the groups that were learned from or found flat, a second of playing and learning
           use         seconds in which environments were at work in episodes that ended, of the seconds of all of them
           Both without the first update, in which caches are cold.
success    The same checkpoint, tasks, starts and updates without latency, on three seeds; then held-out episodes at temperature 0,
           of the checkpoint that they began with, too.

The asynchronous loop runs in the Ray cluster at RAY_ADDRESS, or, where that is not set, in one of its own with one raylet. With
three on this machine: python tests/ray_cluster.py 1,1,1 python bench/asynchronous.py ...

Runs are directories of `stepladder rl` below --output; a finished one is not done again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from stepladder.algos.grpo import Grpo
from stepladder.rollout.asynchronous import AsynchronousSettings
from stepladder.rollout.curricula import CurriculumSettings
from stepladder.rollout.pool import PoolSettings
from stepladder.rollout.slowed import Latency
from stepladder.run import read_metrics
from stepladder.stages import evaluate, rl
from stepladder.stages.demo import SCREEN
from stepladder.stages.rl_config import RlConfig
from stepladder.stats import Rate, success_rate
from stepladder.store import TrajectoryStore
from stepladder.train.optimizer import OptimizerConfig
from stepladder.types import Trajectory

#: Several steps each.
TASKS = "miniwob:scroll-text-2,highlight-text,choose-list,enter-text,copy-paste,login-user,enter-text-dynamic,form-sequence-2"
MODES = ("synchronous", "asynchronous")
GROUP = 8


@dataclass(frozen=True)
class Speed:
    """Training samples a second, and the share of the environments' time in which they were at work."""

    samples: float
    use: float


def settings(mode: str, arguments: argparse.Namespace, seed: int, output: Path) -> RlConfig:
    base = RlConfig(
        checkpoint=arguments.checkpoint,
        tasks=arguments.tasks,
        output=output,
        algo=Grpo(updates=2),
        seed=seed,
        updates=arguments.updates,
        group_size=GROUP,
        expand=False,
        options=SCREEN if arguments.tasks.startswith("miniwob") else {},
        optimizer=OptimizerConfig(lr=arguments.rate, adam_lr=arguments.rate),
        warmup=2,
        validation=0,
        save_every=5,
    )
    if mode == "synchronous":
        return replace(base, ranks=2)
    address = os.environ.get("RAY_ADDRESS", "local")
    asynchronous = AsynchronousSettings(on=True, staleness=arguments.staleness, late="use")
    return replace(base, ranks=1, asynchronous=asynchronous, ray=replace(base.ray, address=address, workers=2, worker_cpus=0.5))


# --------------------------------------------------------------------------------------------------------------- latency


def slowed(config: RlConfig, arguments: argparse.Namespace, environments: int) -> RlConfig:
    """All environments together, half of them in each process that plays."""
    pool = PoolSettings(latency=Latency(arguments.median, arguments.spread, arguments.longest), load=0)
    groups = arguments.environments // GROUP
    each = environments // 2
    return replace(config, pool=pool, groups=groups, rounds=arguments.rounds, environments=each, max_steps=arguments.max_steps)


def speed(run: Path, environments: int) -> Speed:
    records = [record for record in read_metrics(run, "rl") if record["step"] > 0]
    later = records[1:]
    seconds = {record["step"]: record["play_seconds"] + record["learn_seconds"] for record in later}
    told = {record["step"]: record["environment_use"] for record in read_metrics(run, "rollouts")}
    if told:
        used = sum(told[step] * seconds[step] for step in seconds)
    else:  # episodes of an update end in it
        used = sum(map(_at_work, (one for one in _stored(run) if _update(one) in seconds))) / environments
    total = sum(seconds.values())
    return Speed(sum(record["episodes"] for record in later) / total, used / total)


def _at_work(trajectory: Trajectory) -> float:
    return sum(step.seconds.get("environment", 0.0) for step in trajectory.steps)


def _update(trajectory: Trajectory) -> int:
    """The update that a synchronous run played it for, the first is 1."""
    return int(trajectory.group.partition(".")[0]) + 1


def _stored(run: Path) -> list[Trajectory]:
    return [one for path in sorted(run.glob("rollouts-*.jsonl")) for one in TrajectoryStore(path)]


def latency(arguments: argparse.Namespace, console: Console) -> dict[str, object]:
    cases = [("synchronous", arguments.environments), ("asynchronous", arguments.fewer or arguments.environments)]
    cases += [("synchronous", arguments.fewer)] if arguments.fewer else []
    found: dict[tuple[str, int], list[Speed]] = {case: [] for case in cases}
    for turn in range(arguments.repeat):
        for mode, number in cases:
            output = arguments.output / f"latency-{mode}-{number}-{turn}"
            rl.main(slowed(settings(mode, arguments, turn, output), arguments, number), show=sys.stderr.isatty())
            found[mode, number].append(speed(output, number))
            console.print(f"{mode}, {number} environments, {turn}: {found[mode, number][-1]}")
    table = Table("", "environments", "samples a second", "ratio", "use of environments", "ratio")
    ratios = {}
    for mode, number in cases:
        pairs = list(zip(found[mode, number], found[cases[0]], strict=True))
        samples, use = [one.samples / first.samples for one, first in pairs], [one.use / first.use for one, first in pairs]
        ratios[f"{mode} {number}"] = {"samples": samples, "use": use}
        its = [_spread([one.samples for one, _ in pairs]), _spread(samples), _spread([one.use for one, _ in pairs]), _spread(use)]
        table.add_row(mode, str(number), *its)
    console.print(table)
    return {"ratios": ratios, "runs": {f"{mode} {number}": [vars(one) for one in of] for (mode, number), of in found.items()}}


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


# --------------------------------------------------------------------------------------------------------------- success


def success(arguments: argparse.Namespace, console: Console) -> dict[str, object]:
    """Pooled over the seeds; starts are the same for both, so the difference is a paired one."""
    outcomes: dict[str, dict[str, list[bool]]] = {mode: {} for mode in MODES}
    table = Table("", *(f"seed {seed}" for seed in arguments.seeds), "together")
    rates: dict[str, Rate] = {}
    before = _evaluated(arguments.checkpoint, arguments.output / "before", arguments)
    rates["before"] = success_rate(sum(before.values()), len(before))
    table.add_row("before", *("" for _ in arguments.seeds), _shown(rates["before"]))
    for mode in MODES:
        row = []
        for seed in arguments.seeds:
            output = arguments.output / f"success-{mode}-{seed}"
            config = settings(mode, arguments, seed, output)
            config = replace(
                config, groups=8, environments=3, seeds=400, rounds=1, curriculum=CurriculumSettings(strength=0.0), export="last"
            )
            checkpoint = rl.main(config, show=sys.stderr.isatty())
            graded = _evaluated(checkpoint, output / "evaluation", arguments)
            for start, good in graded.items():
                outcomes[mode].setdefault(start, []).append(good)
            row.append(_shown(success_rate(sum(graded.values()), len(graded))))
            console.print(f"{mode} {seed}: {row[-1]}")
        everything = [good for goods in outcomes[mode].values() for good in goods]
        rates[mode] = success_rate(sum(everything), len(everything), starts=len(outcomes[mode]))
        table.add_row(mode, *row, _shown(rates[mode]))
    console.print(table)
    return {mode: _shown(rate) for mode, rate in rates.items()}


def _evaluated(checkpoint: Path, output: Path, arguments: argparse.Namespace) -> Mapping[str, bool]:
    config = evaluate.EvaluateConfig(
        policy=str(checkpoint),
        tasks=arguments.tasks,
        output=output,
        episodes=arguments.episodes,
        trials=1,
        baselines=(),
        options=SCREEN,
        environments=6,
    )
    evaluate.main(config, show=False)
    with TrajectoryStore(output / f"{checkpoint.name}.jsonl") as store:
        return {f"{one.task.id} {one.seed}": one.success for one in store if not one.environment_failed}


def _shown(rate: Rate) -> str:
    return f"{rate.rate:.3f} ({rate.low:.3f} to {rate.high:.3f}, n = {rate.n})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["latency", "success"])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--output", type=Path, default=Path("runs/asynchronous"))
    parser.add_argument("--tasks", default=TASKS)
    parser.add_argument("--updates", type=int, default=8)
    parser.add_argument("--staleness", type=int, default=2)
    parser.add_argument("--rate", type=float, default=5e-4)
    parser.add_argument("--environments", type=int, default=32)
    parser.add_argument("--fewer", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--max-steps", type=int, default=None)
    parser.add_argument("--median", type=float, default=1.5)
    parser.add_argument("--spread", type=float, default=0.8)
    parser.add_argument("--longest", type=float, default=60.0)
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--seeds", type=lambda text: [int(one) for one in text.split(",")], default=[0, 1, 2])
    parser.add_argument("--episodes", type=int, default=25)
    arguments = parser.parse_args()
    console = Console()
    console.print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}")
    found = (latency if arguments.part == "latency" else success)(arguments, console)
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / f"{arguments.part}.json").write_text(json.dumps(found, indent=2, default=str))


if __name__ == "__main__":
    main()
