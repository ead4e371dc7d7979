"""The tasks that a run of reinforcement learning plays: all of its task set, or those that the starting policy has solved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from stepladder.config import ConfigError
from stepladder.stages.policies import policy_name
from stepladder.stages.rl_config import RlConfig
from stepladder.store import NoStore, TrajectoryStore
from stepladder.tasks import load_tasks
from stepladder.types import Task


def training_tasks(config: RlConfig) -> list[Task]:
    """The tasks of `config.tasks`; with `config.solved_in`, those of which the policy evaluated there has solved an episode (ARPO,
    arXiv 2505.16282). Raises TaskError, and ConfigError for what is no evaluation, knows none of the tasks, or solved none."""
    tasks = load_tasks(config.tasks, split="train", judged=config.judge.policy is not None)
    if config.solved_in is None:
        return tasks
    graded, solved = _outcomes(config.solved_in)
    unknown = [task.id for task in tasks if task.id not in graded]
    if unknown:
        count = "none" if len(unknown) == len(tasks) else f"{len(tasks) - len(unknown)}"
        raise ConfigError(
            f"solved_in: {config.solved_in} has graded episodes of {count} of the {len(tasks)} tasks, not of {unknown[0]!r}; "
            f"evaluate them all with `stepladder eval --set tasks={config.tasks}`"
        )
    left = [task for task in tasks if task.id in solved]
    if not left:
        raise ConfigError(
            f"solved_in: none of the {len(tasks)} tasks was solved in {config.solved_in}; evaluate with more episodes or a "
            "temperature above 0, or train on demonstrations first with `stepladder sft`"
        )
    return left


def _outcomes(directory: Path) -> tuple[set[str], set[str]]:
    """(tasks with a graded episode, tasks with a success) of the policy that an evaluation run was about, not of its baselines."""
    settings = _settings(directory / "config.json")
    path = directory / f"{policy_name(str(settings['policy']))}.jsonl"
    try:
        with TrajectoryStore(path) as store:
            graded = [summary for summary in store.summaries() if summary.reward is not None]
    except NoStore as error:
        raise ConfigError(f"solved_in: {directory} has no episodes of {settings['policy']} yet; there is no {path}") from error
    return {summary.task for summary in graded}, {summary.task for summary in graded if summary.success}


def _settings(path: Path) -> dict[str, Any]:
    """The settings of an evaluation. Raises ConfigError where there are none."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"solved_in: {path.parent} is no directory of `stepladder eval`: {error}") from error
    if not isinstance(found, dict) or not isinstance(found.get("policy"), str):
        raise ConfigError(f"solved_in: {path.parent} is no directory of `stepladder eval`: its config.json names no policy")
    return found
