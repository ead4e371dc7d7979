"""The runs that are looked at: every directory that was given, or the runs in it."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

from stepladder.viewer.directory import has_run_below, is_run
from stepladder.viewer.run_view import Missing, RunView

#: Seconds between two looks for new runs in a folder of runs.
_LOOK_AROUND = 2.0
#: Seconds until a directory that was no run is looked through again; it may be large.
_LOOK_AGAIN = 20.0
#: Seconds for which a run is read at a time before anybody has asked for it, and the pause in which others may.
_PORTION, _PAUSE = 0.5, 0.01


class Runs:
    """The runs below the directories that were given: each is a run, or a folder of runs. New ones are found as they come.

    A run's id is its directory's name, with a number behind it where another has that name already.
    """

    def __init__(self, directories: Sequence[Path]) -> None:
        self._directories = [directory.resolve() for directory in directories]
        self._runs: dict[str, RunView] = {}
        self._ids: dict[Path, str] = {}
        self._looked = -1e9
        self._again: dict[Path, float] = {}
        self._closed = False
        self._lock = threading.Lock()

    def all(self) -> list[RunView]:
        with self._lock:
            if time.monotonic() - self._looked > _LOOK_AROUND:
                for directory in self._directories:
                    self._find(directory)
                self._looked = time.monotonic()
            return list(self._runs.values())

    def get(self, identifier: str) -> RunView:
        """Raises Missing."""
        runs = {run.id: run for run in self.all()}
        if identifier not in runs:
            raise Missing(f"there is no run {identifier!r}; there are {', '.join(map(repr, list(runs)[:8])) or 'none'}")
        return runs[identifier]

    def include(self, directory: Path) -> str:
        """The id of the run in a directory, which is shown from now on if it was not."""
        with self._lock:
            self._add(directory.resolve())
            return self._ids[directory.resolve()]

    def read_ahead(self) -> threading.Thread:
        """Begin to read what the runs hold, so that little is left to be read when the first page is opened."""

        def read() -> None:
            for run in self.all():
                while not self._closed and not run.refresh(_PORTION):
                    time.sleep(_PAUSE)

        thread = threading.Thread(target=read, name="read ahead", daemon=True)
        thread.start()
        return thread

    def close(self) -> None:
        """Close the indexes."""
        self._closed = True
        for run in self._runs.values():
            run.index.close()

    def _find(self, directory: Path) -> None:
        if directory in self._ids or is_run(directory):
            self._add(directory)
            return
        try:
            below = sorted(path for path in directory.iterdir() if path.is_dir() and not path.is_symlink())
        except OSError:
            return
        for path in below:
            if path in self._ids or path.name.startswith(".") or time.monotonic() < self._again.get(path, 0.0):
                continue
            if has_run_below(path):
                self._add(path)
            else:
                self._again[path] = time.monotonic() + _LOOK_AGAIN

    def _add(self, directory: Path) -> None:
        if directory not in self._ids:
            name = identifier = directory.name or "run"
            number = 2
            while identifier in self._runs:
                identifier, number = f"{name}-{number}", number + 1
            self._ids[directory] = identifier
            self._runs[identifier] = RunView(identifier, directory)
