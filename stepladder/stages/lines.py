"""A file of JSON lines that grows while a stage works, each line a dataclass, safe against a process that is killed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Generic, TypeVar

from stepladder.codec import from_json, to_json
from stepladder.errors import UserError

T = TypeVar("T")


class Lines(Generic[T]):
    """The file `path`, of lines of the dataclass `kind`. A last line without its end was cut off by a kill and counts as not
    written; the next `append` takes its place."""

    def __init__(self, path: Path, kind: type[T]) -> None:
        self.path, self.kind = path, kind
        self._whole = False

    def read(self) -> list[T]:
        """Raises UserError that names a line which is none."""
        lines = self.path.read_bytes().split(b"\n")[:-1] if self.path.exists() else []
        found: list[T] = []
        for number, line in enumerate(lines, start=1):
            try:
                found.append(from_json(self.kind, json.loads(line), self.kind.__name__))
            except ValueError as error:
                raise UserError(f"{self.path}, line {number}: {error}") from error
        return found

    def append(self, one: T) -> None:
        """Handed to the operating system in one piece before this returns."""
        if not self._whole and self.path.exists():
            os.truncate(self.path, self.path.read_bytes().rfind(b"\n") + 1)
        self._whole = True
        with self.path.open("ab", buffering=0) as file:
            file.write(json.dumps(to_json(one), ensure_ascii=False).encode() + b"\n")
