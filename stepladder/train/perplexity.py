"""How well a model predicts documents that it has not learned from: perplexity by source, with an interval over documents."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stepladder.corpora.document import Document
from stepladder.models.renderer import Renderer
from stepladder.stats.intervals import mean_interval
from stepladder.train.documents import document_samples
from stepladder.train.parallel import gather
from stepladder.train.sample import Sample
from stepladder.train.scoring import Scorer
from stepladder.types import FloatArray


@dataclass(frozen=True)
class Perplexity:
    """exp(mean negative log-probability of a token) over `documents` with `tokens` tokens; `low` and `high` bound it at 95 %, from
    resampling whole documents. They are None for fewer than two documents, and so is all of it for none."""

    value: float | None
    low: float | None
    high: float | None
    documents: int
    tokens: int


def perplexities(
    scorer: Scorer, renderer: Renderer, held_out: Mapping[str, Sequence[Document]], context: int, rank: int = 0, world: int = 1
) -> dict[str, Perplexity]:
    """The perplexity of each source's documents, cut at `context` tokens. Every rank scores its part; all get the whole answer."""
    found: dict[str, Perplexity] = {}
    for source, documents in held_out.items():
        mine = [
            document_samples(renderer, [(document.text, True)], document.images, context=context, key=f"{source} {number}")
            for number, document in enumerate(documents)
            if number % world == rank
        ]
        scores = [(number * world + rank, nats) for number, nats in enumerate(document_nats(scorer, mine))]
        together = dict(pair for part in gather(scores) for pair in part)
        found[source] = perplexity([together[number] for number in sorted(together)])
    return found


def document_nats(scorer: Scorer, documents: Sequence[Sequence[Sample]]) -> list[FloatArray]:
    """float32[tokens] for each document: the negative log-probabilities of its tokens, over all parts that it was cut into."""
    flat = [(number, sample) for number, samples in enumerate(documents) for sample in samples]
    order = sorted(range(len(flat)), key=lambda place: len(flat[place][1]))  # those of like length together waste little padding
    scores = scorer.logprobs([flat[place][1] for place in order])
    nats: list[list[FloatArray]] = [[] for _ in documents]
    for place, logprobs in sorted(zip(order, scores, strict=True), key=lambda pair: pair[0]):
        nats[flat[place][0]].append(-logprobs)
    return [np.concatenate(parts) if parts else np.empty(0, dtype=np.float32) for parts in nats]


def perplexity(nats: Sequence[FloatArray]) -> Perplexity:
    """From the negative log-probabilities of the tokens of each document."""
    scored = [one for one in nats if len(one)]
    tokens = sum(len(one) for one in scored)
    if not scored:
        return Perplexity(None, None, None, 0, 0)
    mean = sum(float(one.sum(dtype=np.float64)) for one in scored) / tokens
    if len(scored) < 2:
        return Perplexity(math.exp(mean), None, None, len(scored), tokens)
    low, high = mean_interval({str(number): one.tolist() for number, one in enumerate(scored)})
    return Perplexity(math.exp(mean), math.exp(low), math.exp(high), len(scored), tokens)
