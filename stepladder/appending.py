"""Appending to a file whole or not at all, whatever a full disk lets through."""

from __future__ import annotations

import os


def append_whole(handle: int, data: bytes) -> None:
    """Write `data` at the end of a file that was opened to append and that nobody else writes. Raises OSError, and the file is as
    it was."""
    end = os.fstat(handle).st_size
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(handle, view) :]
    except OSError:
        os.ftruncate(handle, end)
        raise
