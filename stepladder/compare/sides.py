"""What one side of a comparison has played: which store of a run is meant, its settings, and its episodes by start."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepladder.errors import UserError
from stepladder.images import ImageStore
from stepladder.report.words import BASELINE_NAMES, seed_words
from stepladder.seeds import heldout_seeds
from stepladder.store import Summary, TrajectoryStore
from stepladder.types import FAILED_ENVIRONMENT, Task, Trajectory

#: What names a start: task and seed.
Start = tuple[str, int]
#: Files of a run directory that end like a store and are none.
_OTHER = ("metrics.jsonl", "alarms.jsonl")
#: Directories that a message names at most.
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Episode:
    """What a comparison needs of a graded trajectory. `turns` are its steps and `actions` all that was done in them, `seconds` the
    time of its steps in all, `usage` the sum of `Completion.usage` over its calls."""

    id: str
    task: Task
    success: bool
    reward: float
    turns: int
    actions: int
    seconds: float
    usage: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Baseline:
    """The mean success rate of a baseline over `n` starts."""

    rate: float
    n: int


class Side:
    """The episodes of one policy. `settings` is the configuration beside the store, empty where there is none. `asked` is what it
    says of the episodes that were asked for, their seeds and the number of trials, None where it does not.

    `path` is a store (.jsonl) or the directory of an evaluation, where the store of what was evaluated is meant and not those of
    the baselines, unless `policy` names another. Raises UserError that says what there is instead.
    """

    def __init__(self, path: Path, policy: str | None = None) -> None:
        self.path = path
        self.store_path = _store_in(path, policy) if path.is_dir() else path
        self.settings = _settings(self.store_path.parent)
        self.asked = _asked(self.settings)
        with TrajectoryStore(self.store_path) as store:
            summaries = store.summaries()
        found = list(dict.fromkeys(summary.policy for summary in summaries))
        if not found:
            raise UserError(_nothing(self.store_path))
        if policy is not None and policy not in found and path.is_file():
            raise UserError(f"{path} holds no episodes of policy {policy!r}; it holds those of {_listed(found)}")
        if len(found) > 1 and policy not in found:
            raise UserError(f"{self.store_path} holds episodes of {_listed(found)}; give this file, and name one with --policy")
        self.policy = policy if policy in found else found[0]
        self.summaries = tuple(summary for summary in summaries if summary.policy == self.policy)
        self._images: ImageStore | None = None

    @property
    def task_set(self) -> str | None:
        """The hash of the tasks that were asked for, where the settings tell."""
        value = self.settings.get("task_set")
        return None if value is None else str(value)

    @property
    def images(self) -> ImageStore:
        """The pictures of these episodes."""
        if self._images is None:
            self._images = ImageStore(self.store_path.parent / "images", cache=4)
        return self._images

    def graded(self) -> dict[Start, list[Summary]]:
        """The graded episodes of each start that count, in the order in which they were played: as in the evaluation's own report
        those of the seeds that were asked for, of each start the last ones, as many as trials were; all of them where the settings
        do not tell (`asked`). Raises UserError when there are none."""
        found = _graded(self.summaries, self.asked)
        if not found:
            seeds = "" if self.asked is None else f" of the seeds that were asked for, {seed_words(self.asked[0])}"
            raise UserError(f"{_nothing(self.store_path)}{seeds}")
        return found

    def ungraded(self) -> Counter[Start]:
        """How many episodes of each start that counts have no grade."""
        return Counter(
            (summary.task, summary.seed)
            for summary in self.summaries
            if not _has_grade(summary) and (self.asked is None or summary.seed in self.asked[0])
        )

    def unplayed(self) -> set[Start]:
        """The starts that were asked for and have no episode, of tasks that have others; none where the settings do not tell."""
        if self.asked is None:
            return set()
        played = {(summary.task, summary.seed) for summary in self.summaries}
        return {(task, seed) for task in {task for task, _ in played} for seed in self.asked[0]} - played

    def baselines(self, starts: Collection[Start]) -> dict[str, Baseline]:
        """What the trivial baselines beside this store have done on some starts, of those that have played any of them."""
        found = {}
        for name in BASELINE_NAMES:
            path = self.store_path.parent / f"{name}.jsonl"
            if path == self.store_path or not path.is_file() or not _is_store(path):
                continue
            with TrajectoryStore(path) as store:
                played = _graded(store.summaries(), self.asked)
            shares = [sum(one.success for one in played[start]) / len(played[start]) for start in starts if start in played]
            if shares:
                found[name] = Baseline(sum(shares) / len(shares), len(shares))
        return found


def read_episode(store: TrajectoryStore, identifier: str) -> Episode:
    """One graded episode. Raises StoreError that names the place of what cannot be read."""
    item = store.get(identifier)
    assert item.reward is not None, "graded"
    return Episode(
        id=item.id,
        task=item.task,
        success=item.success,
        reward=item.reward,
        turns=len(item.steps),
        actions=sum(len(step.actions) for step in item.steps),
        seconds=sum(sum(step.seconds.values()) for step in item.steps),
        usage=_usage(item),
    )


def _graded(summaries: Iterable[Summary], asked: tuple[range, int] | None) -> dict[Start, list[Summary]]:
    found: dict[Start, list[Summary]] = {}
    for summary in summaries:
        if _has_grade(summary) and (asked is None or summary.seed in asked[0]):
            found.setdefault((summary.task, summary.seed), []).append(summary)
    return found if asked is None else {start: played[-asked[1] :] for start, played in found.items()}


def _has_grade(summary: Summary) -> bool:
    return summary.reward is not None and summary.status not in FAILED_ENVIRONMENT


def _asked(settings: Mapping[str, Any]) -> tuple[range, int] | None:
    episodes, first, trials = (settings.get(name) for name in ("episodes", "first", "trials"))
    if not (type(episodes) is type(first) is type(trials) is int and episodes >= 1 and first >= 0 and trials >= 1):
        return None
    return heldout_seeds(episodes, first), trials


def _usage(trajectory: Trajectory) -> dict[str, float]:
    total: Counter[str] = Counter()
    for step in trajectory.steps:
        if step.completion is not None:
            total.update(step.completion.usage)
    return dict(total)


def _store_in(directory: Path, policy: str | None) -> Path:
    stores = {path.stem: path for path in sorted(directory.glob("*.jsonl")) if path.name not in _OTHER and _is_store(path)}
    if not stores:
        below = sorted({path.parent for path in directory.rglob("*.jsonl") if path.name not in _OTHER and _is_store(path)})
        hint = f"; there are some in {_listed(list(map(str, below)))}" if below else ""
        raise UserError(f"{directory} holds no trajectories{hint}")
    if policy is not None:
        if policy not in stores:
            raise UserError(f"{directory} holds no episodes of policy {policy!r}; it holds those of {_listed(list(stores))}")
        return stores[policy]
    asked = str(_settings(directory).get("policy", ""))
    if asked in stores:  # a baseline that was evaluated for its own sake
        return stores[asked]
    others = [name for name in stores if name not in BASELINE_NAMES]
    chosen = others if others else list(stores)
    if len(chosen) > 1:
        raise UserError(f"{directory} holds episodes of {_listed(list(stores))}; name one with --policy")
    return stores[chosen[0]]


def _is_store(path: Path) -> bool:
    """Whether the first line of a file looks like a trajectory."""
    with path.open("rb") as file:
        line = file.readline()
    try:
        record = json.loads(line)
    except ValueError:
        return False
    return isinstance(record, dict) and "schema" in record and "steps" in record


def _settings(directory: Path) -> dict[str, Any]:
    path = directory / "config.json"
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise UserError(f"{path} must hold an object, not {type(found).__name__}")
    return found


def _nothing(path: Path) -> str:
    return f"{path} holds no graded episode"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
