"""Batches: samples packed into rows, with the mask that keeps them apart and the pixels loaded at last (law 9).

A row holds whole samples one after another. A token attends to the earlier tokens of its own sample that stand in the trunk or in
its own branch, so packing changes no number (law 5).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from stepladder.models.renderer import Renderer
from stepladder.train.sample import ROW, TOKEN_FIELDS, Sample, joined
from stepladder.types import FloatArray, ImageRef, IntArray

#: Pixels of the pictures that a batch holds itself, all of them and the largest, 24 bytes each when they are prepared. An update
#: from a thousand rows with screens of 1920 x 1080 would else need hundreds of gigabytes of main memory.
MOST_PREPARED, LARGEST_PREPARED = 10_000_000, 500_000


@dataclass
class Batch:
    """R rows of S tokens, and N trained tokens in flat lists.

    tokens int64[R, S], positions int64[3, R, S], image_mask bool[R, S]; `owners` int64[R, S] which sample a token belongs to (-1
    for padding) and `segments` int64[R, S] its place in the sample; `causal` says that every row is one plain sequence, whose
    tokens attend to all that stand before them. For trained token n: `source` int64[N] indexes the flattened [R * S] states that
    predict it, `targets` int64[N], and `token_fields`, float32[N] each, are the fields of `sample.TOKEN_FIELDS` ("looks_at" as a
    column of the row); `reply_lengths` int64[replies] count the trained tokens of one reply after another, so that the N tokens
    fall into replies; `teacher` float32[2, K, N] holds `Sample.teacher` (None without any); `pixel_values` (see `pixels`) and
    `grid` of the distinct pictures, and `visual_index` int64[V] that puts their visual tokens in reading order (None: they are in
    reading order as they are). `images` are the distinct pictures, `prepare` gives their pixels anew, and `order` says which of
    the samples given stands first, second, ...
    """

    tokens: Tensor
    positions: Tensor
    owners: Tensor
    segments: Tensor
    causal: bool
    image_mask: Tensor
    source: Tensor
    targets: Tensor
    token_fields: dict[str, Tensor]
    reply_lengths: Tensor
    teacher: Tensor | None
    images: tuple[ImageRef, ...]
    pixel_values: Tensor | None
    grid: Tensor | None
    visual_index: Tensor | None
    order: tuple[int, ...]
    prepare: Callable[[], Tensor] | None = None

    def pixels(self) -> Tensor | None:
        """float32[N, channels * time * patch * patch] of the distinct pictures, None without any. Where they are many or large they
        are prepared anew whenever this is called."""
        if self.pixel_values is not None or self.prepare is None:
            return self.pixel_values
        return self.prepare().to(self.tokens.device)

    def prepared(self) -> Batch:
        """The same with its pixels."""
        return self if self.pixel_values is not None else dataclasses.replace(self, pixel_values=self.pixels())

    @functools.cached_property
    def attention(self) -> Tensor:
        """bool[R, 1, S, S]: what each token attends to. Made when it is asked for, where the tokens are."""
        return _attention(self.owners, self.segments)

    def to(self, device: torch.device) -> Batch:
        """The same on another device; itself where it is there already."""
        if self.tokens.device == device:
            return self
        moved: dict[str, Any] = {
            field.name: value.to(device)
            for field in dataclasses.fields(self)
            if isinstance(value := getattr(self, field.name), Tensor) and field.name != "reply_lengths"
        }
        # read by Python alone, so it stays
        moved["token_fields"] = {name: values.to(device) for name, values in self.token_fields.items()}
        return dataclasses.replace(self, **moved)

    def field(self, name: str) -> Tensor:
        """float32[N]: one of `sample.TOKEN_FIELDS` for the trained tokens."""
        return self.token_fields[name]

    def by_reply(self, values: Tensor, padding: float = 0.0) -> Tensor:
        """[N] values of the trained tokens as [replies, longest reply], padded on the right."""
        if not len(self.reply_lengths):
            return values.new_zeros((0, 0))
        return pad_sequence(values.split(self.reply_lengths.tolist()), batch_first=True, padding_value=padding)

    @property
    def token_count(self) -> int:
        """Tokens that stand in the rows, padding left out."""
        return int((self.positions[0] >= 0).sum())


def pack(lengths: Sequence[int], row_length: int) -> list[list[int]]:
    """Indices per row: as many rows as first-fit decreasing needs, filled evenly, so that little is padding. A sample longer than
    `row_length` gets a row of its own."""
    ordered = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    rows: list[list[int]] = []
    space: list[int] = []
    for index in ordered:
        for row, left in enumerate(space):
            if lengths[index] <= left:
                rows[row].append(index)
                space[row] -= lengths[index]
                break
        else:
            rows.append([index])
            space.append(row_length - lengths[index])
    even: list[list[int]] = [[] for _ in rows]
    filled = [0] * len(rows)
    for index in ordered:
        emptiest = filled.index(min(filled))
        even[emptiest].append(index)
        filled[emptiest] += lengths[index]
    fits = all(len(row) == 1 or length <= row_length for row, length in zip(even, filled, strict=True))
    return even if fits and max(filled, default=0) <= row_length - min(space, default=0) else rows


def collate(samples: Sequence[Sample], renderer: Renderer, row_length: int = 0) -> Batch:
    """Pack `samples` into rows of `row_length` tokens, or of the longest sample where that is longer (0: of the longest sample).
    Longer rows waste less padding and cost more attention."""
    if not samples:
        raise ValueError("a batch needs at least one sample")
    rows = pack([len(sample) for sample in samples], max(row_length, max(len(sample) for sample in samples)))
    width = max(sum(len(samples[i]) for i in row) for row in rows)
    shape = (len(rows), width)
    tokens = np.full(shape, renderer.pad_id, dtype=np.int64)
    positions = np.full((3, *shape), -1, dtype=np.int64)
    owner = np.full(shape, -1, dtype=np.int64)  # which sample of the row, -1 for padding
    segment = np.zeros(shape, dtype=np.int64)
    image_mask = np.zeros(shape, dtype=bool)
    source, targets, reply_lengths = [], [], []
    fields: list[FloatArray] = []
    teachers: list[FloatArray] = []
    pictures: list[ImageRef] = []
    for r, row in enumerate(rows):
        start = 0
        for i in row:
            sample = samples[i]
            end = start + len(sample)
            tokens[r, start:end], positions[:, r, start:end] = sample.tokens, sample.positions
            owner[r, start:end], segment[r, start:end] = i, sample.segments
            for span_start, count in sample.spans:
                image_mask[r, start + span_start : start + span_start + count] = True
            pictures += sample.images
            trained = np.flatnonzero(sample.trained)
            source.append(r * width + start + sample.previous[trained])
            targets.append(sample.tokens[trained])
            reply_lengths.append(_run_lengths(sample.turns[trained]))
            values = sample.fields[:, trained]
            values[ROW["looks_at"]] = _columns(sample, values[ROW["looks_at"]], start)
            fields.append(values)
            teachers.append(sample.distributions[:, :, np.cumsum(sample.turns >= 0)[trained] - 1])
            start = end
    distinct = tuple(dict.fromkeys(pictures))
    prepare = functools.partial(_pixels, renderer, distinct) if distinct else None
    patches = [renderer.grid(image) for image in distinct]
    pixels = [height * width * renderer.patch**2 for _, height, width in patches]
    few = sum(pixels) <= MOST_PREPARED and max(pixels, default=0) <= LARGEST_PREPARED
    return Batch(
        tokens=torch.from_numpy(tokens),
        positions=torch.from_numpy(positions),
        owners=torch.from_numpy(owner),
        segments=torch.from_numpy(segment),
        causal=all(len(row) == 1 and _is_plain(samples[row[0]]) for row in rows),
        image_mask=torch.from_numpy(image_mask),
        source=torch.from_numpy(np.concatenate(source).astype(np.int64)),
        targets=torch.from_numpy(np.concatenate(targets).astype(np.int64)),
        token_fields=dict(zip(TOKEN_FIELDS, torch.from_numpy(np.concatenate(fields, axis=1)), strict=True)),
        reply_lengths=torch.from_numpy(np.concatenate(reply_lengths)),
        teacher=None if (teacher := joined(teachers)) is None else torch.from_numpy(teacher),
        images=distinct,
        pixel_values=prepare() if prepare is not None and few else None,
        grid=torch.tensor(patches, dtype=torch.int64) if distinct else None,
        visual_index=_reading_order(pictures, distinct, renderer) if len(distinct) != len(pictures) else None,
        order=tuple(i for row in rows for i in row),
        prepare=prepare,
    )


def _pixels(renderer: Renderer, pictures: Sequence[ImageRef]) -> Tensor:
    return renderer.pixels(pictures)[0]


def pictures_only(images: Sequence[ImageRef], renderer: Renderer) -> Batch:
    """A batch of distinct pictures without any text, for losses on visual tokens alone."""
    nothing = torch.zeros(0, dtype=torch.int64)
    pixel_values, grid = renderer.pixels(images)
    return Batch(
        tokens=nothing,
        positions=nothing,
        owners=nothing,
        segments=nothing,
        causal=True,
        image_mask=nothing,
        source=nothing,
        targets=nothing,
        token_fields={name: torch.zeros(0) for name in TOKEN_FIELDS},
        reply_lengths=nothing,
        teacher=None,
        images=tuple(images),
        pixel_values=pixel_values,
        grid=grid,
        visual_index=None,
        order=(),
    )


def _columns(sample: Sample, looks_at: FloatArray, start: int) -> FloatArray:
    """Numbers of the sample's visual tokens as columns of the row in which the sample stands from `start` on."""
    if not sample.spans:
        return looks_at
    columns = np.concatenate([np.arange(first, first + count) for first, count in sample.spans]) + start
    known = np.isfinite(looks_at)
    return np.where(known, columns[np.where(known, looks_at, 0).astype(np.int64)], np.nan).astype(np.float32)


def _run_lengths(turns: IntArray) -> npt.NDArray[np.int64]:
    """How many of the trained tokens belong to each reply; a reply's tokens stand together."""
    starts = np.flatnonzero(np.diff(turns, prepend=-2))
    return np.diff(starts, append=len(turns)).astype(np.int64)


def _attention(owner: Tensor, segment: Tensor) -> Tensor:
    width = owner.shape[1]
    causal = torch.ones(width, width, dtype=torch.bool, device=owner.device).tril()
    same_sample = owner[:, :, None] == owner[:, None, :]
    visible = (segment[:, None, :] == 0) | (segment[:, :, None] == segment[:, None, :])
    return (causal & same_sample & visible)[:, None]


def _is_plain(sample: Sample) -> bool:
    """Whether it has one branch at most."""
    return len(np.unique(sample.segments[sample.segments > 0])) <= 1


def _reading_order(pictures: Sequence[ImageRef], distinct: Sequence[ImageRef], renderer: Renderer) -> Tensor:
    starts, total = {}, 0
    for picture in distinct:
        starts[picture] = total
        total += renderer.visual_tokens(picture)
    return torch.cat([torch.arange(starts[p], starts[p] + renderer.visual_tokens(p)) for p in pictures])
