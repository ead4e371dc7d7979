"""Samples from documents: next-token prediction on text, and on the text that follows pictures.

A document is the end-of-text token, its pictures, its text, and the end-of-text token again. Packed into one row with others it
attends to itself alone, and its positions begin at 0 (`train.batch`), so packing changes no loss.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

import numpy as np

from stepladder.config import ConfigError
from stepladder.models.renderer import Renderer
from stepladder.train.sample import ROW, TOKEN_FIELDS, Sample
from stepladder.types import FloatArray, ImageRef, IntArray

#: (text, whether its tokens carry loss), one after another.
Pieces = Sequence[tuple[str, bool]]
_NOTHING = np.array(list(TOKEN_FIELDS.values()), dtype=np.float32)[:, None]


def document_samples(
    renderer: Renderer, pieces: Pieces, images: Sequence[ImageRef] = (), *, context: int, key: str = ""
) -> list[Sample]:
    """The samples of a document, each of at most `context` tokens; usually one.

    `w_ce` is 1 on the tokens of the pieces that carry loss, and on the end-of-text token after a last piece that does. A longer
    document is cut; every part after the first begins with the last token of the one before it, so that each token is predicted
    once. Parts without any loss are left out. Raises ConfigError for pictures that leave no room for text.
    """
    merged = [("".join(text for text, _ in group), loss) for loss, group in groupby(pieces, key=lambda piece: piece[1])]
    tokens, spans, owners = renderer.document(images, [text for text, _ in merged])
    carries = np.array([*(loss for _, loss in merged), False])  # the last is what owner -1 reads
    weights = carries[owners].astype(np.float32)
    weights[-1] = float(bool(merged) and merged[-1][1])
    head = int(spans[-1][0] + spans[-1][1]) + 1 if spans else 1  # a picture is followed by the end-of-picture token
    if head >= context:
        raise ConfigError(
            f"context is {context}, and the pictures of document {key!r} take {head} tokens before its text begins; give the phase "
            "a longer context, or the corpus smaller pictures"
        )
    return [
        _sample(renderer, tokens[start:end], weights[start:end], images if start == 0 else (), spans if start == 0 else (), key)
        for start, end in _windows(len(tokens), context)
        if weights[start + 1 : end].any()
    ]


def caption_sample(renderer: Renderer, pieces: Pieces, *, context: int, key: str = "") -> Sample | None:
    """A document's text without its pictures and without what carries no loss, at most `context` tokens of it, for the contrastive
    loss: only its last token is marked, so that the one predicting state is that of the text's end. None for an empty text."""
    text = "".join(text for text, loss in pieces if loss)
    tokens, _, _ = renderer.document((), [text])
    if len(tokens) < 3:
        return None
    tokens = np.concatenate([tokens[: context - 1], tokens[-1:]]) if len(tokens) > context else tokens
    weights = np.zeros(len(tokens), dtype=np.float32)
    weights[-1] = 1.0
    return _sample(renderer, tokens, weights, (), (), key)


def chosen_windows(samples: Sequence[Sample], most: int, start: int) -> Sequence[Sample]:
    """At most `most` neighbouring samples of a document (0: all), from number `start` modulo what is possible."""
    if not most or len(samples) <= most:
        return samples
    first = start % (len(samples) - most + 1)
    return samples[first : first + most]


def token_count(samples: Iterable[Sample]) -> int:
    """Tokens of the samples that carry loss."""
    return sum(int(sample.trained.sum()) for sample in samples)


def _windows(length: int, context: int) -> Iterator[tuple[int, int]]:
    start = 0
    while True:
        end = min(length, start + context)
        yield start, end
        if end == length:
            return
        start = end - 1


def _sample(
    renderer: Renderer,
    tokens: IntArray,
    weights: FloatArray,
    images: Sequence[ImageRef],
    spans: tuple[tuple[int, int], ...],
    key: str,
) -> Sample:
    fields = np.empty((len(TOKEN_FIELDS), len(tokens)), dtype=np.float32)
    fields[:] = _NOTHING
    fields[ROW["w_ce"], 1:] = weights[1:]  # nothing predicts the first token
    return Sample(
        tokens=tokens,
        positions=renderer.positions(len(tokens), spans, [renderer.grid(image) for image in images]),
        segments=np.ones(len(tokens), dtype=np.int32),
        previous=np.arange(-1, len(tokens) - 1, dtype=np.int32),
        turns=np.where(fields[ROW["w_ce"]] != 0, 0, -1).astype(np.int32),
        fields=fields,
        images=tuple(images),
        spans=spans,
        key=key,
    )
