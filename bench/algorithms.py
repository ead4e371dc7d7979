"""Every algorithm from the same checkpoint, on the same tasks, with the same episodes to play: which of them helps?

    python bench/algorithms.py CHECKPOINT [--output runs/algorithms] [--algorithms grpo,gigpo,ppo,...] [--seeds 0,1,2]
                               [--updates 12] [--workers 2] [--publish docs/results]

A run is a directory of `stepladder rl`; one that was interrupted goes on, one that is finished is not done again. All have the same
starts, groups, learning rate and updates from a batch; what differs is the algorithm, and for each seed the starts and the
sampling. With as many groups as there are starts every update plays all of them, so that a curve does not tell which starts were
drawn. A curve is the success of the sampled episodes over environment steps, its band the lowest and highest seed. Two tables
compare at the number of environment steps, and at the number of processor seconds, that every run has reached: the mean success of
the updates that ended in the quarter before it. `gain` is against the first update, whose episodes the checkpoint itself has
played.

Seconds are the processor's, of learning and of the browser, so that other work on the machine does not count; a run that was killed
has lost those of its last part. The statistics of `gain` treat a seed as one observation: with three of them, differences below the
spread that the table shows are noise.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import statistics
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from stepladder.algos import ALGORITHMS, algorithm_class
from stepladder.config import to_dict
from stepladder.rollout.curricula import CurriculumSettings
from stepladder.run import read_metrics
from stepladder.stages import rl
from stepladder.stages.demo import SCREEN
from stepladder.stages.rl_config import RlConfig
from stepladder.train.optimizer import OptimizerConfig

#: Several steps each; the checkpoint of the demonstration succeeds in 0.3 to 0.9 of its sampled episodes on them.
TASKS = "miniwob:scroll-text-2,highlight-text,choose-list,enter-text,copy-paste,login-user,enter-text-dynamic,form-sequence-2"
#: Settings in which a run differs from the algorithm's defaults, beside `updates`.
OWN: Mapping[str, Mapping[str, Any]] = {
    "reinforce": {"updates": 1},
    "rloo": {"updates": 1},
    "ppo": {"critic_warmup": 2},
}
#: Names with other settings, as rows of their own.
VARIANTS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "ppo-step": ("ppo", {"critic_warmup": 2, "level": "step"}),
    "gigpo-std": ("gigpo", {"std": True}),
    "sdpo+grpo": ("sdpo", {"policy_gradient": 1.0, "distillation": 0.1}),
}
#: RlConfig's own settings of an algorithm.
AROUND: Mapping[str, Mapping[str, Any]] = {"arpo": {"replay": 8}}
#: The first training seed of the starts; every seed of the comparison has starts of its own.
FIRST = 20_000
PROCESSOR = "processor.json"
#: Those that need somebody else: a teacher's checkpoint.
LEFT_OUT = ("opd",)


@dataclass(frozen=True)
class Point:
    """An update of a run: environment steps and processor seconds when it was over, success of its episodes."""

    steps: float
    seconds: float
    success: float


def settings(name: str, seed: int, checkpoint: Path, output: Path, arguments: argparse.Namespace) -> RlConfig:
    algorithm, own = VARIANTS.get(name, (name, OWN.get(name, {})))
    return RlConfig(
        checkpoint=checkpoint,
        tasks=arguments.tasks,
        output=output / f"{name}-{seed}",
        algo=algorithm_class(algorithm)(**{"updates": arguments.repeats, **own}),
        seed=seed,
        ranks=1,
        updates=arguments.updates,
        groups=arguments.groups,
        group_size=8,
        rounds=1,
        expand=False,
        curriculum=CurriculumSettings(strength=0.0),
        environments=6,
        options=SCREEN,
        optimizer=OptimizerConfig(lr=5e-4, adam_lr=5e-4),
        warmup=2,
        seeds=arguments.starts,
        first=FIRST + seed * arguments.starts,
        validation=0,
        save_every=2,
        **AROUND.get(name, {}),
    )


def points(run: Path) -> list[Point]:
    records = [record for record in read_metrics(run, "rl") if record["step"] > 0]
    if not records or not (run / PROCESSOR).exists():
        return []
    # What else ran on the machine stretches the clock, of all updates of a run about alike, and not the processor's time.
    share = json.loads((run / PROCESSOR).read_text())["seconds"] / records[-1]["seconds"]
    found: list[Point] = []
    steps = 0.0
    for record in records:
        steps += record["steps"] * record["episodes"]
        found.append(Point(steps, record["seconds"] * share, record["reward"]))
    return found


def played(config: RlConfig) -> None:
    """Train, and add up the processor's seconds of this process and of the browser."""
    path = config.output / PROCESSOR
    before = json.loads(path.read_text())["seconds"] if path.exists() else 0.0
    if before and (config.output / "checkpoint").exists():
        return

    def note() -> None:
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"seconds": before + sum(one.ru_utime + one.ru_stime for one in used)}))

    over = threading.Event()

    def watch() -> None:
        while not over.wait(5.0):
            note()

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        rl.main(config, show=False)
    finally:
        over.set()
        watching.join()
        note()


def success_at(run: Sequence[Point], where: float, clock: str) -> float:
    """Mean success of the updates that ended in the quarter before `where` steps or seconds; of the last one before it at least."""
    before = [point for point in run if getattr(point, clock) <= where]
    late = [point.success for point in before if getattr(point, clock) >= 0.75 * where]
    return statistics.mean(late) if late else before[-1].success if before else math.nan


def measure(runs: Mapping[str, Sequence[Sequence[Point]]]) -> list[dict[str, Any]]:
    """A row for each algorithm, best first, of those with runs."""
    whole = [run for of_name in runs.values() for run in of_name if run]
    limits = {clock: min(getattr(run[-1], clock) for run in whole) for clock in ("steps", "seconds")}
    rows = []
    for name, of_name in runs.items():
        kept = [run for run in of_name if run]
        if not kept:
            continue
        row: dict[str, Any] = {"algorithm": name, "seeds": len(kept), "start": statistics.mean(run[0].success for run in kept)}
        for clock, limit in limits.items():
            values = [success_at(run, limit, clock) for run in kept]
            row[clock] = {"at": limit, "mean": statistics.mean(values), "low": min(values), "high": max(values)}
        row["gain"] = row["steps"]["mean"] - row["start"]
        rows.append(row)
    return sorted(rows, key=lambda row: -row["steps"]["mean"])


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        return
    steps, seconds = (
        f"at {rows[0][clock]['at']:,.0f} {words}" for clock, words in (("steps", "environment steps"), ("seconds", "processor s"))
    )
    table = Table("algorithm", "seeds", "first update", steps, "lowest to highest", seconds, "gain")
    for row in rows:
        table.add_row(
            row["algorithm"],
            str(row["seeds"]),
            f"{row['start']:.3f}",
            f"{row['steps']['mean']:.3f}",
            f"{row['steps']['low']:.3f} to {row['steps']['high']:.3f}",
            f"{row['seconds']['mean']:.3f}",
            f"{row['gain']:+.3f}",
        )
    Console(width=150).print(table)


def draw(runs: Mapping[str, Sequence[Sequence[Point]]], path: Path) -> None:
    """Small multiples: each algorithm in colour, all others in grey, so that a dozen curves stay readable."""
    names = [name for name, of_name in runs.items() if any(of_name)]
    columns = 4
    figure = Figure(figsize=(3.1 * columns, 2.4 * math.ceil(len(names) / columns)), layout="constrained")
    panels = figure.subplots(math.ceil(len(names) / columns), columns, sharex=True, sharey=True, squeeze=False).ravel()
    for panel, name in zip(panels, names, strict=False):
        for other in names:
            panel.plot(*_mean_curve(runs[other]), color="#d5d9dc", linewidth=0.8)
        steps, means = _mean_curve(runs[name])
        low, high = ([edge(values) for values in _columns(runs[name])] for edge in (min, max))
        panel.fill_between(steps, low, high, color="#0c6e68", alpha=0.18, linewidth=0)
        panel.plot(steps, means, color="#0c6e68", linewidth=1.8)
        panel.set_title(name, fontsize=10, loc="left")
        panel.grid(axis="y", color="#e3e6e8", linewidth=0.7)
        for side in ("top", "right", "left"):
            panel.spines[side].set_visible(False)
        panel.tick_params(labelsize=8, length=0)
    for panel in panels[len(names) :]:
        panel.set_visible(False)
    figure.supxlabel("environment steps", fontsize=9)
    figure.supylabel("success of sampled episodes; band: lowest and highest seed", fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({"svg.hashsalt": "algorithms"}):
        figure.savefig(path, dpi=140)


def _columns(of_name: Sequence[Sequence[Point]]) -> list[list[float]]:
    """Success of all seeds in each update that all of them have."""
    kept = [run for run in of_name if run]
    return [[run[number].success for run in kept] for number in range(min(len(run) for run in kept))]


def _mean_curve(of_name: Sequence[Sequence[Point]]) -> tuple[list[float], list[float]]:
    kept = [run for run in of_name if run]
    columns = _columns(of_name)
    steps = [statistics.mean(run[number].steps for run in kept) for number in range(len(columns))]
    return steps, [statistics.mean(values) for values in columns]


def train(name: str, seed: int, arguments: argparse.Namespace) -> str:
    """One run in a process of its own; what went wrong, or nothing."""
    command = [sys.executable, __file__, str(arguments.checkpoint), "--one", f"{name}-{seed}", "--output", str(arguments.output)]
    for option in ("tasks", "updates", "groups", "repeats", "starts"):
        command += [f"--{option}", str(getattr(arguments, option))]
    done = subprocess.run(command, capture_output=True, text=True)
    return "" if done.returncode == 0 else f"{name}-{seed}: {done.stderr.strip().splitlines()[-1:]}"


def parse(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    everyone = ",".join([*(name for name in ALGORITHMS if name not in LEFT_OUT), *VARIANTS])
    parser.add_argument("checkpoint", type=Path, help="where all start from, such as runs/demo/sft/checkpoint")
    parser.add_argument("--output", type=Path, default=Path("runs/algorithms"))
    parser.add_argument("--algorithms", default=everyone)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--tasks", default=TASKS)
    parser.add_argument("--updates", type=int, default=12)
    parser.add_argument("--groups", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=2, help="optimizer steps on each batch")
    parser.add_argument("--starts", type=int, default=1, help="of each task; with one every update plays the same")
    parser.add_argument("--workers", type=int, default=2, help="runs at a time, each on one core")
    parser.add_argument("--publish", type=Path, help="directory for algorithms.json and algorithms.png")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    return parser.parse_args(given)


def main() -> None:
    arguments = parse()
    if arguments.one:
        name, _, seed = arguments.one.rpartition("-")
        played(settings(name, int(seed), arguments.checkpoint, arguments.output, arguments))
        return
    names, seeds = arguments.algorithms.split(","), [int(seed) for seed in arguments.seeds.split(",")]
    for name in names:
        algorithm_class(VARIANTS.get(name, (name, {}))[0])  # a wrong name is told before hours of work
    jobs = [(name, seed) for seed in seeds for name in names]
    console = Console(stderr=True)
    with ThreadPoolExecutor(arguments.workers) as pool:
        for (name, seed), failure in zip(jobs, pool.map(lambda job: train(*job, arguments), jobs), strict=True):
            console.print(f"{name}, seed {seed}: {failure or 'done'}")
    runs = {name: [points(arguments.output / f"{name}-{seed}") for seed in seeds] for name in names}
    rows = measure(runs)
    show(rows)
    if arguments.publish is not None:
        draw(runs, arguments.publish / "algorithms.png")
        config = to_dict(settings(names[0], seeds[0], arguments.checkpoint, arguments.output, arguments))
        kept = {name: config[name] for name in ("tasks", "groups", "group_size", "updates", "optimizer", "temperature", "warmup")}
        report = {
            "settings": {**kept, "seeds": seeds, "repeats": arguments.repeats},
            "own": {**OWN, **dict(VARIANTS), **AROUND},
            "rows": rows,
        }
        (arguments.publish / "algorithms.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
