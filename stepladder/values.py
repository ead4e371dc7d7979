"""Numbers and texts that a model or a person wrote, and how they stand in error messages."""

from __future__ import annotations

import math


def number(value: object, name: str) -> float:
    """A finite number from a number or its text. Raises ValueError that names it."""
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            return finite(float(value), name)
        except (ValueError, OverflowError):
            pass
    raise ValueError(f"{name!r} is {show(value)}; a finite number is needed")


def finite(value: float, name: str) -> float:
    """The number itself. Raises ValueError that names it when it is infinite or no number."""
    if not math.isfinite(value):
        raise ValueError(f"{name} is {value}; a finite number is needed")
    return value


def whole(value: float) -> int | float:
    """The number as an int where it is one, so that it is written without a point."""
    return int(value) if value == int(value) else value


def check_text(text: str) -> str:
    """The text itself. Raises ValueError for one that no file and no connection can hold."""
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("text cannot contain lone surrogates")
    return text


def show(value: object) -> str:
    """A short form for error messages; a number of many digits has no text form at all."""
    try:
        return repr(value)[:40]
    except (ValueError, RecursionError):
        return f"a {type(value).__name__}"
