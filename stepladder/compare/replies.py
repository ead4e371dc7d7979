"""Single replies of which each is called good or bad by itself, without another to compare it with: what KTO learns from.

They come from pairs, taken apart, or from all replies of graded episodes: those of a success count as good, those of a failure as
bad. The second needs no start that was both solved and failed, and blames every step of a failure, so it suits short episodes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stepladder.compare.forks import PreferencePair, said_in
from stepladder.types import Completion, Prompt, Trajectory


@dataclass(frozen=True, slots=True, eq=False)
class JudgedReply:
    """A reply to a prompt, and whether it is `good`; `source` and `step` say where it comes from."""

    task: str
    seed: int
    prompt: Prompt
    reply: Completion
    good: bool
    source: str
    step: int


def of_pairs(pairs: Iterable[PreferencePair]) -> list[JudgedReply]:
    """Both replies of every pair, each by itself."""
    judged = []
    for pair in pairs:
        judged.append(JudgedReply(pair.task, pair.seed, pair.prompt, pair.chosen, True, pair.source, pair.source_step))
        judged.append(JudgedReply(pair.task, pair.seed, pair.prompt, pair.rejected, False, pair.failure, pair.step))
    return judged


def of_episodes(trajectories: Iterable[Trajectory]) -> tuple[list[JudgedReply], Counter[str]]:
    """(every sampled reply of graded episodes, why others are left out)."""
    judged, left_out = list[JudgedReply](), Counter[str]()
    for one in trajectories:
        if one.environment_failed or one.reward is None:
            left_out["environment failed"] += 1
            continue
        for number, step in enumerate(one.steps):
            reply = said_in(step)
            if step.prompt is None or reply is None:
                left_out["no prompt and reply were recorded"] += 1
                continue
            judged.append(JudgedReply(one.task.id, one.seed, step.prompt, reply, one.success, one.id, number))
    return judged, left_out


def counts(judged: Sequence[JudgedReply]) -> tuple[int, int]:
    """(good ones, bad ones)."""
    good = sum(one.good for one in judged)
    return good, len(judged) - good
