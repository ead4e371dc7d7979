"""Policy-aware rollouts (TriMPI, arXiv 2510.09474, section 4.3): part of a group is shown the policy document, and all of it is
learned as if nobody had been.

A member that is shown the document samples its replies from pi(a | x, d), x being the prompt without the document d. What is kept
of it has the prompt x, so the gradient is that of pi(a | x). Two ways to deal with the difference:

importance   keeps the recorded log-probabilities of pi(a | x, d). A trainer that corrects for how tokens were sampled then weighs
             each token by pi(a_t | x, a_<t) / pi(a_t | x, d, a_<t). Untruncated, and with the product over the reply, that is
             exact; cut off at the objective's cap it has a bias and a bounded variance. Where the policy does not know the rules
             yet the weights are near 0, and little is learned. recomputed   records none: the ratio counts as 1, as if the
             replies had been sampled from pi(a | x). That is not the gradient of the expected reward of pi(a | x): replies that
             only the document suggests count in full. So rules are learned that the policy would hardly ever follow by chance.
             Log-probabilities before an update are the trainer's own of pi(a | x).

The advantages of a group are those of all of its members.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from stepladder.config import ConfigError
from stepladder.data.policy_documents import SHOWN
from stepladder.interfaces import Agent, Environment
from stepladder.rollout.group import EpisodeJob, Play
from stepladder.types import Message, Prompt, Step, Trajectory

Behaviour = Literal["importance", "recomputed"]
#: Messages in token space, as `models.renderer.Renderer.render` makes them.
Render = Callable[[Sequence[Message]], Prompt]


@dataclass(frozen=True)
class PolicyAware:
    """`document` is a text file (None: nobody is shown one), which a `share` of each group is shown. `behaviour` says which
    log-probabilities are recorded of these."""

    document: Path | None = None
    share: float = 0.5
    behaviour: Behaviour = "recomputed"

    def check(self, name: str = "aware") -> None:
        """Raises ConfigError for what cannot be; `name` is that of the group of settings."""
        if not 0 <= self.share <= 1:
            raise ConfigError(f"{name}.share is {self.share}; it is a share, 0 to 1")
        if self.behaviour not in get_args(Behaviour):
            raise ConfigError(f"{name}.behaviour is {self.behaviour!r}; it must be one of {', '.join(get_args(Behaviour))}")
        if self.document is not None and not self.document.is_file():
            raise ConfigError(f"{name}.document: {self.document} is no file")


def is_shown(index: int, share: float) -> bool:
    """Whether the member `index` of a group is shown the document: of the first n members floor(n * share) are, evenly spread."""
    return math.floor((index + 1) * share) > math.floor(index * share)


def policy_aware(plain: Play, aware: Play, share: float, behaviour: Behaviour, agent: Agent, render: Render) -> Play:
    """Plays with `aware` the members that are shown the document, and with `plain` the others. `agent` writes prompts without the
    document and `render` makes tokens of them."""

    async def play(environment: Environment, job: EpisodeJob) -> Trajectory:
        if not is_shown(job.index, share):
            return await plain(environment, job)
        return without_document(await aware(environment, job), behaviour, agent, render)

    return play


def without_document(trajectory: Trajectory, behaviour: Behaviour, agent: Agent, render: Render) -> Trajectory:
    """An episode as if the document had not been shown: every prompt is that which `agent` writes without it, with the very
    tokens that were sampled in its past. `extra` says that it was shown."""
    steps: list[Step] = []
    for step in trajectory.steps:
        if step.prompt is not None and step.completion is not None:
            prompt = render(agent.prompt(trajectory.task, steps, step.observation))
            said = step.completion if behaviour == "importance" else replace(step.completion, logprobs=None)
            step = replace(step, prompt=prompt, completion=said)
        steps.append(step)
    return replace(trajectory, steps=tuple(steps), extra={**trajectory.extra, SHOWN: "shown"})
