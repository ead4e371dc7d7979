"""Offline benchmarks: pictures with known answers, any agent, any policy, minutes.

    stepladder bench agentnet FOLDER --policy runs/demo/sft/checkpoint
    stepladder bench screenspot FOLDER --policy gold

Every reply is in `<output>/replies.jsonl` the moment it is there; a run that was interrupted goes on with the questions that are
missing, and scores are always counted anew from the replies. `<output>/result.json` has the figures.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from stepladder.agents.setup import AgentSetup, Given, set_up
from stepladder.benchmarks import agentnet, screenspot
from stepladder.benchmarks.summary import agentnet_result, screenspot_result
from stepladder.config import ConfigError, to_dict
from stepladder.images import ImageStore
from stepladder.run import Run, write_json
from stepladder.stages.asking import GOLD, REPLIES, Asker, Question, ask, read_replies
from stepladder.stages.policies import QWEN_DIALECT, ApiOptions, agent_setup, check_policy
from stepladder.tasks import task_set_hash

FREE = tuple(f"api.{name}" for name in ApiOptions.FREE)
RESULT = "result.json"


@dataclass(frozen=True)
class BenchmarkConfig:
    """`benchmark` is "agentnet" or "screenspot", `folder` its files. `policy` answers in `dialect` (None: that of the policy, or
    for the recorded answers one that can say all of them), whose options are `agent`, and `history` the number of its screenshots;
    see `EvaluateConfig`. "gold" gives the recorded answers, which shows what the dialect itself loses. `concurrency` questions are
    asked at a time. With `compat` scores are those of the published evaluator, oddities included (`benchmarks.agentnet_score`).
    Only the first `limit` questions are asked (None: all). `api` says how servers are called."""

    benchmark: str = "agentnet"
    folder: Path = Path()
    policy: str = GOLD
    dialect: str | None = None
    agent: Mapping[str, Given] = field(default_factory=dict)
    history: int | None = None
    output: Path = Path("runs/benchmark")
    concurrency: int = 8
    temperature: float = 0.0
    max_tokens: int = 1024
    seed: int = 0
    limit: int | None = None
    compat: bool = False
    api: ApiOptions = field(default_factory=ApiOptions)

    def check(self) -> None:
        """Raises ConfigError for what cannot be."""
        if self.benchmark not in ("agentnet", "screenspot"):
            raise ConfigError(f"benchmark is {self.benchmark!r}; there are agentnet and screenspot")
        if not self.folder.is_dir():
            raise ConfigError(f"folder: {self.folder} is no directory")
        if self.policy != GOLD:
            check_policy(self.policy)
        for name in ("concurrency", "max_tokens"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("limit", "history"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}; it must be at least 1, or none")

    def setup(self) -> AgentSetup:
        """The agent that is asked, or in whose words the recorded answers are. Raises ConfigError, PluginError."""
        if self.policy != GOLD:
            return agent_setup(self.policy, self.dialect, self.agent, self.history)
        own = "opencua" if self.benchmark == "agentnet" else QWEN_DIALECT
        return set_up(self.dialect or own, self.agent, history=self.history)


def main(config: BenchmarkConfig, show: bool = True) -> dict[str, Any]:
    """Ask what is missing, and return what `result.json` says. Raises ConfigError, BenchmarkError, PluginError."""
    config.check()
    images = ImageStore()
    if config.benchmark == "agentnet":
        steps, targets = agentnet.load(config.folder, images), []
        questions = [Question(one.id, one.task, one.steps, one.observation, one.gold) for one in steps]
    else:
        steps, targets = [], screenspot.load(config.folder, images)
        questions = [Question(one.id, one.task, (), one.observation, screenspot.gold(one)) for one in targets]
    setup = config.setup()
    agent = setup.build()
    settings = {**to_dict(config), "dialect": setup.dialect, "agent": dict(setup.options), "questions": _digest(questions)}
    questions = questions[: config.limit]
    free = ("output", "concurrency", "compat", "limit", *FREE)
    with Run(config.output, settings, {"sampling": config.seed}, may_change=free) as run:
        replies = read_replies(config.output / REPLIES)
        missing = [question for question in questions if question.id not in replies]
        with run.phase(f"{len(questions)} questions"), Asker(config, agent, images) as asker:
            if missing:
                asyncio.run(ask(asker, missing, config, replies, show, config.benchmark))
            actions = {one.id: asker.read(one, replies[one.id]) for one in questions if one.id in replies}
        about = {"benchmark": config.benchmark, "policy": config.policy, "agent": agent.name, "compat": config.compat}
        if config.benchmark == "agentnet":
            result = agentnet_result(steps[: config.limit], actions, config.compat)
        else:
            result = screenspot_result(targets[: config.limit], actions)
        result = {**about, "questions_hash": settings["questions"], **result}
        write_json(config.output / RESULT, result)
    return result


def _digest(questions: Sequence[Question]) -> str:
    """The hash of everything that is asked, screenshots included."""
    return task_set_hash(
        [
            replace(one.task, id=one.id, check={"screenshot": one.observation.screenshot.sha256})
            for one in questions
            if one.observation.screenshot is not None
        ]
    )
