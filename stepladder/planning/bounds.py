"""What each resource alone could do: closed forms that no simulation exceeds, and that deep queues come close to."""

from __future__ import annotations

import math
from dataclasses import dataclass

from stepladder.planning.distributions import mean_of
from stepladder.planning.settings import Pipeline


@dataclass(frozen=True)
class Bounds:
    """Updates a second, were this resource the only one that takes time: environments that wait for nobody and whose replies are
    written alone, engines that always write as many replies as they can, a trainer that never waits."""

    environments: float
    engines: float
    trainer: float

    @property
    def lowest(self) -> tuple[str, float]:
        """Its name and the bound."""
        return min(
            (("environments", self.environments), ("engines", self.engines), ("trainer", self.trainer)), key=lambda one: one[1]
        )


def bounds_of(pipeline: Pipeline) -> Bounds:
    """Of an update with `groups` groups that have a signal. Attempts that break count with the time until then; episodes that are
    given up do not count as missing."""
    work, engine, trainer, loop = pipeline.workload, pipeline.engine, pipeline.trainer, pipeline.loop
    steps, prompt = mean_of(work.steps, count=True), mean_of(work.prompt_tokens, count=True)
    tokens = mean_of(work.reply_tokens, count=True)
    unread = prompt * (1 - work.cached) * engine.prompt_token_seconds
    alone = engine.pass_seconds + unread + tokens * (engine.token_seconds + engine.reply_token_seconds)
    together = (
        engine.pass_seconds / engine.prompts
        + unread
        + tokens * (engine.reply_token_seconds + engine.token_seconds / engine.max_batch)
    )
    # Of the turns of an episode that is begun, so many are reached before the environment breaks, and it comes to its end so often.
    whole = (1 - work.step_failure) * (1 - work.hang)
    start = (1 - work.reset_failure) * (1 - work.hang)
    end = start * whole**steps * (1 - work.hang)
    reached = start * (steps if whole == 1 else (1 - whole**steps) / (1 - whole))
    reset, evaluate = mean_of(work.reset_seconds), mean_of(work.evaluate_seconds)
    occupied = reset + reached * (mean_of(work.step_seconds) + alone) + end * evaluate + (1 - end) * work.replace_seconds
    attempts = sum((1 - end) ** k for k in range(work.retries + 1))
    episodes = loop.groups * loop.group_size / (1 - work.flat)
    learned = loop.groups * loop.group_size * steps
    learning = trainer.update_seconds + learned * (trainer.step_seconds + (prompt + tokens) * trainer.token_seconds)
    if loop.mode == "synchronous" or not engine.staggered:
        learning += engine.update_seconds
    return Bounds(
        _per(loop.environments, episodes * attempts * occupied),
        _per(engine.replicas, episodes * attempts * reached * together),
        _per(1, learning),
    )


def _per(count: int, seconds: float) -> float:
    return count / seconds if seconds else math.inf
