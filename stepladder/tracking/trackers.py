"""Trackers by name, and their keeper: one that fails is told of once and never ends a run.

A run writes its measurements into metrics.jsonl whatever is tracked besides (`stepladder.run`).
"""

from __future__ import annotations

import json
import re
import threading
import uuid
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from stepladder.plugins import load

Value = float | int | str
TRACKERS: Mapping[str, str] = {
    "tensorboard": "stepladder.tracking.tensorboard:TensorBoardTracker",
    "wandb": "stepladder.tracking.wandb:WandbTracker",
    "trackio": "stepladder.tracking.trackio:TrackioTracker",
}


class Tracker(Protocol):
    """Constructed with the directory of a run (a Path) and its configuration (a nested mapping fit for JSON), at the first
    measurement of every start of the run. Whatever it raises is reported, and the run goes on."""

    def log(self, step: int, phase: str, values: Mapping[str, Value]) -> None:
        """One measurement. `step` counts within `phase`; a run that goes on after a kill repeats the last steps."""
        ...

    def close(self) -> None:
        """No more will come."""
        ...


class Trackers:
    """The trackers of one run. `names` are those of `TRACKERS`, or package.module:Class.

    Raises PluginError for one that is not there, and ModuleNotFoundError for one whose package is not installed: both can be put
    right before the run begins. A tracker that cannot be opened is left out; one that fails later is told the rest all the same.
    """

    def __init__(self, names: Sequence[str], directory: Path, config: Mapping[str, Any]) -> None:
        self._waiting: dict[str, Any] = {name: load(name, TRACKERS, "tracker") for name in names}
        self._open: dict[str, Tracker] = {}
        self._complained: set[str] = set()
        self._directory, self._config = directory, config
        self._lock = threading.Lock()

    def log(self, step: int, phase: str, values: Mapping[str, Value]) -> None:
        """Tell every tracker of one measurement; the first opens them."""
        with self._lock:
            while self._waiting:
                name, kind = self._waiting.popitem()
                try:
                    self._open[name] = kind(self._directory, self._config)
                except Exception as error:
                    self._complain(name, "could not be opened and is left out", error)
            for name, tracker in self._open.items():
                try:
                    tracker.log(step, phase, values)
                except Exception as error:
                    self._complain(name, "failed; what it lacks stands in metrics.jsonl", error)

    def close(self) -> None:
        """Close what was opened. May be called twice."""
        with self._lock:
            self._waiting.clear()
            while self._open:
                name, tracker = self._open.popitem()
                try:
                    tracker.close()
                except Exception as error:
                    self._complain(name, "could not be closed", error)

    def _complain(self, name: str, what: str, error: Exception) -> None:
        if name not in self._complained:
            self._complained.add(name)
            warnings.warn(f"tracker {name!r} {what}: {type(error).__name__}: {error}", stacklevel=4)


def run_identifier(directory: Path) -> str:
    """Eight hex digits that are the run's own, the same at every start of it; they are kept in its tracking.json. Raises ValueError
    for such a file without them."""
    path = directory / "tracking.json"
    if path.exists():
        try:
            return str(json.loads(path.read_text())["id"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} holds no id ({error!r}); remove it, and the run is tracked as a new one") from error
    identifier = uuid.uuid4().hex[:8]
    path.write_text(json.dumps({"id": identifier}) + "\n")
    return identifier


def metric_name(phase: str, key: str) -> str:
    """ "phase/key" with nothing but letters, digits, underscores, dots, dashes and slashes, which all trackers can take."""
    return re.sub(r"[^\w./-]+", "_", f"{phase or 'run'}/{key}")
