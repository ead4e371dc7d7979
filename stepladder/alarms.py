"""Alarms of a training run: signs that it learns something else than was meant, with the update and the episodes that show it.

`find_alarms` looks at what was measured so far and at the groups of the latest update, and changes nothing. `AlarmLog` keeps what
it found in `<run>/alarms.jsonl`, one line an alarm, and `read_alarms` reads them back.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from stepladder.config import ConfigError
from stepladder.types import Group, Step, Trajectory

AlarmKind = Literal[
    "reward_hacking",
    "dominating_term",
    "group_collapse",
    "entropy_collapse",
    "entropy_explosion",
    "repeated_actions",
    "length_drift",
    "not_finite",
]
FILE = "alarms.jsonl"
#: Trajectories that an alarm names at most.
SHOWN = 5
#: Rewards that differ by less are equal.
EQUAL = 1e-6
#: What was measured in one update: a line of metrics.jsonl.
Record = Mapping[str, Any]
#: The term of a reward that is the task's own.
TASK = "task"


@dataclass(frozen=True)
class AlarmSettings:
    """When there is an alarm. Shares are 0 to 1; 0 for `window` turns all alarms off.

    window            updates over which figures are averaged: the latest ones, against the ones before or the first ones
    rise, fall        how much the trained reward rises and the task reward falls from one window to the next to be "reward_hacking"
    dominance         the share of what makes the members of groups differ that one term beside the task's own reward has
    collapse          the share of groups whose members all earn the same, of those with two graded members in a window
    entropy_low, entropy_high   entropy over a window as a multiple of that of the first window
    repeats           so many equal actions in a row that change nothing make an episode one that repeats itself, and
    repeating         the share of such episodes in one update
    drift             steps of an episode, or tokens of a reply, over a window as a multiple of the first window; also its inverse
    again             updates for which an alarm of the same kind is not raised again
    """

    window: int = 10
    rise: float = 0.05
    fall: float = 0.05
    dominance: float = 0.8
    collapse: float = 0.9
    entropy_low: float = 0.1
    entropy_high: float = 3.0
    repeats: int = 3
    repeating: float = 0.3
    drift: float = 2.0
    again: int = 20

    def check(self) -> None:
        """Raises ConfigError for what cannot be."""
        for name, least in (("window", 0), ("repeats", 2), ("again", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"alarms.{name} is {getattr(self, name)}; it must be at least {least}")
        for name in ("dominance", "collapse", "repeating"):
            if not 0 < getattr(self, name) <= 1:
                raise ConfigError(f"alarms.{name} is {getattr(self, name)}; it is a share above 0 and at most 1")
        for name in ("rise", "fall"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"alarms.{name} is {getattr(self, name)}; it must be above 0")
        if not 0 <= self.entropy_low < 1 < self.entropy_high:
            raise ConfigError(
                f"alarms.entropy_low is {self.entropy_low} and entropy_high {self.entropy_high}; 1 must lie between them, and no "
                "entropy is below 0"
            )
        if not self.drift > 1:
            raise ConfigError(f"alarms.drift is {self.drift}; it must be above 1")


@dataclass(frozen=True, eq=False)
class Member:
    """What alarms need to know of one graded episode. `task` is its task reward, `trained` the reward that is maximised, `terms`
    its weighted terms. `repeats` is the longest row of equal actions that changed nothing, `logprob` the mean of its sampled tokens
    (None: nothing was recorded)."""

    store: str
    id: str
    task: float
    trained: float
    terms: Mapping[str, float]
    steps: int
    tokens: int
    repeats: int
    logprob: float | None


#: How much a member shows of something; None: nothing of it.
Measure = Callable[[Member], float | None]


@dataclass(frozen=True)
class Alarm:
    """`step` is the update that shows it, `trajectories` are (store, id) of episodes that do; a store is named by its path below
    the run without its ending. `time` is in seconds since 1970."""

    time: float
    step: int
    phase: str
    kind: AlarmKind
    message: str
    trajectories: tuple[tuple[str, str], ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        shown = [{"store": store, "id": identifier} for store, identifier in self.trajectories]
        return {**vars(self), "trajectories": shown}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Alarm:
        """Raises KeyError, TypeError, ValueError for what is no alarm."""
        shown = tuple((str(one["store"]), str(one["id"])) for one in record["trajectories"])
        kind: AlarmKind = record["kind"]
        return cls(float(record["time"]), int(record["step"]), str(record["phase"]), kind, str(record["message"]), shown)


def observe(group: Group, store: str, reward: str = "task", weights: Mapping[str, float] | None = None) -> list[Member]:
    """The graded members of a group. `reward` is "task" or the term that is maximised, `weights` what each term counts in it."""
    graded = [one for one in group if one.reward is not None and not one.environment_failed]
    return [_member(one, store, reward, weights or {}) for one in graded]


def described(groups: Sequence[Sequence[Member]]) -> dict[str, float]:
    """A record of groups for those who measure nothing else: means of "reward" and "steps", of tokens in a reply ("reply_tokens")
    and, as an estimate of "entropy", of minus the log-probability of a sampled token. What is not known is left out."""
    members = [member for group in groups for member in group]
    if not members:
        return {}
    steps = sum(member.steps for member in members)
    found = {"reward": statistics.fmean(member.task for member in members), "steps": steps / len(members)}
    tokens = sum(member.tokens for member in members)
    sampled = [(member.logprob, member.tokens) for member in members if member.logprob is not None]
    if tokens and steps:
        found["reply_tokens"] = tokens / steps
    if sum(count for _, count in sampled):
        found["entropy"] = -sum(logprob * count for logprob, count in sampled) / sum(count for _, count in sampled)
    return found


def find_alarms(
    history: Sequence[Record], groups: Sequence[Sequence[Member]], settings: AlarmSettings, reward: str = "task"
) -> dict[AlarmKind, tuple[str, tuple[Member, ...]]]:
    """Message and members that show it, by kind, for the last record of `history`.

    Records are in the order of updates and may have "reward" (of the task), "term/<reward>", "kept" and "equal" (numbers of groups
    with a signal, and of those without one that have two graded members; "flat", groups without a signal, stands for "equal" where
    that is lacking), "entropy", "steps", "reply_tokens"; what they lack raises no alarm. `groups` are those of the last update.
    """
    if not settings.window:
        return {}
    members = [member for group in groups for member in group]
    equal = {group[0] for group in groups if _flat(group)}
    drift, length = _drift(history, settings)
    # What is wrong, and how much a member shows of it (None: nothing).
    looked_for: tuple[tuple[AlarmKind, str, Measure], ...] = (
        ("reward_hacking", _hacking(history, settings, reward), lambda one: one.trained - one.task),
        ("dominating_term", _dominating(groups, settings), lambda one: one.trained - one.task),
        ("group_collapse", _collapse(history, settings), lambda one: 1.0 if one in equal else None),
        ("entropy_collapse", _entropy_collapse(history, settings), lambda one: one.logprob),
        ("entropy_explosion", _entropy_explosion(history, settings), lambda one: None if one.logprob is None else -one.logprob),
        ("repeated_actions", _repeating(members, settings), lambda one: one.repeats if one.repeats >= settings.repeats else None),
        ("length_drift", drift, length),
    )
    return {kind: (message, _most(members, measure)) for kind, message, measure in looked_for if message}


class AlarmLog:
    """The alarms of one phase of a run. Opened again, it knows what was raised before and does not raise it twice."""

    def __init__(self, directory: Path | str, phase: str, settings: AlarmSettings) -> None:
        self.path, self.phase, self.settings = Path(directory) / FILE, phase, settings
        self._raised = {(one.kind, one.step) for one in read_alarms(directory) if one.phase == phase}

    def update(self, step: int, history: Iterable[Record], groups: Sequence[Sequence[Member]], reward: str = "task") -> list[Alarm]:
        """Look at update `step`, write down its new alarms and return them. Records of later updates, which a run that was killed
        has left behind, do not count."""
        records = [record for record in history if record["step"] <= step]
        raised = []
        for kind, (message, shown) in find_alarms(records, groups, self.settings, reward).items():
            before = [number for one, number in self._raised if one == kind and number <= step]
            if before and step - max(before) < self.settings.again:
                continue
            self._raised.add((kind, step))
            trajectories = tuple((member.store, member.id) for member in shown)
            raised.append(Alarm(round(time.time(), 3), step, self.phase, kind, message, trajectories))
        if raised:
            _append(self.path, raised)
        return raised

    def tell(self, step: int, kind: AlarmKind, message: str) -> None:
        """Write down what somebody else found in update `step`, once."""
        if (kind, step) not in self._raised:
            self._raised.add((kind, step))
            _append(self.path, [Alarm(round(time.time(), 3), step, self.phase, kind, message)])


def read_alarms(directory: Path | str) -> list[Alarm]:
    """The alarms of a run directory in order, each once; none where nothing was raised. A line that was cut off counts as not
    written."""
    path = Path(directory) / FILE
    found: dict[tuple[str, str, int], Alarm] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            one = Alarm.from_json(json.loads(line))
        except (ValueError, TypeError, KeyError):
            continue
        found.setdefault((one.phase, one.kind, one.step), one)
    return list(found.values())


def longest_repeat(steps: Sequence[Step]) -> int:
    """The longest row of equal actions in an episode of which none changed what is seen; 0 without steps."""
    longest = row = 0
    for number, step in enumerate(steps):
        before = steps[number - 1] if number else None
        same = before is not None and step.action is not None and step.actions == before.actions and _seen(step) == _seen(before)
        row = row + 1 if same else 1
        longest = max(longest, row)
    return longest


# ------------------------------------------------------------------------------------------------------------ what they look for


def _hacking(history: Sequence[Record], settings: AlarmSettings, reward: str) -> str:
    if reward == "task":
        return ""
    records = [record for record in history if "reward" in record and f"term/{reward}" in record]
    size = settings.window
    if len(records) < 2 * size:
        return ""
    before, now = records[-2 * size : -size], records[-size:]
    trained, task = (_mean(now, name) - _mean(before, name) for name in (f"term/{reward}", "reward"))
    if trained < settings.rise or task > -settings.fall:
        return ""
    return f"the trained reward {reward!r} rose by {trained:.3f} in {size} updates while the task reward fell by {-task:.3f}"


def _dominating(groups: Sequence[Sequence[Member]], settings: AlarmSettings) -> str:
    """What a term adds to the differences within groups, for only these are learned from."""
    spread: dict[str, float] = {}
    for group in groups:
        names = dict.fromkeys(name for member in group for name in member.terms) if len(group) > 1 else {}
        for name in names:
            spread[name] = spread.get(name, 0.0) + statistics.pstdev([member.terms.get(name, 0.0) for member in group])
    total = sum(spread.values())
    if len(spread) < 2 or total <= EQUAL:
        return ""
    others = {name: value / total for name, value in spread.items() if name != TASK}
    name = max(others, key=lambda one: others[one], default="")
    if not name or others[name] < settings.dominance:
        return ""
    return f"{100 * others[name]:.0f} % of what makes the members of a group differ is the term {name!r}"


def _collapse(history: Sequence[Record], settings: AlarmSettings) -> str:
    """Groups that broken environments have left with fewer than two graded members say nothing about the policy."""
    records = [record for record in history if "kept" in record and not {"equal", "flat"}.isdisjoint(record)][-settings.window :]
    if len(records) < settings.window:
        return ""
    equal = [record.get("equal", record.get("flat")) for record in records]
    groups = sum(equal) + sum(record["kept"] for record in records)
    if not equal[-1] or sum(equal) < settings.collapse * groups:
        return ""  # the latest update shows it, or there is no episode to name
    share = sum(equal) / groups
    return f"in {100 * share:.0f} % of the groups of {len(records)} updates all members earned the same, so that nothing is learned"


def _entropy_collapse(history: Sequence[Record], settings: AlarmSettings) -> str:
    change = _change(history, "entropy", settings.window)
    if change is None or change[1] >= settings.entropy_low * change[0]:
        return ""
    return f"entropy fell to {change[1]:.4f} from {change[0]:.4f} in the first {settings.window} updates"


def _entropy_explosion(history: Sequence[Record], settings: AlarmSettings) -> str:
    change = _change(history, "entropy", settings.window)
    if change is None or change[1] <= settings.entropy_high * change[0]:
        return ""
    return f"entropy rose to {change[1]:.4f} from {change[0]:.4f} in the first {settings.window} updates"


def _repeating(members: Sequence[Member], settings: AlarmSettings) -> str:
    if not members:
        return ""
    share = sum(member.repeats >= settings.repeats for member in members) / len(members)
    if share < settings.repeating:
        return ""
    return f"{100 * share:.0f} % of the episodes did the same at least {settings.repeats} times in a row, and nothing changed"


def _drift(history: Sequence[Record], settings: AlarmSettings) -> tuple[str, Measure]:
    """What has become longer or shorter, and how long it is for a member; the longest, or the shortest, show it best."""
    measures: dict[str, tuple[str, str, Callable[[Member], float]]] = {
        "steps": ("an episode", "steps", lambda one: one.steps),
        "reply_tokens": ("a reply", "tokens", lambda one: one.tokens / max(1, one.steps)),
    }
    for name, (whose, what, length) in measures.items():
        change = _change(history, name, settings.window)
        if change is None or min(change) <= 0 or 1 / settings.drift < change[1] / change[0] < settings.drift:
            continue
        message = f"{whose} has {change[1]:.1f} {what} in the mean, after {change[0]:.1f} in the first {settings.window} updates"
        return message, partial(_signed, length, 1.0 if change[1] > change[0] else -1.0)
    return "", lambda one: None


# --------------------------------------------------------------------------------------------------------------------- smaller


def _member(one: Trajectory, store: str, reward: str, weights: Mapping[str, float]) -> Member:
    completions = [step.completion for step in one.steps if step.completion is not None]
    logprobs = [float(value) for done in completions if done.logprobs is not None for value in done.logprobs]
    assert one.reward is not None
    return Member(
        store,
        one.id,
        one.reward,
        one.reward if reward == "task" else one.parts.get(reward, 0.0),
        {name: weight * one.parts.get(name, 0.0) for name, weight in weights.items()},
        len(one.steps),
        sum(len(done.tokens) for done in completions if done.tokens is not None),
        longest_repeat(one.steps),
        statistics.fmean(logprobs) if logprobs else None,
    )


def _change(history: Sequence[Record], name: str, window: int) -> tuple[float, float] | None:
    """Means of the first window and of the last one; None while they are not two."""
    records = [record for record in history if name in record]
    return (_mean(records[:window], name), _mean(records[-window:], name)) if len(records) >= 2 * window else None


def _mean(records: Sequence[Record], name: str) -> float:
    return statistics.fmean(record[name] for record in records)


def _signed(length: Callable[[Member], float], sign: float, member: Member) -> float:
    return sign * length(member)


def _most(members: Sequence[Member], measure: Measure) -> tuple[Member, ...]:
    """The members that show most of something."""
    known = [(found, member) for member in members if (found := measure(member)) is not None]
    return tuple(member for _, member in sorted(known, key=lambda pair: -pair[0])[:SHOWN])


def _flat(group: Sequence[Member]) -> bool:
    return len(group) > 1 and max(one.trained for one in group) - min(one.trained for one in group) <= EQUAL


def _seen(step: Step) -> object:
    return step.observation.state_key or step.observation.screenshot


def _append(path: Path, alarms: Sequence[Alarm]) -> None:
    """Add lines; a line that a kill has cut off stays apart from them."""
    text = "".join(json.dumps(one.to_json(), ensure_ascii=False) + "\n" for one in alarms)
    with path.open("ab+") as file:
        end = file.seek(0, 2)
        if end:
            file.seek(end - 1)
            text = text if file.read(1) == b"\n" else f"\n{text}"
        file.write(text.encode())
