"""SDPO, self-distillation policy optimisation: the policy is its own teacher once it knows what came of its actions.

The teacher reads what the student read and then what is told of the step (`stepladder.algos.feedback`): the screen after the
action, an error dialog, a sibling's success. It says of every token that the student wrote how likely it and its rivals would have
been then. The student is drawn to that, token by token: where the two part is where it went wrong.

Source: SDPO, arXiv 2601.20802; there feedback is text, here pictures too. With a checkpoint as the teacher and nothing told it is
on-policy distillation (GKD, arXiv 2306.13649) over whole distributions; `opd` is the same with sampled tokens alone.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from stepladder.algos import ops
from stepladder.algos.algorithm import Algorithm, GroupCredit, Need, Scores, membership
from stepladder.algos.credit import NOTHING, Credit
from stepladder.algos.feedback import Content, feedback_builder
from stepladder.algos.objective import PolicyObjective
from stepladder.types import Group, Trajectory

TEACHERS = ("ema", "trust-region", "current", "checkpoint")


@dataclass(frozen=True)
class Sdpo(Algorithm):
    """`feedback` names what is told, in this order; with `first` the first that has something to say is told alone. Steps about
    which nothing is told are not learned from. `on_success` tells of successful episodes too. `before` and `behind` stand around
    what is told, at the end of the prompt.

    `teacher` is a moving average of the policy ("ema", to which an update adds `teacher_rate` of the policy), the policy that RL
    started from with a share `teacher_rate` of the present one in its logits ("trust-region"), the policy as it is ("current"), or
    the run's own `teacher` ("checkpoint").

    `alpha`, `top_k` and `tail` are those of `ops.self_distillation_loss`, `distillation` weighs it, and `policy_gradient` adds
    GRPO's loss with that weight on all episodes.
    """

    feedback: tuple[str, ...] = ("sibling", "evaluator", "dialog", "screenshot")
    first: bool = False
    on_success: bool = False
    before: str = "\n\nThe following is feedback from your unsuccessful earlier attempt:\n\n"
    behind: str = "\n\nCorrectly answer the original request.\n"
    teacher: Literal["ema", "trust-region", "current", "checkpoint"] = "ema"
    teacher_rate: float = 0.05
    alpha: float = 0.5
    top_k: int | None = 100
    tail: bool = True
    distillation: float = 1.0
    policy_gradient: float = 0.0

    name: ClassVar[str] = "sdpo"

    def check(self) -> None:
        super().check()
        for builder in self.feedback:
            feedback_builder(builder)
        if self.teacher not in TEACHERS:
            near = difflib.get_close_matches(self.teacher, TEACHERS, n=1)
            raise ValueError(
                f"algo.teacher is {self.teacher!r}; " + (f"did you mean {near[0]!r}?" if near else f"one of {TEACHERS}")
            )
        if not self.feedback and self.teacher != "checkpoint":
            raise ValueError("algo.feedback is empty; a teacher that is the policy and is told nothing has nothing to teach")
        for name, low, high in (("alpha", 0, 1), ("teacher_rate", 0, 1)):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"algo.{name} is {getattr(self, name)}; it must be in [{low}, {high}]")
        for name in ("distillation", "policy_gradient"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"algo.{name} is {getattr(self, name)}; it must not be negative")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"algo.top_k is {self.top_k}; it must be at least 1, or None for all tokens")

    @property
    def needs(self) -> frozenset[Need]:
        return super().needs | ({"teacher"} if self.teacher == "checkpoint" else {"self_teacher"})

    def objective(self) -> PolicyObjective:
        return replace(super().objective(), alpha=self.alpha, top_k=self.top_k, tail=self.tail)

    def loss_weights(self, update: int, explained: Sequence[float] = ()) -> dict[str, float]:
        return {**super().loss_weights(update, explained), "pg": self.policy_gradient, "distill": self.distillation}

    def keep(self, group: Group) -> bool:
        """Whether there is something to tell about anybody, or a policy gradient."""
        if self.policy_gradient and super().keep(group):
            return True
        return any(
            self._learns_from(one) and any(self.told(one, i, group) is not None for i in range(len(one.steps))) for one in group
        )

    def told(self, trajectory: Trajectory, number: int, group: Group) -> Content | None:
        """What the teacher is told of a step at the end of its prompt; None: nothing, so that it has nothing to teach."""
        if not self.feedback:
            return ()
        said: list[Content] = []
        for name in self.feedback:
            content = feedback_builder(name)(trajectory, number, group)
            if content:
                said.append(content)
                if self.first:
                    break
        if not said:
            return None
        parts = [part for place, content in enumerate(said) for part in ((("\n\n",) if place else ()) + content)]
        return (self.before, *parts, self.behind)

    def credit(self, groups: Sequence[Group], scores: Scores) -> list[GroupCredit]:
        rewards = self.rewards([trajectory for group in groups for trajectory in group])
        credits = self.spread(groups, ops.grpo_advantages(rewards, membership(groups)), scores)
        return [
            [self._distilled(trajectory, steps, group) for trajectory, steps in zip(group, of_group, strict=True)]
            for group, of_group in zip(groups, credits, strict=True)
        ]

    def _distilled(self, trajectory: Trajectory, credits: list[Credit], group: Group) -> list[Credit]:
        if trajectory.environment_failed or trajectory.reward is None:
            return [NOTHING] * len(trajectory.steps)
        if not self.policy_gradient:
            credits = [replace(credit, pg=0.0, advantage=0.0) for credit in credits]
        if not self._learns_from(trajectory):
            return credits
        told = [self.told(trajectory, number, group) for number in range(len(credits))]
        return [
            credit if content is None else replace(credit, distill=1.0, told=content)
            for credit, content in zip(credits, told, strict=True)
        ]

    def _learns_from(self, trajectory: Trajectory) -> bool:
        graded = not trajectory.environment_failed and trajectory.reward is not None
        return graded and (self.on_success or not self.feedback or not trajectory.success)
