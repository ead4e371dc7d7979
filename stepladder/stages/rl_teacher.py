"""Who teaches by whole distributions, and what it says of the replies that were sampled: the other half of
`stepladder.algos.sdpo`."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from transformers import Qwen3VLForConditionalGeneration

from stepladder.algos.credit import IMITATION, Credit
from stepladder.algos.distillation import closed, distillation_divergence
from stepladder.algos.feedback import Content
from stepladder.algos.sdpo import Sdpo
from stepladder.models.lora import learned_state, load_learned
from stepladder.models.renderer import Renderer
from stepladder.train.sample import Sample, from_reply, taught
from stepladder.train.scoring import Scorer
from stepladder.types import FloatArray, ImageRef, Message, Step

NAME = "distillation"


@dataclass(frozen=True, eq=False)
class Lesson:
    """A sampled reply to be taught, and its sample as the student saw it."""

    trajectory: str
    number: int
    step: Step
    credit: Credit
    sample: Sample


class SelfTeacher:
    """`student` scores with the policy's present weights, `teacher` with those of whoever teaches (`Sdpo.teacher`).

    What it was told and how far the student was from it are written to `distillation-<rank>.jsonl` in `directory`, a line for each
    step: {"update", "trajectory", "step", "told", "divergence"}, told as texts and {"image": sha256}, divergence in nats for each
    token.
    """

    def __init__(self, algorithm: Sdpo, student: Scorer, teacher: Scorer, renderer: Renderer, directory: Path) -> None:
        self.algorithm, self.renderer = algorithm, renderer
        self._student, self._teacher = student, teacher
        rank = dist.get_rank() if dist.is_initialized() else 0
        self._path = directory / f"{NAME}-{rank}.jsonl"

    @property
    def model(self) -> Qwen3VLForConditionalGeneration:
        """Whose distributions are taught."""
        return self._teacher.model

    def teach(self, lessons: Sequence[Lesson], update: int) -> tuple[list[Sample], dict[str, float]]:
        """(the lessons' samples with the teacher's distributions, the sum of the divergences and the number of tokens)."""
        if not lessons:
            return [], {"divergence": 0.0, "tokens": 0.0}
        plain = [self._told(lesson, ()) for lesson in lessons]
        ids = self._student.likeliest(plain, self.algorithm.top_k)
        students = self._student.logprobs_of(plain, ids)
        teachers = self._teacher.logprobs_of([self._told(lesson, lesson.credit.told) for lesson in lessons], ids)
        divergences = [self._divergence(student, teacher) for student, teacher in zip(students, teachers, strict=True)]
        self._write(lessons, divergences, update)
        samples = [taught(*each) for each in zip((lesson.sample for lesson in lessons), ids, teachers, strict=True)]
        return samples, {
            "divergence": float(sum(one.sum() for one in divergences)),
            "tokens": float(sum(map(len, divergences))),
        }

    def updated(self) -> None:
        """The policy has changed: a moving average follows."""
        if self.algorithm.teacher == "ema":
            follow(self._teacher.model, self._student.model, self.algorithm.teacher_rate)

    def state(self) -> dict[str, Any]:
        """Everything that an exact continuation needs."""
        return {"teacher": learned_state(self._teacher.model)} if self.algorithm.teacher == "ema" else {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue exactly where `state` was taken."""
        if self.algorithm.teacher == "ema":
            load_learned(self._teacher.model, state["teacher"])

    def _told(self, lesson: Lesson, told: Content) -> Sample:
        """The reply after the prompt with `told` at its end; all of the reply's tokens count."""
        step, key = lesson.step, f"{lesson.trajectory}/{lesson.number}"
        if step.prompt is None or step.completion is None or step.completion.tokens is None:
            raise ValueError(f"step {key} was not sampled; there is no reply to teach")
        if not told:
            prompt = step.prompt
            return from_reply(
                self.renderer,
                prompt.messages,
                step.completion.tokens,
                prompt=prompt.tokens,
                spans=prompt.image_spans,
                credit=IMITATION,
                key=key,
            )
        return from_reply(self.renderer, with_told(step.prompt.messages, told), step.completion.tokens, credit=IMITATION, key=key)

    def _divergence(self, student: FloatArray, teacher: FloatArray) -> FloatArray:
        """Nats for each token, float32[C]."""
        ours, theirs = torch.from_numpy(student), torch.from_numpy(teacher)
        if student.shape[-1] < self._student.model.config.text_config.vocab_size:
            ours, theirs = closed(ours, self.algorithm.tail), closed(theirs, self.algorithm.tail)
        found: FloatArray = distillation_divergence(ours, theirs, self.algorithm.alpha).numpy()
        return found

    def _write(self, lessons: Sequence[Lesson], divergences: Sequence[FloatArray], update: int) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            for lesson, divergence in zip(lessons, divergences, strict=True):
                told = [part if isinstance(part, str) else {"image": part.sha256} for part in lesson.credit.told]
                record = {"update": update, "trajectory": lesson.trajectory, "step": lesson.number, "told": told}
                record["divergence"] = [round(float(value), 5) for value in divergence]
                file.write(json.dumps(record) + "\n")


def with_told(messages: Sequence[Message], told: Sequence[str | ImageRef]) -> tuple[Message, ...]:
    """A prompt with `told` at the end of its last message, or after it where that is not the user's."""
    *before, last = messages
    if last.role != "user":
        return (*messages, Message("user", tuple(told)))
    return (*before, replace(last, content=(*last.content, *told)))


def teacher_scorer(algorithm: Sdpo, student: Scorer, start: Scorer | None) -> Scorer:
    """The scorer of whoever teaches. `start` is that of the checkpoint which is needed for "trust-region" and "checkpoint"."""
    if algorithm.teacher == "current":
        return student
    if algorithm.teacher == "ema":
        return replace(student, model=copy.deepcopy(student.model).requires_grad_(False))
    assert start is not None
    if algorithm.teacher == "trust-region":
        return replace(start, mixed_in=student.model, share=algorithm.teacher_rate)
    return start


@torch.no_grad()
def follow(average: Qwen3VLForConditionalGeneration, policy: Qwen3VLForConditionalGeneration, rate: float) -> None:
    """average <- (1 - rate) average + rate policy, in place."""
    for mean, now in zip(average.parameters(), policy.parameters(), strict=True):
        mean.lerp_(now.to(mean.dtype), rate)
