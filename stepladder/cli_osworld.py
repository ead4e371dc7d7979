"""`stepladder osworld`: OSWorld's own task files, from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from stepladder.envs.osworld.coverage import lacks
from stepladder.envs.osworld.task_file import load_tasks

app = typer.Typer(
    help="OSWorld's own task files.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def osworld() -> None:
    """OSWorld's own task files."""


@app.command()
def coverage(
    folder: Annotated[Path, typer.Argument(help="A folder with OSWorld's task files, or one of them.")],
    cache: Annotated[Path | None, typer.Option(help="OSWorld's file cache.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Which tasks can be played here, and what each of the others lacks."""
    found = [(task, lacks(task, cache)) for task in load_tasks(folder)]
    if as_json:
        rows = [
            {"id": task.setup["id"], "domain": task.setup["domain"], "runnable": not missing, "lacks": missing}
            for task, missing in found
        ]
        print(json.dumps({"tasks": rows}, indent=2))
        return
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("domain", "task", "runnable", "lacks"):
        table.add_column(column, overflow="fold")
    for task, missing in found:
        mark = "[green]yes[/green]" if not missing else "[red]no[/red]"
        table.add_row(task.setup["domain"], escape(str(task.setup["id"])), mark, escape(", ".join(missing)))
    Console().print(table)
    said = f"{sum(not missing for _, missing in found)} of {len(found)} tasks can be played here"
    Console().print(said, soft_wrap=True, highlight=False)
