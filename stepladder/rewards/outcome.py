"""The task reward itself, and which trajectories have one."""

from __future__ import annotations

from stepladder.types import Trajectory


def task_reward(trajectory: Trajectory) -> float | None:
    """The grade of the environment; None when it failed. A failure is a status and never a reward of 0 (law 4)."""
    return None if trajectory.environment_failed else trajectory.reward


class OutcomeReward:
    """`task`: the task reward, from 0 to 1."""

    main = "task"

    def __call__(self, group: list[Trajectory]) -> list[dict[str, float]]:
        rewards = [task_reward(trajectory) for trajectory in group]
        return [{} if reward is None else {"task": float(reward)} for reward in rewards]
