"""Event files for TensorBoard, in the directory `tensorboard` of a run: `tensorboard --logdir runs`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from stepladder.tracking.trackers import Value, metric_name

#: Seconds after which measurements are in the file.
FLUSH_SECONDS = 10


class TensorBoardTracker:
    """Numbers as scalars called "phase/key"; texts are left out, for TensorBoard draws none over steps."""

    def __init__(self, directory: Path, config: Mapping[str, Any]) -> None:
        self._writer = EventFileWriter(str(directory / "tensorboard"), flush_secs=FLUSH_SECONDS)

    def log(self, step: int, phase: str, values: Mapping[str, Value]) -> None:
        scalars = [
            Summary.Value(tag=metric_name(phase, key), simple_value=float(value))
            for key, value in values.items()
            if not isinstance(value, str)
        ]
        if scalars:
            self._writer.add_event(Event(wall_time=time.time(), step=step, summary=Summary(value=scalars)))

    def close(self) -> None:
        self._writer.close()
