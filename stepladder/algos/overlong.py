"""Replies that were cut off say nothing of what they would have come to."""

from __future__ import annotations

from collections.abc import Sequence

from stepladder.algos.algorithm import GroupCredit
from stepladder.algos.credit import NOTHING
from stepladder.types import Group, Step


def cut_off(step: Step) -> bool:
    """Whether the reply ended because it had as many tokens as it might have."""
    return step.completion is not None and step.completion.finish == "length"


def without_cut_off(groups: Sequence[Group], credits: Sequence[GroupCredit]) -> list[GroupCredit]:
    """`credits` of the steps in `groups`, with NOTHING for replies that were cut off. Rewards, and with them the advantages of all
    other replies, stay what they are.

    Source: overlong filtering, DAPO, arXiv 2503.14476, section 3.4; TRL's `mask_truncated_completions`.
    """
    return [
        [
            [NOTHING if cut_off(step) else credit for step, credit in zip(trajectory.steps, steps, strict=True)]
            for trajectory, steps in zip(group, group_credit, strict=True)
        ]
        for group, group_credit in zip(groups, credits, strict=True)
    ]
