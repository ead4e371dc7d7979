"""Exact and near duplicates among documents, as they stream by: normalised texts, and MinHash with bands of equal hashes.

A text is the set of its runs of `shingle` neighbouring words. `permutations` hash functions give each set a signature: the least
hash of its members under each. The share of equal entries of two signatures estimates the Jaccard similarity of the sets
(A. Broder, On the resemblance and containment of documents, 1997). Two documents are compared when one of `bands` parts of their
signatures is equal, which happens with probability 1 - (1 - s^rows)^bands at similarity s, rows = permutations / bands.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from stepladder.config import ConfigError
from stepladder.corpora.document import Document
from stepladder.judges.duplicates import normal

Hashes = npt.NDArray[np.uint64]
#: uint32[permutations]
Signature = npt.NDArray[np.uint32]
#: Shingles that are hashed at once, which bounds the memory of a long document.
_AT_ONCE = 4096
#: Bytes in the index, measured: of each band of a document (key, list, number, their places in a dict), and of a document besides.
_ENTRY_BYTES, _DOCUMENT_BYTES = 230, 450


@dataclass(frozen=True)
class DuplicateSettings:
    """What counts as a duplicate. `threshold` is the least estimated similarity of near duplicates. `unit` is what shingles are
    made of: words, or characters for languages without spaces. `remembered` is the number of documents, the latest, that others
    are compared with; None: all."""

    permutations: int = 128
    bands: int = 16
    shingle: int = 5
    threshold: float = 0.8
    unit: Literal["word", "character"] = "word"
    remembered: int | None = None

    def check(self) -> None:
        """Raises ConfigError for settings that cannot be."""
        if self.bands < 1 or self.permutations < 1 or self.permutations % self.bands:
            raise ConfigError(f"permutations is {self.permutations} and bands {self.bands}; bands must divide permutations")
        if self.shingle < 1:
            raise ConfigError(f"shingle is {self.shingle}; it must be 1 or more")
        if not 0 < self.threshold <= 1:
            raise ConfigError(f"threshold is {self.threshold}; it must be above 0 and at most 1")
        if self.remembered is not None and self.remembered < 1:
            raise ConfigError(f"remembered is {self.remembered}; it must be 1 or more, or None")


@dataclass(frozen=True)
class Duplicate:
    """A document that is here already: of which one, counting from 0 those that were added, and how similar (estimated, 0 to 1)."""

    kind: Literal["exact", "near"]
    number: int
    similarity: float


class DuplicateIndex:
    """Documents that were seen. With `remembered` its memory is bounded; `memory` says how much it is. Documents with different
    pictures are never duplicates of each other."""

    def __init__(self, settings: DuplicateSettings | None = None) -> None:
        self.settings = settings or DuplicateSettings()
        self.settings.check()
        self._seeds = _mixed(np.arange(1, self.settings.permutations + 1, dtype=np.uint64))
        self._added = 0
        self._exact: dict[bytes, int] = {}
        self._bands: list[dict[bytes, list[int]]] = [{} for _ in range(self.settings.bands)]
        self._known: OrderedDict[int, tuple[bytes, Signature]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    @property
    def memory(self) -> int:
        """About so many bytes are held."""
        return len(self._known) * (self.settings.permutations * 4 + self.settings.bands * _ENTRY_BYTES + _DOCUMENT_BYTES)

    def see(self, document: Document) -> Duplicate | None:
        """The document that this one repeats, the most similar one; None, and it is added, where there is none."""
        text = normal(document.text)
        key = _exact_key(text, document)
        if key in self._exact:
            return Duplicate("exact", self._exact[key], 1.0)
        signature = self.signature(document, text)
        found = self._nearest(signature)
        if found is None:
            self._add(key, signature)
        return found

    def add(self, document: Document) -> None:
        """Add a document without a look at the others."""
        text = normal(document.text)
        self._add(_exact_key(text, document), self.signature(document, text))

    def signature(self, document: Document, text: str | None = None) -> Signature:
        """The MinHash signature, uint32[permutations]; `text` is the normalised text where it is known."""
        shingles = self._shingles(normal(document.text) if text is None else text, document)
        least = np.full(self.settings.permutations, np.iinfo(np.uint64).max, dtype=np.uint64)
        for start in range(0, len(shingles), _AT_ONCE):
            hashes = _mixed(shingles[None, start : start + _AT_ONCE] ^ self._seeds[:, None])
            np.minimum(least, hashes.min(axis=1), out=least)
        return (least >> np.uint64(32)).astype(np.uint32)

    def _shingles(self, text: str, document: Document) -> Hashes:
        """The hashes of a text's shingles, each once: uint64[N], at least one. They depend on the pictures, too."""
        units = text.split() if self.settings.unit == "word" else list(text)
        pictures = "\0".join(image.sha256 for image in document.images)
        known: dict[str, int] = {}
        for unit in units:
            if unit not in known:
                known[unit] = _hash(unit)
        hashes = np.fromiter((known[unit] for unit in units), np.uint64, len(units))
        count = max(1, len(units) - self.settings.shingle + 1)
        found = np.full(count, _hash(pictures), dtype=np.uint64)
        for place in range(min(self.settings.shingle, len(units))):
            found = _mixed(found ^ hashes[place : place + count])
        return np.unique(found)

    def _nearest(self, signature: Signature) -> Duplicate | None:
        candidates: dict[int, None] = {}
        for band, key in zip(self._bands, self._keys(signature), strict=True):
            candidates.update(dict.fromkeys(band.get(key, ())))
        if not candidates:
            return None
        numbers = sorted(candidates)
        known = np.stack([self._known[number][1] for number in numbers])
        similar = (known == signature).mean(axis=1)
        best = int(similar.argmax())
        if similar[best] < self.settings.threshold:
            return None
        return Duplicate("near", numbers[best], float(similar[best]))

    def _keys(self, signature: Signature) -> list[bytes]:
        return [row.tobytes() for row in signature.reshape(self.settings.bands, -1)]

    def _add(self, key: bytes, signature: Signature) -> None:
        number, self._added = self._added, self._added + 1
        self._exact[key] = number
        self._known[number] = (key, signature)
        for band, band_key in zip(self._bands, self._keys(signature), strict=True):
            band.setdefault(band_key, []).append(number)
        if self.settings.remembered is not None and len(self._known) > self.settings.remembered:
            self._forget()

    def _forget(self) -> None:
        """Drop the oldest document."""
        number, (key, signature) = self._known.popitem(last=False)
        if self._exact.get(key) == number:
            del self._exact[key]
        for band, band_key in zip(self._bands, self._keys(signature), strict=True):
            band[band_key].remove(number)
            if not band[band_key]:
                del band[band_key]


def _exact_key(text: str, document: Document) -> bytes:
    """Equal for documents with the same pictures whose texts differ in case, punctuation and spacing alone."""
    parts = "\0".join((text, *(image.sha256 for image in document.images)))
    return hashlib.blake2b(parts.encode(), digest_size=16).digest()


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _mixed(values: Hashes) -> Hashes:
    """A bijection of 64-bit numbers under which neighbours have nothing in common (the last steps of SplitMix64, G. Steele et al.,
    Fast splittable pseudorandom number generators, 2014)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
