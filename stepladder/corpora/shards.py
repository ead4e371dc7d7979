"""Webdataset shards as a source of documents: tar archives in which members with one stem, one after another, are one sample."""

from __future__ import annotations

import json
import lzma
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stepladder.corpora.read import LONGEST, Columns, CorpusError, Raw

PICTURES = ("jpg", "jpeg", "png", "webp")
TEXTS = ("txt", "text", "caption")


def read_shard(path: Path, start: int, columns: Columns) -> Iterator[Raw]:
    """See `stepladder.corpora.read.Reader`. A sample has pictures (`x.png`, `x.1.jpg`), its text (`x.txt`) and more columns
    (`x.json`, an object, which may have the text). Other members are left out. Members before `start` are not unpacked."""
    sample: _Sample | None = None
    number = -1
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                if not member.isfile():
                    continue
                stem, kind = _parts(member.name)
                if sample is None or sample.stem != stem:
                    if sample is not None and number >= start:
                        yield sample.record(columns)
                    sample, number = _Sample(stem), number + 1
                if number >= start:  # now: going back in a packed archive unpacks it anew
                    sample.add(archive, member, kind.rpartition(".")[2])
            if sample is not None and number >= start:
                yield sample.record(columns)
            if path.suffix == ".tar" and not _has_end(path, archive.offset):
                raise CorpusError(f"{path} has no end after {number + 1} samples: it was cut off")
    except (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise CorpusError(f"{path} is no tar archive that can be read: {error}") from error


def _has_end(path: Path, offset: int) -> bool:
    """Whether the last member, behind which is `offset`, is followed by the empty block that ends an archive."""
    with path.open("rb") as file:
        file.seek(offset)
        return len(file.read(tarfile.BLOCKSIZE)) == tarfile.BLOCKSIZE


def _parts(name: str) -> tuple[str, str]:
    """The stem, up to the first dot of the file's name, and what follows it: ("a/x", "seg.png") of "a/x.seg.png"."""
    folder, slash, file = name.rpartition("/")
    stem, _, rest = file.partition(".")
    return folder + slash + stem, rest.lower()


class _Sample:
    """What was read of one sample so far."""

    def __init__(self, stem: str) -> None:
        self.stem = stem
        self._value: dict[str, Any] = {}
        self._pictures: list[bytes] = []
        self._text: str | None = None
        self._error = ""

    def add(self, archive: tarfile.TarFile, member: tarfile.TarInfo, suffix: str) -> None:
        """Read a member. The first thing that is wrong with one is kept as the error of the sample."""
        if suffix not in (*PICTURES, *TEXTS, "json") or self._error:
            return
        if member.size > LONGEST:
            self._error = f"{member.name} has {member.size} bytes; at most {LONGEST} are read"
            return
        file = archive.extractfile(member)
        data = file.read() if file is not None else b""
        if suffix in PICTURES:
            self._pictures.append(data)
            return
        try:
            if suffix in TEXTS:
                self._text = data.decode("utf-8-sig")
                return
            record = json.loads(data)
            if not isinstance(record, dict):
                raise ValueError(f"an object is needed, not {type(record).__name__}")
            self._value |= record
        except (ValueError, RecursionError) as error:
            self._error = f"{member.name} cannot be read: {error}"

    def record(self, columns: Columns) -> Raw:
        """The sample under the names of `columns`."""
        where = f"sample {self.stem[:200]}"
        if self._error:
            return Raw(where, None, self._error)
        value = dict(self._value)
        if self._text is not None:
            value[columns.text] = self._text
        if self._pictures:
            value[columns.images] = self._pictures
        return Raw(where, value)
