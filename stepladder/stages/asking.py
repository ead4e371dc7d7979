"""Questions with known answers, asked of any agent and any policy: every reply is on disk the moment it is there."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from stepladder.agents.replies import read_completion, write_reply
from stepladder.images import ImageStore
from stepladder.interfaces import Agent, ContextFull, ParseError, Policy
from stepladder.progress import Progress
from stepladder.stages.policies import ApiOptions, open_policy
from stepladder.types import Completion, Observation, Sampling, Step, Task

GOLD = "gold"
REPLIES = "replies.jsonl"


class Asking(Protocol):
    """The settings of who is asked and how; see `stages.benchmark.BenchmarkConfig`."""

    @property
    def policy(self) -> str: ...
    @property
    def output(self) -> Path: ...
    @property
    def concurrency(self) -> int: ...
    @property
    def temperature(self) -> float: ...
    @property
    def max_tokens(self) -> int: ...
    @property
    def seed(self) -> int: ...
    @property
    def api(self) -> ApiOptions: ...


@dataclass(frozen=True)
class Question:
    """What is asked of the agent, and what it should do."""

    id: str
    task: Task
    steps: Sequence[Step]
    observation: Observation
    gold: Step


class Asker:
    """Who answers. A context manager: a model is loaded when it is entered. Questions with steps before them are asked through
    `wide`, where there is one: the same agent with so many screenshots that it shows them."""

    def __init__(self, config: Asking, agent: Agent, images: ImageStore, wide: Agent | None = None) -> None:
        self.config, self.agent, self.images = config, agent, images
        self.wide = wide or agent

    def __enter__(self) -> Asker:
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

    def agent_of(self, question: Question) -> Agent:
        return self.wide if question.steps else self.agent

    async def answer(self, question: Question) -> Completion:
        """The reply. Raises what the policy raises; a prompt that is too long is answered with nothing."""
        agent = self.agent_of(question)
        if self._opened is None:
            return Completion(write_reply(agent, question.gold.thought, question.gold.actions, question.observation))
        messages = agent.prompt(question.task, question.steps, question.observation)
        config = self.config
        sampling = Sampling(config.temperature, 1.0, config.max_tokens, agent.stop, config.seed)
        try:
            _, completion = await self.policy.generate(messages, sampling)
        except ContextFull:
            return Completion("")
        return completion

    def read(self, question: Question, reply: Completion) -> Any:
        """The actions of a reply, or the ParseError."""
        try:
            return read_completion(self.agent_of(question), reply, question.observation)[1]
        except ParseError as error:
            return error


async def ask(
    asker: Asker, questions: Sequence[Question], config: Asking, replies: dict[str, Completion], show: bool, what: str
) -> None:
    """Ask the questions; every reply goes to `replies` and to REPLIES in the output directory. `what` is for the progress line."""
    waiting = list(reversed(questions))
    started = time.monotonic()
    with (
        Progress(f"{what} {config.policy}", len(questions), show=show) as progress,
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


def read_replies(path: Path) -> dict[str, Completion]:
    """Replies of an earlier run; a line that was cut off counts as not written."""
    found: dict[str, Completion] = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            record: Mapping[str, Any] = json.loads(line)
            found[str(record["id"])] = Completion(str(record["reply"]), finish=record.get("finish", "stop"))
        except (ValueError, KeyError, TypeError):
            continue
    return found
