"""Processes that train together: where they run."""

from __future__ import annotations

import os
import sys

import pytest
import torch

from stepladder.train import parallel
from stepladder.train.parallel import run_ranks


def test_a_single_process_stays_on_no_core_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs of one process each, side by side, would otherwise share the first core."""
    monkeypatch.setattr(parallel, "_cores", lambda: {0, 1})
    monkeypatch.setattr(parallel, "_stay_on", lambda cores: stayed.append(cores))
    stayed: list[set[int]] = []
    run_ranks(lambda rank, world: stayed.append({rank, world}), 1)
    assert stayed == [{0, 1}, {0, 1}], "what the function noted, and what was put back afterwards"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux knows the cores of a process")
def test_as_many_processes_as_cores_have_one_each(monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.sched_getaffinity(0)
    one = min(before)
    monkeypatch.setattr(parallel, "_cores", lambda: {one})
    found: list[set[int]] = []
    threads = torch.get_num_threads()
    try:
        run_ranks(lambda rank, world: found.append(os.sched_getaffinity(0)), 1)
        assert found == [{one}]
        assert torch.get_num_threads() == threads
    finally:
        os.sched_setaffinity(0, before)
