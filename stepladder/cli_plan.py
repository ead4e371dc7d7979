"""`stepladder plan`: how many tasks and trials an evaluation needs, from the command line."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from stepladder.errors import UserError
from stepladder.stats import (
    Assumptions,
    Plan,
    difficulty_correlation,
    intraclass_correlation,
    power_of,
    smallest_difference,
    tasks_needed,
)
from stepladder.stats.planning import CORRELATION, DESIGNS, ICC
from stepladder.store import TrajectoryStore

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]})
#: Where neither a pilot nor the user says otherwise, in percent: where differences are hardest to see.
RATE = 50.0


@dataclass(frozen=True)
class Guess:
    """What is assumed of the agents, as shares, and where it comes from: "given", "pilot" or "assumed"."""

    rate: float
    icc: float
    correlation: float
    sources: dict[str, str]


@app.command()
def plan(
    difference: Annotated[float, typer.Option(help="What is to be seen, in percentage points.")] = 5.0,
    rate: Annotated[
        float | None, typer.Option(help="Success of the first agent, in percent; else the pilot's, or 50.", show_default=False)
    ] = None,
    power: Annotated[float, typer.Option(help="How surely it is to be seen, in percent.")] = 80.0,
    significance: Annotated[float, typer.Option(help="Level of the two-sided test, in percent.")] = 5.0,
    trials: Annotated[str, typer.Option(help="Episodes of each task, seeds included; several with commas.")] = "1,2,4,8",
    tasks: Annotated[
        int | None, typer.Option(help="So many tasks there are; tells the smallest difference they show.", show_default=False)
    ] = None,
    icc: Annotated[
        float | None,
        typer.Option(
            help="Share of the variance of outcomes that lies between tasks, 0 to 1; else the pilot's.", show_default=False
        ),
    ] = None,
    correlation: Annotated[
        float | None,
        typer.Option(help="How far both agents find the same tasks hard, -1 to 1; else the pilot's.", show_default=False),
    ] = None,
    pilot: Annotated[
        list[Path] | None,
        typer.Option(
            help="Episodes of an agent (.jsonl) to estimate all this from; a second time for the other.", show_default=False
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """How many tasks x trials it takes to see a difference, on the same tasks for both agents and on different ones."""
    counts = _trials(trials)
    guess = _guess(rate, icc, correlation, pilot or [])
    if difference == 0 or not 0 <= 100 * guess.rate + difference <= 100:
        raise UserError(
            f"--difference is {difference:g}; it must not be 0, and from {100 * guess.rate:.4g} % it may lead to 0 to 100 %, "
            f"not to {100 * guess.rate + difference:.4g} %"
        )
    try:
        assumed = Assumptions(guess.rate, difference / 100, guess.icc, guess.correlation)
        plans = [tasks_needed(assumed, k, design, power / 100, significance / 100) for k in counts for design in DESIGNS]
        rows = [] if tasks is None else _smallest(guess, tasks, counts, power / 100, significance / 100, assumed)
    except ValueError as error:
        raise UserError(f"plan: {error}") from error
    if as_json:
        print(json.dumps(_json(assumed, guess, power, significance, plans, tasks, rows), indent=2))
        return
    _say(
        f"From {100 * guess.rate:.4g} % to {100 * (guess.rate + assumed.difference):.4g} %, two-sided test at {significance:g} %, "
        f"power {power:g} %; intra-class correlation {guess.icc:.2f} ({guess.sources['icc']}), correlation of the agents "
        f"{guess.correlation:.2f} ({guess.sources['correlation']})."
    )
    _print_plans(counts, plans)
    best = plans[0]
    _say(
        f"To see a difference of {difference:g} points at {power:g} % power you need {best.tasks:,} tasks x {best.trials} "
        f"trial{'' if best.trials == 1 else 's'}, the same for both agents."
    )
    if tasks is not None:
        _print_smallest(tasks, difference, rows)


def _trials(text: str) -> list[int]:
    try:
        counts = [int(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise UserError(f"--trials is {text!r}; write whole numbers with commas, such as 1,2,4") from error
    if not counts or min(counts) < 1:
        raise UserError(f"--trials is {text!r}; write whole numbers of at least 1, such as 1,2,4")
    return list(dict.fromkeys(counts))


def _guess(rate: float | None, icc: float | None, correlation: float | None, pilot: list[Path]) -> Guess:
    """Raises UserError."""
    if len(pilot) > 2:
        raise UserError(f"--pilot is given {len(pilot)} times; there are two agents")
    scores = [_scores(path) for path in pilot]
    everything = [score for of_task in scores[0].values() for score in of_task] if scores else []
    iccs = [found for one in scores if (found := intraclass_correlation(one)) is not None]
    piloted = {
        "rate": sum(everything) / len(everything) if everything else None,
        "icc": sum(iccs) / len(iccs) if iccs else None,
        "correlation": difficulty_correlation(*scores) if len(scores) == 2 else None,
    }
    given = {"rate": None if rate is None else rate / 100, "icc": icc, "correlation": correlation}
    assumed = {"rate": RATE / 100, "icc": ICC, "correlation": CORRELATION}
    values: dict[str, float] = {}
    sources: dict[str, str] = {}
    for name, default in assumed.items():
        for source, value in (("given", given[name]), ("pilot", piloted[name]), ("assumed", default)):
            if value is not None:
                values[name], sources[name] = value, source
                break
    return Guess(values["rate"], values["icc"], values["correlation"], sources)


def _scores(path: Path) -> dict[str, list[float]]:
    """Whether the graded episodes of each task succeeded. Raises UserError."""
    scores: dict[str, list[float]] = {}
    with TrajectoryStore(path) as store:
        for summary in store.summaries():
            if summary.reward is not None:
                scores.setdefault(summary.task, []).append(float(summary.success))
    if not scores:
        raise UserError(f"{path} holds no graded episode")
    return scores


def _smallest(
    guess: Guess, tasks: int, counts: list[int], power: float, significance: float, assumed: Assumptions
) -> list[dict[str, Any]]:
    rows = []
    for k in counts:
        for design in DESIGNS:
            found = smallest_difference(guess.rate, tasks, k, design, power, significance, guess.icc, guess.correlation)
            reached = power_of(assumed, tasks, k, design, significance)
            rows.append({"design": design, "tasks": tasks, "trials": k, "smallest_difference": found, "power": reached})
    return rows


def _print_plans(counts: list[int], plans: list[Plan]) -> None:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("trials", "same tasks", "episodes of each agent", "different tasks for each", "episodes of each agent"):
        table.add_column(column, justify="right")
    for k in counts:
        cells = [f"{count:,}" for one in plans if one.trials == k for count in (one.tasks, one.episodes)]
        table.add_row(str(k), *cells)
    Console().print(table)


def _print_smallest(tasks: int, difference: float, rows: list[dict[str, Any]]) -> None:
    _say(f"With {tasks:,} tasks, the smallest difference in points, and the power for {difference:g} points:")
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("trials", "same tasks", "power", "different tasks for each", "power"):
        table.add_column(column, justify="right")
    for k in dict.fromkeys(row["trials"] for row in rows):
        cells = []
        for row in rows:
            if row["trials"] == k:
                found = row["smallest_difference"]
                cells += ["none" if found is None else f"{100 * found:.1f}", f"{100 * row['power']:.0f} %"]
        table.add_row(str(k), *cells)
    Console().print(table)


def _json(
    assumed: Assumptions,
    guess: Guess,
    power: float,
    significance: float,
    plans: list[Plan],
    tasks: int | None,
    rows: list[dict[str, Any]],
) -> dict[str, Any]:
    """Everything as shares of 1."""
    return {
        "assumed": {**asdict(assumed), "power": power / 100, "significance": significance / 100, "sources": guess.sources},
        "plans": [{**asdict(plan), "episodes": plan.episodes} for plan in plans],
        **({} if tasks is None else {"with_tasks": rows}),
    }


def _say(text: str) -> None:
    Console().print(text, highlight=False, soft_wrap=True, markup=False)
