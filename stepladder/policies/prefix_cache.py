"""Keys and values of what was read before, found again by how a prompt begins.

The turns of an episode, the members of a group and the instructions that all prompts begin with share beginnings. They are kept
as a tree of token runs, so that a shared beginning is stored once (RadixAttention: L. Zheng et al., arXiv 2312.07104).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from stepladder.types import ImageRef, IntArray

ContentIds = npt.NDArray[np.int64]
Spans = Sequence[tuple[int, int]]


def content_ids(tokens: IntArray, spans: Spans, images: Sequence[ImageRef]) -> ContentIds:
    """int64[P]: `tokens` int32[P] with every picture's placeholders replaced by a negative number that stands for the picture.

    Equal ids mean equal keys and values: a picture has one size, so its M-RoPE positions are equal too.
    """
    ids = tokens.astype(np.int64)
    for (start, count), image in zip(spans, images, strict=True):
        ids[start : start + count] = -1 - (hash(image) & (2**62 - 1))
    return ids


def outside_pictures(cut: int, spans: Spans) -> int:
    """`cut`, or the start of the picture that it would cut in two."""
    return next((start for start, count in spans if start < cut < start + count), cut)


def common_length(first: ContentIds, second: ContentIds) -> int:
    """How many ids two sequences begin with in common."""
    shared = min(len(first), len(second))
    different = first[:shared] != second[:shared]
    return int(different.argmax()) if different.any() else shared


class _Run:
    """Tokens `ids` int64[n] that follow those of `parent`, with their keys and values [layers * 2, heads, n, size]."""

    def __init__(self, ids: ContentIds, block: Tensor, parent: _Run | None) -> None:
        self.ids, self.block, self.parent = ids, block, parent
        self.children: dict[int, _Run] = {}
        if parent is not None:
            parent.children[int(ids[0])] = self


class PrefixCache:
    """At most `capacity` tokens; those that were used longest ago make room. Not safe for several threads."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.clear()

    def clear(self) -> None:
        self.held = 0
        self._root = _Run(np.zeros(0, dtype=np.int64), torch.zeros(0), None)
        # used longest ago first; a run always stands before its parent, so that the first one has no children
        self._order: OrderedDict[_Run, None] = OrderedDict()

    def find(self, ids: ContentIds) -> Tensor | None:
        """Keys and values [layers * 2, heads, n, size] of the longest beginning of `ids` that is known, to be read and not changed;
        None for n = 0."""
        path = self._walk(ids)
        self._touch([run for run, _ in path])
        blocks = [run.block[:, :, :shared] for run, shared in path]
        if len(blocks) == 1:  # not copied: all prompts that are read at a time hold the instructions that they begin with
            return blocks[0]
        return torch.cat(blocks, 2) if blocks else None

    def add(self, ids: ContentIds, read: Callable[[int, int], Tensor]) -> None:
        """Keep the keys and values of `ids`. `read(start, stop)` gives those of a part that is not known yet, to be kept as is."""
        if len(ids) > self.capacity:
            return
        path = self._walk(ids)
        known = sum(shared for _, shared in path)
        runs = [run for run, _ in path]
        if path and path[-1][1] < len(runs[-1].ids):
            runs[-1] = self._split(*path[-1])
        if known < len(ids):
            parent = runs[-1] if runs else self._root
            runs.append(_Run(ids[known:].copy(), read(known, len(ids)), parent))
            self.held += len(ids) - known
        self._touch(runs)
        while self.held > self.capacity:
            self._drop_oldest()

    def _walk(self, ids: ContentIds) -> list[tuple[_Run, int]]:
        """The runs that `ids` begins with, and how many tokens of each; only the last can be shared in part."""
        path: list[tuple[_Run, int]] = []
        run, position = self._root, 0
        while position < len(ids) and int(ids[position]) in run.children:
            run = run.children[int(ids[position])]
            shared = common_length(run.ids, ids[position:])
            path.append((run, shared))
            position += shared
            if shared < len(run.ids):
                break
        return path

    def _split(self, run: _Run, length: int) -> _Run:
        """Make the first `length` tokens of `run` a run of their own, its parent. Copies, so that either can be freed alone."""
        upper = _Run(run.ids[:length], run.block[:, :, :length].clone(), run.parent)
        run.ids, run.block, run.parent = run.ids[length:], run.block[:, :, length:].clone(), upper
        upper.children[int(run.ids[0])] = run
        return upper

    def _touch(self, path: Sequence[_Run]) -> None:
        for run in reversed(path):
            self._order[run] = None
            self._order.move_to_end(run)

    def _drop_oldest(self) -> None:
        run, _ = self._order.popitem(last=False)
        assert run.parent is not None
        del run.parent.children[int(run.ids[0])]
        self.held -= len(run.ids)
