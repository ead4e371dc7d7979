"""`stepladder compare`: two evaluations side by side, from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from stepladder.compare.comparison import compare_runs, comparison_json
from stepladder.compare.html import html_page
from stepladder.compare.table import print_comparison
from stepladder.errors import UserError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]})


@app.command()
def compare(
    first: Annotated[
        Path, typer.Argument(metavar="RUN_A", help="An evaluation's directory, such as runs/eval, or a store of episodes (.jsonl).")
    ],
    second: Annotated[Path, typer.Argument(metavar="RUN_B", help="The same of the other policy, on the same tasks and seeds.")],
    policy: Annotated[
        list[str] | None,
        typer.Option(
            help="Whose episodes, instead of those of the evaluated policy. Once for both runs, or twice.", show_default=False
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write a page into this file, too.", show_default=False)] = None,
    flips: Annotated[int, typer.Option(min=0, help="How many of the starts that flipped are shown; JSON has all.")] = 12,
    confidence: Annotated[float, typer.Option(help="Of the intervals, between 0 and 1.")] = 0.95,
) -> None:
    """Whether one policy is better than another: a paired test on the starts that both have played, and where they part."""
    named = list(policy or [])
    if len(named) > 2:
        raise UserError(f"--policy is given {len(named)} times; there are two runs")
    if not 0 < confidence < 1:
        raise UserError(f"--confidence is {confidence:g}; it must lie between 0 and 1")
    chosen = (named[0], named[-1]) if named else (None, None)
    found = compare_runs(first, second, chosen, confidence)
    if html is not None:
        html.parent.mkdir(parents=True, exist_ok=True)
        html.write_text(html_page(found, flips))
    if as_json:
        print(json.dumps(comparison_json(found), indent=2, ensure_ascii=False))
        return
    print_comparison(found, flips)
    if html is not None:
        Console().print(f"page: {html}", highlight=False, soft_wrap=True, markup=False)
