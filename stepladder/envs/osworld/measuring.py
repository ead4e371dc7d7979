"""One metric on what getters have found: the part of grading that reads what an agent left."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

from stepladder.envs.osworld.getters.state import Got
from stepladder.envs.osworld.metrics import metric
from stepladder.interfaces import EnvironmentFailure

#: Bytes that a file which an agent left may unpack to; a larger one counts as none.
LARGEST = 256 << 20


def measure(name: str, found: Any, wanted: Sequence[Any], options: Mapping[str, Any] | None) -> float:
    """The score of a metric, 0 to 1; `wanted` holds what is expected, or nothing. Raises Lacks, EnvironmentFailure."""
    work = metric(name)
    try:
        return max(0.0, min(1.0, float(work(_readable(found), *wanted, **(options or {})))))
    except (EnvironmentFailure, MemoryError):
        raise
    except Exception as error:
        # Metrics answer 0 for whatever an agent leaves; what fails is the task file, or the metric itself.
        raise EnvironmentFailure(f"the metric {name} cannot be worked out: {type(error).__name__}: {error}") from error


def _readable(found: Any) -> Any:
    """What was found, without files that unpack to too much."""
    if isinstance(found, list):
        return [_readable(one) for one in found]
    return None if isinstance(found, Got) and unpacked_size(found.content) > LARGEST else found


def unpacked_size(content: bytes) -> int:
    """Bytes of all that a zip archive says to hold, office documents among them; 0 of any other file."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return sum(entry.file_size for entry in archive.infolist())
    except Exception:  # whatever the agent left
        return 0
