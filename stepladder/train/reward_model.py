"""A trained reward model: scores of replies and of whole episodes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from transformers import Qwen3VLForConditionalGeneration

from stepladder.errors import UserError
from stepladder.models.renderer import Renderer
from stepladder.models.reward_head import RewardHead, RewardKind, Scale
from stepladder.train.reward_sample import answer_sample
from stepladder.train.scoring import Scorer
from stepladder.types import Completion, Prompt, Trajectory

REFERENCES_FILE = "references.jsonl"
#: What the scores of an episode's replies come to.
Aggregate = Literal["mean", "last", "min"]


@dataclass(frozen=True)
class References:
    """Texts of replies of the policy that candidates are to be like, by what was asked; where nothing was asked just so, a reply
    to something else of the same task."""

    by_prompt: dict[str, str] = field(default_factory=dict)
    by_task: dict[str, str] = field(default_factory=dict)

    def of(self, task: str, prompt: Prompt) -> str:
        """Raises UserError for a task of which no reply is known."""
        found = self.by_prompt.get(prompt_key(prompt), self.by_task.get(task))
        if found is None:
            raise UserError(
                f"the reward model knows no reply of its policy to the task {task!r}; train it on episodes of that task"
            )
        return found

    def add(self, task: str, prompt: Prompt, text: str) -> None:
        """The first reply to each prompt and of each task stays."""
        self.by_prompt.setdefault(prompt_key(prompt), text)
        self.by_task.setdefault(task, text)

    def save(self, directory: Path) -> None:
        """Write them into a checkpoint directory."""
        with (directory / REFERENCES_FILE).open("w", encoding="utf-8") as file:
            for kind, known in (("prompt", self.by_prompt), ("task", self.by_task)):
                for name, text in known.items():
                    file.write(json.dumps({kind: name, "reply": text}, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, directory: Path) -> References:
        """What `save` has written. Raises UserError, naming file and line, for what is no reference."""
        path, found = directory / REFERENCES_FILE, cls()
        lines = path.read_text(encoding="utf-8").split("\n") if path.exists() else []
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
                kind = "prompt" if "prompt" in record else "task"
                known = found.by_prompt if kind == "prompt" else found.by_task
                known[str(record[kind])] = str(record["reply"])
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                raise UserError(f"{path}, line {number} is no reference: {error!r}") from error
        return found


def prompt_key(prompt: Prompt) -> str:
    """Equal for prompts that say and show the same."""
    asked = [
        (message.role, [part if isinstance(part, str) else part.sha256 for part in message.content]) for message in prompt.messages
    ]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()


@dataclass
class RewardModel:
    """`model` with `head`, asked as `kind` says. Scores are in deviations from the mean of the answers that it was trained on."""

    model: Qwen3VLForConditionalGeneration
    renderer: Renderer
    head: RewardHead
    kind: RewardKind
    scale: Scale
    references: References
    autocast: bool = False
    chunk: int = 32

    def scores(self, answers: Sequence[tuple[str, Prompt, Completion]], recorded: bool = True) -> list[float]:
        """Of answers (task's id, prompt, reply). `recorded` says that ids in them are those of this model's vocabulary. Raises
        UserError for a task without a reference, where there has to be one."""
        samples = [
            answer_sample(
                self.renderer,
                prompt,
                reply,
                reference=self.references.of(task, prompt) if self.kind == "policy" else None,
                recorded=recorded,
            )
            for task, prompt, reply in answers
        ]
        scorer = Scorer(self.model, self.renderer, autocast=self.autocast, critic=self.head, chunk=self.chunk)
        return [self.scale.of(float(values[0])) for values in scorer.values(samples)]

    def of_episodes(self, episodes: Sequence[Trajectory], aggregate: Aggregate = "mean", recorded: bool = True) -> list[float]:
        """The score of each episode: that of its replies together, as `aggregate` says; the lowest that a reply had in training
        for one without any reply."""
        answers, owners = [], []
        for number, one in enumerate(episodes):
            for step in one.steps:
                if step.prompt is not None and step.completion is not None:
                    answers.append((one.task.id, step.prompt, step.completion))
                    owners.append(number)
        by_episode: list[list[float]] = [[] for _ in episodes]
        for number, score in zip(owners, self.scores(answers, recorded) if answers else [], strict=True):
            by_episode[number].append(score)
        return [_together(scores, aggregate) if scores else self.scale.lowest for scores in by_episode]


def _together(scores: Sequence[float], aggregate: Aggregate) -> float:
    if aggregate == "last":
        return scores[-1]
    return min(scores) if aggregate == "min" else sum(scores) / len(scores)
