"""What the verdicts of a judge come to beside the checks of the tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from stepladder.judges.judge import unanimous
from stepladder.stats.agreement import Confusion, Estimate, Pair, agreement, confusion

MEASURES = ("accuracy", "precision", "recall", "f1", "kappa")


@dataclass(frozen=True)
class Judged:
    """One episode with its verdict; a line of verdicts.jsonl. `truth` is what the task's own check says (None: it has none),
    `success` the verdict (None: none). `last` says whether the screen after the last action was there to be seen. The rest is as in
    `Verdict`."""

    store: str
    id: str
    task: str
    domain: str
    truth: bool | None
    success: bool | None
    votes: tuple[bool | None, ...] = ()
    replies: tuple[str, ...] = ()
    shown: int = 0
    screenshots: int = 0
    last: bool = True
    reason: str = ""
    usage: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """Agreement on one task, one domain, or all episodes. `undecided` are true successes and true failures without a verdict."""

    name: str
    table: Confusion
    measures: Mapping[str, Estimate]
    undecided: tuple[int, int]


@dataclass(frozen=True)
class Agreement:
    """`by_votes` is what fewer votes would have come to: the first one, the first two, ... `unread` of `votes` could not be read,
    `split` episodes had votes of both kinds. `counts` are episodes: judged, without a check to compare with, seen in part only,
    without the last screen. `usage` is what all calls used."""

    all: Part
    domains: tuple[Part, ...]
    tasks: tuple[Part, ...]
    by_votes: tuple[Part, ...]
    votes: int
    unread: int
    split: int
    counts: Mapping[str, int]
    usage: Mapping[str, float]
    confidence: float = 0.95


def summarise(judged: Sequence[Judged], confidence: float = 0.95) -> Agreement:
    """Everything that is told of some verdicts. Verdicts without a check to compare with count in `counts` and `usage` alone."""
    compared = [one for one in judged if one.truth is not None]
    most = max((len(one.votes) for one in judged), default=0)
    usage: Counter[str] = Counter()
    for one in judged:
        for name, amount in one.usage.items():
            usage[name] += amount  # type: ignore[assignment]  # dollars are no whole numbers
    return Agreement(
        _part("all", compared, confidence),
        tuple(_part(name, of, confidence) for name, of in sorted(_by(compared, "domain").items())),
        tuple(_part(name, of, confidence) for name, of in sorted(_by(compared, "task").items())),
        tuple(_part(str(count), [_first_votes(one, count) for one in compared], confidence) for count in range(1, most + 1)),
        sum(len(one.votes) for one in judged),
        sum(vote is None for one in judged for vote in one.votes),
        sum({True, False} <= set(one.votes) for one in judged),
        {
            "judged": len(judged),
            "without a check": len(judged) - len(compared),
            "seen in part": sum(one.shown < one.screenshots for one in judged),
            "without the last screen": sum(not one.last for one in judged),
        },
        dict(usage),
        confidence,
    )


def agreement_json(found: Agreement) -> dict[str, Any]:
    """Rates as shares of 1; null for what is not defined or not bounded."""
    return {
        **{name: getattr(found, name) for name in ("confidence", "votes", "unread", "split")},
        "counts": dict(found.counts),
        "usage": dict(found.usage),
        "all": _part_json(found.all),
        **{name: [_part_json(part) for part in getattr(found, name)] for name in ("domains", "tasks", "by_votes")},
    }


def _part_json(part: Part) -> dict[str, Any]:
    return {
        "name": part.name,
        **asdict(part.table),
        "undecided_successes": part.undecided[0],
        "undecided_failures": part.undecided[1],
        **{name: asdict(part.measures[name]) for name in MEASURES},
    }


def _first_votes(one: Judged, count: int) -> Judged:
    votes = one.votes[:count]
    return Judged(one.store, one.id, one.task, one.domain, one.truth, unanimous(votes), votes)


def _by(judged: Sequence[Judged], name: str) -> dict[str, list[Judged]]:
    found: dict[str, list[Judged]] = {}
    for one in judged:
        found.setdefault(getattr(one, name), []).append(one)
    return found


def _part(name: str, judged: Sequence[Judged], confidence: float) -> Part:
    pairs: dict[str, list[Pair]] = {}
    undecided = [0, 0]
    for one in judged:
        assert one.truth is not None
        if one.success is None:
            undecided[not one.truth] += 1
        else:
            pairs.setdefault(one.task, []).append((one.success, one.truth))
    table = confusion([pair for of_task in pairs.values() for pair in of_task])
    return Part(name, table, agreement(pairs, confidence), (undecided[0], undecided[1]))
