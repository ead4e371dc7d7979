"""Settings of `stepladder reason`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from stepladder.config import ConfigError
from stepladder.rollout.pool import PoolSettings
from stepladder.stages.policies import ApiOptions, check_policy
from stepladder.thoughts.plan import PlanSettings
from stepladder.thoughts.teacher import TeacherSettings

By = Literal["oracle", "teacher", "reflection"]
Written = Literal["thought", "observation"]
#: Settings that change how the work is done and not what comes of it.
MAY_CHANGE = ("output", "parallel", "environments", "pool", *(f"api.{name}" for name in ApiOptions.FREE))


@dataclass(frozen=True)
class ReasonConfig:
    """`demonstrations` is a directory of `stepladder collect` or of `stepladder reason`. `by` says who writes the thoughts, up to
    `level` (`agents.thought_levels`): the "oracle", from the plan of the solved episode (`plan`); a "teacher" policy (`teacher`,
    called as `api` says, `parallel` episodes at a time); or "reflection" on the failures in `rollouts`, run directories or stores:
    up to `per_start` recoveries of each task and seed are added to the demonstrations, which stay as they are. With `replay` they
    are played in `environments` at a time, made with `options` and kept as `pool` says; without, or where that fails, a recovery is
    one recorded step. Thoughts of recoveries are written by the teacher where one is named, else from the plan."""

    demonstrations: Path = Path("runs/collect")
    output: Path = Path("runs/reason")
    by: By = "oracle"
    level: Written = "thought"
    plan: PlanSettings = field(default_factory=PlanSettings)
    teacher: TeacherSettings = field(default_factory=TeacherSettings)
    api: ApiOptions = field(default_factory=ApiOptions)
    parallel: int = 4
    rollouts: tuple[Path, ...] = ()
    per_start: int = 2
    replay: bool = True
    environments: int = 2
    options: Mapping[str, Any] = field(default_factory=dict)
    pool: PoolSettings = field(default_factory=PoolSettings)

    def check(self) -> None:
        """Raises ConfigError, and PluginError for a class that is not there."""
        for name, allowed in (("by", get_args(By)), ("level", get_args(Written))):
            if getattr(self, name) not in allowed:
                raise ConfigError(f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(allowed)}")
        for name in ("parallel", "per_start", "environments"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("later", "elements"):
            if getattr(self.plan, name) < 0:
                raise ConfigError(f"plan.{name} is {getattr(self.plan, name)}; it must be at least 0")
        if not self.demonstrations.is_dir():
            raise ConfigError(f"demonstrations: {self.demonstrations} is no directory; make it with `stepladder collect`")
        if self.output.resolve() == self.demonstrations.resolve():
            raise ConfigError(f"output: {self.output} holds the demonstrations themselves; write into another directory")
        self._check_teacher()
        if self.by == "reflection" and not self.rollouts:
            raise ConfigError("rollouts: name the runs whose failures are reflected on, such as runs/flywheel/turn-0")
        if self.by != "reflection" and self.rollouts:
            raise ConfigError(f"rollouts: failures are reflected on with by=reflection, and by is {self.by!r}")
        for path in self.rollouts:
            if not path.exists():
                raise ConfigError(f"rollouts: {path} does not exist")

    def _check_teacher(self) -> None:
        policy = self.teacher.policy
        self.teacher.validate()
        self.api.meter()
        if self.by == "teacher" and policy is None:
            raise ConfigError("teacher.policy is missing: say who writes, such as openai:http://127.0.0.1:8000 or a checkpoint")
        if policy is None:
            return
        if self.by == "oracle":
            raise ConfigError(f"teacher.policy is {policy!r}, and by is 'oracle'; say by=teacher, or leave the teacher out")
        if check_policy(policy).kind == "baseline":
            raise ConfigError(f"teacher.policy: {policy!r} is a baseline, and no policy that can be asked")
