"""The reward of reinforcement learning with verifiable answers: what a program found right, and the form in which it was said.

Form alone is worth nothing. GLM-4.1V-Thinking (arXiv 2507.01006, section 4) found that one weak reward in one domain spoils the
training of all: a term that can be had without a right answer is what is learned first.
"""

from __future__ import annotations

import math

from stepladder.config import ConfigError
from stepladder.rewards.outcome import task_reward
from stepladder.types import Trajectory


class VerifiableReward:
    """`verifiable`: the task reward and `answer_format`, which is

    bonus      for a right answer in a reply that thinks before it answers and can be read; 0 for a right answer said otherwise
    0          for a wrong answer that can be read
    -penalty   where no reply could be read, or the episode ended without an answer

    The penalty is 0 unless it is asked for: in a group without a right answer it is the only difference, and advantages that are
    divided by the deviation of the group make it as large as a right answer's.

    So it is above 0 for right answers alone. "Right" is a task reward of at least 0.5; verifiers give 0 or 1, and of an environment
    with grades in between the lower ones count as what they are. Raises ConfigError for a bonus or penalty below 0.
    """

    main = "verifiable"

    def __init__(self, bonus: float = 0.1, penalty: float = 0.0) -> None:
        for name, value in (("bonus", bonus), ("penalty", penalty)):
            if not (math.isfinite(value) and value >= 0):
                raise ConfigError(f"{name} is {value}; it must be 0 or more")
        self.bonus, self.penalty = bonus, penalty

    def __call__(self, group: list[Trajectory]) -> list[dict[str, float]]:
        return [self._terms(trajectory) for trajectory in group]

    def _terms(self, trajectory: Trajectory) -> dict[str, float]:
        task = task_reward(trajectory)
        if task is None:
            return {}
        form = self._form(trajectory)
        return {"verifiable": float(task) + form, "answer_format": form, "task": float(task)}

    def _form(self, trajectory: Trajectory) -> float:
        readable = bool(trajectory.steps) and all(step.error is None for step in trajectory.steps)
        if trajectory.success:
            return self.bonus if readable and trajectory.steps[-1].thought.strip() else 0.0
        return 0.0 if readable and trajectory.status == "done" else -self.penalty
