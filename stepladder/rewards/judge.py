"""What a judge said of an episode, which the stage asked when it was over (`stepladder.rollout.judging`)."""

from __future__ import annotations

from stepladder.config import ConfigError
from stepladder.rewards.outcome import task_reward
from stepladder.types import Trajectory


class JudgeReward:
    """`judge`: 1 where the judge says that the task was done, else 0. Raises ConfigError for a graded episode that nobody
    judged."""

    main = "judge"

    def __call__(self, group: list[Trajectory]) -> list[dict[str, float]]:
        terms: list[dict[str, float]] = []
        for trajectory in group:
            if task_reward(trajectory) is None:
                terms.append({})
            elif self.main in trajectory.parts:
                terms.append({self.main: float(trajectory.parts[self.main])})
            else:
                raise ConfigError(f"trajectory {trajectory.id!r} was not judged; name a judge with judge.policy")
        return terms
