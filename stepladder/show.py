"""Runs and trajectory files as text."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from stepladder.errors import UserError
from stepladder.report.frames import describe_actions, outcome
from stepladder.report.words import duration, percent
from stepladder.run import read_metrics, read_phases
from stepladder.store import TrajectoryStore


def show(path: Path, identifier: str | None = None, limit: int = 30) -> None:
    """Print what is at `path`. Raises UserError for a path without a store or a run, and for an unknown trajectory."""
    if path.is_dir():
        _run(path)
        return
    with TrajectoryStore(path) as store:
        if identifier is None:
            _store(store, limit)
        elif identifier in store:
            _trajectory(store, identifier)
        else:
            raise UserError(f"{path} holds no trajectory {identifier!r}; `stepladder show {path}` lists them")


def _store(store: TrajectoryStore, limit: int) -> None:
    console = Console()
    summaries = store.summaries()
    statuses = Counter(summary.status for summary in summaries)
    wins = sum(summary.success for summary in summaries)
    console.print(
        f"{len(summaries)} trajectories, {wins} successful; " + ", ".join(f"{status} {n}" for status, n in statuses.most_common()),
        highlight=False,
    )
    table = _table("id", "task", "seed", "steps", "reward", "ended")
    for summary in summaries[:limit]:
        reward = "–" if summary.reward is None else f"{summary.reward:g}"
        table.add_row(escape(summary.id), escape(summary.task), str(summary.seed), str(summary.steps), reward, summary.status)
    console.print(table)
    if len(summaries) > limit:
        console.print(f"and {len(summaries) - limit} more (--limit)", highlight=False)


def _trajectory(store: TrajectoryStore, identifier: str) -> None:
    console = Console()
    item = store.get(identifier)
    console.print(f"{escape(item.task.id)}, seed {item.seed}, {outcome(item)}", highlight=False)
    console.print(escape(item.task.instruction), highlight=False)
    table = _table("step", "action", "thought", "reply")
    for number, step in enumerate(item.steps, start=1):
        action = describe_actions(step)
        reply = step.completion.text if step.completion is not None else ""
        table.add_row(str(number), escape(action), escape(step.thought), escape(reply))
    console.print(table)
    if item.error:
        console.print(escape(item.error), highlight=False)


def _run(path: Path) -> None:
    console = Console()
    phases = read_phases(path)
    stores = sorted(path.glob("*.jsonl.index"))
    if not phases and not stores and not (path / "report.json").exists():
        raise UserError(f"{path} is no run directory: it has no phases.json, no trajectories and no report.json")
    for name, state in phases.items():
        console.print(f"{'done   ' if state['done'] else 'begun  '} {escape(name)}  {duration(state['seconds'])}", highlight=False)
    latest = {record["phase"]: record for record in read_metrics(path)}
    for name, record in latest.items():
        figures = "  ".join(f"{key} {value:.4g}" for key, value in record.items() if isinstance(value, float) and key != "time")
        console.print(f"latest  {escape(name)} step {record['step']}  {escape(figures)}", highlight=False)
    for index in stores:
        data = index.with_suffix("")
        with TrajectoryStore(data) as store:
            wins = sum(summary.success for summary in store.summaries())
            console.print(f"store   {escape(data.name)}  {len(store)} trajectories, {wins} successful", highlight=False)
    if (path / "report.json").exists():
        report = json.loads((path / "report.json").read_text())
        rows = [(rung["rung"], rung) for rung in report["rungs"]] + list(report["baselines"].items())
        for name, row in rows:
            rates = f"{percent(row['success'])} ({percent(row['low'])} to {percent(row['high'])}, n = {row['n']})"
            console.print(f"result  {escape(name)}  {rates}", highlight=False)
        console.print(f"report  {escape(str(path / 'report.html'))}", highlight=False, soft_wrap=True)


def _table(*columns: str) -> Table:
    """Long cells go on in the next line: an id that is cut off can be neither read nor copied."""
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
