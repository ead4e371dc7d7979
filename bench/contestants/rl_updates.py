"""One update by `stepladder.train`, in steps from everything computed for every sample to everything shared, for `bench/rl.py`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from contestants.rl_workload import Question, Work, Workload, open_model

from stepladder.algos.grpo import Grpo
from stepladder.images import ImageStore
from stepladder.models.attention import use_attention
from stepladder.models.renderer import Renderer
from stepladder.train.batch import Batch, collate
from stepladder.train.micro_batch import MicroBatch
from stepladder.train.optimizer import OptimizerConfig, Schedule
from stepladder.train.sample import Sample, from_reply, share_prefix, share_prompts
from stepladder.train.trainer import Trainer
from stepladder.types import Completion, Observation, Step, Task, Trajectory

#: Tokens in a packed row, as the stages `rl` and `sft` have them.
ROW_LENGTH = {"grpo": 512, "sft": 350, "sft_shared": 350}
#: AdamW for both; TRL adds 1e-4 to a group's deviation and does not weigh tokens by how they were sampled.
OPTIMIZER = OptimizerConfig("adamw", lr=1e-4)
GRPO = Grpo(eps=1e-4, correction=None)


@dataclass(frozen=True)
class Setting:
    """What is computed how. `pictures`: once for all prompts that show the same; `packed`: several samples stand in a row;
    `shared`: prompts, or what they begin with, once; `pieces`: the update is accumulated from so many; `vision`: "quick", or
    "transformers" for its own code. `bf16` and `frozen` (the vision tower) change what comes out, not only how it is computed."""

    pictures: bool = True
    packed: bool = True
    shared: bool = True
    pieces: int = 1
    vision: str = "quick"
    bf16: bool = False
    frozen: bool = False

    @property
    def equal_work(self) -> tuple[bool, bool]:
        """Contestants in which these are equal compute the same numbers."""
        return self.bf16, self.frozen


@dataclass(frozen=True)
class Reading:
    """Seconds of one update from prompts and replies to changed weights: by the `wall` clock, of `processor` time, and of
    processor time without the preparation of tensors (`compute`); and the loss and the gradient's norm before clipping."""

    wall: float
    processor: float
    compute: float
    loss: float
    norm: float


class Ours:
    """The trainer in this process."""

    def __init__(self, name: str, workload: Workload, kind: str, setting: Setting) -> None:
        self.name, self.kind, self.setting = name, kind, setting
        self.works = workload.of(kind)
        model, processor = open_model(workload.directory, setting.vision)
        use_attention(model)
        self.renderer = Renderer(processor, ImageStore(workload.directory / "images", cache=0))  # every update decodes its pictures
        self.trainer = Trainer(
            model=model.train(),
            head=None,
            schedule=Schedule(10**6, warmup=1, decay=0.0),
            optimizer=OPTIMIZER,
            trainable=("model.language_model", "lm_head") if setting.frozen else ("model", "lm_head"),
            autocast=setting.bf16,
            objective=GRPO.objective() if kind == "grpo" else None,
        )
        self.about: dict[str, Any] = {
            "trained": sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
            "threads": torch.get_num_threads(),
        }

    def update(self, number: int) -> Reading:
        """Learn from portion `number` of the workload."""
        wall, begin = time.perf_counter(), time.process_time()
        batch = self._batch(self.works[number])
        prepared = time.process_time()
        figures = self.trainer.step([MicroBatch(batch)])
        wall, end = time.perf_counter() - wall, time.process_time()
        loss = figures["pg" if self.kind == "grpo" else "ce"]
        return Reading(wall, end - begin, end - prepared, loss, figures["grad_norm"])

    def close(self) -> None:
        pass

    def _batch(self, work: Work) -> Batch:
        setting, samples = self.setting, samples_of(work, self.renderer)
        if setting.shared:
            samples = share_prompts(samples) if self.kind == "grpo" else _prefixes_shared(samples)
        batch = collate(samples, self.renderer, ROW_LENGTH[self.kind] if setting.packed else 0)
        return batch if setting.pictures else _every_picture(batch, samples, self.renderer)


def samples_of(work: Work, renderer: Renderer) -> list[Sample]:
    """One sample for every reply. Where there are rewards it has the credit that GRPO gives it, and its prompt is taken as it was
    recorded; where there are none it is to be imitated, and its prompt is rendered."""
    if not work[0].rewards:
        return [from_reply(renderer, question.prompt.messages, question.replies[0]) for question in work]
    credit = GRPO.credit([_group(question, str(number)) for number, question in enumerate(work)], {})
    return [
        from_reply(
            renderer,
            question.prompt.messages,
            reply,
            prompt=question.prompt.tokens,
            spans=question.prompt.image_spans,
            credit=steps[0],
        )
        for question, members in zip(work, credit, strict=True)
        for reply, steps in zip(question.replies, members, strict=True)
    ]


def _group(question: Question, name: str) -> list[Trajectory]:
    """The replies to one prompt as one-step episodes."""
    task, seen = Task(name, "", "forms"), Observation(question.image)
    return [
        Trajectory(
            f"{name}.{member}",
            task,
            (Step(seen, prompt=question.prompt, completion=Completion(text, tokens)),),
            None,
            "done",
            reward,
        )
        for member, (text, tokens, reward) in enumerate(zip(question.texts, question.replies, question.rewards, strict=True))
    ]


def _prefixes_shared(samples: Sequence[Sample]) -> list[Sample]:
    """Samples about one screenshot become branches of one."""
    same: dict[Any, list[Sample]] = {}
    for sample in samples:
        same.setdefault(sample.images, []).append(sample)
    return [share_prefix(group) for group in same.values()]


def _every_picture(batch: Batch, samples: Sequence[Sample], renderer: Renderer) -> Batch:
    """The batch with the pixels of every sample's pictures, alike or not."""
    pixels, grid = renderer.pixels([image for number in batch.order for image in samples[number].images])
    return replace(batch, pixel_values=pixels, grid=grid, visual_index=None)
