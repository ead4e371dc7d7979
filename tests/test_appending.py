"""What is appended to a file stands there whole, or not at all."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.run import Run

WRITE = os.write


@given(room=st.integers(0, 200), at_once=st.integers(1, 50))
def test_a_measurement_for_which_there_is_no_room_leaves_the_file_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, room: int, at_once: int
) -> None:
    """A disk that takes some bytes at a time, and then no more."""
    directory = tmp_path_factory.mktemp("run")
    with Run(directory, {}) as run, pytest.MonkeyPatch.context() as patch:
        run.log(1, "rl", reward=0.5)
        left = [room]

        def filling(handle: int, data: bytes) -> int:
            if not left[0]:
                raise OSError(errno.ENOSPC, "No space left on device")
            written = WRITE(handle, bytes(data)[: min(at_once, left[0])])
            left[0] -= written
            return written

        patch.setattr(os, "write", filling)
        try:
            run.log(2, "rl", reward=0.75)
            stored = 2
        except OSError:
            stored = 1
        patch.undo()
        run.log(3, "rl", reward=1.0)
        lines = (Path(directory) / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, *([2] if stored == 2 else []), 3]
