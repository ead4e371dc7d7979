"""Offline benchmarks: pictures with known answers, any agent, any policy, minutes.

    stepladder bench agentnet FOLDER --policy runs/demo/sft/checkpoint
    stepladder bench screenspot FOLDER --policy gold

Every reply is in `<output>/replies.jsonl` the moment it is there; a run that was interrupted goes on with the questions that are
missing, and scores are always counted anew from the replies. `<output>/result.json` has the figures.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from stepladder.agents.replies import read_completion, write_reply
from stepladder.agents.setup import AgentSetup, Given, set_up
from stepladder.benchmarks import agentnet, screenspot
from stepladder.benchmarks.summary import agentnet_result, screenspot_result
from stepladder.config import ConfigError, to_dict
from stepladder.images import ImageStore
from stepladder.interfaces import Agent, ContextFull, ParseError, Policy
from stepladder.progress import Progress
from stepladder.run import Run, write_json
from stepladder.stages.policies import QWEN_DIALECT, ApiOptions, agent_setup, check_policy, open_policy
from stepladder.tasks import task_set_hash
from stepladder.types import Completion, Observation, Sampling, Step, Task

GOLD = "gold"
FREE = tuple(f"api.{name}" for name in ApiOptions.FREE)
REPLIES, RESULT = "replies.jsonl", "result.json"


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


@dataclass(frozen=True)
class Question:
    """What is asked of the agent, and what it should do."""

    id: str
    task: Task
    steps: Sequence[Step]
    observation: Observation
    gold: Step


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
        replies = _read(config.output / REPLIES)
        missing = [question for question in questions if question.id not in replies]
        with run.phase(f"{len(questions)} questions"), _Asker(config, agent, images) as asker:
            if missing:
                asyncio.run(_ask(asker, missing, config, replies, show))
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


class _Asker:
    """Who answers. A context manager: a model is loaded when it is entered."""

    def __init__(self, config: BenchmarkConfig, agent: Agent, images: ImageStore) -> None:
        self.config, self.agent, self.images = config, agent, images

    def __enter__(self) -> _Asker:
        self._opened: AbstractContextManager[tuple[Policy, Agent]] | None = None
        if self.config.policy != GOLD:
            self._opened = open_policy(self.config.policy, self.images, self.agent, self.config.api)
            self.policy, _ = self._opened.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        if self._opened is not None:
            self._opened.__exit__(*error)

    async def close(self) -> None:
        """Close a policy's connections, in the loop that used them."""
        close = getattr(self.policy, "close", None) if self._opened is not None else None
        if close is not None:
            await close()

    async def answer(self, question: Question) -> Completion:
        """The reply. Raises what the policy raises; a prompt that is too long is answered with nothing."""
        if self._opened is None:
            return Completion(write_reply(self.agent, question.gold.thought, question.gold.actions, question.observation))
        messages = self.agent.prompt(question.task, question.steps, question.observation)
        config = self.config
        sampling = Sampling(config.temperature, 1.0, config.max_tokens, self.agent.stop, config.seed)
        try:
            _, completion = await self.policy.generate(messages, sampling)
        except ContextFull:
            return Completion("")
        return completion

    def read(self, question: Question, reply: Completion) -> Any:
        """The actions of a reply, or the ParseError."""
        try:
            return read_completion(self.agent, reply, question.observation)[1]
        except ParseError as error:
            return error


async def _ask(
    asker: _Asker, questions: Sequence[Question], config: BenchmarkConfig, replies: dict[str, Completion], show: bool
) -> None:
    waiting = list(reversed(questions))
    started = time.monotonic()
    with (
        Progress(f"{config.benchmark} {config.policy}", len(questions), show=show) as progress,
        (config.output / REPLIES).open("a") as file,
    ):
        if file.tell() and not _ends_a_line(config.output / REPLIES):
            file.write("\n")  # what a kill has cut off stays alone
        done = 0

        async def work() -> None:
            nonlocal done
            while waiting:
                question = waiting.pop()
                reply = await asker.answer(question)
                replies[question.id] = reply
                cut = {} if reply.finish == "stop" else {"finish": reply.finish}
                file.write(json.dumps({"id": question.id, "reply": reply.text, **cut}, ensure_ascii=False) + "\n")
                file.flush()
                done += 1
                progress.update(done, len(questions), {"questions/s": done / (time.monotonic() - started)})

        workers = [asyncio.create_task(work()) for _ in range(min(config.concurrency, len(questions)))]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            await asker.close()


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read() == b"\n"


def _read(path: Path) -> dict[str, Completion]:
    """Replies of an earlier run; a line that was cut off counts as not written."""
    found: dict[str, Completion] = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            record: Mapping[str, Any] = json.loads(line)
            found[str(record["id"])] = Completion(str(record["reply"]), finish=record.get("finish", "stop"))
        except (ValueError, KeyError, TypeError):
            continue
    return found
