"""An inverse-dynamics model at work: what it says was done between the screens of recordings, and how much of it is right."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stepladder.agents.replies import read_completion
from stepladder.data.transitions import (
    Transition,
    comparable,
    question_steps,
    question_task,
    relabelled,
    same_action,
    successive,
    transitions,
)
from stepladder.images import ImageStore
from stepladder.interfaces import Agent, ContextFull, ParseError, Policy
from stepladder.progress import Progress
from stepladder.stages.agent_options import AgentOptions
from stepladder.stages.inverse_model import split
from stepladder.stages.local_policy import open_checkpoint
from stepladder.stats import Rate, success_rate
from stepladder.store import TrajectoryStore
from stepladder.types import Action, Observation, Sampling, Trajectory

#: An action, None where none could be read, and the mean log-probability of its tokens.
Answer = tuple[Action | None, float]
NO_ANSWER: Answer = (None, -float("inf"))


@dataclass(frozen=True)
class Labelled:
    """`accuracy` of all labels of held-back demonstrations, `kept_accuracy` of those with enough confidence, `coverage` the share
    of these; `true_accuracy` of the kept labels of recordings whose actions are known, None where none is. `recordings` were
    labelled with `kept` labels to be imitated and `doubtful` ones."""

    accuracy: Rate
    kept_accuracy: Rate
    coverage: Rate
    true_accuracy: Rate | None
    recordings: int
    kept: int
    doubtful: int

    def rates(self) -> dict[str, float]:
        """The rates that there are, by name."""
        rates = {
            "accuracy": self.accuracy,
            "kept_accuracy": self.kept_accuracy,
            "coverage": self.coverage,
            "true_accuracy": self.true_accuracy,
        }
        return {name: rate.rate for name, rate in rates.items() if rate is not None and rate.rate is not None}


def label_recordings(
    checkpoint: Path,
    pictures: Path,
    demonstrations: Iterable[Trajectory],
    recordings: Iterable[Trajectory],
    output: Path,
    *,
    held_out: float,
    confidence: float,
    tolerance: float,
    parallel: int,
    show: bool = True,
) -> Labelled:
    """Label what the store `output` lacks, and measure the labels; see `LabelConfig` for the settings. Labels are the likeliest
    ones, so those that are there already need not be made again."""
    images = ImageStore(pictures, cache=1024)
    _, measured = split(list(demonstrations), held_out)
    known: list[tuple[Action, Answer]] = []

    async def work(policy: Policy, agent: Agent) -> list[Answer]:
        sampling = Sampling(0.0, 1.0, AgentOptions.of_checkpoint(checkpoint).reply_tokens, stop=agent.stop)
        limit = asyncio.Semaphore(parallel)

        async def ask(before: Observation, after: Observation) -> Answer:
            async with limit:
                return await _ask(policy, agent, before, after, sampling)

        async def ask_all(pairs: Sequence[tuple[Observation, Observation]]) -> list[Answer]:
            return list(await asyncio.gather(*(ask(*pair) for pair in pairs)))

        with TrajectoryStore(output, "a") as store, Progress("label", 0, show=show) as progress:
            for number, recording in enumerate(recordings, start=1):
                if f"{recording.id}-labelled" not in store:
                    pairs = list(successive(recording))
                    asked = [pair for pair in pairs if comparable(*pair)]
                    answers = iter(await ask_all(asked))
                    store.append(
                        relabelled(recording, [next(answers) if comparable(*pair) else NO_ANSWER for pair in pairs], confidence)[0]
                    )
                known.extend(_known(recording, store.get(f"{recording.id}-labelled")))
                progress.update(number, number)
        return await ask_all([(one.before, one.after) for one in measured])

    with open_checkpoint(checkpoint, images, "inverse-dynamics") as (policy, agent):
        answers = asyncio.run(work(policy, agent))
    right = [_right(one, answer, tolerance) for one, answer in zip(measured, answers, strict=True)]
    sure = [confident >= confidence for _, confident in answers]
    sure_and_right = sum(good and one for good, one in zip(right, sure, strict=True))
    truly = [
        same_action(action, said, tolerance) for action, (said, confident) in known if said is not None and confident >= confidence
    ]
    with TrajectoryStore(output) as store:
        steps = [step for one in store for step in one.steps]
        count = len(store)
    kept = sum(step.imitated == "reply" for step in steps)
    return Labelled(
        success_rate(sum(right), len(right)),
        success_rate(sure_and_right, sum(sure)),
        success_rate(sum(sure), len(sure)),
        success_rate(sum(truly), len(truly)) if truly else None,
        count,
        kept,
        len(steps) - kept,
    )


async def _ask(policy: Policy, agent: Agent, before: Observation, after: Observation, sampling: Sampling) -> Answer:
    """The likeliest action between two screens."""
    shown = Observation(after.screenshot)
    try:
        _, completion = await policy.generate(agent.prompt(question_task(), question_steps(before), shown), sampling)
        _, actions = read_completion(agent, completion, shown)
    except (ContextFull, ParseError):
        return NO_ANSWER
    if len(actions) != 1 or completion.logprobs is None or not len(completion.logprobs):
        return NO_ANSWER
    return actions[0], float(np.mean(completion.logprobs))


def _right(transition: Transition, answer: Answer, tolerance: float) -> bool:
    assert transition.action is not None
    return answer[0] is not None and same_action(transition.action, answer[0], tolerance)


def _known(recording: Trajectory, labelled: Trajectory) -> list[tuple[Action, Answer]]:
    """What was done in a recording, as far as it says so, beside the labels of the same screens, which stand in the same
    order."""
    screens = [pair for pair in successive(recording) if comparable(*pair)]
    done = {(one.before.screenshot, one.after.screenshot): one.action for one in transitions(recording)}
    found = list[tuple[Action, Answer]]()
    for (before, after), step in zip(screens, labelled.steps, strict=False):
        action = done.get((before.screenshot, after.screenshot))
        if action is not None and step.action is not None:
            found.append((action, (step.action, float(step.extra["confidence"]))))
    return found
