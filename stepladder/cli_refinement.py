"""`stepladder refine`, `prefer`, `pairs` and `merge`: what is made of the episodes and checkpoints of other runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from stepladder.algos import algorithm_class
from stepladder.cli_options import Output, Settings, ShowSettings, Tasks, configured
from stepladder.errors import UserError
from stepladder.stages import merge as merge_stage
from stepladder.stages import prefer as prefer_stage
from stepladder.stages import refine as refine_stage
from stepladder.stages import refine_schedule as schedule_stage
from stepladder.stages.prefer_config import Loss, PreferConfig
from stepladder.stages.preference_pairs import PAIRS_FILE, REPLIES_FILE, read_pairs, show_pairs

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]})
Checkpoint = Annotated[Path | None, typer.Option(help="Where to start from.", show_default=False)]


@app.command()
def refine(
    run: Annotated[Path | None, typer.Argument(help="The directory of a run of `stepladder rl`.", show_default=False)] = None,
    schedule: Annotated[bool, typer.Option("--schedule", help="Reinforcement learning and refinement in turns instead.")] = False,
    anyway: Annotated[bool, typer.Option("--anyway", help="Also a run that has not reached a plateau.")] = False,
    algo: Annotated[str | None, typer.Option(help="With --schedule: as of `stepladder rl`.", show_default=False)] = None,
    checkpoint: Checkpoint = None,
    tasks: Tasks = None,
    output: Output = None,
    set_: Settings = None,
    settings: ShowSettings = False,
) -> None:
    """Give a run of reinforcement learning its entropy back: imitate its own successes over all versions of the policy."""
    if not schedule:
        if algo is not None or checkpoint is not None or tasks is not None:
            raise UserError(
                "--algo, --checkpoint and --tasks are those of a schedule; give --schedule with them, or leave them out"
            )
        config = configured(refine_stage.RefineConfig(), set_, settings, run=run, output=output, anyway=anyway or None)
        refined = refine_stage.main(config)
        _say(f"checkpoint: {refined.checkpoint}")
        _say(f"report: {config.output / 'report.html'}")
        return
    if run is not None or anyway:
        raise UserError("a schedule makes its own runs and refines every one; leave the run's directory and --anyway out")
    start = schedule_stage.ScheduleConfig()
    given = {"checkpoint": checkpoint, "tasks": tasks, "algo": None if algo is None else algorithm_class(algo)()}
    learning = replace(start.rl, **{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    planned = configured(replace(start, rl=learning), set_, settings, output=output)
    _say(f"checkpoint: {schedule_stage.main(planned)}")
    _say(f"report: {planned.output / 'report.html'}")


@app.command()
def prefer(
    runs: Annotated[list[Path] | None, typer.Argument(help="Directories of runs, or stores (.jsonl).", show_default=False)] = None,
    checkpoint: Checkpoint = None,
    output: Output = None,
    loss: Annotated[Loss | None, typer.Option(help="What is learned.", show_default=False)] = None,
    beta: Annotated[float | None, typer.Option(help="How strongly it is held at the checkpoint.", show_default=False)] = None,
    rounds: Annotated[
        int | None, typer.Option(help="Play fresh episodes with the newest weights so often, instead of runs.", show_default=False)
    ] = None,
    set_: Settings = None,
    settings: ShowSettings = False,
) -> None:
    """Preference optimisation (DPO, IPO, KTO, SimPO) on the steps at which successes and failures of the same start part."""
    given = {"runs": tuple(runs) if runs else None, "checkpoint": checkpoint, "output": output, "beta": beta}
    config = configured(PreferConfig(), set_, settings, **given, loss=loss, rounds=rounds)
    made = prefer_stage.main(config)
    if not config.rounds:
        _say(f"pairs: {config.output / (REPLIES_FILE if config.unpaired else PAIRS_FILE)}")
    _say(f"checkpoint: {made}")


@app.command()
def pairs(
    path: Annotated[Path, typer.Argument(help="The directory of a run of `stepladder prefer`, or its pairs.jsonl.")],
    limit: Annotated[int, typer.Option(min=0, help="How many are shown.")] = 10,
) -> None:
    """The pairs of replies that `stepladder prefer` has made, with where they come from."""
    show_pairs(read_pairs(path), limit)


@app.command()
def merge(
    checkpoints: Annotated[list[Path], typer.Argument(help="Two checkpoint directories, or more.")],
    weights: Annotated[
        str | None, typer.Option(help="One number for each, with commas, whose sum is 1; else all alike.", show_default=False)
    ] = None,
    output: Output = None,
    set_: Settings = None,
    settings: ShowSettings = False,
) -> None:
    """One checkpoint whose weights are the weighted mean of others."""
    given = {"checkpoints": tuple(checkpoints), "weights": None if weights is None else _numbers(weights), "output": output}
    config = configured(merge_stage.MergeConfig(), set_, settings, **given)
    _say(f"checkpoint: {merge_stage.main(config)}")


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise UserError(f"--weights is {text!r}; write numbers with commas, such as 0.5,0.5") from error


def _say(text: str) -> None:
    Console().print(escape(text), soft_wrap=True, highlight=False)
