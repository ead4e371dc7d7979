"""Files that metrics compare: what an agent left may be anything, what the task compares with must be readable."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from xml.etree import ElementTree

from stepladder.envs.osworld.getters.state import Got

T = TypeVar("T")
#: In this order encodings are tried; the last one reads every byte.
ENCODINGS = ("utf-8-sig", "latin-1")


def left(found: Any, reader: Callable[[io.BytesIO], T]) -> T | None:
    """What `reader` makes of a file that the agent left; None when there is none, or none that it can read."""
    if not isinstance(found, Got):
        return None
    try:
        return reader(io.BytesIO(found.content))
    except Exception:  # readers of broken files raise whatever they like, and none of it is the machine's fault
        return None


def reference(found: Any, reader: Callable[[io.BytesIO], T]) -> T:
    """What `reader` makes of a file that the task compares with. Raises ValueError, which is no score, when it cannot be read."""
    if not isinstance(found, Got):
        raise ValueError("there is no file to compare with")
    try:
        return reader(io.BytesIO(found.content))
    except Exception as error:
        raise ValueError(f"the file {found.name!r} to compare with cannot be read: {type(error).__name__}: {error}") from error


def both(first: Any, second: Any, reader: Callable[[io.BytesIO], T]) -> tuple[T, T] | None:
    """What the agent left and what it is compared with; None when the former is not there or cannot be read."""
    found = left(first, reader)
    return None if found is None else (found, reference(second, reader))


def decoded(content: bytes) -> str:
    """A text whose encoding is not known, with plain ends of lines."""
    for encoding in ENCODINGS:
        try:
            return content.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
        except UnicodeDecodeError:
            continue
    return content.decode(errors="replace")  # pragma: no cover - the last encoding reads everything


def xml_root(file: io.BytesIO) -> ElementTree.Element:
    return ElementTree.parse(file).getroot()


def listed(found: Any) -> list[Any]:
    """One file, or several, as a list."""
    return list(found) if isinstance(found, Sequence) and not isinstance(found, (str, bytes)) else [found]
