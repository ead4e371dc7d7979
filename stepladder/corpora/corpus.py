"""A corpus is documents by number, so that a killed run draws what it would have drawn: those for training, and those held out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from stepladder.corpora.document import Document
from stepladder.corpora.read import Columns, CorpusError, files_of, read_documents
from stepladder.images import ImageStore
from stepladder.seeds import HELDOUT, VALIDATION_SEEDS
from stepladder.words import share_of

#: Documents of a generated corpus that one seed has for training.
TRAINING_NUMBERS = HELDOUT - VALIDATION_SEEDS
#: Bytes of files that `LoadedCorpus` takes.
LARGEST_LOADED = 256 * 2**20
#: Of a `LoadedCorpus` one document in this many is held out, if nothing else is said.
HELD_OUT_SHARE = 20


class Corpus(Protocol):
    """Documents for training in an order that depends on a seed, and others that no training ever sees."""

    def train(self, seed: int, number: int) -> Document:
        """Training document `number`, 0 or more; always the same for the same seed and number. Numbers never end: a corpus of n
        documents shows each of them once among the numbers 0 to n - 1, once more among the next n, and so on."""

    def held_out(self, count: int) -> list[Document]:
        """The first `count` documents for evaluation; fewer where there are not so many."""


class Epochs:
    """An order of `numbers` (int64[N], N above 0) for every epoch, which depends on a seed."""

    def __init__(self, numbers: npt.NDArray[np.int64]) -> None:
        self.numbers = numbers
        self._epoch: tuple[int, int] | None = None
        self._order = numbers

    def __call__(self, seed: int, place: int) -> int:
        """The number at `place`, counted through all epochs."""
        epoch, place = divmod(place, len(self.numbers))
        if self._epoch != (seed, epoch):
            self._epoch, self._order = (seed, epoch), np.random.default_rng((seed, epoch)).permutation(self.numbers)
        return int(self._order[place])


def held_out_by_text(document: Document, share: int) -> bool:
    """Whether a document is for evaluation: one in `share`, decided by what it says, so that equal ones are on the same side. With
    a `share` of 0 none is."""
    return share > 0 and share_of(f"document:{document.key}", share)


class LoadedCorpus:
    """All documents of a file or a folder, in memory, as they are: nothing is judged or left out. One in `share` is held out.

    Raises CorpusError for what cannot be read, for more than LARGEST_LOADED bytes, and where no document is left for training.
    """

    def __init__(self, source: Path, images: ImageStore, columns: Columns | None = None, share: int = HELD_OUT_SHARE) -> None:
        size = sum(path.stat().st_size for path in files_of(source))
        if size > LARGEST_LOADED:
            raise CorpusError(f"{source} has {size} bytes, too many for the memory; prepare a corpus of it and name its folder")
        documents = [document for document, _ in read_documents(source, images, columns)]
        held_out = np.array([held_out_by_text(document, share) for document in documents], dtype=bool)
        if held_out.all():
            raise CorpusError(f"{source} has no documents for training; {len(documents)} are held out")
        self._documents, self._held_out = documents, np.flatnonzero(held_out)
        self._training = Epochs(np.flatnonzero(~held_out))

    def train(self, seed: int, number: int) -> Document:
        """See `Corpus.train`."""
        return self._documents[self._training(seed, number)]

    def held_out(self, count: int) -> list[Document]:
        """See `Corpus.held_out`."""
        return [self._documents[number] for number in self._held_out[:count]]


class GeneratedCorpus:
    """A corpus from a function (seed, number) -> Document, whose numbers from `stepladder.seeds.HELDOUT` on are held out."""

    def __init__(self, function: Callable[[int, int], Document], name: str = "") -> None:
        self.function, self.name = function, name

    def train(self, seed: int, number: int) -> Document:
        """See `Corpus.train`. Beyond the numbers that are for training those of the next seed follow."""
        epoch, number = divmod(number, TRAINING_NUMBERS)
        return self.function(seed + epoch, number)

    def held_out(self, count: int) -> list[Document]:
        """See `Corpus.held_out`; the seed is always 0."""
        return [self.function(0, HELDOUT + number) for number in range(count)]
