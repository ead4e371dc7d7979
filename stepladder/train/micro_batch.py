"""What one forward and backward pass sees, and pixels that are there when it begins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stepladder.models.heads import VisualTargets
from stepladder.train.batch import Batch


@dataclass
class MicroBatch:
    """What one forward and backward pass sees: packed tokens, and targets for the distinct pictures' visual tokens if there are
    any. `text` False leaves the language model out (a perception step on pictures alone). `old_logprobs` float32[N] are those of
    the weights before the first of several updates from the same samples."""

    batch: Batch
    visual: VisualTargets | None = None
    text: bool = True
    old_logprobs: Tensor | None = None

    def to(self, device: torch.device) -> MicroBatch:
        """The same on another device; itself where it is there already."""
        if self.batch.tokens.device == device:
            return self
        visual = None if self.visual is None else self.visual.to(device)
        old = None if self.old_logprobs is None else self.old_logprobs.to(device)
        return MicroBatch(self.batch.to(device), visual, self.text, old)

    def prepared(self) -> MicroBatch:
        """The same with the pixels of its pictures."""
        return replace(self, batch=self.batch.prepared())

    def counts(self) -> dict[str, float]:
        counts = self.visual.counts() if self.visual is not None else {}
        if self.text:
            counts["ce"] = float(self.batch.field("w_ce").sum())
            counts["pointing"] = float(self.batch.field("looks_at").isfinite().sum())
            counts |= self._counts_of_replies()
        return counts

    def _counts_of_replies(self) -> dict[str, float]:
        """Trained tokens, and replies that have any, with policy-gradient weight, with KL weight, with a teacher, with returns."""
        field, counts = self.batch.field, {}
        weighted = [(name, field(f"w_{name}") != 0) for name in ("pg", "kl", "distill")]
        for name, mask in (*weighted, ("value", field("returns").isfinite())):
            any_at_all = bool(mask.any())
            counts[f"{name}_tokens"] = float(mask.sum())
            counts[f"{name}_replies"] = float(self.batch.by_reply(mask, False).any(-1).sum()) if any_at_all else 0.0
        return counts


def prepared_ahead(micro_batches: Sequence[MicroBatch]) -> Iterator[MicroBatch]:
    """One after the other, with their pixels. Those that do not hold them are prepared in a thread while the one before is learned
    from: of four screens of 1920 x 1080 that takes half a second of a core."""
    if all(one.batch.pixel_values is not None or one.batch.prepare is None for one in micro_batches):
        yield from micro_batches
        return
    with ThreadPoolExecutor(1, "stepladder-pictures") as thread:
        coming = thread.submit(micro_batches[0].prepared)
        for following in (*micro_batches[1:], None):
            present = coming.result()
            if following is not None:
                coming = thread.submit(following.prepared)
            yield present
