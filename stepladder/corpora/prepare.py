"""From files to a corpus on disk: read, judge, leave out what repeats, write. Nothing is left out without being counted.

A run that was killed goes on where it was and gives the same files.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from stepladder.codec import from_json, to_json
from stepladder.corpora.classifier import QualityClassifier
from stepladder.corpora.corpus import held_out_by_text
from stepladder.corpora.document import Document
from stepladder.corpora.duplicates import DuplicateIndex, DuplicateSettings
from stepladder.corpora.quality import QualityRules, objection
from stepladder.corpora.read import Columns, Position, files_of, read_documents
from stepladder.corpora.stored import DOCUMENTS, IMAGES, INDEX, REPORT
from stepladder.images import ImageStore
from stepladder.progress import Progress
from stepladder.run import write_json

#: How far it came; gone when the corpus is whole.
PROGRESS = "progress.json"
#: Documents between two savings, and places that are named for each reason.
SAVE_EVERY, MOST_NAMED = 1000, 20


@dataclass(frozen=True)
class Filters:
    """What is left out; None: nothing for that reason. Of a `classifier` documents with less than `least_score` are, and the others
    have their score. One document in `held_out` is for evaluation, decided by what it says."""

    rules: QualityRules | None = field(default_factory=QualityRules)
    classifier: QualityClassifier | None = None
    least_score: float = 0.5
    duplicates: DuplicateSettings | None = field(default_factory=DuplicateSettings)
    held_out: int = 100


@dataclass
class Counts:
    """`left_out` counts documents by reason, `named` has the first places of each, with what is to be said of them. `memory` is
    what the index of duplicates needs, in bytes."""

    read: int = 0
    kept: int = 0
    characters: int = 0
    pictures: int = 0
    held_out: int = 0
    memory: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    named: dict[str, list[str]] = field(default_factory=dict)

    def leave_out(self, reason: str, where: str, detail: str = "") -> None:
        """Count a document that is left out."""
        self.left_out[reason] += 1
        if len(named := self.named.setdefault(reason, [])) < MOST_NAMED:
            named.append(f"{where}: {detail}" if detail else where)

    def to_json(self) -> dict[str, Any]:
        """Fit for JSON."""
        return {**vars(self), "left_out": dict(self.left_out.most_common())}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Counts:
        """What `to_json` gave."""
        return cls(**{**record, "left_out": Counter(record["left_out"])})


def prepare(
    sources: Sequence[Path], target: Path, columns: Columns | None = None, filters: Filters | None = None, show: bool = True
) -> Counts:
    """Write the corpus of `sources`, in their order, into the folder `target`, and say what was kept. One process may do so at a
    time, with the same arguments until it is whole; a corpus that is whole is left as it is.

    Raises CorpusError for a source that cannot be read. A record that is no document is left out as "broken".
    """
    filters = filters or Filters()
    if (target / INDEX).exists():
        return Counts.from_json(json.loads((target / REPORT).read_text()))
    target.mkdir(parents=True, exist_ok=True)
    files = [len(files_of(source)) for source in sources]
    made = _Preparation(target, filters)
    with Progress("documents", sum(files), show) as progress:
        with (target / DOCUMENTS).open("r+b" if (target / DOCUMENTS).exists() else "w+b") as out:
            made.go_back(out)
            for document, place, position in made.documents(sources, columns or Columns()):
                made.take(document, place, out)
                if made.counts.read % SAVE_EVERY == 0:
                    made.save(position, out)
                    done = sum(files[: position[0]]) + position[1].file
                    progress.update(done, figures={"read": made.counts.read, "kept": made.counts.kept})
            made.save((len(sources), Position()), out)
        made.finish()
    return made.counts


class _Preparation:
    """The state of `prepare` between two documents."""

    def __init__(self, target: Path, filters: Filters) -> None:
        self.target, self.filters = target, filters
        self.images = ImageStore(target / IMAGES)
        self.index = None if filters.duplicates is None else DuplicateIndex(filters.duplicates)
        self.counts, self.start = Counts(), (0, Position())

    def go_back(self, out: IO[bytes]) -> None:
        """To what was saved last, or to the beginning. What was kept until then is known to the index of duplicates."""
        if not (self.target / PROGRESS).exists():
            out.truncate(0)
            return
        saved = json.loads((self.target / PROGRESS).read_text())
        self.counts = Counts.from_json(saved["counts"])
        self.start = saved["source"], Position(saved["file"], saved["record"])
        out.truncate(saved["bytes"])
        for line in out:
            if self.index is not None:
                self.index.add(from_json(Document, json.loads(line)))

    def documents(self, sources: Sequence[Path], columns: Columns) -> Iterator[tuple[Document, str, tuple[int, Position]]]:
        """Every document that is still to be read, its place in words, and the position after it."""
        first, start = self.start
        for number, source in enumerate(sources[first:], start=first):
            paths = files_of(source)
            begin = start if number == first else Position()
            for document, position in read_documents(source, self.images, columns, begin, self._broken):
                place = f"{paths[position.file].name}, record {position.record}"
                yield document, place, (number, position)

    def _broken(self, where: str, reason: str) -> None:
        self.counts.read += 1
        self.counts.leave_out("broken", where, reason)

    def take(self, document: Document, place: str, out: IO[bytes]) -> None:
        """Keep a document, or count why not."""
        self.counts.read += 1
        rule = None if self.filters.rules is None else objection(document, self.filters.rules)
        if rule is not None:
            self.counts.leave_out(rule, place)
            return
        if self.filters.classifier is not None:
            document = replace(document, score=self.filters.classifier.score(document.text))
            assert document.score is not None
            if document.score < self.filters.least_score:
                self.counts.leave_out("classifier", place, f"score {document.score:.3f}")
                return
        found = None if self.index is None else self.index.see(document)
        if found is not None:
            self.counts.leave_out(f"{found.kind} duplicate", place, f"{found.similarity:.2f} like line {found.number + 1}")
            return
        out.write(json.dumps(to_json(document), ensure_ascii=False).encode() + b"\n")
        self.counts.kept += 1
        self.counts.characters += len(document.text)
        self.counts.pictures += len(document.images)
        self.counts.held_out += held_out_by_text(document, self.filters.held_out)

    def save(self, position: tuple[int, Position], out: IO[bytes]) -> None:
        """Go on from here after a kill."""
        out.flush()
        os.fsync(out.fileno())
        self.counts.memory = 0 if self.index is None else self.index.memory
        source, place = position
        saved = {"source": source, "file": place.file, "record": place.record, "bytes": out.tell(), "counts": self.counts.to_json()}
        write_json(self.target / PROGRESS, saved)

    def finish(self) -> None:
        """Write the index, which makes the corpus whole."""
        offsets, held_out = [0], []
        with (self.target / DOCUMENTS).open("rb") as file:
            for line in file:
                offsets.append(offsets[-1] + len(line))
                held_out.append(held_out_by_text(from_json(Document, json.loads(line)), self.filters.held_out))
        write_json(self.target / REPORT, self.counts.to_json())
        temporary = self.target / f"{INDEX}.{os.getpid()}"
        with temporary.open("wb") as index:
            np.savez(index, offsets=np.array(offsets, np.int64), held_out=np.array(held_out, bool))
        temporary.replace(self.target / INDEX)
        (self.target / PROGRESS).unlink(missing_ok=True)
