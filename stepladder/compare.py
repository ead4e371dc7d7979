"""Two evaluations side by side, on the starts that both have played."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from stepladder.errors import UserError
from stepladder.report.words import percent
from stepladder.stats import Comparison, compare_paired
from stepladder.store import TrajectoryStore


def compare(first: Path, second: Path) -> Comparison:
    """Print whether the policy of trajectory file `second` is better than that of `first`. Raises UserError."""
    before, after = _outcomes(first), _outcomes(second)
    try:
        overall = compare_paired(before, after)
    except ValueError as error:
        raise UserError(f"{first} and {second}: {error}") from error
    table = Table("task", "n", "first", "second", "gained", "lost", box=None, header_style="dim", pad_edge=False)
    starts = sorted(before.keys() & after.keys())
    for task in dict.fromkeys(task for task, _ in starts):
        mine = [start for start in starts if start[0] == task]
        one = compare_paired({s: before[s] for s in mine}, {s: after[s] for s in mine})
        rates = [percent(sum(outcomes[s] for s in mine) / len(mine), 0) for outcomes in (before, after)]
        table.add_row(escape(task), str(one.n), *rates, str(one.gained), str(one.lost))
    console = Console()
    console.print(table)
    console.print(
        f"{overall.n} starts in common: difference {100 * overall.difference:+.1f} points ({100 * overall.low:+.1f} to "
        f"{100 * overall.high:+.1f} at 95 %), {overall.gained} gained, {overall.lost} lost, p = {overall.p:.2g} (McNemar, exact)",
        highlight=False,
    )
    return overall


def _outcomes(path: Path) -> dict[tuple[str, int], bool]:
    """Whether each graded start succeeded. A start that stands in the file twice counts as it ended last."""
    with TrajectoryStore(path) as store:
        found = {(summary.task, summary.seed): summary.success for summary in store.summaries() if summary.reward is not None}
    if not found:
        raise UserError(f"{path} holds no graded episode")
    return found
