"""Past successes, for groups in which all fail alike (ARPO, arXiv 2505.16282).

A success takes the place of one member: the group keeps its size, or its statistics would be those of another group size. It keeps
the ids and log-probabilities of the policy that sampled it, so that the loss can correct for the distance to the present one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from random import Random

from stepladder.types import Group, Trajectory

#: Rewards of a group that lie further apart tell its members apart without help.
APART = 0.05


def _any(_: Trajectory) -> bool:
    """Default of `wanted`."""
    return True


class Replay:
    """The last `capacity` successes of each start, that is of a task and its seed: another seed is another task to a group.

    `get` reads a trajectory by its id, for only ids are held.
    """

    def __init__(self, capacity: int, get: Callable[[str], Trajectory]) -> None:
        if capacity < 1:
            raise ValueError(f"capacity is {capacity}; it must be at least 1")
        self.capacity = capacity
        self._get = get
        self._successes: dict[tuple[str, int], deque[str]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._successes.values()))

    def add(self, task: str, seed: int, identifier: str) -> None:
        self._successes.setdefault((task, seed), deque(maxlen=self.capacity)).append(identifier)

    def fill(self, group: Group, random: Random, wanted: Callable[[Trajectory], bool] = _any) -> Group:
        """The group, or where all graded members failed, with about the same task reward, and a success of the same start is known,
        the group with that success in the place of its last graded member. Of several a random one of those that are `wanted` is
        taken. Members whose environment failed are not touched."""
        graded = [i for i, member in enumerate(group) if member.reward is not None and not member.environment_failed]
        if not graded or any(group[i].success for i in graded):
            return group
        rewards = [group[i].reward or 0.0 for i in graded]
        if max(rewards) - min(rewards) > APART:
            return group
        known = self._successes.get((group[0].task.id, group[0].seed))
        if not known:
            return group
        old = next((one for one in map(self._get, random.sample(list(known), len(known))) if wanted(one)), None)
        if old is None:
            return group
        filled = list(group)
        place = graded[-1]
        filled[place] = replace(old, group=group[place].group, index=group[place].index)
        return filled
