"""Numbers and names as a reader wants them; shared by the HTML and the Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stepladder.report.breakdown import feasible_rates
from stepladder.report.content import Curve, Report
from stepladder.results import Result
from stepladder.stats import Repeats

BASELINE_NAMES = {"random": "random clicks", "idle": "idle", "give_up": "giving up at once", "oracle": "oracle"}


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


def facts(data: Report) -> list[tuple[str, str]]:
    """What the headline was measured on, without which a rate is no result (law 8): what, and how much of it."""
    result = data.rungs[-1].result
    seeds = len(result.seeds)
    asked = len(result.tasks) * seeds * result.trials
    times = f" x {result.trials} trials" if result.trials > 1 else ""
    starts = f"{counted(len(result.tasks), 'task')} x {counted(seeds, 'seed')}{times}"
    missing = ", ".join(f"{count} {reason}" for reason, count in result.missing.items())
    return [
        ("Episodes", f"n = {result.n:,} of {asked:,} asked for: {starts}"),
        ("Missing", missing if missing else "none"),
        ("Success", f"a task reward of at least 0.5{'' if result.reward is None else f'; the mean reward is {result.reward:.3f}'}"),
        ("Without infeasible tasks", _without_infeasible(result)),
        ("Steps", f"{result.turns:.1f} turns an episode, in which {result.actions:.1f} actions"),
        ("Baselines", _baselines(data)),
        ("Task set", result.task_set),
        ("Seeds", seed_words(result.seeds)),
    ]


def _without_infeasible(result: Result) -> str:
    rates = feasible_rates(result)
    if rates is None:
        return "the same: none of the tasks is marked as infeasible"
    feasible, infeasible = rates
    count = counted(sum(part.infeasible for part in result.tasks), "infeasible task")
    return (
        f"{percent(feasible.rate)} ({percent(feasible.low)} to {percent(feasible.high)}), n = {feasible.n:,}; "
        f"on the {count} alone {percent(infeasible.rate)}, n = {infeasible.n:,}"
    )


def _baselines(data: Report) -> str:
    """Their rates on the same tasks, and which of them nobody has measured."""
    rates = [f"{BASELINE_NAMES[name]} {percent(data.baselines[name].rate)}" for name in BASELINE_NAMES if name in data.baselines]
    policy = data.rungs[-1].result.policy
    absent = [title for name, title in BASELINE_NAMES.items() if name not in data.baselines and name != policy]
    return "; ".join(filter(None, [", ".join(rates), f"not measured: {', '.join(absent)}" if absent else ""]))


def counted(count: int, noun: str) -> str:
    """ "1 task", "1,204 tasks"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def seed_words(seeds: Sequence[int]) -> str:
    """ "1000000 to 1000024"; single ones where they do not follow each other."""
    if len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds)) or "none"


def probability(p: float | None) -> str:
    """ "0.034", "< 0.001"; a dash where nothing was compared."""
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def points(difference: float | None) -> str:
    """ "+3.4", in percentage points; a dash where nothing was compared."""
    return "–" if difference is None else f"{100 * difference:+.1f}"


DOMAIN_NOTE = (
    "Each domain against the trivial baseline that does best on it (random clicks, doing nothing, giving up at once), on the "
    "starts that both have played. The difference is in percentage points; p is the probability of one as large by chance "
    "(two-sided; McNemar's exact test for single trials), for domains corrected for their number by Holm's method."
)
REPEATS_NOTE = (
    "Several trials of each start. pass@k: at least one of k succeeds; pass^k: all of k do. Both are unbiased estimates, averaged "
    "over starts; intervals come from resampling whole tasks."
)


def flips_in_words(repeats: Repeats) -> str:
    flips = repeats.flips
    return (
        f"Flip rate: two trials of one start end differently with a chance of {percent(flips.mean)} "
        f"({percent(flips.low)} to {percent(flips.high)}), from {counted(flips.n, 'start')}."
    )


def repeats_curve(repeats: Repeats) -> Curve:
    series = {
        name: [(float(k), mean.mean) for k, mean in table.items()]
        for name, table in (("pass@k: at least one", repeats.pass_at), ("pass^k: all", repeats.pass_hat))
    }
    return Curve("Success in k trials", "k", series, percent=True)
