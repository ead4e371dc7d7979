"""The tree of a search: what could be said in each state that was reached, what came of it, and which way to go next.

As in Agent Q (arXiv 2408.07199, section 4): the worth of a candidate is that of the ends reached through it mixed with what a
critic thinks of it, and the next way is chosen by the upper confidence bound UCB1. What is known for certain is not tried again:
a candidate that ended the episode, or behind which everything was tried, is exhausted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from stepladder.types import Observation, Status, Step


@dataclass(eq=False)
class Candidate:
    """A reply that was sampled in some state, `drawn` times in the same words or with the same actions. `critique` is its score
    in 0..1. `visits` paths led through it to ends that are worth `total` together; `child` is the state that it leads to, None as
    long as it was not tried."""

    step: Step
    drawn: int = 1
    critique: float = 0.5
    visits: int = 0
    total: float = 0.0
    child: Node | None = None

    @property
    def mean(self) -> float:
        """The mean worth of the ends that were reached through it; 0 before there is one."""
        return self.total / self.visits if self.visits else 0.0

    def value(self, alpha: float) -> float:
        """alpha * mean + (1 - alpha) * critique (Agent Q, section 4.2); the critique alone before an end was reached."""
        return alpha * self.mean + (1 - alpha) * self.critique if self.visits else self.critique

    @property
    def exhausted(self) -> bool:
        """Whether there is nothing new behind it."""
        return self.child is not None and self.child.exhausted


@dataclass(eq=False)
class Node:
    """A state. `candidates` is None before it was asked what to do here; `status` says that the episode is over here, `worth`
    what that end is worth, and `reward` what the task's own check says of it."""

    observation: Observation
    candidates: list[Candidate] | None = None
    visits: int = 0
    status: Status | None = None
    worth: float | None = None
    reward: float | None = None
    explanation: str = ""
    number: int = 0

    @property
    def exhausted(self) -> bool:
        """Whether everything below was tried."""
        if self.status is not None:
            return True
        return self.candidates is not None and all(candidate.exhausted for candidate in self.candidates)

    def choose(self, alpha: float, exploration: float) -> Candidate | None:
        """The candidate with the largest upper confidence bound among those that are not exhausted, of equal ones the one that
        was drawn more often, then the first; None where all are.

        Q(s, a) + c * sqrt(log N(s) / (1 + N(s, a))), with c = `exploration` (Agent Q, section 4.1; P. Auer, N. Cesa-Bianchi and
        P. Fischer, Machine Learning 47, 2002).
        """
        open_ones = [candidate for candidate in self.candidates or () if not candidate.exhausted]
        if not open_ones:
            return None
        log = math.log(self.visits) if self.visits else 0.0

        def bound(candidate: Candidate) -> tuple[float, int]:
            wide = exploration * math.sqrt(log / (1 + candidate.visits))
            return candidate.value(alpha) + wide, candidate.drawn

        return max(open_ones, key=bound)


Path = tuple[Candidate, ...]


def back_up(root: Node, path: Sequence[Candidate], worth: float) -> None:
    """Note that an end worth `worth` was reached on this path from the root."""
    node = root
    for candidate in path:
        node.visits += 1
        candidate.visits += 1
        candidate.total += worth
        assert candidate.child is not None
        node = candidate.child
    node.visits += 1


def ends(root: Node, path: Path = ()) -> Iterator[tuple[Path, Node]]:
    """(path, node) of every end that was reached and is worth something or nothing, in the order of candidates."""
    if root.worth is not None:
        yield path, root
    for candidate in root.candidates or ():
        if candidate.child is not None:
            yield from ends(candidate.child, (*path, candidate))


def best_end(root: Node) -> tuple[Path, Node] | None:
    """The end that is worth most, of equal ones the one with the shortest path, then the one whose steps the critic liked
    better."""
    found = list(ends(root))
    return max(found, key=lambda end: (end[1].worth, -len(end[0]), sum(one.critique for one in end[0])), default=None)


@dataclass(frozen=True, eq=False)
class Branching:
    """Two candidates of one state of which the first is worth more by at least what was asked for; `path` leads to that state."""

    path: Path
    better: Candidate
    worse: Candidate
    difference: float = field(default=0.0)


def branchings(root: Node, alpha: float, threshold: float, most: int | None = None) -> list[Branching]:
    """Pairs of tried candidates of one state whose values differ by at least `threshold` (Agent Q, section 4.2), of each state at
    most `most`, the largest differences first (None: all). Only candidates behind which an end was reached are compared."""
    found: list[Branching] = []

    def look(node: Node, path: Path) -> None:
        tried = [candidate for candidate in node.candidates or () if candidate.visits]
        pairs = [
            Branching(path, one, other, one.value(alpha) - other.value(alpha))
            for one in tried
            for other in tried
            if one is not other and one.value(alpha) - other.value(alpha) >= threshold
        ]
        pairs.sort(key=lambda pair: -pair.difference)
        found.extend(pairs[:most])
        for candidate in tried:
            assert candidate.child is not None
            look(candidate.child, (*path, candidate))

    look(root, ())
    return found
