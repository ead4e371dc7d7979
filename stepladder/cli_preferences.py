"""`stepladder reward-model`, `best-of` and `choose`: from preferences to scores, from scores to a policy, and who prefers
what."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from stepladder.cli_options import Output, Settings, ShowSettings, Tasks, configured
from stepladder.run import read_phases
from stepladder.stages import best_of as best_of_stage
from stepladder.stages import choosing
from stepladder.stages import reward_model as reward_model_stage

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]})
Checkpoint = Annotated[Path | None, typer.Option(help="Where to start from.", show_default=False)]
Runs = Annotated[list[Path] | None, typer.Argument(help="Directories of runs, or stores (.jsonl).", show_default=False)]


@app.command("reward-model")
def reward_model(
    runs: Runs = None,
    pairs: Annotated[
        list[Path] | None, typer.Option(help="A run of `stepladder prefer` with pairs to learn from too.", show_default=False)
    ] = None,
    checkpoint: Checkpoint = None,
    output: Output = None,
    set_: Settings = None,
    settings: ShowSettings = False,
) -> None:
    """A score for replies and episodes, such that those that are preferred score higher."""
    sources = None if runs is None and pairs is None else tuple(runs or ())
    given = {"runs": sources, "pairs": tuple(pairs) if pairs else None, "checkpoint": checkpoint, "output": output}
    config = configured(reward_model_stage.RewardModelConfig(), set_, settings, **given)
    made = reward_model_stage.main(config)
    found = read_phases(config.output)["train"]["result"]
    if "accuracy" in found:
        interval = f"{found['low']:.3f} to {found['high']:.3f}"
        _say(f"accuracy on pairs held back: {found['accuracy']:.3f} ({interval}, n = {found['n']}, starts: {found['starts']})")
    _say(f"reward model: {made}")


@app.command("best-of")
def best_of(
    scorer: Annotated[
        Path | None, typer.Argument(metavar="[REWARD_MODEL]", help="The checkpoint of a reward model.", show_default=False)
    ] = None,
    checkpoint: Checkpoint = None,
    tasks: Tasks = None,
    output: Output = None,
    set_: Settings = None,
    settings: ShowSettings = False,
) -> None:
    """Rejection sampling: of several episodes from each start imitate the one that a reward model scores best."""
    config = best_of_stage.BestOfConfig()
    if scorer is not None:
        config = replace(config, reward_model=replace(config.reward_model, checkpoint=scorer))
    if tasks is not None:
        config = replace(config, play=replace(config.play, tasks=tasks))
    found = best_of_stage.main(configured(config, set_, settings, checkpoint=checkpoint, output=output))
    _say(f"checkpoint: {found.checkpoint}")


@app.command()
def choose(
    runs: Annotated[list[Path], typer.Argument(help="Directories of runs, or stores (.jsonl).", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file of choices, which is added to.")] = Path("choices.jsonl"),
    by: Annotated[str, typer.Option(help="Who chooses.")] = "",
    per_start: Annotated[int, typer.Option(min=1, help="How many pairs of episodes of each start are shown.")] = 4,
) -> None:
    """Which of two episodes from the same start is better? Choices that `stepladder prefer` learns from."""
    _say(f"{choosing.choose(output, runs, by, per_start)} choices: {output}")


def _say(text: str) -> None:
    Console().print(escape(text), soft_wrap=True, highlight=False)
