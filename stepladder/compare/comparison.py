"""The whole comparison of two runs: the paired result, what flipped and where it parted, what each side spent, and warnings."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepladder.compare.divergence import Divergence, divergence
from stepladder.compare.pairing import Overall, Pair, Paired, by_group, overall, paired_result, single_trials
from stepladder.compare.sides import Baseline, Episode, Side, Start, read_episode
from stepladder.domains import domain_of, is_infeasible
from stepladder.errors import UserError
from stepladder.policies.budget import PRICED
from stepladder.report.frames import describe_actions
from stepladder.run import flatten
from stepladder.store import TrajectoryStore
from stepladder.types import Task, Trajectory

#: Settings that do not decide about what an episode of a start is like, or that are compared by other means.
_FREE = (
    *(
        "policy",
        "weights",
        "output",
        "osworld_results",
        "environments",
        "strips",
        "baselines",
        "episodes",
        "trials",
        "first",
        "seed",
    ),
    *("pool", "api", "track", "tasks", "task_set"),
)
#: Of tasks, or of settings, a warning names this many.
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Spending:
    """What one side used on the starts in common. `turns` and `actions` are means of an episode, `turns_of_successes` of one that
    succeeded, `seconds` and `usage` are sums. What stands for each success counts all episodes, for failures cost too; it is None
    where nothing succeeded, and `dollars_per_success` and `tokens_per_success` also where no call told what it used."""

    episodes: int
    successes: int
    turns: float
    actions: float
    turns_of_successes: float | None
    seconds: float
    seconds_per_success: float | None
    usage: Mapping[str, float]
    tokens_per_success: float | None
    dollars_per_success: float | None


@dataclass(frozen=True, slots=True)
class Flip:
    """A start at which one side succeeded more often than the other; `gained` where that is the second. `first` and `second` are
    the episodes that show it, a success of the better side and a failure of the other, and `before` and `after` the rates.
    `divergence` is where the two part, and `first_did` and `second_did` what each did in the last state that both saw."""

    task: str
    seed: int
    gained: bool
    before: float
    after: float
    first: str
    second: str
    divergence: Divergence | None
    first_did: str
    second_did: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """`only_first` and `only_second` count the starts that only one side has graded episodes of, by the reason: the other has "not
    played" them, has them "not graded", or they were "not asked for" there. `neither` counts those that neither has a grade of:
    "not graded", or "not played" though asked for, of tasks that have other episodes.

    `domains` is empty where all tasks are of one. `seeds` are those of the starts in common. `feasible` is the result without the
    tasks that cannot be done and `infeasible` that of these alone, None of no starts; where no task is marked so both are None.
    `baselines` are those beside each side, on the starts in common."""

    first: Side
    second: Side
    overall: Overall
    tasks: tuple[Paired, ...]
    domains: tuple[Paired, ...]
    flips: tuple[Flip, ...]
    spending: tuple[Spending, Spending]
    only_first: Mapping[str, int]
    only_second: Mapping[str, int]
    neither: Mapping[str, int]
    seeds: tuple[int, ...]
    feasible: Paired | None
    infeasible: Paired | None
    baselines: tuple[Mapping[str, Baseline], Mapping[str, Baseline]]
    trials: bool
    warnings: tuple[str, ...]


def compare_runs(
    first: Path, second: Path, policies: tuple[str | None, str | None] = (None, None), confidence: float = 0.95
) -> Comparison:
    """Compare the policies of two evaluations (directories or stores) on the starts that both have played. Raises UserError when
    there is none, and for what cannot be read."""
    sides = Side(first, policies[0]), Side(second, policies[1])
    if sides[0].store_path.resolve() == sides[1].store_path.resolve() and sides[0].policy == sides[1].policy:
        raise UserError(f"both sides are the episodes of {sides[0].policy!r} in {sides[0].store_path}; name two to compare")
    graded = sides[0].graded(), sides[1].graded()
    starts = [start for start in graded[0] if start in graded[1]]
    if not starts:
        raise UserError(f"{sides[0].store_path} and {sides[1].store_path} have no graded start (task and seed) in common")
    with ExitStack() as stack:
        stores = [stack.enter_context(TrajectoryStore(side.store_path)) for side in sides]
        pairs = []
        for start in starts:
            one, other = (
                tuple(read_episode(store, summary.id) for summary in found[start])
                for store, found in zip(stores, graded, strict=True)
            )
            pairs.append(Pair(start, one, other))
        pairs.sort(key=lambda pair: pair.start)
        flips = tuple(_flip(pair, stores[0], stores[1]) for pair in pairs if pair.before != pair.after)
    feasible, infeasible = _by_feasibility(pairs)
    domains = by_group(pairs, lambda pair: domain_of(pair.first[0].task))
    return Comparison(
        first=sides[0],
        second=sides[1],
        overall=overall(pairs, confidence),
        tasks=by_group(pairs, lambda pair: pair.start[0]),
        domains=domains if len(domains) > 1 else (),
        flips=flips,
        spending=(
            _spending([one for pair in pairs for one in pair.first]),
            _spending([one for pair in pairs for one in pair.second]),
        ),
        only_first=_alone(graded[0], graded[1], sides[1]),
        only_second=_alone(graded[1], graded[0], sides[0]),
        neither=_neither(sides, graded),
        seeds=tuple(sorted({seed for _, seed in starts})),
        feasible=feasible,
        infeasible=infeasible,
        baselines=(sides[0].baselines(starts), sides[1].baselines(starts)),
        trials=not single_trials(pairs),
        warnings=tuple(_warnings(sides[0], sides[1], pairs)),
    )


def comparison_json(found: Comparison) -> dict[str, Any]:
    """Plain JSON values. Rates lie in 0..1, times are seconds, positions of steps count from 0."""
    sides = {}
    for name, side, spending, baselines in zip(
        ("first", "second"), (found.first, found.second), found.spending, found.baselines, strict=True
    ):
        sides[name] = {
            "run": str(side.path),
            "store": str(side.store_path),
            "policy": side.policy,
            "task_set": side.task_set,
            "asked": None if side.asked is None else {"seeds": list(side.asked[0]), "trials": side.asked[1]},
            "baselines": {name: dataclasses.asdict(one) for name, one in baselines.items()},
            "spending": dataclasses.asdict(spending),
        }
    total = dataclasses.asdict(found.overall)
    return {
        **sides,
        "overall": {**total.pop("paired"), **total},
        "tasks": [dataclasses.asdict(row) for row in found.tasks],
        "domains": [dataclasses.asdict(row) for row in found.domains],
        "flips": [dataclasses.asdict(flip) for flip in found.flips],
        "only_first": dict(found.only_first),
        "only_second": dict(found.only_second),
        "neither": dict(found.neither),
        "seeds": list(found.seeds),
        "feasible": None if found.feasible is None else dataclasses.asdict(found.feasible),
        "infeasible": None if found.infeasible is None else dataclasses.asdict(found.infeasible),
        "warnings": list(found.warnings),
    }


def shown_flips(flips: Sequence[Flip], most: int) -> list[Flip]:
    """At most `most` of them: lost and gained ones in turn, one of each task at first."""
    ranked: list[list[Flip]] = []
    for gained in (False, True):
        seen: Counter[str] = Counter()
        order = []
        for place, flip in enumerate(flip for flip in flips if flip.gained is gained):
            order.append((seen[flip.task], place, flip))
            seen[flip.task] += 1
        ranked.append([flip for _, _, flip in sorted(order, key=lambda entry: entry[:2])])
    longest = max(map(len, ranked))
    turns = [side[place] for place in range(longest) for side in ranked if place < len(side)]
    return turns[: max(most, 0)]


def _flip(pair: Pair, first: TrajectoryStore, second: TrajectoryStore) -> Flip:
    gained = pair.after > pair.before
    one = next(episode.id for episode in pair.first if episode.success is not gained)
    other = next(episode.id for episode in pair.second if episode.success is gained)
    trajectories = first.get(one), second.get(other)
    parted = divergence(*trajectories)
    did = [_did(trajectory, parted) for trajectory in trajectories]
    return Flip(*pair.start, gained, pair.before, pair.after, one, other, parted, *did)


def _did(trajectory: Trajectory, parted: Divergence | None) -> str:
    if parted is None or parted.decided is None:
        return ""
    if parted.decided >= len(trajectory.steps):
        return f"no further step ({trajectory.status})"
    return describe_actions(trajectory.steps[parted.decided])


def _spending(episodes: Sequence[Episode]) -> Spending:
    won = [episode for episode in episodes if episode.success]
    usage: Counter[str] = Counter()
    for episode in episodes:
        usage.update(episode.usage)
    seconds = sum(episode.seconds for episode in episodes)
    tokens = sum(usage[name] for name in PRICED) if any(name in usage for name in PRICED) else None

    def for_each(total: float | None) -> float | None:
        return total / len(won) if won and total is not None else None

    return Spending(
        episodes=len(episodes),
        successes=len(won),
        turns=sum(episode.turns for episode in episodes) / len(episodes),
        actions=sum(episode.actions for episode in episodes) / len(episodes),
        turns_of_successes=for_each(sum(episode.turns for episode in won)),
        seconds=seconds,
        seconds_per_success=for_each(seconds),
        usage=dict(usage),
        tokens_per_success=for_each(tokens),
        dollars_per_success=for_each(usage.get("dollars")),
    )


def _alone(mine: Mapping[Start, Any], theirs: Mapping[Start, Any], other: Side) -> dict[str, int]:
    ungraded = other.ungraded()

    def reason(start: Start) -> str:
        if other.asked is not None and start[1] not in other.asked[0]:
            return "not asked for"
        return "not graded" if start in ungraded else "not played"

    return dict(Counter(reason(start) for start in mine if start not in theirs))


def _neither(sides: tuple[Side, Side], graded: tuple[Mapping[Start, Any], Mapping[Start, Any]]) -> dict[str, int]:
    some = graded[0].keys() | graded[1].keys()
    played = (sides[0].ungraded().keys() | sides[1].ungraded().keys()) - some
    absent = (sides[0].unplayed() | sides[1].unplayed()) - some - played
    return {reason: len(starts) for reason, starts in (("not graded", played), ("not played", absent)) if starts}


def _by_feasibility(pairs: Sequence[Pair]) -> tuple[Paired | None, Paired | None]:
    infeasible = [pair for pair in pairs if is_infeasible(pair.first[0].task)]
    feasible = [pair for pair in pairs if not is_infeasible(pair.first[0].task)]
    if not infeasible:
        return None, None
    return paired_result("feasible", feasible) if feasible else None, paired_result("infeasible", infeasible)


def _warnings(first: Side, second: Side, pairs: Sequence[Pair]) -> list[str]:
    found = []
    if first.task_set is not None and second.task_set is not None and first.task_set != second.task_set:
        found.append(f"the task sets differ: {first.task_set} and {second.task_set}")
    changed = sorted({pair.start[0] for pair in pairs if not _same_task(pair.first[0].task, pair.second[0].task)})
    if changed:
        more = f" and {len(changed) - _NAMED} more" if len(changed) > _NAMED else ""
        found.append(f"not the same task in both, though their names are: {', '.join(changed[:_NAMED])}{more}")
    for name, side in (("first", first), ("second", second)):
        if not side.settings:
            found.append(f"there is no config.json beside the {name}'s episodes: whether the settings agree is not known")
    if first.settings and second.settings:
        one, other = flatten(first.settings), flatten(second.settings)
        for name in sorted(one.keys() | other.keys()):
            if name.partition(".")[0] not in _FREE and one.get(name) != other.get(name):
                found.append(f"the setting {name} differs: {_shown(one, name)} and {_shown(other, name)}")
    return found


def _same_task(first: Task, second: Task) -> bool:
    """Whether two tasks ask for the same; the place of a file does not count where its contents are known."""
    setups = [
        {key: value for key, value in task.setup.items() if key != "file" or "sha256" not in task.setup} for task in (first, second)
    ]
    one, other = (
        json.dumps([task.instruction, task.env, setup, dict(task.check), task.max_steps], sort_keys=True, default=str)
        for task, setup in zip((first, second), setups, strict=True)
    )
    return one == other


def _shown(settings: Mapping[str, Any], name: str) -> str:
    return repr(settings[name]) if name in settings else "not there"
