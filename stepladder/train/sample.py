"""Samples: what the trainer learns from, made from steps of trajectories without tokenizing anything twice.

A sample is a trunk and branches. The trunk (segment 0) is shared; branch k (segment k >= 1) continues the trunk as if the other
branches were not there. One screenshot with seven questions, or one prompt with eight sampled replies, is one sample in which the
picture and the common text stand, and are computed, once. A plain sequence is a sample with one branch.

Worked example, two questions about one picture (trunk T, questions Q, replies A, end tokens E):

    tokens    T T T T T  Q Q A A E  Q Q Q A E
    segments  0 0 0 0 0  1 1 1 1 1  2 2 2 2 2
    w_ce      0 0 0 0 0  0 0 1 1 1  0 0 0 1 1      weight of predicting this token from the one before it
    previous  - 0 1 2 3  4 5 6 7 8  4 . . . .      "the one before": the first token of a branch follows the trunk's end
    turns     - - - - -  - - 0 0 0  - - - 1 1      which reply the token belongs to

Several turns of an episode whose prompts extend one another are one branch with several replies (`merge_turns`).
"""

from __future__ import annotations

import bisect
import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from stepladder.agents.replies import thought_length, write_reply
from stepladder.algos.credit import IMITATION, Credit
from stepladder.interfaces import Agent
from stepladder.models.renderer import Renderer, Spans
from stepladder.types import FloatArray, ImageRef, IntArray, Message, Step, Task

#: The rows of `Sample.fields`, with the value that says "nothing here"; the first four are weights of losses.
TOKEN_FIELDS: dict[str, float] = {
    "w_ce": 0.0,
    "w_pg": 0.0,
    "w_kl": 0.0,
    "w_distill": 0.0,
    "logprobs": np.nan,
    "advantages": 0.0,
    "ref_logprobs": np.nan,
    "values": np.nan,
    "returns": np.nan,
    "looks_at": np.nan,
}
ROW = {name: row for row, name in enumerate(TOKEN_FIELDS)}
_WEIGHTS = 4
_NOTHING = np.array(list(TOKEN_FIELDS.values()), dtype=np.float32)[:, None]


@dataclass(frozen=True, eq=False)
class Sample:
    """tokens int32[T], positions int64[3, T], segments int32[T], previous int32[T] (index of the token that predicts this one, -1
    for none), turns int32[T] (number of the reply that the token belongs to, -1 for none), the pictures and the spans of their
    placeholders, and a key that says where the sample came from.

    `fields` float32[F, T] has a row for each name in TOKEN_FIELDS: the weights `w_ce`, `w_pg`, `w_kl`, `w_distill` of the token in
    the losses; `logprobs` of the behaviour policy; `advantages`; `ref_logprobs` of the reference or teacher; `values` as the critic
    saw them before the update, and their `returns`; `looks_at`, for the digits of a place that is clicked, the visual token in
    which the place lies, counted over all pictures (NaN where there is none).

    `teacher` float32[2, K, R] holds, for the R tokens of replies, ids of K tokens that the student found likely in their place and
    a teacher's log-probabilities of these (NaN where there is no teacher; K is 0 where there is none at all)."""

    tokens: IntArray
    positions: npt.NDArray[np.int64]
    segments: IntArray
    previous: IntArray
    turns: IntArray
    fields: FloatArray
    images: tuple[ImageRef, ...] = ()
    spans: Spans = ()
    key: str = ""
    teacher: FloatArray | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    def field(self, name: str) -> FloatArray:
        """float32[T]: one row of `fields`."""
        return self.fields[ROW[name]]

    @property
    def distributions(self) -> FloatArray:
        """float32[2, K, R]: `teacher`, of no tokens where there is none."""
        return np.empty((2, 0, self.replied(len(self))), dtype=np.float32) if self.teacher is None else self.teacher

    def replied(self, end: int) -> int:
        """How many of the first `end` tokens belong to replies."""
        return int((self.turns[:end] >= 0).sum())

    @functools.cached_property
    def trained(self) -> npt.NDArray[np.bool_]:
        """bool[T]: the tokens that have a weight in some loss."""
        return (self.fields[:_WEIGHTS] != 0).any(0)


def from_reply(
    renderer: Renderer,
    messages: Sequence[Message],
    reply: IntArray,
    *,
    prompt: IntArray | None = None,
    spans: Spans | None = None,
    logprobs: FloatArray | None = None,
    credit: Credit = IMITATION,
    looks_at: int | None = None,
    imitated: int | None = None,
    key: str = "",
) -> Sample:
    """One prompt and one reply int32[C]. With `prompt` and `spans` as recorded at sampling time nothing is rendered again.
    `looks_at` is the visual token, counted over all pictures of the prompt, at which the reply clicks. The imitation loss is that
    of the first `imitated` tokens of the reply (None: of all).

    Raises ValueError for a credit whose arrays are not as long as the reply.
    """
    if prompt is None or spans is None:
        rendered = renderer.render(messages)
        assert rendered.tokens is not None
        prompt, spans = rendered.tokens, rendered.image_spans
    images = tuple(image for message in messages for image in message.images)
    tokens = np.concatenate([prompt, reply]).astype(np.int32)
    fields = np.empty((len(TOKEN_FIELDS), len(tokens)), dtype=np.float32)
    fields[:] = _NOTHING
    replied = fields[:, len(prompt) :]
    for name, value in credit.fields(len(reply), key).items():
        replied[ROW[name]] = value
    if imitated is not None:
        replied[ROW["w_ce"], imitated:] = 0.0
    if logprobs is not None:
        replied[ROW["logprobs"]] = logprobs
    if looks_at is not None:
        replied[ROW["looks_at"], renderer.is_digit[reply]] = looks_at
    turns = np.full(len(tokens), -1, dtype=np.int32)
    turns[len(prompt) :] = 0
    return Sample(
        tokens=tokens,
        positions=renderer.positions(len(tokens), spans, [renderer.grid(image) for image in images]),
        segments=np.ones(len(tokens), dtype=np.int32),
        previous=np.arange(-1, len(tokens) - 1, dtype=np.int32),
        turns=turns,
        fields=fields,
        images=images,
        spans=spans,
        key=key,
    )


def from_step(
    renderer: Renderer,
    agent: Agent,
    task: Task,
    steps: Sequence[Step],
    index: int,
    *,
    credit: Credit = IMITATION,
    key: str = "",
) -> Sample:
    """The sample of step `index`: its recorded prompt and reply where there are any (law 2), else the prompt that `agent` would
    have shown (law 3) and the reply in which it would have said the demonstrated action. `Step.imitated` masks the imitation
    loss."""
    step = steps[index]
    if step.completion is not None and step.completion.tokens is not None and step.prompt is not None:
        return from_reply(
            renderer,
            step.prompt.messages,
            step.completion.tokens,
            prompt=step.prompt.tokens,
            spans=step.prompt.image_spans,
            logprobs=step.completion.logprobs,
            credit=credit,
            looks_at=_clicked(renderer, step.prompt.messages, step),
            imitated=_imitated(renderer, agent, step, step.completion.text, step.completion.tokens),
            key=key,
        )
    if step.action is None:
        raise ValueError(
            f"step {index} of {key or task.id} has neither a sampled reply nor an action; there is nothing to learn from it"
        )
    messages = agent.prompt(task, steps[:index], step.observation)
    text = write_reply(agent, step.thought, step.actions, step.observation)
    reply = renderer.reply(text)
    looks_at, imitated = _clicked(renderer, messages, step), _imitated(renderer, agent, step, text, reply)
    return from_reply(renderer, messages, reply, credit=credit, looks_at=looks_at, imitated=imitated, key=key)


def _imitated(renderer: Renderer, agent: Agent, step: Step, text: str, reply: IntArray) -> int | None:
    """How many tokens of the reply int32[C] are imitated; None for all of them. Of a sampled reply whose reasoning is not where the
    agent would have written it none are."""
    if step.imitated == "reply":
        return None
    if step.imitated == "nothing" or step.action is None:
        return 0
    length = thought_length(agent, step)
    if not text.startswith(write_reply(agent, step.thought, step.actions, step.observation)[:length]):
        return 0
    ends = [len(renderer.decode(reply[:count])) for count in range(len(reply) + 1)]
    return bisect.bisect_right(ends, length) - 1


def _clicked(renderer: Renderer, messages: Sequence[Message], step: Step) -> int | None:
    """The visual token, counted over all pictures of `messages`, in which the step's click lies; None for an action without one
    place, for one that is not imitated, and where the messages do not end with the step's own screenshot."""
    pictures = [image for message in messages for image in message.images]
    action, screen = step.action, step.observation.screenshot
    if step.imitated != "reply" or pictures[-1:] != [screen]:
        return None
    if action is None or action.x is None or action.y is None or action.x2 is not None:
        return None
    before = sum(renderer.visual_tokens(picture) for picture in pictures[:-1])
    return before + renderer.visual_token_at(pictures[-1], action.x, action.y)


def merge_turns(samples: Iterable[Sample]) -> list[Sample]:
    """Samples of an episode's turns, in order, of which every one that begins with all of the one before it takes that one in: its
    tokens stand once and every reply in them is trained. Law 2 holds: ids are compared, none is made."""
    merged: list[Sample] = []
    for sample in samples:
        last = merged[-1] if merged else None
        if last is not None and _extends(sample, last):
            merged[-1] = _take_in(sample, last)
        else:
            merged.append(sample)
    return merged


def share_prompts(samples: Iterable[Sample]) -> list[Sample]:
    """Samples whose prompts are equal, as those of a group's first turn are, become branches of one trunk. One that shows a picture
    after its first reply stays alone."""
    same: dict[tuple[bytes, tuple[ImageRef, ...], Spans, int], list[Sample]] = {}
    for number, sample in enumerate(samples):
        start = int(np.argmax(sample.turns >= 0))
        alone = number if any(place >= start for place, _ in sample.spans) else -1
        same.setdefault((sample.tokens[:start].tobytes(), sample.images, sample.spans, alone), []).append(sample)
    return [share_prefix(group) for group in same.values()]


def share_prefix(samples: Sequence[Sample]) -> Sample:
    """One sample whose trunk is the longest common prefix of single-branch `samples` and whose branches are their remainders.

    The trunk ends before the first token that any of them is trained on, so every trained token keeps its predecessor.
    Raises ValueError when a picture would be cut.
    """
    first = samples[0]
    if len(samples) == 1:
        return first
    shared = min(_common_prefix(samples), *(int(np.argmax(s.trained)) if s.trained.any() else len(s) for s in samples))
    trunk_spans = tuple(span for span in first.spans if span[0] + span[1] <= shared)
    if any(sample.images != first.images or sample.spans != trunk_spans for sample in samples):
        raise ValueError(f"the samples share {shared} tokens but not all their pictures; they cannot share a trunk")
    pieces = [_slice(first, 0, shared, 0, 0)]
    offset, replies = shared, 0
    for branch, sample in enumerate(samples, start=1):
        piece = _slice(sample, shared, len(sample), branch, offset, replies)
        if len(piece.previous):
            piece.previous[0] = shared - 1
        pieces.append(piece)
        offset += len(piece)
        replies += int(sample.turns.max(initial=-1)) + 1
    return Sample(
        tokens=np.concatenate([p.tokens for p in pieces]),
        positions=np.concatenate([p.positions for p in pieces], axis=1),
        segments=np.concatenate([p.segments for p in pieces]),
        previous=np.concatenate([p.previous for p in pieces]),
        turns=np.concatenate([p.turns for p in pieces]),
        fields=np.concatenate([p.fields for p in pieces], axis=1),
        teacher=joined([p.distributions for p in pieces]),
        images=first.images,
        spans=trunk_spans,
        key=first.key,
    )


def _extends(sample: Sample, last: Sample) -> bool:
    known = len(last.images)
    return (
        len(sample) > len(last)
        and sample.images[:known] == last.images
        and sample.spans[:known] == last.spans
        and bool((sample.tokens[: len(last)] == last.tokens).all())
    )


def _take_in(sample: Sample, last: Sample) -> Sample:
    """`sample` with the credit of `last` on the tokens that they share."""
    length, replies = len(last), int(last.turns.max(initial=-1)) + 1
    fields = np.concatenate([last.fields, sample.fields[:, length:]], axis=1)
    teacher = joined([last.distributions, sample.distributions[:, :, sample.replied(length) :]])
    turns = np.concatenate([last.turns, np.where(sample.turns >= 0, sample.turns + replies, -1)[length:]]).astype(np.int32)
    return replace(sample, turns=turns, fields=fields, teacher=teacher)


def _slice(sample: Sample, start: int, end: int, segment: int, offset: int, replies: int = 0) -> Sample:
    """Tokens `start` to `end` as part of another sample, in which they stand from `offset` on, after `replies` other replies."""
    turns = sample.turns[start:end]
    return replace(
        sample,
        tokens=sample.tokens[start:end],
        positions=sample.positions[:, start:end],
        segments=np.full(end - start, segment, dtype=np.int32),
        previous=(sample.previous[start:end] - start + offset).astype(np.int32),
        turns=np.where(turns >= 0, turns + replies, -1).astype(np.int32),
        fields=sample.fields[:, start:end],
        teacher=sample.distributions[:, :, sample.replied(start) : sample.replied(end)],
    )


def joined(teachers: Sequence[FloatArray]) -> FloatArray | None:
    """`Sample.teacher` of tokens one after another, with as many likely tokens as the longest list has; None without any."""
    most = max(one.shape[1] for one in teachers)
    if not most:
        return None
    filled = [np.pad(one, ((0, 0), (0, most - one.shape[1]), (0, 0)), constant_values=np.nan) for one in teachers]
    return np.concatenate(filled, axis=2)


def taught(sample: Sample, ids: IntArray, logprobs: FloatArray) -> Sample:
    """A sample of one reply with what a teacher says of it: `ids` int32[C, K] and `logprobs` float32[C, K] for its tokens."""
    return replace(sample, teacher=np.stack([ids.T.astype(np.float32), logprobs.T]))


def _common_prefix(samples: Sequence[Sample]) -> int:
    length = min(len(sample) for sample in samples)
    rows = np.stack([sample.tokens[:length] for sample in samples])
    differs = (rows != rows[0]).any(0)
    return int(np.argmax(differs)) if differs.any() else length
