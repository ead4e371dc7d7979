"""`stepladder ladder`: all twelve rungs, one after another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stepladder.cli_options import Output, Settings, ShowSettings, Tasks, configured
from stepladder.stages import ladder as ladder_stage
from stepladder.stages.ladder_config import LadderConfig

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]})


@app.command()
def ladder(
    output: Output = None,
    tasks: Tasks = None,
    without: Annotated[
        str | None, typer.Option(help="Rungs that are left out, such as core,continued.", show_default=False)
    ] = None,
    last: Annotated[str | None, typer.Option(help="The rung to end with.", show_default=False)] = None,
    set_: Settings = None,
    settings: ShowSettings = False,
) -> None:
    """Climb all twelve rungs from random weights, and measure each on the same held-out sets."""
    left_out = None if without is None else tuple(name for name in without.split(",") if name)
    config = configured(LadderConfig(), set_, settings, output=output, tasks=tasks, without=left_out, last=last)
    report: Path = ladder_stage.main(config)
    typer.echo(report)
