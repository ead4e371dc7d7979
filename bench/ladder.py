"""Is learning from its own clicks worth more than the same minutes of more behaviour cloning?

    stepladder demo --set seed=0 --output runs/demo-0
    python bench/ladder.py runs/demo-0 [runs/demo-1 ...]

For each finished demo: the checkpoint of its behaviour cloning learns on, from the same demonstrations, for as many seconds as the
flywheel and reinforcement learning took in that run. Then both are evaluated on the same held-out seeds and compared start by
start (McNemar, exact), each run for itself and all together. Everything is kept in `control/` beside the run's own files, and an
interrupted control goes on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from stepladder.codec import from_json
from stepladder.results import Result
from stepladder.run import read_phases
from stepladder.stages import evaluate, sft
from stepladder.stages.demo import SCREEN, TASK_WEIGHTS
from stepladder.stages.flywheel import training
from stepladder.stats import compare_paired
from stepladder.store import TrajectoryStore

#: Enough updates that the clock alone ends the control.
ENDLESS = 1_000_000
#: Rates at which cloning goes on: of the flywheel in the demo, of the flywheel by default, of the cloning before it.
RATES = (6e-4, 1e-3, 2e-3)
#: Success of every graded start, a task and its seed.
Outcomes = dict[tuple[str, int], bool]
#: A start of one of several runs.
Start = tuple[Path, str, int]


def control(run: Path, rate: float) -> Path:
    """The checkpoint of the control with this learning rate; trained when it is not there."""
    seconds = sum(read_phases(run)[phase]["seconds"] for phase in ("flywheel", "rl"))
    seed = json.loads((run / "config.json").read_text())["seed"]
    settings = training()
    cloning = replace(sft.SftConfig().cloning, steps=ENDLESS, decay=0.4, max_seconds=seconds, lr=rate, goal=2.0)
    return sft.main(
        replace(
            settings,
            checkpoint=run / "sft" / "checkpoint",
            demonstrations=run / "collect",
            output=run / "control" / f"sft-{rate:g}",
            weights=TASK_WEIGHTS,
            seed=seed + 100,
            cloning=cloning,
        )
    )


def outcomes(directory: Path) -> Outcomes:
    """Success of every graded start of an evaluation."""
    with TrajectoryStore(directory / "checkpoint.jsonl") as store:
        return {(summary.task, summary.seed): summary.success for summary in store.summaries() if summary.reward is not None}


def rung(run: Path, name: str) -> str:
    """The success rate of a rung of the demo, or that there is none."""
    path = run / "evaluate" / name / "checkpoint.json"
    rate = from_json(Result, json.loads(path.read_text()), str(path)).rate
    return "none graded" if rate is None else f"{rate:.3f}"


def played(run: Path, checkpoint: Path, name: str, episodes: int) -> Outcomes:
    """Outcomes of a checkpoint on `episodes` held-out seeds of every task of the run; played when they are not there."""
    config = json.loads((run / "config.json").read_text())
    output = run / "control" / f"evaluate-{name}-{episodes}"
    evaluate.main(
        evaluate.EvaluateConfig(
            tasks=config["tasks"],
            policy=str(checkpoint),
            baselines=(),
            episodes=episodes,
            output=output,
            max_tokens=config["max_tokens"],
            options=SCREEN,
        )
    )
    return outcomes(output)


def figures(rate: float, control: Mapping[Any, bool], learned: Mapping[Any, bool]) -> list[str]:
    """What a row of the table says."""
    test = compare_paired(control, learned)
    means = [f"{sum(outcomes.values()) / len(outcomes):.3f}" for outcomes in (learned, control)]
    difference, bounds = f"{test.difference:+.3f}", f"{test.low:+.3f} to {test.high:+.3f}"
    return [*means, f"{rate:g}", difference, bounds, str(test.gained), str(test.lost), f"{test.p:.2g}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="directories of finished demos")
    parser.add_argument("--rates", type=float, nargs="+", default=RATES, help="learning rates of the control")
    parser.add_argument("--episodes", type=int, default=100, help="held-out seeds of each task on which the two are compared")
    arguments = parser.parse_args()
    table = Table(
        "run", "cloning, flywheel, RL in the run", "RL", "control", "its rate", "RL - control", "95 %", "gained", "lost", "p"
    )
    together: dict[float, tuple[dict[Start, bool], dict[Start, bool]]] = {}
    for run in arguments.runs:
        climbed = ", ".join(rung(run, name) for name in ("behaviour_cloning", "flywheel", "rl"))
        learned = played(run, run / "rl" / "checkpoint", "rl", arguments.episodes)
        for rate in arguments.rates:
            more_cloning = played(run, control(run, rate), f"{rate:g}", arguments.episodes)
            table.add_row(run.name, climbed, *figures(rate, more_cloning, learned))
            pooled = together.setdefault(rate, ({}, {}))
            for every, of_run in zip(pooled, (more_cloning, learned), strict=True):
                every |= {(run, *start): success for start, success in of_run.items()}
    if len(arguments.runs) > 1:
        for rate, (first, second) in together.items():
            table.add_row("all together", "", *figures(rate, first, second))
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
