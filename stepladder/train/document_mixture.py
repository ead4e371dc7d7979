"""What a phase of pre-training draws: the packed documents of an update as a function of (seed, step)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import torch

from stepladder.corpora.conditioning import Conditioning, pieces
from stepladder.corpora.document import Document
from stepladder.corpora.mixture import Mixture
from stepladder.models.renderer import Renderer
from stepladder.train.batch import collate
from stepladder.train.contrastive import PairedBatch
from stepladder.train.documents import caption_sample, chosen_windows, document_samples
from stepladder.train.micro_batch import MicroBatch
from stepladder.train.mixtures import Share
from stepladder.train.sample import Sample
from stepladder.train.trainer import Trainer
from stepladder.types import ImageRef


@dataclass
class DrawnDocument:
    """The parts of a document that an update learns from, and the text that its picture is compared with."""

    source: str
    samples: Sequence[Sample]
    caption: Sample | None = None


class DocumentMixture:
    """`documents` documents an update, over all ranks, packed into rows of `context` tokens (which may be changed as the phase goes
    on). A document longer than that gives at most `windows` neighbouring parts (0: all), beginning at one that is drawn. An update
    is computed in `accumulate` pieces. With `pairs` the first of a document's pictures comes with its text for the contrastive
    loss; a picture or a text that came already in this update does not, for it would be a wrong answer that is right.
    """

    def __init__(
        self,
        renderer: Renderer,
        mixture: Mixture,
        conditioning: Conditioning,
        *,
        name: str,
        share: Share,
        documents: int,
        context: int,
        windows: int = 0,
        accumulate: int = 1,
        pairs: bool = False,
    ) -> None:
        self.renderer, self.mixture, self.conditioning = renderer, mixture, conditioning
        self.name, self.share, self.documents, self.context = name, share, documents, context
        self.windows, self.accumulate, self.pairs = windows, accumulate, pairs
        self._sources: list[list[str]] = []

    def micro_batches(self, step: int) -> list[MicroBatch]:
        """This rank's part of update `step`; empty only when none of its documents holds anything to learn."""
        paired: set[ImageRef | str] = set()
        mine: list[DrawnDocument] = []
        for number, document in enumerate(self.mixture.draw(step, self.documents)):
            compared = self.pairs and bool(document.images) and paired.isdisjoint((document.images[0], document.text))
            if compared:
                paired |= {document.images[0], document.text}
            if number % self.share.world == self.share.rank:
                mine.append(self._drawn(document, step, number, compared))
        found, self._sources = [], []
        for start in range(self.accumulate):
            piece = [one for one in mine[start :: self.accumulate] if one.samples]
            if piece:
                found.append(self._micro_batch(piece))
        return found

    def source_losses(self, trainer: Trainer, micro_batches: Sequence[MicroBatch]) -> dict[str, float]:
        """Mean loss per token, in nats, of every source in the update that was drawn last, under the present weights, over all
        ranks: what a bandit learns from. Costs a forward pass."""
        sums = {f"{what} {name}": 0.0 for name in self.mixture.schedule.names for what in ("nats", "tokens")}
        for micro_batch, sources in zip(micro_batches, self._sources, strict=True):
            batch = micro_batch.batch
            parts = trainer.logprobs(batch).cpu().split(batch.reply_lengths.tolist())
            for place, logprobs in zip(batch.order, parts, strict=True):
                sums[f"nats {sources[place]}"] -= float(logprobs.sum(dtype=torch.float64))
                sums[f"tokens {sources[place]}"] += len(logprobs)
        sums = trainer.sum_over_ranks(sums)
        names = [name for name in self.mixture.schedule.names if sums[f"tokens {name}"]]
        return {name: sums[f"nats {name}"] / sums[f"tokens {name}"] for name in names}

    def learned(self, step: int, losses: Mapping[str, float]) -> None:
        """Tell a bandit what update `step` found; once for every update, in order."""
        self.mixture.update(step, self.documents, losses)

    def state(self) -> dict[str, Any]:
        """What a resumed run needs."""
        return self.mixture.state()

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.mixture.load_state(state)

    def _drawn(self, document: Document, step: int, number: int, compared: bool) -> DrawnDocument:
        random = Random(f"documents-{self.mixture.seed}-{self.name}-{step}-{number}")
        start = random.getrandbits(32)
        told = pieces(document, self.conditioning, step / self.mixture.steps, random)
        key = f"{document.source or 'document'} {self.name} {step}.{number}"
        parts = document_samples(self.renderer, told, document.images, context=self.context, key=key)
        samples = chosen_windows(parts, self.windows, start)
        shown = bool(samples) and bool(samples[0].images)  # a picture whose part was not chosen is not seen
        caption = None
        if compared and shown:
            caption = caption_sample(self.renderer, [(document.text, True)], context=self.context, key=key)
        return DrawnDocument(self.mixture.names(step, self.documents)[number], samples, caption)

    def _micro_batch(self, piece: Sequence[DrawnDocument]) -> MicroBatch:
        flat = [sample for one in piece for sample in one.samples]
        self._sources.append([one.source for one in piece for _ in one.samples])
        batch = collate(flat, self.renderer, self.context)
        pairs = [(one.samples[0].images[0], one.caption) for one in piece if one.caption is not None]
        if not pairs:
            return MicroBatch(batch)
        texts = collate([caption for _, caption in pairs], self.renderer, self.context)
        places = {image: place for place, image in enumerate(batch.images)}
        return PairedBatch(batch, texts=texts, pictures=tuple(places[pairs[place][0]] for place in texts.order))
