"""A corpus on disk that was prepared for training: its documents by number, without reading the others.

documents.jsonl    a document a line, as `stepladder.codec` writes it
images/            their pictures
index.npz          where each line begins, and which documents are held out
corpus.json        what was read, kept and left out
"""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import numpy as np

from stepladder.codec import from_json
from stepladder.corpora.corpus import Epochs
from stepladder.corpora.document import Document
from stepladder.corpora.read import CorpusError
from stepladder.images import ImageStore

DOCUMENTS, IMAGES, INDEX, REPORT = "documents.jsonl", "images", "index.npz", "corpus.json"


class StoredCorpus:
    """See `Corpus`. Training documents come in an order of their own in every epoch. Pictures stay where they are; `images` is told
    of them. Raises CorpusError for a folder that is no whole corpus."""

    def __init__(self, folder: Path, images: ImageStore) -> None:
        self.folder, self.images = folder, images
        try:
            with np.load(folder / INDEX, allow_pickle=False) as index:
                self._offsets, held_out = index["offsets"], index["held_out"]
        except FileNotFoundError:
            raise CorpusError(f"{folder} has no {INDEX}: it is no corpus, or preparing it was not finished; do it again") from None
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise CorpusError(f"{folder / INDEX} cannot be read: {error}") from error
        if held_out.all():
            raise CorpusError(f"{folder} has no documents for training; {len(held_out)} are held out")
        self._training, self._held_out = Epochs(np.flatnonzero(~held_out)), np.flatnonzero(held_out)
        self._path = folder / DOCUMENTS
        if not self._path.exists() or self._path.stat().st_size != self._offsets[-1]:
            raise CorpusError(f"{self._path} is not the file that {INDEX} was made for: {self._offsets[-1]} bytes are needed")
        self._file = self._path.open("rb")

    def __len__(self) -> int:
        """Documents for training."""
        return len(self._training.numbers)

    def train(self, seed: int, number: int) -> Document:
        """See `Corpus.train`."""
        return self.document(self._training(seed, number))

    def held_out(self, count: int) -> list[Document]:
        """See `Corpus.held_out`."""
        return [self.document(int(number)) for number in self._held_out[:count]]

    def document(self, number: int) -> Document:
        """Document `number` of the file, whatever it is for. Raises CorpusError for a line that is none."""
        start, end = int(self._offsets[number]), int(self._offsets[number + 1])
        try:
            document = from_json(Document, json.loads(os.pread(self._file.fileno(), end - start, start)))
        except ValueError as error:
            raise CorpusError(f"{self._path}, line {number + 1}: {error}") from error
        for image in document.images:
            if image not in self.images:
                self.images.put_file(self.folder / IMAGES / image.sha256[:2] / f"{image.sha256}.png")
        return document
