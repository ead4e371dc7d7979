"""Documents from files, one at a time: JSONL, Parquet, webdataset shards (tar), and folders of texts. The suffix says the format.

.jsonl .ndjson (also .gz)     an object a line, its columns as in `Columns`
.parquet                      the same columns; needs PyArrow
.tar (also .gz .bz2 .xz)      members with one stem are one document: x.png or x.jpg, x.txt, x.json
.txt .md .rst                 a file is a document
a folder                      all such files below it, in the order of their paths
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol, cast

from stepladder.corpora.document import Document
from stepladder.corpora.pictures import stored_picture
from stepladder.errors import UserError
from stepladder.images import ImageStore
from stepladder.plugins import load

#: Readers of records by suffix; loaded by name, so that what needs no PyArrow works without it.
READERS = {
    ".jsonl": "stepladder.corpora.read:read_lines",
    ".ndjson": "stepladder.corpora.read:read_lines",
    ".parquet": "stepladder.corpora.parquet:read_rows",
    ".tar": "stepladder.corpora.shards:read_shard",
    ".txt": "stepladder.corpora.read:read_text",
    ".md": "stepladder.corpora.read:read_text",
    ".rst": "stepladder.corpora.read:read_text",
}
_PACKED = (".gz", ".bz2", ".xz")
#: The longest line or text that is read, in bytes.
LONGEST = 512 * 2**20


class CorpusError(UserError, ValueError):
    """A file that cannot be read; the message names it and the place."""


@dataclass(frozen=True)
class Columns:
    """The names under which a record has its parts.

    `images` is a list of pictures or one picture, `metadata` an object; `kept` are columns that become metadata, too. Only the text
    must be there, and instead of it a record may have pictures. With the defaults it reads what `stepladder.codec` writes.
    """

    text: str = "text"
    images: str = "images"
    source: str = "source"
    metadata: str = "metadata"
    score: str = "score"
    kept: tuple[str, ...] = ("url", "title", "language")

    @property
    def names(self) -> tuple[str, ...]:
        """All columns that matter."""
        return (self.text, self.images, self.source, self.metadata, self.score, *self.kept)


@dataclass(frozen=True)
class Position:
    """How far a source was read: record `record` of its file `file`, both from 0 on. Records that were dropped count."""

    file: int = 0
    record: int = 0


@dataclass(frozen=True)
class Raw:
    """A record before it is a document: `value` has the columns, or `error` says why there is none. `where` is "line 3"."""

    where: str
    value: Mapping[str, Any] | None
    error: str = ""


class Reader(Protocol):
    """Gives the records of a file from number `start` on, skipping those before without decoding them. Raises CorpusError for a
    file that cannot be read on."""

    def __call__(self, path: Path, start: int, columns: Columns) -> Iterator[Raw]: ...


def kind_of(path: Path) -> str:
    """The suffix by which a file is read, "" for a file that is none of a corpus."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    if suffixes and suffixes[-1] in _PACKED:
        inner = suffixes[0] if len(suffixes) == 2 else ""
        return inner if inner == ".tar" or (suffixes[-1] == ".gz" and inner in (".jsonl", ".ndjson")) else ""
    return suffixes[-1] if suffixes and suffixes[-1] in READERS else ""


def files_of(source: Path) -> list[Path]:
    """The files of a source in the order in which they are read; of a folder every file with a known suffix. Raises CorpusError
    when there is none."""
    if not source.exists():
        raise CorpusError(f"there is no {source}")
    found = sorted(path for path in source.rglob("*") if path.is_file() and kind_of(path)) if source.is_dir() else [source]
    if not found or not kind_of(found[0]):
        raise CorpusError(f"{source} is none of, and has none of, {' '.join(READERS)}, such as documents.jsonl")
    return found


def read_documents(
    source: Path,
    images: ImageStore,
    columns: Columns | None = None,
    start: Position | None = None,
    dropped: Callable[[str, str], None] | None = None,
    name: str = "",
) -> Iterator[tuple[Document, Position]]:
    """Every document of `source` from `start` on, with the position from which to go on after it. Pictures go into `images`.

    Documents without a source are said to be from `name`, or from the file's name without suffixes. A record that is no document
    ends the reading with a CorpusError that names file and place; with `dropped`, that is told (where, why) and the reading goes
    on. Raises CorpusError, too, for a file that cannot be read on.
    """
    columns, start = columns or Columns(), start or Position()
    for number, path in enumerate(files_of(source)):
        if number < start.file:
            continue
        first = start.record if number == start.file else 0
        reader: Reader = load(READERS[kind_of(path)], {}, "reader")
        for record, raw in enumerate(reader(path, first, columns), start=first):
            where = f"{path}, {raw.where}"
            try:
                if raw.value is None:
                    raise CorpusError(raw.error)
                document = document_of(raw.value, path.parent, images, columns, name or path.name.split(".")[0])
            except (OSError, ValueError, KeyError, TypeError) as error:
                reason = str(error) if not isinstance(error, KeyError) else str(error.args[0])
                if dropped is None:
                    raise CorpusError(f"{where}: {reason}") from error
                dropped(where, reason)
                continue
            yield document, Position(number, record + 1)


def document_of(record: Mapping[str, Any], folder: Path, images: ImageStore, columns: Columns, name: str) -> Document:
    """The document of one record. Raises ValueError that names the column at fault, OSError and KeyError for a picture that is not
    there."""
    pictures = record.get(columns.images)
    entries = [] if pictures is None else list(pictures) if isinstance(pictures, (list, tuple)) else [pictures]
    text = record.get(columns.text)
    if text is None and not entries:
        raise ValueError(f"there is no {columns.text!r}; the record has {', '.join(map(str, record)) or 'nothing'}")
    if text is not None and not isinstance(text, str):
        raise ValueError(f"{columns.text!r} must be a text, not {type(text).__name__}")
    metadata = record.get(columns.metadata)
    if metadata is not None and not isinstance(metadata, Mapping):
        raise ValueError(f"{columns.metadata!r} must be an object, not {type(metadata).__name__}")
    about = {str(key): _as_text(value) for key, value in (metadata or {}).items() if value is not None}
    about |= {key: _as_text(record[key]) for key in columns.kept if record.get(key) is not None}
    score, source = record.get(columns.score), record.get(columns.source)
    if score is not None and (isinstance(score, bool) or not isinstance(score, (int, float))):
        raise ValueError(f"{columns.score!r} must be a number, not {type(score).__name__}")
    refs = tuple(stored_picture(entry, folder, images) for entry in entries)
    return Document(text or "", refs, name if source is None else _as_text(source), about, None if score is None else float(score))


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def read_lines(path: Path, start: int, columns: Columns) -> Iterator[Raw]:
    """JSONL, perhaps packed with gzip. Empty lines are no records."""
    try:
        with _opened(path) as file:
            record = 0
            for number, line in enumerate(_lines(file), start=1):
                if line.strip():
                    record += 1
                    if record > start:
                        yield _line(f"line {number}", line)
    except (OSError, EOFError, zlib.error) as error:
        raise CorpusError(f"{path} cannot be read: {error}") from error


def _opened(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path)) if path.suffix.lower() == ".gz" else path.open("rb")


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """The lines of a file; of one that is too long the beginning, one byte longer than allowed."""
    for line in iter(lambda: file.readline(LONGEST + 1), b""):
        yield line
        while len(line) > LONGEST and not line.endswith(b"\n"):
            line = file.readline(LONGEST + 1)


def _line(where: str, line: bytes) -> Raw:
    if len(line) > LONGEST:
        return Raw(where, None, f"a line of more than {LONGEST} bytes")
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        return Raw(where, None, f"no JSON: {error}")
    if not isinstance(value, dict):
        return Raw(where, None, f"an object is needed, not {type(value).__name__}")
    return Raw(where, value)


def read_text(path: Path, start: int, columns: Columns) -> Iterator[Raw]:
    """The whole file is one document, whose metadata have its name."""
    if start > 0:
        return
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CorpusError(f"{path} cannot be read: {error}") from error
    try:
        yield Raw("byte 0", {columns.text: data.decode("utf-8-sig"), columns.metadata: {"file": path.name}})
    except UnicodeDecodeError as error:
        yield Raw(f"byte {error.start}", None, f"no UTF-8: {error.reason}")
