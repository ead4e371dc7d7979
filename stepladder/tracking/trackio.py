"""trackio, which keeps its records on this machine. TRACKIO_PROJECT names the project; `trackio show` opens it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import trackio

from stepladder.tracking.trackers import Value, metric_name, run_identifier

PROJECT = "stepladder"


class TrackioTracker:
    """One run of trackio for a run directory, gone on with at every start. Each phase counts its own steps, in "phase/step"."""

    def __init__(self, directory: Path, config: Mapping[str, Any]) -> None:
        self._run = trackio.init(
            project=os.environ.get("TRACKIO_PROJECT", PROJECT),
            name=f"{directory.name}-{run_identifier(directory)}",
            config=dict(config),
            resume="allow",
        )

    def log(self, step: int, phase: str, values: Mapping[str, Value]) -> None:
        named = {metric_name(phase, key): value if isinstance(value, str) else float(value) for key, value in values.items()}
        self._run.log({metric_name(phase, "step"): step, **named})

    def close(self) -> None:
        self._run.finish()
