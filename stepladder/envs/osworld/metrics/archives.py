"""Metrics of archives: their files compared by a metric of their own, books of web pages."""

from __future__ import annotations

import difflib
import io
import posixpath
import tarfile
import zipfile
from collections.abc import Callable
from typing import Any

import lxml.html

from stepladder.envs.osworld.getters.state import Got
from stepladder.envs.osworld.metrics.documents import compare_docx_files
from stepladder.envs.osworld.metrics.pdfs import compare_pdfs, text_of
from stepladder.envs.osworld.metrics.pictures import compare_images
from stepladder.envs.osworld.metrics.presentations import compare_pptx_files
from stepladder.envs.osworld.metrics.reading import both, left
from stepladder.envs.osworld.metrics.tables import compare_table
from stepladder.envs.osworld.metrics.text import alike, compare_csv, compare_text_file

#: Bytes that an archive may unpack to: an agent can leave one that grows without end.
LARGEST = 1 << 30
#: How far the text of a PDF must be alike to be the same file.
_SAME_TEXT = 0.95

_OF_TYPE: dict[str, Callable[..., float]] = {
    "text": compare_text_file,
    "pdf": compare_pdfs,
    "docx": compare_docx_files,
    "ppt": compare_pptx_files,
    "image": compare_images,
    "csv": compare_csv,
    "table": compare_table,
}


def compare_archive(result: Got | None, expected: Got | None, **options: Any) -> float:
    """The mean of a metric over the files of a folder of two archives (`file_path`; default: the top one), 0 when they do not have
    the same names. `file_type` names the metric (text, pdf, docx, ppt, image, csv, table), which takes the other options."""
    kind, folder = options.pop("file_type", "text"), options.pop("file_path", "").strip("/")
    if kind not in _OF_TYPE:
        raise ValueError(f"files of the type {kind!r} are not compared here; known: {', '.join(_OF_TYPE)}")
    pair = None if result is None or expected is None else both(result, expected, _unpacked)
    if pair is None:
        return 0.0
    found, wanted = (_within(files, folder) for files in pair)
    if found.keys() != wanted.keys() or not wanted:
        return 0.0
    return sum(_OF_TYPE[kind](Got(name, found[name]), Got(name, wanted[name]), **options) for name in wanted) / len(wanted)


def compare_zip_files(result: Got | None, expected: Got | None) -> float:
    """The same names with the same content; of PDF the texts, 95 % alike."""
    pair = None if result is None or expected is None else both(result, expected, _unpacked_zip)
    if pair is None or pair[0].keys() != pair[1].keys():
        return 0.0
    return float(all(_same(name, content, pair[1][name]) for name, content in pair[0].items()))


def compare_epub(result: Got | None, expected: Got | None) -> float:
    """The mean, over the book's contents, description and pages, of the share of lines that are alike."""
    pair = None if result is None or expected is None else both(result, expected, _unpacked_zip)
    if pair is None:
        return 0.0
    first, second = (_chapters(files) for files in pair)
    scores = [alike(first[one], second[other]) for one, other in zip(sorted(first), sorted(second), strict=False)]
    return sum(scores) / len(first) if first else 0.0


def _same(name: str, first: bytes, second: bytes) -> bool:
    if first == second or not name.lower().endswith(".pdf"):
        return first == second
    texts = [left(Got(name, one), text_of) for one in (first, second)]
    if texts[0] is None or texts[1] is None:
        return False
    return difflib.SequenceMatcher(None, texts[0], texts[1]).ratio() >= _SAME_TEXT


def _chapters(files: dict[str, bytes]) -> dict[str, list[str]]:
    """The lines of the files that are compared: of pages as a parser writes them, without identifiers of the book."""
    found = {}
    for name, content in files.items():
        if name in ("toc.ncx", "content.opf"):
            own = "navPoint" if name == "toc.ncx" else "dc:identifier"
            found[name] = [line for line in content.decode(errors="replace").splitlines() if own not in line]
        elif name.endswith(".html"):
            page = lxml.html.fromstring(content.replace(b"\n", b"").replace(b"\r", b"") or b"<html/>")
            found[name] = lxml.html.tostring(page, pretty_print=True, encoding="unicode").splitlines()
    return found


def _within(files: dict[str, bytes], folder: str) -> dict[str, bytes]:
    """The files that lie in a folder itself, by their names."""
    return {posixpath.basename(name): content for name, content in files.items() if posixpath.dirname(name) == folder}


def _unpacked(file: io.BytesIO) -> dict[str, bytes]:
    """The files of a zip or tar archive, by their paths. Raises ValueError when they are too large."""
    if zipfile.is_zipfile(file):
        return _unpacked_zip(file)
    file.seek(0)
    with tarfile.open(fileobj=file) as archive:
        members = [one for one in archive.getmembers() if one.isfile()]
        _small_enough(sum(one.size for one in members))
        readers = {posixpath.normpath(one.name): archive.extractfile(one) for one in members}
        return {name: reader.read() for name, reader in readers.items() if reader is not None}


def _unpacked_zip(file: io.BytesIO) -> dict[str, bytes]:
    with zipfile.ZipFile(file) as archive:
        members = [one for one in archive.infolist() if not one.is_dir()]
        _small_enough(sum(one.file_size for one in members))
        return {posixpath.normpath(one.filename): archive.read(one) for one in members}


def _small_enough(size: int) -> None:
    if size > LARGEST:
        raise ValueError(f"the archive unpacks to {size} bytes; at most {LARGEST} are read")
