"""A policy document, the rules that an agent has to keep to, shown in front of an instruction (TriMPI, arXiv 2510.09474).

An agent that has internalised a document keeps to it without being shown it. On the way there it is shown to it in part of what
it learns from: half of the demonstrations, half of the rollouts of a group.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from stepladder.interfaces import Agent
from stepladder.types import Action, Message, Observation, Step, Task, Trajectory

#: Where `Trajectory.extra` and `Step.extra` say that the document was shown.
SHOWN = "document"


def with_document(task: Task, document: str) -> Task:
    """The task with the document in front of its instruction."""
    return replace(task, instruction=f"{document.strip()}\n\n{task.instruction}")


class DocumentAgent:
    """An agent that also shows `document`; everything else is that of `agent`."""

    def __init__(self, agent: Agent, document: str) -> None:
        self.agent, self.document = agent, document

    @property
    def name(self) -> str:
        """See `Agent.name`."""
        return self.agent.name

    @property
    def stop(self) -> tuple[str, ...]:
        """See `Agent.stop`."""
        return self.agent.stop

    def prompt(self, task: Task, steps: Sequence[Step], observation: Observation) -> tuple[Message, ...]:
        """See `Agent.prompt`."""
        return self.agent.prompt(with_document(task, self.document), steps, observation)

    def parse(self, text: str, observation: Observation) -> tuple[str, Action]:
        """See `Agent.parse`."""
        return self.agent.parse(text, observation)

    def format(self, thought: str, action: Action, observation: Observation) -> str:
        """See `Agent.format`."""
        return self.agent.format(thought, action, observation)

    def __getattr__(self, name: str) -> object:
        """What only some agents have, such as replies of several actions."""
        return getattr(self.agent, name)


def told(trajectory: Trajectory, document: str, share: float) -> Trajectory:
    """A demonstration with the document in its instruction, for a `share` of them drawn by their ids; for the others what it was.
    Only demonstrations without recorded replies can be told, for those have prompts of their own: they stay what they are."""
    digest = hashlib.sha256(f"document {trajectory.id}".encode()).digest()
    recorded = any(step.completion is not None for step in trajectory.steps)
    if recorded or int.from_bytes(digest[:8], "big") / 2**64 >= share:
        return trajectory
    return replace(trajectory, task=with_document(trajectory.task, document), extra={**trajectory.extra, SHOWN: "shown"})
