"""JSON as models write it, with errors that say where."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from stepladder.interfaces import ParseError


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


_DECODER = json.JSONDecoder(strict=False, parse_constant=_no_constant)


def decode(text: str, begin: int = 0, offset: int = 0) -> tuple[Any, int]:
    """(value, end of it) of the JSON that begins at `begin` of `text`, with line ends allowed in its texts. `offset` is where
    `text` begins in the reply. Raises ParseError and nothing else."""
    try:
        return _DECODER.raw_decode(text, begin)
    except json.JSONDecodeError as error:
        raise ParseError(f"not JSON: {error.msg}", offset + error.pos) from None
    except (ValueError, RecursionError) as error:
        raise ParseError(f"not JSON: {error}", offset + begin) from None


def encode(value: object) -> str:
    """JSON in one line. Raises ValueError for what JSON cannot hold."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, RecursionError) as error:
        raise ValueError(f"this cannot be written as JSON: {error}") from None


def place_of(text: str, field: str, begin: int) -> int:
    """Where `field` stands in `text` behind `begin`, for a message; `begin` when it does not."""
    return max(text.find(f'"{field}"', begin), begin)


def place_of_fault(text: str, error: ValueError, begin: int) -> int:
    """Where in `text` behind `begin` the field stands that an error names in quotes; `begin` when it names none."""
    return place_of(text, str(error).partition("'")[2].partition("'")[0], begin)
