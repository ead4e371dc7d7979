"""`stepladder view`, `stepladder play`, `stepladder export` and `stepladder report`: runs as pages."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from stepladder.cli_options import Agent, Output, Settings, ShowSettings, Tasks, configured
from stepladder.config import ConfigError
from stepladder.stages import export as export_stage
from stepladder.stages import training_report
from stepladder.stages import view as stage
from stepladder.stages.play import PlayConfig

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]})
Runs = Annotated[list[Path] | None, typer.Argument(help="Directories of runs, or folders of them.", show_default=False)]
Host = Annotated[str | None, typer.Option(help="Address to listen at.", show_default=False)]
Port = Annotated[int | None, typer.Option(help="Port to listen at.", show_default=False)]
Token = Annotated[
    str | None, typer.Option(help="What a browser must carry; none for this machine's programs alone.", show_default=False)
]
Open = Annotated[bool, typer.Option("--open", help="Open the address in a browser.")]
Tokenizer = Annotated[Path | None, typer.Option(help="A checkpoint whose tokenizer tells the text of tokens.", show_default=False)]
Policies = Annotated[
    list[str] | None, typer.Option("--policy", help="Who can play, such as a checkpoint. May be repeated.", show_default=False)
]
Starts = Annotated[
    list[str] | None,
    typer.Option("--start", help="desktop, or a page's address, for an instruction of yours. May be repeated.", show_default=False),
]


@app.command()
def view(
    runs: Runs = None,
    host: Host = None,
    port: Port = None,
    token: Token = None,
    open_: Open = False,
    tokenizer: Tokenizer = None,
    play: Annotated[bool, typer.Option("--play", help="Let tasks be played; says which with --tasks and --start.")] = False,
    tasks: Tasks = None,
    start: Starts = None,
    policy: Policies = None,
    set_: Settings = None,
    settings: ShowSettings = False,
) -> None:
    """Runs and trajectories as pages in a browser; prints the address."""
    if not play and (tasks or start or policy):
        raise ConfigError("--tasks, --start and --policy say what can be played; give --play with them")
    config = stage.ViewConfig()
    if play:
        config = replace(config, play=_play(config.play, tasks, start, policy, None, None))
    given = {"runs": tuple(runs) if runs else None, "host": host, "port": port, "token": token, "tokenizer": tokenizer}
    config = configured(config, set_, settings, **given, open=open_ or None)
    if play and not config.plays:
        raise ConfigError("--play: say what can be played with --tasks, such as --tasks forms, or with --start")
    stage.main(config)


@app.command()
def play(
    runs: Runs = None,
    tasks: Tasks = None,
    start: Starts = None,
    policy: Policies = None,
    agent: Agent = None,
    output: Output = None,
    host: Host = None,
    port: Port = None,
    token: Token = None,
    open_: Open = False,
    set_: Settings = None,
    settings: ShowSettings = False,
) -> None:
    """Play tasks in a browser, with an agent or alone; what is played becomes trajectories. Settings of playing are play.NAME."""
    config = stage.ViewConfig()
    config = replace(config, play=_play(config.play, tasks, start, policy, agent, output))
    shown = tuple(runs) if runs else (config.play.output,)
    given = {"host": host, "port": port, "token": token, "open": open_ or None}
    config = configured(config, set_, settings, runs=shown, **given)
    if not config.plays:
        raise ConfigError("say what can be played with --tasks, such as --tasks forms, or with --start")
    stage.main(config)


@app.command()
def export(
    runs: Runs = None,
    html: Annotated[Path | None, typer.Option(help="Directory of the pages.", show_default=False)] = None,
    most: Annotated[int | None, typer.Option(help="Trajectories of each store, the latest; else all.", show_default=False)] = None,
    tokenizer: Tokenizer = None,
    set_: Settings = None,
    settings: ShowSettings = False,
) -> None:
    """Runs as pages that open from disk or any web host, without a server."""
    given = {"runs": tuple(runs) if runs else None, "html": html, "most": most, "tokenizer": tokenizer}
    config = configured(export_stage.ExportConfig(), set_, settings, **given)
    exported = export_stage.main(config)
    _say(f"{exported.trajectories} trajectories, {exported.pictures} pictures: {config.html / 'index.html'}")
    if exported.left_out:
        _say(f"{exported.left_out} trajectories were left out (--most)")


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="The directory of a run of `stepladder sft`, `rl` or `flywheel`.")],
) -> None:
    """The report of a training, written again from the files of its run: report.html, report.md, report.json."""
    _say(f"report: {training_report.write(run)}")


def _play(
    config: PlayConfig,
    tasks: str | None,
    start: list[str] | None,
    policy: list[str] | None,
    agent: str | None,
    output: Path | None,
) -> PlayConfig:
    given = {
        "tasks": tasks,
        "starts": tuple(start) if start else None,
        "policies": tuple(policy) if policy else None,
        "dialect": agent,
        "output": output,
    }
    return replace(config, **{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]


def _say(text: str) -> None:
    Console().print(escape(text), soft_wrap=True, highlight=False)
