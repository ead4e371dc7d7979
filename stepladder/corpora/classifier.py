"""A small classifier of quality: logistic regression on hashed pieces of text, learned from examples of good and bad documents."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stepladder.config import ConfigError
from stepladder.corpora.read import CorpusError

_TOKEN = re.compile(r"\w+|[^\w\s]")
#: One example in this many measures the classifier and is not learned from.
HELD_OUT = 5
#: Characters of a document that are looked at.
LOOKED_AT = 20_000

Indices = npt.NDArray[np.int64]
Weights = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """How often the classifier is right on `count` examples that it has not learned from; `correct` of them."""

    correct: int
    count: int


class QualityClassifier:
    """score(text) is the probability, 0 to 1, that a text is like the good examples.

    Features are words, pairs of words and signs, hashed into `weights` float64[size]; each counts once, however often it stands in
    the text, and the vector has length 1.
    """

    def __init__(self, weights: Weights, bias: float) -> None:
        self.weights, self.bias = weights, bias

    def score(self, text: str) -> float:
        """The probability that a text is good."""
        found = _features(text, len(self.weights))
        total = self.bias + (float(self.weights[found].sum()) / np.sqrt(len(found)) if len(found) else 0.0)
        return float(_sigmoid(total))

    def save(self, path: Path) -> None:
        """Write it as an .npz file, in one step."""
        temporary = path.with_name(f"{path.name}.{os.getpid()}")
        with temporary.open("wb") as file:
            np.savez_compressed(file, weights=self.weights, bias=self.bias)
        temporary.replace(path)

    @classmethod
    def load(cls, path: Path) -> QualityClassifier:
        """Read what `save` wrote. Raises CorpusError for any other file."""
        try:
            with np.load(path, allow_pickle=False) as found:
                weights, bias = found["weights"], float(found["bias"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorpusError(f"{path} is no classifier that was saved here: {error}") from error
        if weights.ndim != 1 or weights.dtype != np.float64 or not len(weights):
            raise CorpusError(f"{path} is no classifier that was saved here: weights of {weights.dtype}{list(weights.shape)}")
        return cls(weights, bias)


def train_classifier(
    good: Sequence[str], bad: Sequence[str], *, seed: int = 0, size: int = 2**18, passes: int = 10, rate: float = 0.5
) -> tuple[QualityClassifier, Measured]:
    """Learn from texts by stochastic gradient steps on the logistic loss (AdaGrad: J. Duchi et al., JMLR 12, 2011), both kinds
    weighing the same, and measure on every fifth. Raises ConfigError when one kind has fewer than five texts."""
    for name, texts in (("good", good), ("bad", bad)):
        if len(texts) < HELD_OUT:
            raise ConfigError(f"there are {len(texts)} {name} examples; a classifier needs {HELD_OUT} or more of each kind")
    examples = [(_features(text, size), 1.0) for text in good] + [(_features(text, size), 0.0) for text in bad]
    shares = {1.0: 0.5 * len(examples) / len(good), 0.0: 0.5 * len(examples) / len(bad)}
    held_out = [one for place, one in enumerate(examples) if place % HELD_OUT == HELD_OUT - 1]
    learned = [one for place, one in enumerate(examples) if place % HELD_OUT != HELD_OUT - 1]
    weights, squares, bias, bias_square = np.zeros(size), np.full(size, 1e-8), 0.0, 1e-8
    random = np.random.default_rng(seed)
    for _ in range(passes):
        for place in random.permutation(len(learned)):
            found, label = learned[place]
            length = np.sqrt(max(1, len(found)))
            slope = shares[label] * (float(_sigmoid(bias + weights[found].sum() / length)) - label)
            squares[found] += (slope / length) ** 2
            weights[found] -= rate * (slope / length) / np.sqrt(squares[found])
            bias_square += slope**2
            bias -= rate * slope / np.sqrt(bias_square)
    correct = sum(
        ((bias + (weights[found].sum() / np.sqrt(len(found)) if len(found) else 0.0)) > 0) == bool(label)
        for found, label in held_out
    )
    return QualityClassifier(weights, float(bias)), Measured(int(correct), len(held_out))


def _features(text: str, size: int) -> Indices:
    """The places of a text's features, sorted, each once: int64[F]."""
    tokens = _TOKEN.findall(text[:LOOKED_AT].lower())
    pieces = {*tokens, *(f"{first} {second}" for first, second in pairwise(tokens))}
    return np.unique(np.fromiter((zlib.crc32(piece.encode()) % size for piece in pieces), np.int64, len(pieces)))


def _sigmoid(value: float) -> float:
    return float(1 / (1 + np.exp(-np.clip(value, -500, 500))))
