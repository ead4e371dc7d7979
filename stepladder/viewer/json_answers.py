"""JSON that browsers read: what JSON does not have becomes null."""

from __future__ import annotations

import json
import math
from typing import Any


def encode(value: Any) -> bytes:
    """ASCII, so that half a character in hostile text stays what it is. NaN and infinity become null."""
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":")).encode("ascii")
    except ValueError:
        return json.dumps(_finite(value), allow_nan=False, separators=(",", ":")).encode("ascii")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
