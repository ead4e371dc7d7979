"""Ranks that torchrun starts, here as two machines on one: they learn what ranks learn that the program starts itself, and end
together."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest
import torch
from processes import is_running
from safetensors.torch import load_file
from torch._C._distributed_c10d import HashStore

from stepladder.config import ConfigError, override
from stepladder.run import read_phases
from stepladder.stages.collect import CollectConfig
from stepladder.stages.collect import main as collect
from stepladder.stages.sft import SftConfig
from stepladder.stages.sft import main as sft
from stepladder.train.parallel import Launched

HERE = Path(__file__).parent
SMALL = ["hidden=48", "layers=1", "heads=2", "key_value_heads=1", "vision_hidden=32", "vision_layers=2", "vision_heads=2"]
SETTINGS = [
    *("ranks=2", "bf16=false", "questions=1", "screens=20", "ignore_above=0", "save_every=3", "copying.steps=0"),
    *("perception.steps=0", "cloning_frozen.steps=0", "cloning.steps=6", "cloning.batch=6", "cloning.visits=0"),
    *("cloning.practice=1", "cloning.copies=0", "cloning.score_every=3", *(f"model.{size}" for size in SMALL)),
]


@contextmanager
def launched(command: Sequence[str], nodes: int, directory: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """`torchrun` once for each of `nodes` that one machine plays, with a rank each; their output goes to files there."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        endpoint = f"127.0.0.1:{free.getsockname()[1]}"
    meeting = ["--rdzv-backend", "c10d", "--rdzv-endpoint", endpoint, "--local-addr", "127.0.0.1", "--monitor-interval", "0.2"]
    started = [sys.executable, "-m", "torch.distributed.run", "--nnodes", str(nodes), "--nproc-per-node", "1", *meeting]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE)}
    processes = []
    for node in range(nodes):
        output = (directory / f"node-{node}.log").open("wb")
        process = subprocess.Popen([*started, *command], env=environment, stdout=output, stderr=output)
        processes.append(process)
    try:
        yield processes
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(timeout=60)


def told(directory: Path) -> str:
    return "\n".join(path.read_text() for path in sorted(directory.glob("node-*.log")))


@pytest.mark.learning
def test_two_machines_learn_what_two_ranks_of_one_learn(tmp_path: Path) -> None:
    demonstrations = tmp_path / "collect"
    collect(
        CollectConfig(tasks="forms:click-button", output=demonstrations, episodes=40, workers=1, options={"height": 224}),
        show=False,
    )
    settings = [*SETTINGS, f"demonstrations={demonstrations}"]
    alone = sft(override(SftConfig(), [*settings, f"output={tmp_path / 'alone'}"]), show=False)
    command = ["-m", "stepladder", "sft", "--output", str(tmp_path / "apart")]
    for setting in settings:
        command += ["--set", setting]
    with launched(command, 2, tmp_path) as nodes:
        assert [node.wait(timeout=280) for node in nodes] == [0, 0], told(tmp_path)
    one, two = (load_file(directory / "model.safetensors") for directory in (alone, tmp_path / "apart" / "checkpoint"))
    assert one.keys() == two.keys()
    assert all(torch.allclose(two[name], value, atol=1e-5) for name, value in one.items())
    assert read_phases(tmp_path / "apart")["cloning"]["done"]


@pytest.mark.learning
def test_every_call_comes_back_when_all_have_done_it(tmp_path: Path) -> None:
    with launched(["-m", "launched_sums", str(tmp_path), "2", "add_up"], 2, tmp_path) as nodes:
        assert [node.wait(timeout=200) for node in nodes] == [0, 0], told(tmp_path)
    found = {path.name: path.read_text() for path in tmp_path.iterdir() if path.name[0].isdecimal()}
    ranks = "[(0, '0', 1), (1, '0', 1)]"  # a machine each, whose only rank is the first one there
    assert found == {"0-0": f"1.0 {ranks}", "0-1": f"1.0 {ranks}", "10-0": f"21.0 {ranks}", "10-1": f"21.0 {ranks}"}


@pytest.mark.learning
def test_a_rank_that_fails_ends_those_of_all_machines(tmp_path: Path) -> None:
    with launched(["-m", "launched_sums", str(tmp_path), "2", "fail"], 2, tmp_path) as nodes:
        until = time.monotonic() + 200
        while any(node.poll() is None for node in nodes):
            assert time.monotonic() < until, told(tmp_path)
            time.sleep(0.2)
    assert all(node.returncode for node in nodes)
    assert "rank 1 has failed" in told(tmp_path)
    assert not any(is_running(int(path.read_text())) for path in tmp_path.glob("pid-*"))


def _nothing(rank: int, world: int) -> None:
    raise AssertionError("it must not be called")


def test_another_number_of_ranks_is_refused_and_those_that_wait_are_let_go() -> None:
    store = HashStore()
    other = Thread(target=Launched(1, 2, store).serve)
    other.start()
    first = Launched(0, 2, store)
    with pytest.raises(ConfigError, match="ranks is 4, and torchrun has started 2; say ranks=2"):
        first.run(_nothing, 4, ())
    assert other.is_alive()
    first.dismiss()
    other.join(timeout=10)
    assert not other.is_alive()
