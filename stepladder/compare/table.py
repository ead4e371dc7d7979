"""A comparison as text."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from stepladder.compare.comparison import Comparison, Flip, Spending, shown_flips
from stepladder.compare.divergence import Divergence
from stepladder.compare.facts import facts
from stepladder.compare.pairing import Paired
from stepladder.report.words import duration, percent, points


def print_comparison(found: Comparison, most_flips: int) -> None:
    """Print it, with at most `most_flips` of the starts that flipped."""
    console = Console()
    for name, side, rate in zip(
        ("first ", "second"), (found.first, found.second), (found.overall.paired.first, found.overall.paired.second), strict=True
    ):
        console.print(f"{name}  {percent(rate)}  {escape(f'{side.policy}, {side.store_path}')}", highlight=False, soft_wrap=True)
    for warning in found.warnings:
        console.print(f"[yellow]beware:[/] {escape(warning)}", highlight=False, soft_wrap=True)
    if found.domains:
        console.print()
        console.print(_rates("domain", found.domains))
    console.print()
    console.print(_rates("task", found.tasks))
    if found.flips:
        console.print()
        shown = shown_flips(found.flips, most_flips)
        console.print(_flips(shown))
        if len(found.flips) > len(shown):
            console.print(f"and {len(found.flips) - len(shown)} more that flipped (--flips, --json)", highlight=False)
    console.print()
    console.print(_spending(found.spending))
    console.print()
    for line in summary_lines(found):
        console.print(escape(line), highlight=False, soft_wrap=True)


def summary_lines(found: Comparison) -> list[str]:
    """The paired result in a sentence, and the facts that belong to it."""
    total, paired = found.overall, found.overall.paired
    span = f"{points(total.low)} to {points(total.high)} at {100 * total.confidence:g} %"
    lines = [
        f"{paired.n} starts in common: difference {points(paired.difference)} points ({span}), {paired.gained} gained, "
        f"{paired.lost} lost, p = {paired.p:.2g} ({paired.method})"
    ]
    return lines + [f"{what}: {words}" for what, words in facts(found)]


def parting_words(parted: Divergence | None) -> str:
    """Where two trajectories part, in a few words; steps count from 1."""
    if parted is None:
        return "nowhere: they saw and did the same"
    if parted.decided is None:
        return "from the start: they began in different states"
    step = parted.decided + 1
    if parted.reason == "actions":
        return f"at step {step}"
    return f"after step {step}: the same action led elsewhere"


def spending_rows(spending: tuple[Spending, Spending]) -> list[tuple[str, str, str]]:
    """(what, first, second) of everything that is known of at least one side."""

    def row(name: str, values: Sequence[float | None], form: str) -> list[tuple[str, str, str]]:
        if all(value is None for value in values):
            return []
        first, second = ("–" if value is None else format(value, form) for value in values)
        return [(name, first, second)]

    rows = row("episodes", [one.episodes for one in spending], ",d")
    rows += row("successes", [one.successes for one in spending], ",d")
    rows += row("steps an episode, as turns", [one.turns for one in spending], ".2f")
    rows += row("steps an episode, as actions", [one.actions for one in spending], ".2f")
    rows += row("turns of a success", [one.turns_of_successes for one in spending], ".2f")
    if any(one.seconds for one in spending):
        times = ["–" if one.seconds_per_success is None else duration(one.seconds_per_success) for one in spending]
        rows.append(("time for each success", *times))  # type: ignore[arg-type]  # two of them
    rows += row("tokens for each success", [one.tokens_per_success for one in spending], ",.0f")
    rows += row("dollars for each success", [one.dollars_per_success for one in spending], ".4f")
    return rows


def _rates(heading: str, rows: Sequence[Paired]) -> Table:
    table = _table((heading,), ("n", "first", "second", "points", "gained", "lost", "p (Holm)"))
    for row in rows:
        table.add_row(
            escape(row.name),
            str(row.n),
            percent(row.first, 0),
            percent(row.second, 0),
            points(row.difference) if row.difference else "0.0",
            str(row.gained),
            str(row.lost),
            f"{row.p if row.adjusted is None else row.adjusted:.2g}",
        )
    return table


def _flips(flips: Sequence[Flip]) -> Table:
    table = _table(("flipped", "task", "seed", "they part", "the first did", "the second did"))
    for flip in flips:
        mark = "[green]gained[/green]" if flip.gained else "[red]lost[/red]"
        cells = (flip.task, str(flip.seed), parting_words(flip.divergence), flip.first_did, flip.second_did)
        table.add_row(mark, *map(escape, cells))
    return table


def _spending(spending: tuple[Spending, Spending]) -> Table:
    table = _table(("",), ("first", "second"))
    for row in spending_rows(spending):
        table.add_row(*row)
    return table


def _table(words: Sequence[str], numbers: Sequence[str] = ()) -> Table:
    """Long cells go on in the next line."""
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in words:
        table.add_column(column, overflow="fold")
    for column in numbers:
        table.add_column(column, justify="right")
    return table
