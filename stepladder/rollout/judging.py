"""Episodes with a judge: it grades tasks that have no other check, and gives its opinion of others as a reward term."""

from __future__ import annotations

from dataclasses import replace

from stepladder.interfaces import Environment
from stepladder.judges.judge import Judge
from stepladder.judges.judged_task import is_judged, start_of_judged
from stepladder.rollout.group import EpisodeJob, Play
from stepladder.rollout.wrapped import WrappedEnvironment
from stepladder.types import Observation, Task, Trajectory

#: The reward term, 0 or 1.
TERM = "judge"


class BegunLike(WrappedEnvironment):
    """The environment `environment` for a judged task: it begins like the task that this one came from, and grades nothing."""

    def __init__(self, environment: Environment, task: Task) -> None:
        super().__init__(environment)
        self.task = task

    async def reset(self, task: Task, seed: int) -> Observation:
        """Start what `task` begins like, with its seed. Raises EnvironmentFailure."""
        start, its_seed = start_of_judged(task)
        return await self.shown(await self._environment.reset(start, its_seed), None)

    async def evaluate(self) -> float:
        """Nothing is known here."""
        return 0.0


def judging(play: Play, judge: Judge, always: bool) -> Play:
    """`play`, whose episodes of judged tasks have the judge's verdict for a reward; with `always` every episode has it as the term
    TERM in its parts. An episode without a verdict has no grade, as one whose environment failed."""

    async def judged(environment: Environment, job: EpisodeJob) -> Trajectory:
        its_own = is_judged(job.task)
        trajectory = await play(BegunLike(environment, job.task) if its_own else environment, job)
        if trajectory.environment_failed or not (its_own or always):
            return trajectory
        verdict = await judge.judge(trajectory)
        if verdict.success is None:
            return replace(trajectory, status="env_error", reward=None, error=f"the judge gave no verdict: {verdict.reason}")
        opinion = float(verdict.success)
        parts = {**trajectory.parts, TERM: opinion}
        return replace(trajectory, reward=opinion if its_own else trajectory.reward, parts=parts)

    return judged
