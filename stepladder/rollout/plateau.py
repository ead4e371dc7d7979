"""Whether a run of reinforcement learning has stopped getting better and has lost its entropy: when to refine it (ComputerRL, arXiv
2508.14040)."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from stepladder.config import ConfigError
from stepladder.store import TrajectoryStore
from stepladder.types import Trajectory


@dataclass(frozen=True)
class PlateauSettings:
    """`window` updates are averaged. Success stands still where the latest window is not more than `rise` above the one before it.
    Entropy has collapsed where it is below `entropy_low` times that of the first window."""

    window: int = 10
    rise: float = 0.02
    entropy_low: float = 0.5

    def check(self) -> None:
        """Raises ConfigError for what cannot be."""
        if self.window < 1:
            raise ConfigError(f"plateau.window is {self.window}; it must be at least 1")
        if not math.isfinite(self.rise):
            raise ConfigError(f"plateau.rise is {self.rise}; it must be a finite number")
        if not 0 < self.entropy_low <= 1:
            raise ConfigError(f"plateau.entropy_low is {self.entropy_low}; it is a share above 0 and at most 1")


@dataclass(frozen=True, slots=True)
class PlayedUpdate:
    """What the sampled episodes of one update came to: graded episodes, their successes, and the entropy of a sampled token in nats
    (minus its mean log-probability; NaN where none was recorded)."""

    update: int
    episodes: int
    successes: int
    entropy: float


@dataclass(frozen=True, slots=True)
class Plateau:
    """Success of the window before the latest and of the latest, entropy of the first window and of the latest; what follows."""

    updates: int
    before: float
    now: float
    first_entropy: float
    entropy: float
    stands_still: bool
    collapsed: bool

    @property
    def reached(self) -> bool:
        """Whether it is time to refine."""
        return self.stands_still and self.collapsed

    @property
    def sentence(self) -> str:
        """The figures and what follows from them."""
        return (
            f"After {self.updates} updates success is {self.now:.3f}, in the window before {self.before:.3f}: it "
            f"{'stands still' if self.stands_still else 'still rises'}. The entropy of a token is {self.entropy:.4f} nats, in the "
            f"first window {self.first_entropy:.4f}: it {'has collapsed' if self.collapsed else 'has not collapsed'}."
        )


def played_updates(stores: Iterable[TrajectoryStore]) -> list[PlayedUpdate]:
    """One entry for each update that has a graded episode, in order. The stores are those of one run, a rank each."""
    # A run can hold more episodes than memory: each is added up and let go of.
    episodes, successes, tokens, surprise = Counter[int](), Counter[int](), Counter[int](), dict[int, float]()
    for store in stores:
        for trajectory in store:
            # An episode whose very first prompt was too long has no step, and no weights that played it.
            if trajectory.reward is not None and not trajectory.environment_failed and trajectory.steps:
                update = update_of(trajectory)
                total, count = _surprise(trajectory)
                episodes[update] += 1
                successes[update] += trajectory.success
                tokens[update] += count
                surprise[update] = surprise.get(update, 0.0) + total
    return [
        PlayedUpdate(update, episodes[update], successes[update], surprise[update] / tokens[update] if tokens[update] else math.nan)
        for update in sorted(episodes)
    ]


def update_of(trajectory: Trajectory) -> int:
    """The version of the weights that began the episode, which is the update it was played for. Raises ValueError for an episode
    that nobody sampled."""
    versions = [step.completion.version for step in trajectory.steps if step.completion is not None]
    if not versions:
        raise ValueError(f"trajectory {trajectory.id!r} has no sampled reply, so that no version of a policy has played it")
    return versions[0]


def sampled_entropy(trajectories: Iterable[Trajectory]) -> float:
    """Minus the mean log-probability of the sampled tokens, in nats: an estimate of the entropy of a token, without bias.

    NaN where no log-probability was recorded."""
    found = [_surprise(trajectory) for trajectory in trajectories]
    count = sum(tokens for _, tokens in found)
    return sum(total for total, _ in found) / count if count else math.nan


def _surprise(trajectory: Trajectory) -> tuple[float, int]:
    """(minus the sum of the log-probabilities of the sampled tokens, in nats; how many there are)."""
    total, count = 0.0, 0
    for step in trajectory.steps:
        if step.completion is not None and step.completion.logprobs is not None:
            total -= float(step.completion.logprobs.astype(float).sum())
            count += len(step.completion.logprobs)
    return total, count


def find_plateau(updates: Sequence[PlayedUpdate], settings: PlateauSettings) -> Plateau | None:
    """What the latest updates say; None while there are fewer than two windows of them."""
    size = settings.window
    if len(updates) < 2 * size:
        return None
    before, now = _success(updates[-2 * size : -size]), _success(updates[-size:])
    first, entropy = (statistics.fmean(one.entropy for one in part) for part in (updates[:size], updates[-size:]))
    still, collapsed = now - before <= settings.rise, entropy < settings.entropy_low * first
    return Plateau(updates[-1].update + 1, before, now, first, entropy, still, collapsed)


def _success(updates: Sequence[PlayedUpdate]) -> float:
    return sum(one.successes for one in updates) / sum(one.episodes for one in updates)


def as_points(updates: Sequence[PlayedUpdate]) -> Mapping[str, list[tuple[float, float]]]:
    """(update, success) and (update, entropy) for curves."""
    return {
        "success": [(one.update, one.successes / one.episodes) for one in updates],
        "entropy": [(one.update, one.entropy) for one in updates if math.isfinite(one.entropy)],
    }
