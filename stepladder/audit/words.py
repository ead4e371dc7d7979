"""An audit in words; shared by the page and the command line."""

from __future__ import annotations

from collections.abc import Iterator

from stepladder.audit.findings import Finding, Summary

PROBE_NAMES = {
    "oracle": "solution",
    "idle": "idle",
    "gives_up": "gives up",
    "random": "random clicks",
    "stopped_early": "stopped early",
    "wrong_argument": "wrong argument",
    "perturbed": "perturbed",
    "perturbed_after": "perturbed after its end",
}
WAY_NAMES = {
    "neighbour": "another element clicked",
    "displaced": "clicked beside it",
    "end": "dragged to another place",
    "reversed": "scrolled the other way",
    "text_changed": "one letter of the text changed",
    "text_longer": "a word added to the text",
    "key": "another key pressed",
    "argument": "another argument of the function",
    "typed": "a stray text typed before the last action",
    "erased": "a character erased before the last action",
    "undone": "undone before the last action",
    "clicked": "something else chosen before the last action",
}


def finding_words(one: Finding) -> str:
    """ "wrong argument (one letter of the text changed): 2 of 3 episodes earned something, at most 1"."""
    way = WAY_NAMES.get(one.way, one.way)
    named = f"{PROBE_NAMES[one.probe]} ({way})" if way else PROBE_NAMES[one.probe]
    said = f"{named}: {one.earned} of {one.n} {'episode' if one.n == 1 else 'episodes'} earned something, at most {one.reward:g}"
    return f"{said} (95 % interval {_percent(one.low)} to {_percent(one.high)})" if one.probe == "random" else said


def severity_words(one: Finding) -> str:
    return "counts as a success" if one.severity == "success" else "partial credit"


def trivial_words(summary: Summary) -> Iterator[str]:
    """What doing nothing, giving up and chance earn, a line each."""
    for one in summary.trivial:
        rate = (
            "no episode has a grade"
            if one.rate.rate is None
            else (
                f"{_percent(one.rate.rate)} of {one.n} episodes succeed (95 % interval {_percent(one.rate.low)} to "
                f"{_percent(one.rate.high)}), mean reward {one.reward:.3f}"
            )
        )
        yield f"{PROBE_NAMES[one.probe]}: {rate}"


def give_up_words(summary: Summary) -> Iterator[str]:
    """What giving up at once earns by design, where tasks of the set cannot be done."""
    count = len(summary.infeasible)
    if count:
        yield (
            f"giving up at once earns {_percent(count / len(summary.rows))} of this set by design: {count} of {len(summary.rows)} "
            "tasks cannot be done"
        )


def _percent(rate: float) -> str:
    return f"{100 * rate:.1f} %"
