"""Is learning from its own clicks worth more than the same minutes of more behaviour cloning?

    stepladder demo --set seed=0 --output runs/demo-0
    python bench/ladder.py runs/demo-0 [runs/demo-1 ...]

For each finished demo: the checkpoint of its behaviour cloning learns on, from the same demonstrations, for as many seconds as the
flywheel and reinforcement learning took in that run. Then it is evaluated on the same held-out seeds, and the two are compared
start by start (McNemar, exact). Everything is kept in `control/` beside the run's own files, and an interrupted control goes on.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from stepladder.codec import from_json
from stepladder.results import Result
from stepladder.run import read_phases
from stepladder.stages import evaluate, sft
from stepladder.stages.demo import SCREEN, TASK_WEIGHTS
from stepladder.stages.flywheel import training
from stepladder.stats import Comparison, compare_paired
from stepladder.store import TrajectoryStore

#: Enough updates that the clock alone ends the control.
ENDLESS = 1_000_000
#: The rate at which cloning goes on: the first is that of the flywheel's own training, the second that of the cloning before it.
RATES = (1e-3, 2e-3)


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


def outcomes(directory: Path) -> dict[tuple[str, int], bool]:
    """Success of every graded start of an evaluation."""
    with TrajectoryStore(directory / "checkpoint.jsonl") as store:
        return {(summary.task, summary.seed): summary.success for summary in store.summaries() if summary.reward is not None}


def rung(run: Path, name: str) -> Result:
    path = run / "evaluate" / name / "checkpoint.json"
    return from_json(Result, json.loads(path.read_text()), str(path))


def compare(run: Path, rate: float) -> tuple[Result, Comparison]:
    config = json.loads((run / "config.json").read_text())
    output = run / "control" / f"evaluate-{rate:g}"
    found = evaluate.main(
        evaluate.EvaluateConfig(
            tasks=config["tasks"],
            policy=str(control(run, rate)),
            baselines=(),
            episodes=config["episodes"],
            output=output,
            max_tokens=config["max_tokens"],
            options=SCREEN,
        )
    )
    return found, compare_paired(outcomes(output), outcomes(run / "evaluate" / "rl"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="directories of finished demos")
    parser.add_argument("--rates", type=float, nargs="+", default=RATES, help="learning rates of the control")
    arguments = parser.parse_args()
    table = Table("run", "cloning", "flywheel", "RL", "control", "control's rate", "RL - control", "95 %", "gained", "lost", "p")
    for run in arguments.runs:
        rates = [f"{rung(run, name).rate:.3f}" for name in ("behaviour_cloning", "flywheel", "rl")]
        for rate in arguments.rates:
            found, test = compare(run, rate)
            table.add_row(
                run.name,
                *rates,
                f"{found.rate:.3f}",
                f"{rate:g}",
                f"{test.difference:+.3f}",
                f"{test.low:+.3f} to {test.high:+.3f}",
                str(test.gained),
                str(test.lost),
                f"{test.p:.2g}",
            )
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
