"""Checks of the options that agents share."""

from __future__ import annotations

from collections.abc import Sequence


def check_choice(option: str, value: object, allowed: Sequence[object]) -> None:
    """Raises ValueError unless `value` is one of `allowed`."""
    if value not in allowed:
        raise ValueError(f"{option} is {value!r}; it must be one of {', '.join(map(str, allowed))}")


def check_screenshots(screenshots: int) -> None:
    """Raises ValueError unless at least the current screenshot is shown."""
    if screenshots < 1:
        raise ValueError(f"screenshots is {screenshots}; the current screenshot is always shown, so it must be at least 1")


def check_count(option: str, value: int, least: int = 1) -> int:
    """The value. Raises ValueError when it is no whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{option} is {value!r}; it must be a whole number of at least {least}")
    return value
