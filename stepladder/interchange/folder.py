"""A folder of trajectories: what conversions read into and write from.

trajectories.jsonl    a TrajectoryStore
images/               the pictures
attachments/          files of the source that are no pictures of a step (recordings, logs), by their SHA-256
files.json            files of the source that belong to no trajectory: path -> SHA-256
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from stepladder.errors import UserError
from stepladder.images import ImageStore
from stepladder.run import write_json
from stepladder.store import TrajectoryStore
from stepladder.types import Trajectory

TRAJECTORIES, ATTACHMENTS, FILES, REGIONS = "trajectories.jsonl", "attachments", "files.json", "regions.jsonl"


class ConvertError(UserError, ValueError):
    """A file that cannot be converted as a whole; the message names it."""


class TrajectoryFolder:
    """`mode` "r" reads what is there, "a" makes the folder and adds to it. A context manager. A store outside of such a folder is
    read by its own path, with the pictures in `images/` beside it. `change` is done to every trajectory that is read."""

    def __init__(self, path: Path, mode: Literal["r", "a"] = "r", change: Callable[[Trajectory], Trajectory] | None = None) -> None:
        self._change = change
        self.path = path if path.suffix != ".jsonl" else path.parent
        self.store = TrajectoryStore(path if path.suffix == ".jsonl" else path / TRAJECTORIES, mode)
        self.images = ImageStore(self.path / "images")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.store.close()

    def __iter__(self) -> Iterator[Trajectory]:
        """One after another; none is kept in memory."""
        for summary in self.store.summaries():
            trajectory = self.store.get(summary.id)
            yield trajectory if self._change is None else self._change(trajectory)

    def copy(self, into: TrajectoryFolder) -> Iterator[Trajectory]:
        """Everything of this folder but the trajectories goes into another; they are given, to be added."""
        for name in ("images", ATTACHMENTS):
            if (self.path / name).is_dir():
                shutil.copytree(self.path / name, into.path / name, dirs_exist_ok=True)
        if (self.path / REGIONS).exists() and not (into.path / REGIONS).exists():
            shutil.copyfile(self.path / REGIONS, into.path / REGIONS)
        into.note_files(self.files)
        yield from self

    def attach(self, source: Path) -> str:
        """Keep a file, and return its SHA-256."""
        with source.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        target = self._attachment(digest)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_suffix(".partial")
            shutil.copyfile(source, partial)
            partial.replace(target)
        return digest

    def detach(self, digest: str, target: Path) -> None:
        """Write a file that was kept to `target`. Raises ConvertError when it is not here."""
        source = self._attachment(digest)
        if not source.is_file():
            raise ConvertError(f"{target.name} ({digest[:12]}) is not in {source.parent}")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)

    @property
    def files(self) -> dict[str, str]:
        """Files of the source that belong to no trajectory."""
        path = self.path / FILES
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def note_files(self, files: dict[str, str]) -> None:
        """Add to `files`."""
        if files:
            write_json(self.path / FILES, self.files | files)

    def _attachment(self, digest: str) -> Path:
        if not (len(digest) == 64 and all(character in "0123456789abcdef" for character in digest)):
            raise ConvertError(f"{digest!r} is no SHA-256")
        return self.path / ATTACHMENTS / digest
