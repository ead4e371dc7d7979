"""What the outcomes of an audit come to: findings, what chance and giving up earn, and what is known to be harmless."""

from __future__ import annotations

import fnmatch
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from stepladder.audit.probes import PROBES, Outcome, Probe
from stepladder.config import ConfigError
from stepladder.stats import Rate, success_rate

Severity = Literal["success", "partial"]
#: Probes whose reward is no finding by itself: the solution's own, and harm that came after the task was done.
NO_FINDING: tuple[Probe, ...] = ("oracle", "perturbed_after")
#: From this reward on an episode counts as a success.
SUCCESS = 0.5


@dataclass(frozen=True)
class Allowed:
    """A finding that is known to be right: `task` and `way` are patterns as of file names, `reason` says why it is right."""

    task: str
    probe: Probe
    reason: str
    way: str = "*"

    def covers(self, task: str, probe: str, way: str) -> bool:
        return probe == self.probe and fnmatch.fnmatchcase(task, self.task) and fnmatch.fnmatchcase(way, self.way)


@dataclass(frozen=True)
class Finding:
    """One probe of one task that earned something it should not have: `earned` of `n` episodes, at most `reward`.

    `severity` is "success" where one of them counts as a success. `low` and `high` bound the share of random clicks that earn
    something (95 %). `evidence` are ids of trajectories; `allowed` is the reason of one that is known to be right, else empty.
    """

    task: str
    probe: Probe
    way: str
    earned: int
    n: int
    reward: float
    severity: Severity
    low: float = 0.0
    high: float = 1.0
    evidence: tuple[str, ...] = ()
    allowed: str = ""


@dataclass(frozen=True)
class Trivial:
    """What a player that does not try earns over the whole set: its success rate and mean reward over `n` episodes."""

    probe: Probe
    rate: Rate
    reward: float
    n: int


@dataclass(frozen=True)
class TaskRow:
    """One task: for each probe how many episodes earned something, of how many that say something. `void` and `missing` count
    those that say nothing and those whose environment failed. `unsolved` starts are those whose own solution did not earn 1."""

    task: str
    starts: int
    infeasible: bool
    unsolved: int
    cells: Mapping[str, tuple[int, int]]
    void: int
    missing: int


@dataclass(frozen=True)
class Summary:
    """Everything that an audit says. `without_solution` tasks have no demonstrator: nothing is known of their variations."""

    rows: tuple[TaskRow, ...]
    findings: tuple[Finding, ...]
    trivial: tuple[Trivial, ...]
    without_solution: tuple[str, ...]
    errors: Mapping[str, int] = field(default_factory=dict)
    unused: tuple[Allowed, ...] = ()

    @property
    def open(self) -> tuple[Finding, ...]:
        """Findings that nobody has explained yet."""
        return tuple(finding for finding in self.findings if not finding.allowed)

    @property
    def infeasible(self) -> tuple[str, ...]:
        return tuple(row.task for row in self.rows if row.infeasible)


def load_allowed(path: Path) -> tuple[Allowed, ...]:
    """The entries of a JSON file: a list of {"task", "probe", "reason"}, perhaps with "way". Raises ConfigError that names the
    entry."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"allow: {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"allow: {path} is no JSON: {error}") from error
    if not isinstance(entries, list):
        raise ConfigError(f"allow: {path} must hold a list of entries, not {type(entries).__name__}")
    found = []
    for number, entry in enumerate(entries, start=1):
        where = f"allow: {path}, entry {number}"
        if not isinstance(entry, dict) or not all(isinstance(value, str) for value in entry.values()):
            raise ConfigError(f"{where} must be an object of texts")
        if unknown := entry.keys() - {"task", "probe", "way", "reason"}:
            raise ConfigError(f"{where} has {min(unknown)!r}; there are task, probe, way and reason")
        if lacking := [name for name in ("task", "probe", "reason") if not entry.get(name)]:
            raise ConfigError(f"{where} lacks {lacking[0]!r}")
        if entry["probe"] not in PROBES:
            raise ConfigError(f"{where} names the probe {entry['probe']!r}; there are {', '.join(PROBES)}")
        found.append(Allowed(**entry))
    return tuple(found)


def summarise(outcomes: Sequence[Outcome], allowed: Sequence[Allowed] = (), most_chance: float = 0.05) -> Summary:
    """The summary of these outcomes, which should be of whole starts. Random clicks are a finding where the lower end of the 95 %
    interval of the share that earns something is above `most_chance`."""
    by_task: dict[str, list[Outcome]] = {}
    for one in outcomes:
        by_task.setdefault(one.task, []).append(one)
    findings = [finding for its in by_task.values() for finding in _findings(its, allowed, most_chance)]
    findings.sort(key=lambda one: (bool(one.allowed), one.severity != "success", PROBES.index(one.probe), one.task, one.way))
    used = {one for one in allowed if any(one.covers(found.task, found.probe, found.way) for found in findings)}
    errors = Counter(one.error or "no reason given" for one in outcomes if one.failed)
    return Summary(
        tuple(_row(task, its) for task, its in by_task.items()),
        tuple(findings),
        tuple(_trivial(outcomes, probe) for probe in ("idle", "gives_up", "random") if any(one.probe == probe for one in outcomes)),
        tuple(task for task, its in by_task.items() if not any(one.probe == "oracle" for one in its)),
        dict(errors.most_common()),
        tuple(one for one in allowed if one not in used),
    )


def summary_json(summary: Summary) -> dict[str, Any]:
    """The summary as plain JSON values."""
    return {
        "tasks": len(summary.rows),
        "infeasible": list(summary.infeasible),
        "without_solution": list(summary.without_solution),
        "trivial": {
            one.probe: {"rate": one.rate.rate, "low": one.rate.low, "high": one.rate.high, "reward": one.reward, "n": one.n}
            for one in summary.trivial
        },
        "findings": [asdict(one) for one in summary.findings],
        "open": len(summary.open),
        "rows": [asdict(one) for one in summary.rows],
        "errors": dict(summary.errors),
        "unused_allowances": [asdict(one) for one in summary.unused],
    }


def _findings(outcomes: Sequence[Outcome], allowed: Sequence[Allowed], most_chance: float) -> Iterable[Finding]:
    """Those of one task."""
    groups: dict[tuple[Probe, str], list[Outcome]] = {}
    for one in outcomes:
        expected = one.infeasible and one.probe == "gives_up"
        if one.reward is not None and one.probe not in NO_FINDING and not expected:
            groups.setdefault((one.probe, one.way), []).append(one)
    for (probe, way), its in groups.items():
        earned = [one for one in its if one.earned]
        if not earned:
            continue
        share = success_rate(len(earned), len(its))
        if probe == "random" and share.low <= most_chance:
            continue
        task, reward = its[0].task, max(one.reward or 0.0 for one in earned)
        reasons = [one.reason for one in allowed if one.covers(task, probe, way)]
        yield Finding(
            *(task, probe, way, len(earned), len(its), reward, "success" if reward >= SUCCESS else "partial"),
            *(share.low, share.high),
            tuple(one.evidence for one in earned if one.evidence),
            reasons[0] if reasons else "",
        )


def _row(task: str, outcomes: Sequence[Outcome]) -> TaskRow:
    cells: dict[str, tuple[int, int]] = {}
    for probe in PROBES:
        its = [one for one in outcomes if one.probe == probe and one.reward is not None]
        if its:
            cells[probe] = (sum(one.earned for one in its), len(its))
    oracles = [one for one in outcomes if one.probe == "oracle"]
    return TaskRow(
        task,
        len({one.seed for one in outcomes}),
        any(one.infeasible for one in outcomes),
        sum(one.reward != 1.0 for one in oracles),
        cells,
        sum(bool(one.void) for one in outcomes),
        sum(one.failed for one in outcomes),
    )


def _trivial(outcomes: Sequence[Outcome], probe: Probe) -> Trivial:
    graded = [one for one in outcomes if one.probe == probe and one.reward is not None]
    rewards = [one.reward or 0.0 for one in graded]
    starts = len({(one.task, one.seed) for one in graded})
    rate = success_rate(sum(reward >= SUCCESS for reward in rewards), len(rewards), starts=starts)
    return Trivial(probe, rate, sum(rewards) / len(rewards) if rewards else 0.0, len(rewards))
