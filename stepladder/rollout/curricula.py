"""Curricula by name, and their settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stepladder.config import ConfigError
from stepladder.domains import domain_of
from stepladder.plugins import load
from stepladder.rollout.bandit import CategoryBandit
from stepladder.rollout.curriculum import Curriculum
from stepladder.rollout.tiers import DifficultyTiers, measured_rates, tier_of
from stepladder.rollout.uncertain import UncertainTasks
from stepladder.types import Task

CURRICULA = {
    "uncertain": "stepladder.rollout.uncertain:UncertainTasks",
    "bandit": "stepladder.rollout.bandit:CategoryBandit",
    "tiers": "stepladder.rollout.tiers:DifficultyTiers",
}


@dataclass(frozen=True)
class CurriculumSettings:
    """`name` says how tasks are drawn; what is None is as the curriculum has it.

    uncertain   by `strength`, the tasks whose success is uncertain (0: all alike), never below a weight of `floor`
    bandit      by the size of their advantages, categories of tasks: `categories` are their domains, tiers of their offline
                success, or single tasks; drawn at `temperature` (SEC)
    tiers       by how many of their groups tell something, tiers of offline success (RLCS)

    or package.module:Class, constructed with the tasks and these settings. `offline` is the store of an evaluation of the starting
    checkpoint (.jsonl), `tiers` the number of tiers between never and always. What a group says goes into moving means with a share
    `rate`. With `balanced`, of groups beyond those that an update wants a subset is kept that has all difficulties alike.
    """

    name: str = "uncertain"
    strength: float = 1.0
    floor: float | None = None
    rate: float | None = None
    temperature: float = 1.0
    categories: Literal["domain", "tier", "task"] = "domain"
    offline: Path | None = None
    tiers: int = 4
    balanced: bool = False

    def check(self, group_size: int) -> None:
        """Raises ConfigError, and PluginError for a class that is not there."""
        load(self.name, CURRICULA, "curriculum")
        for name in ("floor", "rate"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= 1:
                raise ConfigError(f"curriculum.{name} is {value}; it must be above 0 and at most 1")
        if self.strength < 0:
            raise ConfigError(f"curriculum.strength is {self.strength}; it must be at least 0")
        if not self.temperature > 0:
            raise ConfigError(f"curriculum.temperature is {self.temperature}; it must be above 0")
        if self.tiers < 1:
            raise ConfigError(f"curriculum.tiers is {self.tiers}; it must be at least 1")
        if self.name in ("bandit", "tiers") and group_size < 2:
            raise ConfigError(f"curriculum {self.name!r} compares the members of a group, and group_size is {group_size}")
        needs = self.name == "tiers" or (self.name == "bandit" and self.categories == "tier")
        if needs and self.offline is None:
            raise ConfigError(
                "curriculum.offline is missing: tiers come from an evaluation's store, such as runs/eval/student.jsonl"
            )
        if self.offline is not None and not self.offline.is_file():
            raise ConfigError(f"curriculum.offline: {self.offline} is no store of episodes (.jsonl)")

    def build(self, tasks: Sequence[Task], group_size: int) -> Curriculum:
        """Raises ConfigError for an evaluation that knows none of the tasks, and what a class of one's own raises."""
        given = {name: value for name in ("floor", "rate") if (value := getattr(self, name)) is not None}
        if self.name == "uncertain":
            return UncertainTasks(tasks, self.strength, **given)
        if self.name == "bandit":
            given.pop("floor", None)
            return CategoryBandit(tasks, self._category(tasks), self.temperature, **given)
        if self.name == "tiers":
            return DifficultyTiers(tasks, self._offline(tasks), group_size, self.tiers, **given)
        built: Curriculum = load(self.name, CURRICULA, "curriculum")(tasks, self)
        return built

    def _category(self, tasks: Sequence[Task]) -> Callable[[Task], str]:
        if self.categories == "domain":
            return domain_of
        if self.categories == "task":
            return lambda task: task.id
        rates = self._offline(tasks)
        return lambda task: tier_of(rates[task.id], self.tiers) if task.id in rates else "unknown"

    def _offline(self, tasks: Sequence[Task]) -> dict[str, float]:
        assert self.offline is not None, "check has seen to it"
        try:
            rates = measured_rates(self.offline)
        except ValueError as error:
            raise ConfigError(f"curriculum.offline: {error}") from error
        if not rates.keys() & {task.id for task in tasks}:
            raise ConfigError(f"curriculum.offline: {self.offline} has no episode of any task that is trained on")
        return rates
