"""Several rewards as one: all their terms side by side, and `reward`, their weighted total."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from typing import Any

from stepladder.config import ConfigError
from stepladder.interfaces import Reward
from stepladder.rewards import build_reward
from stepladder.types import Trajectory


def total(terms: Mapping[str, float], name: str) -> float:
    """The term to train on. NaN where there are no terms, because the environment failed: leave such a member out of every
    statistic. Raises ConfigError that names the nearest term when there are terms and none has this name."""
    if not terms:
        return math.nan
    if name not in terms:
        near = difflib.get_close_matches(name, terms, n=1)
        raise ConfigError(f"no term {name!r}; " + (f"did you mean {near[0]!r}?" if near else f"there are {', '.join(terms)}"))
    return terms[name]


class WeightedReward:
    """`reward`: the weighted sum of the main terms of other rewards, beside every term of theirs, unweighted.

    WeightedReward({"outcome": 1.0, "length": 0.1}, {"length": {"limit": 128, "buffer": 32}})

    The main term of a reward is named by its attribute `main`. Rewards may share a term as long as they agree on its value.
    A member that one of them does not judge has no terms at all.

    weights  by name of the table or dotted path
    options  of each reward, by the same name
    """

    main = "reward"

    def __init__(self, weights: Mapping[str, float], options: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        options = {} if options is None else options
        if not weights:
            raise ConfigError("weights is empty; name at least one reward, such as {'outcome': 1.0}")
        for name in options:
            if name not in weights:
                near = difflib.get_close_matches(name, weights, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(weights)}"
                raise ConfigError(f"options are for {name!r}, which has no weight; {hint}")
        self._rewards: list[tuple[str, float, str, Reward]] = []
        for name, weight in weights.items():
            if not math.isfinite(weight):
                raise ConfigError(f"the weight of {name!r} is {weight}; it must be a finite number")
            reward = build_reward(name, **options.get(name, {}))
            main = getattr(reward, "main", None)
            if not isinstance(main, str):
                raise ConfigError(f"reward {name!r} does not say which term is weighted; give it an attribute `main`")
            self._rewards.append((name, weight, main, reward))

    @property
    def weights(self) -> dict[str, float]:
        """What each main term counts in `reward`."""
        found: dict[str, float] = {}
        for _, weight, main, _ in self._rewards:
            found[main] = found.get(main, 0.0) + weight
        return found

    def __call__(self, group: list[Trajectory]) -> list[dict[str, float]]:
        by_reward = [reward(group) for _, _, _, reward in self._rewards]
        return [self._join(list(parts)) for parts in zip(*by_reward, strict=True)]

    def _join(self, parts: list[dict[str, float]]) -> dict[str, float]:
        """The terms of one member from those that each reward gave it."""
        if not all(parts):
            return {}
        joined: dict[str, float] = {}
        reward = 0.0
        for (name, weight, main, _), terms in zip(self._rewards, parts, strict=True):
            for term, value in terms.items():
                if term == self.main or joined.get(term, value) != value:
                    raise ConfigError(f"reward {name!r} gives a term {term!r}, which another reward gives as well")
                joined[term] = value
            reward += weight * total(terms, main)
        return {**joined, self.main: reward}
