"""`stepladder pretrain`: from corpora to a model that predicts them, rungs 1 to 4."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from stepladder.cli_options import Output, Settings, ShowSettings, configured
from stepladder.stages import pretrain as pretrain_stage
from stepladder.stages.pretrain_config import PretrainConfig

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]})


@app.command()
def pretrain(
    checkpoint: Annotated[
        Path | None, typer.Option(help="A checkpoint to go on with; else a small model from random weights.", show_default=False)
    ] = None,
    demonstrations: Annotated[
        Path | None, typer.Option(help="A directory of `stepladder collect` whose words become tokens.", show_default=False)
    ] = None,
    output: Output = None,
    set_: Settings = None,
    settings: ShowSettings = False,
) -> None:
    """Pre-train on corpora: core, continued with a shifted mixture, with a longer context, and annealed."""
    given = {"checkpoint": checkpoint, "demonstrations": demonstrations, "output": output}
    config = configured(PretrainConfig(), set_, settings, **given)
    Console().print(escape(f"checkpoint: {pretrain_stage.main(config)}"), soft_wrap=True, highlight=False)
