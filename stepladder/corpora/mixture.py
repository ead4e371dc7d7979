"""Weighted mixtures of corpora: the documents of an update as a function of (seed, step), with weights that shift with progress.

A schedule gives the weights at points of progress, 0 at the first update and 1 after the last; between them they change linearly.
With a bandit the weights come from the losses instead.
"""

from __future__ import annotations

import bisect
import math
from collections import Counter
from collections.abc import Mapping
from random import Random
from typing import Any

from stepladder.config import ConfigError
from stepladder.corpora.bandit import DomainBandit
from stepladder.corpora.corpus import Corpus
from stepladder.corpora.document import Document

#: Weights by corpus at points of progress.
Points = Mapping[float, Mapping[str, float]]


class Schedule:
    """Weights of corpora at points of progress, linearly interpolated; before the first and after the last point they stay.

    `Schedule({0.0: {"web": 1.0}, 1.0: {"web": 0.5, "code": 0.5}})`. Weights of a point need not sum to 1; a corpus that a point
    does not name weighs nothing there. Raises ConfigError for points outside 0..1, negative weights, and points without any weight.
    """

    def __init__(self, points: Points) -> None:
        if not points:
            raise ConfigError("a schedule needs weights for at least one point of progress, such as {0.0: {'web': 1.0}}")
        self.places = sorted(points)
        self.names = tuple(dict.fromkeys(name for place in self.places for name in points[place]))
        self._shares: list[dict[str, float]] = []
        for place in self.places:
            if not 0 <= place <= 1:
                raise ConfigError(f"a schedule has weights at progress {place}; it must be 0 to 1")
            for name, weight in points[place].items():
                if not (math.isfinite(weight) and weight >= 0):
                    raise ConfigError(f"at progress {place} the weight of {name!r} is {weight}; it must be 0 or more")
            total = sum(points[place].values())
            if total <= 0:
                raise ConfigError(f"at progress {place} no corpus has a weight above 0")
            self._shares.append({name: points[place].get(name, 0.0) / total for name in self.names})

    @classmethod
    def constant(cls, weights: Mapping[str, float]) -> Schedule:
        """The same weights throughout."""
        return cls({0.0: weights})

    @classmethod
    def shift(cls, start: Mapping[str, float], end: Mapping[str, float]) -> Schedule:
        """From `start` at the first update to `end` after the last."""
        return cls({0.0: start, 1.0: end})

    def weights(self, progress: float) -> dict[str, float]:
        """The share of each corpus at this progress; together 1."""
        after = bisect.bisect_right(self.places, progress)
        if after in (0, len(self.places)):
            return dict(self._shares[max(0, after - 1)])
        first, last = self.places[after - 1], self.places[after]
        share = (progress - first) / (last - first)
        before, then = self._shares[after - 1], self._shares[after]
        return {name: (1 - share) * before[name] + share * then[name] for name in self.names}


class Mixture:
    """Draws the documents of updates 0 to `steps` - 1.

    Each document's corpus is drawn by weight. A corpus is gone through in its own order, so that none of its documents comes twice
    before all have come. Everything is a function of (seed, step, count) as long as every update draws the same `count`; with a
    `bandit`, of its state too, which `update` moves and `state` keeps. Raises ConfigError for a schedule that names a corpus which
    is not there, and for a bandit over other corpora than the schedule's.
    """

    def __init__(
        self, corpora: Mapping[str, Corpus], schedule: Schedule, *, seed: int, steps: int, bandit: DomainBandit | None = None
    ) -> None:
        missing = [name for name in schedule.names if name not in corpora]
        if missing:
            raise ConfigError(
                f"the schedule names {missing[0]!r}, which is no corpus here; there are {', '.join(corpora) or 'none'}"
            )
        if bandit is not None and set(bandit.domains) != set(schedule.names):
            raise ConfigError(f"the bandit is about {', '.join(bandit.domains)}, the schedule about {', '.join(schedule.names)}")
        if steps < 1:
            raise ConfigError(f"steps is {steps}; a mixture needs at least 1")
        self.corpora, self.schedule, self.seed, self.steps, self.bandit = dict(corpora), schedule, seed, steps, bandit
        self._drawn: Counter[str] = Counter()  # with a bandit: documents of each corpus in the updates so far
        self._passed: tuple[int, int, Counter[str]] = (0, 0, Counter())  # without: (step, count, documents before that step)

    def weights(self, step: int) -> dict[str, float]:
        """The share of each corpus in update `step`; together 1."""
        scheduled = self.schedule.weights(step / self.steps)
        return scheduled if self.bandit is None else self.bandit.probabilities(scheduled)

    def names(self, step: int, count: int) -> list[str]:
        """The corpora of the documents of update `step`, in their order."""
        weights = self.weights(step)
        random = Random(f"mixture-{self.seed}-{step}")
        return random.choices(list(weights), list(weights.values()), k=count)

    def draw(self, step: int, count: int) -> list[Document]:
        """The `count` documents of update `step`, as many different ones as there are."""
        numbers = Counter(self._before(step, count))
        documents = []
        for name in self.names(step, count):
            documents.append(self.corpora[name].train(self.seed, numbers[name]))
            numbers[name] += 1
        return documents

    def update(self, step: int, count: int, losses: Mapping[str, float]) -> None:
        """Take in the mean loss per token, in nats, of every corpus that update `step` of `count` documents has drawn. Without a
        bandit nothing happens. Call it once after each update, in order."""
        if self.bandit is None:
            return
        names = self.names(step, count)
        chances = {name: 1 - (1 - weight) ** count for name, weight in self.weights(step).items()}
        self.bandit.update({name: loss for name, loss in losses.items() if name in names}, chances)
        self._drawn.update(names)

    def state(self) -> dict[str, Any]:
        """What a resumed run needs, fit for JSON; empty without a bandit."""
        return {} if self.bandit is None else {"bandit": self.bandit.state(), "drawn": dict(self._drawn)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave. Raises ConfigError when it is that of another kind of mixture."""
        if (self.bandit is None) != (not state):
            raise ConfigError(f"the saved mixture has {'a' if state else 'no'} bandit and this one {'none' if state else 'one'}")
        if self.bandit is not None:
            self.bandit.load_state(state["bandit"])
            self._drawn = Counter(state["drawn"])

    def _before(self, step: int, count: int) -> Counter[str]:
        """How many documents of each corpus the updates before `step` have drawn."""
        if self.bandit is not None:
            return self._drawn
        reached, known, passed = self._passed
        if known != count or reached > step:
            reached, passed = 0, Counter()
        passed = Counter(passed)
        for earlier in range(reached, step):
            passed.update(self.names(earlier, count))
        self._passed = (step, count, passed)
        return passed
