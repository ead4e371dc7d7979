"""Batches: samples packed into rows, with the mask that keeps them apart and the pixels loaded at last (law 9).

A row holds whole samples one after another. A token attends to the earlier tokens of its own sample that stand in the trunk or in
its own branch, so packing changes no number (law 5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stepladder.models.renderer import Renderer
from stepladder.train.sample import Sample
from stepladder.types import ImageRef


@dataclass
class Batch:
    """R rows of S tokens, and N trained tokens in flat lists.

    tokens int64[R, S], positions int64[3, R, S], attention bool[R, 1, S, S], image_mask bool[R, S]; for trained token n: `source`
    int64[N] indexes the flattened [R * S] states that predict it, `targets` int64[N], `w_ce` float32[N], `logprobs` float32[N] of
    the behaviour policy; `pixel_values` and `grid` of the distinct pictures, and `visual_index` int64[V] that puts their visual
    tokens in reading order (None: the pictures stand in reading order as they are). `images` are the distinct pictures.
    """

    tokens: Tensor
    positions: Tensor
    attention: Tensor
    image_mask: Tensor
    source: Tensor
    targets: Tensor
    w_ce: Tensor
    logprobs: Tensor
    images: tuple[ImageRef, ...]
    pixel_values: Tensor | None
    grid: Tensor | None
    visual_index: Tensor | None

    @property
    def token_count(self) -> int:
        """Tokens that stand in the rows, padding left out."""
        return int((self.positions[0] >= 0).sum())


def pack(lengths: Sequence[int], row_length: int) -> list[list[int]]:
    """Indices per row: first-fit decreasing. A sample longer than `row_length` gets a row of its own."""
    rows: list[list[int]] = []
    space: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        for row, left in enumerate(space):
            if lengths[index] <= left:
                rows[row].append(index)
                space[row] -= lengths[index]
                break
        else:
            rows.append([index])
            space.append(row_length - lengths[index])
    return rows


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
    source, targets, w_ce, logprobs = [], [], [], []
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
            trained = np.flatnonzero(sample.w_ce)
            source.append(r * width + start + sample.previous[trained])
            targets.append(sample.tokens[trained])
            w_ce.append(sample.w_ce[trained])
            logprobs.append(sample.logprobs[trained])
            start = end
    distinct = tuple(dict.fromkeys(pictures))
    pixel_values, grid = renderer.pixels(distinct) if distinct else (None, None)
    return Batch(
        tokens=torch.from_numpy(tokens),
        positions=torch.from_numpy(positions),
        attention=_attention(torch.from_numpy(owner), torch.from_numpy(segment)),
        image_mask=torch.from_numpy(image_mask),
        source=torch.from_numpy(np.concatenate(source).astype(np.int64)),
        targets=torch.from_numpy(np.concatenate(targets).astype(np.int64)),
        w_ce=torch.from_numpy(np.concatenate(w_ce)),
        logprobs=torch.from_numpy(np.concatenate(logprobs)),
        images=distinct,
        pixel_values=pixel_values,
        grid=grid,
        visual_index=_reading_order(pictures, distinct, renderer) if len(distinct) != len(pictures) else None,
    )


def pictures_only(images: Sequence[ImageRef], renderer: Renderer) -> Batch:
    """A batch of distinct pictures without any text, for losses on visual tokens alone."""
    nothing = torch.zeros(0, dtype=torch.int64)
    pixel_values, grid = renderer.pixels(images)
    return Batch(
        tokens=nothing,
        positions=nothing,
        attention=nothing,
        image_mask=nothing,
        source=nothing,
        targets=nothing,
        w_ce=torch.zeros(0),
        logprobs=torch.zeros(0),
        images=tuple(images),
        pixel_values=pixel_values,
        grid=grid,
        visual_index=None,
    )


def _attention(owner: Tensor, segment: Tensor) -> Tensor:
    width = owner.shape[1]
    causal = torch.ones(width, width, dtype=torch.bool).tril()
    same_sample = owner[:, :, None] == owner[:, None, :]
    visible = (segment[:, None, :] == 0) | (segment[:, :, None] == segment[:, None, :])
    return (causal & same_sample & visible)[:, None]


def _reading_order(pictures: Sequence[ImageRef], distinct: Sequence[ImageRef], renderer: Renderer) -> Tensor:
    starts, total = {}, 0
    for picture in distinct:
        starts[picture] = total
        total += renderer.visual_tokens(picture)
    return torch.cat([torch.arange(starts[p], starts[p] + renderer.visual_tokens(p)) for p in pictures])
