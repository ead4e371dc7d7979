"""Samples: what the trainer learns from, made from steps of trajectories without tokenizing anything twice.

A sample is a trunk and branches. The trunk (segment 0) is shared; branch k (segment k >= 1) continues the trunk as if the other
branches were not there. One screenshot with seven questions, or one prompt with eight sampled replies, is one sample in which the
picture and the common text stand, and are computed, once. A plain sequence is a sample with one branch.

Worked example, two questions about one picture (trunk T, questions Q, replies A, end tokens E):

    tokens    T T T T T  Q Q A A E  Q Q Q A E
    segments  0 0 0 0 0  1 1 1 1 1  2 2 2 2 2
    w_ce      0 0 0 0 0  0 0 1 1 1  0 0 0 1 1      weight of predicting this token from the one before it
    previous  - 0 1 2 3  4 5 6 7 8  4 . . . .      "the one before": the first token of a branch follows the trunk's end
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from stepladder.interfaces import Agent
from stepladder.models.renderer import Renderer, Spans
from stepladder.types import FloatArray, ImageRef, IntArray, Message, Step, Task


@dataclass(frozen=True, eq=False)
class Sample:
    """tokens int32[T], positions int64[3, T], segments int32[T], previous int32[T] (index of the token that predicts this one, -1
    for none), w_ce float32[T], logprobs float32[T] of the behaviour policy (NaN where nothing was sampled), the pictures and the
    spans of their placeholders, and a key that says where the sample came from."""

    tokens: IntArray
    positions: npt.NDArray[np.int64]
    segments: IntArray
    previous: IntArray
    w_ce: FloatArray
    logprobs: FloatArray
    images: tuple[ImageRef, ...] = ()
    spans: Spans = ()
    key: str = ""

    def __len__(self) -> int:
        return len(self.tokens)


def from_reply(
    renderer: Renderer,
    messages: Sequence[Message],
    reply: IntArray,
    *,
    prompt: IntArray | None = None,
    spans: Spans | None = None,
    logprobs: FloatArray | None = None,
    weight: float = 1.0,
    key: str = "",
) -> Sample:
    """One prompt and one reply int32[C]. With `prompt` and `spans` as recorded at sampling time nothing is rendered again."""
    if prompt is None or spans is None:
        rendered = renderer.render(messages)
        assert rendered.tokens is not None
        prompt, spans = rendered.tokens, rendered.image_spans
    images = tuple(image for message in messages for image in message.images)
    tokens = np.concatenate([prompt, reply]).astype(np.int32)
    mask = np.zeros(len(tokens), dtype=np.float32)
    mask[len(prompt) :] = weight
    behaviour = np.full(len(tokens), np.nan, dtype=np.float32)
    if logprobs is not None:
        behaviour[len(prompt) :] = logprobs
    positions = renderer.positions(len(tokens), spans, [renderer.grid(image) for image in images])
    return Sample(
        tokens=tokens,
        positions=positions,
        segments=np.ones(len(tokens), dtype=np.int32),
        previous=np.arange(-1, len(tokens) - 1, dtype=np.int32),
        w_ce=mask,
        logprobs=behaviour,
        images=images,
        spans=spans,
        key=key,
    )


def from_step(renderer: Renderer, agent: Agent, task: Task, steps: Sequence[Step], index: int, *, key: str = "") -> Sample:
    """The sample of step `index`: its recorded prompt and reply where there are any (law 2), else the prompt that `agent` would
    have shown (law 3) and the reply in which it would have said the demonstrated action."""
    step = steps[index]
    if step.completion is not None and step.completion.tokens is not None and step.prompt is not None:
        return from_reply(
            renderer,
            step.prompt.messages,
            step.completion.tokens,
            prompt=step.prompt.tokens,
            spans=step.prompt.image_spans,
            logprobs=step.completion.logprobs,
            key=key,
        )
    if step.action is None:
        raise ValueError(
            f"step {index} of {key or task.id} has neither a sampled reply nor an action; there is nothing to learn from it"
        )
    messages = agent.prompt(task, steps[:index], step.observation)
    return from_reply(renderer, messages, renderer.reply(agent.format(step.thought, step.action, step.observation)), key=key)


def share_prefix(samples: Sequence[Sample]) -> Sample:
    """One sample whose trunk is the longest common prefix of single-branch `samples` and whose branches are their remainders.

    The trunk ends before the first token that any of them is trained on, so every trained token keeps its predecessor.
    Raises ValueError when a picture would be cut.
    """
    first = samples[0]
    if len(samples) == 1:
        return first
    shared = min(_common_prefix(samples), *(int(np.argmax(s.w_ce != 0)) if (s.w_ce != 0).any() else len(s) for s in samples))
    trunk_spans = tuple(span for span in first.spans if span[0] + span[1] <= shared)
    if any(sample.images != first.images or sample.spans != trunk_spans for sample in samples):
        raise ValueError(f"the samples share {shared} tokens but not all their pictures; they cannot share a trunk")
    pieces = [_slice(first, 0, shared, 0, 0)]
    offset = shared
    for branch, sample in enumerate(samples, start=1):
        piece = _slice(sample, shared, len(sample), branch, offset)
        if len(piece.previous):
            piece.previous[0] = shared - 1
        pieces.append(piece)
        offset += len(piece)
    return Sample(
        tokens=np.concatenate([p.tokens for p in pieces]),
        positions=np.concatenate([p.positions for p in pieces], axis=1),
        segments=np.concatenate([p.segments for p in pieces]),
        previous=np.concatenate([p.previous for p in pieces]),
        w_ce=np.concatenate([p.w_ce for p in pieces]),
        logprobs=np.concatenate([p.logprobs for p in pieces]),
        images=first.images,
        spans=trunk_spans,
        key=first.key,
    )


def _slice(sample: Sample, start: int, end: int, segment: int, offset: int) -> Sample:
    return replace(
        sample,
        tokens=sample.tokens[start:end],
        positions=sample.positions[:, start:end],
        segments=np.full(end - start, segment, dtype=np.int32),
        previous=(sample.previous[start:end] - start + offset).astype(np.int32),
        w_ce=sample.w_ce[start:end],
        logprobs=sample.logprobs[start:end],
    )


def _common_prefix(samples: Sequence[Sample]) -> int:
    length = min(len(sample) for sample in samples)
    rows = np.stack([sample.tokens[:length] for sample in samples])
    differs = (rows != rows[0]).any(0)
    return int(np.argmax(differs)) if differs.any() else length
