"""The successes of a run, over all versions of its policy, of which some are drawn for every start (ComputerRL, arXiv 2508.14040).

Each version did it in its own way, above all the early ones. A draw that is balanced over versions keeps these ways apart from the
many repetitions of the last one.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from stepladder.rollout.plateau import update_of
from stepladder.rollout.selection import Selection, deeds
from stepladder.types import Trajectory


def draw_successes(trajectories: Iterable[Trajectory], per_start: int, random: Random, versions: int = 8) -> Selection:
    """`per_start` successes of every start, that is of a task and its seed; all where it has fewer.

    The updates of the run are cut into `versions` stretches of equal length. The stretches take turns, in a drawn order, with one
    success each, until there are enough or none is left. Of what did the same on the same screens (`deeds`) the first is drawn. The
    others fill up a start that has too few ways of doing it: a start would else be learned the less the fewer it has. Raises
    ValueError for numbers below 1.
    """
    if per_start < 1 or versions < 1:
        raise ValueError(f"per_start is {per_start} and versions {versions}; both must be at least 1")
    chosen = Selection()
    starts: dict[tuple[str, int], list[tuple[int, Trajectory]]] = {}
    last = 0
    for trajectory in trajectories:
        if trajectory.environment_failed or trajectory.reward is None:
            chosen.left_out["environment failed"] += 1
            continue
        update = update_of(trajectory)
        last = max(last, update)
        if trajectory.success:
            starts.setdefault((trajectory.task.id, trajectory.seed), []).append((update, trajectory))
        else:
            chosen.left_out["no success"] += 1
    for _, successes in sorted(starts.items()):
        successes.sort(key=lambda pair: (pair[0], pair[1].id))
        drawn = 0
        for reason, part in zip(("enough from this start", "duplicate"), _distinct(successes), strict=True):
            stretches: dict[int, list[Trajectory]] = {}
            for update, trajectory in part:
                stretches.setdefault(update * versions // (last + 1), []).append(trajectory)
            kept = _in_turns(stretches, per_start - drawn, random)
            drawn += len(kept)
            chosen.kept += kept
            chosen.left_out[reason] += len(part) - len(kept)
    return chosen


def _distinct(successes: list[tuple[int, Trajectory]]) -> tuple[list[tuple[int, Trajectory]], list[tuple[int, Trajectory]]]:
    """The first of everything that was done, and the others."""
    seen, first, others = set(), list[tuple[int, Trajectory]](), list[tuple[int, Trajectory]]()
    for update, trajectory in successes:
        (others if deeds(trajectory) in seen else first).append((update, trajectory))
        seen.add(deeds(trajectory))
    return first, others


def _in_turns(stretches: dict[int, list[Trajectory]], count: int, random: Random) -> list[Trajectory]:
    order = sorted(stretches)
    for number in order:
        random.shuffle(stretches[number])
    random.shuffle(order)
    kept: list[Trajectory] = []
    while len(kept) < count and any(stretches.values()):
        for number in order:
            if stretches[number] and len(kept) < count:
                kept.append(stretches[number].pop())
    return kept
