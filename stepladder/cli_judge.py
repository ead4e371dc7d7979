"""`stepladder judge` and `stepladder propose`: models that judge episodes and think up tasks, from the command line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from stepladder.cli_options import Output, Settings, ShowSettings, configured
from stepladder.judges.agreement import Agreement, agreement_json
from stepladder.stages import judge as judge_stage
from stepladder.stages import propose as propose_stage
from stepladder.stages.judge_page import sentences, tables

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]})
Asked = Annotated[
    str | None,
    typer.Option(
        "--policy",
        help="Who is asked: a checkpoint directory, openai:URL[#MODEL], anthropic:MODEL, openai-responses:MODEL, or "
        "package.module:Class.",
        show_default=False,
    ),
]


@app.command()
def judge(
    run: Annotated[
        Path | None,
        typer.Argument(
            metavar="[RUN]", help="A run directory, such as runs/eval, or a store of episodes (.jsonl).", show_default=False
        ),
    ] = None,
    policy: Asked = None,
    votes: Annotated[int | None, typer.Option(help="Votes on each episode; all must agree.", show_default=False)] = None,
    ends: Annotated[
        int | None, typer.Option(help="Show only so many of the first and of the last screenshots.", show_default=False)
    ] = None,
    output: Output = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    set_: Settings = None,
    settings: ShowSettings = False,
) -> None:
    """A model as judge of episodes, by vote, and how far it agrees with the checks of their tasks."""
    base = judge_stage.JudgeConfig()
    asked = replace(base.judge, policy=policy, votes=base.judge.votes if votes is None else votes, ends=ends)
    config = configured(replace(base, judge=asked), set_, settings, run=run, output=output)
    found = judge_stage.main(config, show=not as_json)
    if as_json:
        print(json.dumps(agreement_json(found), indent=2))
        return
    _show(found)
    _say(f"report: {config.output / 'judge.html'}")


@app.command()
def propose(
    run: Annotated[
        Path | None, typer.Argument(metavar="[RUN]", help="A run directory, or a store of episodes (.jsonl).", show_default=False)
    ] = None,
    policy: Asked = None,
    method: Annotated[
        str | None, typer.Option(help="evolve: from tasks that failed; screen: from a screenshot.", show_default=False)
    ] = None,
    starts: Annotated[int | None, typer.Option(help="Starts that are asked about.", show_default=False)] = None,
    count: Annotated[int | None, typer.Option(help="Tasks asked for at each start.", show_default=False)] = None,
    output: Output = None,
    set_: Settings = None,
    settings: ShowSettings = False,
) -> None:
    """New tasks that a model thinks up from episodes that are there, without duplicates and without what cannot be done."""
    chosen = [*(set_ or []), *([] if method is None else [f"method={method}"])]
    given = {"run": run, "policy": policy, "starts": starts, "count": count, "output": output}
    config = configured(propose_stage.ProposeConfig(), chosen, settings, **given)
    proposals = propose_stage.main(config)
    for proposal in proposals:
        _say(f"{proposal.task.instruction}{f'  (left out: {proposal.left_out})' if proposal.left_out else ''}")
    kept = sum(not proposal.left_out for proposal in proposals)
    _say(f"{kept} tasks: --tasks proposed:{config.output / propose_stage.PROPOSED}")


def _show(found: Agreement) -> None:
    for heading, rows in list(tables(found))[:3]:
        _say(heading)
        table = Table(box=None, header_style="dim", pad_edge=False)
        for number, column in enumerate(rows[0]):
            table.add_column(column, justify="right" if number else "left")
        for row in rows[1:]:
            table.add_row(*row)
        Console().print(table)
    for sentence in sentences(found):
        _say(sentence)


def _say(text: str) -> None:
    Console().print(text, highlight=False, soft_wrap=True, markup=False)
