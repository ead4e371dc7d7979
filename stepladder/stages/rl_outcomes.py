"""What came of groups of episodes, as the ranks of reinforcement learning tell each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stepladder.algos.algorithm import reply_lengths
from stepladder.rollout.curriculum import Played
from stepladder.rollout.dynamic import Outcome
from stepladder.types import Group


def told_of(group: Group, replayed: bool, signal: bool) -> dict[str, Any]:
    """What the other ranks need to know of a group; its own members alone count."""
    graded = [member for member in group if member.reward is not None and not member.environment_failed]
    rewards = [member.reward or 0.0 for member in graded]
    names = dict.fromkeys(name for member in graded for name in member.parts)
    return {
        "task": group[0].task.id,
        "group": group[0].group,
        "signal": signal,
        "episodes": len(group),
        "failed": len(group) - len(graded),
        "reward": sum(rewards),
        "mean": sum(rewards) / len(rewards) if rewards else None,
        "successes": sum(member.success for member in graded),
        "lengths": tuple(len(member.steps) for member in graded if member.success),
        "terms": {name: sum(member.parts.get(name, 0.0) for member in graded) for name in names},
        "replayed": replayed,
        "steps": sum(len(member.steps) for member in group),
        "tokens": sum(sum(reply_lengths(member)) for member in group),
    }


def played_of(groups: Sequence[dict[str, Any]]) -> list[Played]:
    """What each graded group came to, in an order that does not depend on who played it."""
    ordered = sorted(groups, key=lambda one: (one["task"], one["group"]))
    return [Played(one["task"], one["mean"], one["advantage"]) for one in ordered if one["mean"] is not None]


def outcomes_of(groups: Sequence[dict[str, Any]]) -> list[Outcome]:
    """What each group came to, in an order that does not depend on who played it."""
    ordered = sorted(groups, key=lambda one: (one["task"], one["group"]))
    return [Outcome(one["task"], one["episodes"] - one["failed"], one["lengths"]) for one in ordered]
