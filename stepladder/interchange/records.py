"""Records of JSON files, one at a time: lines of a JSONL file, or the entries of one array, however long it is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stepladder.interchange.folder import ConvertError
from stepladder.interchange.report import Report

LINES = (".jsonl", ".ndjson")
_PIECE = 2**16
#: The longest entry of an array that is read, in characters.
_LONGEST = 512 * 2**20


def read_records(source: Path, report: Report) -> Iterator[tuple[str, Any]]:
    """("line 3", record) of a file; an entry of an array is called by the line on which it begins. A line that is no JSON is
    dropped; an array that is none ends the reading with ConvertError, which names the place, as does a file that is not there."""
    if not source.is_file():
        raise ConvertError(f"{source} is no file")
    if source.suffix in LINES:
        yield from _of_lines(source, report)
        return
    with source.open(encoding="utf-8") as file:
        first = next((character for character in iter(lambda: file.read(1), "") if not character.isspace()), "")
        if first != "[":
            file.seek(0)
            yield "line 1", _whole(file.read(_LONGEST), source)
            return
        file.seek(0)
        yield from _of_array(file, source)


def _of_lines(source: Path, report: Report) -> Iterator[tuple[str, Any]]:
    with source.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                report.drop(f"line {number}", f"no JSON: {error}")
                continue
            yield f"line {number}", record


def _whole(text: str, source: Path) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConvertError(f"{source} is no JSON: {error}") from error


class _Window:
    """The part of a file that is being read. `line` is that of its first character."""

    def __init__(self, file: Any) -> None:
        self.file, self.text, self.line, self.ended = file, "", 1, False

    def more(self) -> None:
        """Twice as much, so that a long entry is tried a few times only."""
        piece = self.file.read(max(_PIECE, len(self.text)))
        self.ended = not piece
        self.text += piece

    def skip(self, count: int) -> None:
        self.line += self.text.count("\n", 0, count)
        self.text = self.text[count:]

    def next(self) -> str:
        """The next character that is no space; empty at the end."""
        while True:
            self.skip(len(self.text) - len(self.text.lstrip()))
            if self.text or self.ended:
                return self.text[:1]
            self.more()


def _of_array(file: Any, source: Path) -> Iterator[tuple[str, Any]]:
    window, decoder = _Window(file), json.JSONDecoder()
    window.next()
    window.skip(1)
    if window.next() == "]":
        return
    while True:
        window.next()
        where = f"line {window.line}"
        while True:
            try:
                record, end = decoder.raw_decode(window.text)
                if end < len(window.text) or window.ended:  # a number could go on in the next piece
                    break
            except json.JSONDecodeError as error:
                if window.ended or len(window.text) > _LONGEST or _is_wrong(error, window.text):
                    raise ConvertError(f"{source}, {where}: no JSON: {error.msg}") from error
            except RecursionError as error:
                raise ConvertError(f"{source}, {where}: nested too deeply") from error
            window.more()
        window.skip(end)
        yield where, record
        mark = window.next()
        if mark == "]":
            return
        if mark != ",":
            raise ConvertError(f"{source}, line {window.line}: ',' or ']' is needed, not {mark!r}")
        window.skip(1)


def _is_wrong(error: json.JSONDecodeError, text: str) -> bool:
    """Whether the text is wrong however it goes on: the mistake is neither at its end nor a string without an end."""
    return error.pos < len(text) - 16 and not error.msg.startswith("Unterminated string")


def fields_of(record: Any) -> Mapping[str, Any]:
    """Raises ConvertError for a record that is no object."""
    if not isinstance(record, Mapping):
        raise ConvertError(f"an object is needed, not {type(record).__name__}")
    return record
