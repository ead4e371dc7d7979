"""What a reward model says of an episode. The stage gives the score (its settings `reward_model`); PyTorch stays out of here."""

from __future__ import annotations

from stepladder.config import ConfigError
from stepladder.rewards.outcome import task_reward
from stepladder.types import Trajectory

#: The name of the reward and of its term in `Trajectory.parts`.
MODEL_TERM = "model"


class ModelReward:
    """`model`: the score of a trained reward model, in deviations from the mean of what it was trained on. Raises ConfigError for
    a graded episode that has no score."""

    main = MODEL_TERM

    def __call__(self, group: list[Trajectory]) -> list[dict[str, float]]:
        terms: list[dict[str, float]] = []
        for trajectory in group:
            if task_reward(trajectory) is None:
                terms.append({})
            elif self.main in trajectory.parts:
                terms.append({self.main: float(trajectory.parts[self.main])})
            else:
                raise ConfigError(f"trajectory {trajectory.id!r} has no score; name a reward model with reward_model.checkpoint")
        return terms
