"""`stepladder audit`: what the checks of tasks give to episodes that did not do what was asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from stepladder.audit.findings import Summary, summary_json
from stepladder.audit.probes import PROBES
from stepladder.audit.words import PROBE_NAMES, finding_words, give_up_words, severity_words, trivial_words
from stepladder.cli_options import Env, Output, Settings, ShowSettings, Tasks, configured, either
from stepladder.stages import audit as stage

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def audit(
    tasks: Tasks = None,
    env: Env = None,
    output: Output = None,
    seeds: Annotated[int | None, typer.Option(help="Training seeds of each task.", show_default=False)] = None,
    allow: Annotated[
        Path | None, typer.Option(help="A JSON file of findings that are known to be right, with reasons.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    set_: Settings = None,
    settings: ShowSettings = False,
) -> None:
    """Whether rewards are to be trusted: idle, giving up, random clicks, the solution stopped early, with a wrong argument or with
    something harmed before its end. What earns more than 0 is a finding; exit code 1 says that some have no reason yet."""
    given = {"tasks": either(tasks, env, "--tasks", "--env"), "output": output, "seeds": seeds, "allow": allow}
    config = configured(stage.AuditConfig(), set_, settings, **given)
    summary = stage.main(config, show=not as_json)
    if as_json:
        print(json.dumps(summary_json(summary), indent=2))
    else:
        _show(summary, config.output)
    if summary.open:
        raise typer.Exit(1)


def _show(summary: Summary, output: Path) -> None:
    console = Console()
    probes = [probe for probe in PROBES if any(probe in row.cells for row in summary.rows)]
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("task", *(PROBE_NAMES[probe] for probe in probes)):
        table.add_column(column, justify="left" if column == "task" else "right", no_wrap=column == "task")
    for row in summary.rows:
        cells = []
        for probe in probes:
            earned, count = row.cells.get(probe, (0, 0))
            cells.append(f"{earned}/{count}" if count else "–")
        table.add_row(escape(row.task), *cells)
    console.print(table)
    for finding in summary.findings:
        said = f"{finding.task}: {finding_words(finding)}; {severity_words(finding)}"
        shown = f" (trajectory {finding.evidence[0]})" if finding.evidence else ""
        _say(console, f"{said}{f'; known to be right: {finding.allowed}' if finding.allowed else shown}")
    for line in (*trivial_words(summary), *give_up_words(summary)):
        _say(console, line)
    unsolved = sum(row.unsolved for row in summary.rows)
    if unsolved:
        _say(console, f"{unsolved} starts were not solved by their own solution, which says nothing about its variations")
    if summary.without_solution:
        _say(console, f"{len(summary.without_solution)} tasks have no solution: {', '.join(summary.without_solution)}")
    for error, count in list(summary.errors.items())[:1]:
        _say(console, f"{sum(summary.errors.values())} episodes have no grade, {count} of them because of: {error}")
    for one in summary.unused:
        _say(console, f"the allowance for {one.task}, {one.probe}, covers nothing")
    _say(console, f"{len(summary.rows)} tasks, {len(summary.findings)} findings, {len(summary.open)} of them without a reason")
    _say(console, f"report: {output / 'audit.html'}")


def _say(console: Console, text: str) -> None:
    console.print(escape(text), soft_wrap=True, highlight=False)
