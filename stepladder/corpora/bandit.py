"""Online data mixing: domains as the arms of a bandit whose reward is the loss (A. Albalak et al., arXiv 2312.02406, Algorithm 1).

What the model still finds hard is drawn more often; an exploration rate that falls with time keeps every domain in the mixture.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from stepladder.config import ConfigError


class DomainBandit:
    """EXP3 with a moving mean in place of the sum of rewards.

    With K domains, t updates after the warm-up, and R the estimated rewards:

        eps_t = min(1 / K, sqrt(ln K / (K t)))
        p_i   = (1 - K eps_t) softmax(eps_(t-1) R)_i + eps_t
        R_i   = smoothing R_i + (1 - smoothing) loss_i / chance_i

    where chance_i is the probability with which the loss of domain i was to be seen. The paper draws one domain at a time, so that
    its chance is p_i. Until `warmup` updates are over the weights of the schedule hold. `least_exploration` is a floor of eps_t;
    the paper has none. Raises ConfigError for settings that cannot be.
    """

    def __init__(self, domains: Sequence[str], *, smoothing: float = 0.9, warmup: int = 0, least_exploration: float = 0.0) -> None:
        if not domains or len(set(domains)) != len(domains):
            raise ConfigError(f"a bandit needs different domains, at least one, not {list(domains)}")
        if not 0 <= smoothing < 1:
            raise ConfigError(f"smoothing is {smoothing}; it must be 0 or more and below 1")
        if warmup < 0:
            raise ConfigError(f"warmup is {warmup}; it must be 0 or more updates")
        if not 0 <= least_exploration <= 1 / len(domains):
            highest = f"{1 / len(domains):.3g}"
            raise ConfigError(f"least_exploration is {least_exploration}; of {len(domains)} domains it must be 0 to {highest}")
        self.domains = tuple(domains)
        self.smoothing, self.warmup, self.least_exploration = smoothing, warmup, least_exploration
        self.rewards = dict.fromkeys(self.domains, 0.0)
        self.updates = 0

    def exploration(self, updates: int) -> float:
        """eps_t after so many updates: the least share of every domain."""
        count, after = len(self.domains), updates - self.warmup
        decayed = math.sqrt(math.log(count) / (count * after)) if after > 0 else math.inf
        return max(self.least_exploration, min(1 / count, decayed))

    def probabilities(self, scheduled: Mapping[str, float]) -> dict[str, float]:
        """The share of each domain in the next update; together 1. `scheduled` are those that hold during the warm-up."""
        if self.updates < self.warmup:
            return {name: scheduled.get(name, 0.0) for name in self.domains}
        temperature, least = self.exploration(self.updates - 1), self.exploration(self.updates)
        highest = max(self.rewards.values())
        shares = {name: math.exp(temperature * (reward - highest)) for name, reward in self.rewards.items()}
        total, rest = sum(shares.values()), max(0.0, 1 - len(self.domains) * least)
        return {name: rest * share / total + least for name, share in shares.items()}

    def update(self, losses: Mapping[str, float], chances: Mapping[str, float]) -> None:
        """Take in the losses (nats per token) of the domains that an update has drawn; `chances` as in the class, above 0. Raises
        ValueError for a domain that is not there and for a loss that is not finite."""
        for name, loss in losses.items():
            if name not in self.rewards or not math.isfinite(loss):
                raise ValueError(f"the loss of domain {name!r} is {loss}; finite losses of {', '.join(self.domains)} are needed")
            self.rewards[name] = self.smoothing * self.rewards[name] + (1 - self.smoothing) * loss / chances[name]
        self.updates += 1

    def state(self) -> dict[str, Any]:
        """What a resumed run needs, fit for JSON."""
        return {"rewards": dict(self.rewards), "updates": self.updates}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave. Raises ConfigError when its domains are others."""
        if set(state["rewards"]) != set(self.domains):
            raise ConfigError(f"the saved bandit is about {', '.join(state['rewards'])}, this one about {', '.join(self.domains)}")
        self.rewards = {name: float(state["rewards"][name]) for name in self.domains}
        self.updates = int(state["updates"])
