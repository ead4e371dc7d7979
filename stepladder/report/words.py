"""Numbers and names as a reader wants them; shared by the HTML and the Markdown."""

from __future__ import annotations

from collections.abc import Mapping

from stepladder.report.content import Report
from stepladder.results import Result

BASELINE_NAMES = {"random": "random clicks", "idle": "idle", "oracle": "oracle"}


def percent(rate: float | None, digits: int = 1) -> str:
    """ "62.4 %"; a dash for what was not measured."""
    return "–" if rate is None or rate != rate else f"{100 * rate:.{digits}f} %"


def duration(seconds: float) -> str:
    """ "3 h 12 min", "4 min 05 s", "7.2 s"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def readable(name: str) -> str:
    """ "behaviour_cloning" as "behaviour cloning"."""
    return name.replace("_", " ")


def interval(result: Result) -> str:
    return f"{result.confidence:.0%} interval {percent(result.low)} to {percent(result.high)}".replace("%", " %", 1)


def one_line(result: Result) -> str:
    """ "random: 12.0 % (95 % interval 7.0 % to 19.8 %), n = 100, no episode missing"."""
    missing = missing_words(result.missing) or "no episode missing"
    return f"{result.policy}: {percent(result.rate)} ({interval(result)}), n = {result.n}, {missing}"


def missing_words(missing: Mapping[str, int]) -> str:
    """ "3 timeout, 1 not run missing"; empty when nothing is missing."""
    return ", ".join(f"{count} {reason}" for reason, count in missing.items()) + " missing" if missing else ""


def errors_of(data: Report) -> list[tuple[str, str, int]]:
    """(who was evaluated, error, episodes) for every distinct error of missing episodes."""
    results = [(readable(rung.name), rung.result) for rung in data.rungs]
    results += [(BASELINE_NAMES.get(name, name), result) for name, result in data.baselines.items()]
    return [(name, error, count) for name, result in results for error, count in result.errors.items()]


def measured_on(data: Report) -> str:
    """What the headline was measured on, as law 8 wants it: episodes, tasks, seeds, task set, missing."""
    result = data.rungs[-1].result
    seeds = result.seeds
    span = f"seeds {min(seeds)} to {max(seeds)}" if seeds else "no seeds"
    missing = missing_words(result.missing)
    span = span.replace("seeds", "seeds:", 1) + (f", each played {result.trials} times" if result.trials > 1 else "")
    return (
        f"{len(result.tasks)} tasks, {len(seeds)} held-out {span}; task set {result.task_set}; "
        f"{missing if missing else 'no episode missing'}; success means a task reward of at least 0.5."
    )
