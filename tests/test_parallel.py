"""Processes that train together: where they run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from processes import is_running

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


def say_variable(rank: int, world: int, output: Path) -> None:
    (output / f"rank-{rank}").write_text(f"{os.environ.get('LADDER_COLOUR')} {Path.cwd()}")


def test_ranks_have_the_environment_and_the_directory_of_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, colour in enumerate(("red", "blue")):
        place = tmp_path / str(number)
        place.mkdir()
        monkeypatch.setenv("LADDER_COLOUR", colour)
        monkeypatch.chdir(place)
        run_ranks(say_variable, 2, tmp_path)
        assert {(tmp_path / f"rank-{rank}").read_text() for rank in range(2)} == {f"{colour} {place}"}
    monkeypatch.delenv("LADDER_COLOUR")
    run_ranks(say_variable, 2, tmp_path)
    assert (tmp_path / "rank-1").read_text().startswith("None ")


def fail_in_rank_1(rank: int, world: int) -> None:
    if rank:
        sys.exit(3)


def test_a_rank_that_fails_is_told() -> None:
    with pytest.raises(RuntimeError, match=r"1 of 2 training processes failed \(exit codes \[3\]\)"):
        run_ranks(fail_in_rank_1, 2)


def sleep_in_both(rank: int, world: int, output: Path) -> None:
    (output / f"pid-{rank}.new").write_text(f"{os.getpid()} {os.getppid()}")
    (output / f"pid-{rank}.new").rename(output / f"pid-{rank}")
    time.sleep(120)


@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")
def test_ranks_and_their_server_end_with_the_process_that_is_killed(tmp_path: Path) -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import test_parallel as here; here.run_ranks(here.sleep_in_both, 2, here.Path(sys.argv[2]))"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(Path(__file__).parent), str(tmp_path)])
    try:
        until = time.monotonic() + 120
        while not (tmp_path / "pid-1").exists():
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.05)
        others = [int(one) for one in (tmp_path / "pid-1").read_text().split()]
        assert process.pid not in others, "a server stands between them"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    until = time.monotonic() + 20
    while any(is_running(pid) for pid in others):
        assert time.monotonic() < until, "a rank or its server has outlived the program"
        time.sleep(0.05)
