"""Data-parallel training on one machine: one single-threaded process a core, gradients summed over gloo.

On two cores, two processes of one thread were quicker and steadier than one process of two threads.

Ranks are forked, on Linux, by a server that has imported what all of them need and does nothing else: the first of a
program starts it, and later ones are there at once.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from multiprocessing.connection import wait
from multiprocessing.context import BaseContext
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing

T = TypeVar("T")
#: What takes seconds to be imported, and every rank needs.
_HEAVY = ("torch", "transformers.models.qwen3_vl.modeling_qwen3_vl")


def run_ranks(function: Callable[..., None], ranks: int, *arguments: Any) -> None:
    """Call function(rank, world, *arguments) in `ranks` processes: rank 0 here, the others in new ones. `function` and `arguments`
    must be picklable. The others end with this process, however it ends. Raises RuntimeError when one of them fails."""
    if ranks < 1:
        raise ValueError(f"ranks is {ranks}; it must be at least 1")
    threads, affinity = torch.get_num_threads(), _cores()
    with tempfile.TemporaryDirectory(prefix="stepladder-ranks-") as directory:
        rendezvous = str(Path(directory) / "rendezvous")
        context = _context(function.__module__)
        others = [
            context.Process(target=_join, args=(dict(os.environ), function, rank, ranks, rendezvous, arguments), daemon=True)  # type: ignore[attr-defined]
            for rank in range(1, ranks)
        ]
        try:
            for process in others:
                process.start()
            _in_rank(function, 0, ranks, rendezvous, arguments)
            for process in others:
                process.join()
        finally:
            torch.set_num_threads(threads)
            _stay_on(affinity)
            for process in (one for one in others if one.pid is not None):
                if process.is_alive():
                    process.terminate()
                process.join()
        failed = [process.exitcode for process in others if process.exitcode]
        if failed:
            raise RuntimeError(f"{len(failed)} of {ranks} training processes failed (exit codes {failed}); see their output above")


def ranks_here(world: int) -> int:
    """How many of `world` ranks share this machine's memory and cores."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", world)) if world > 1 else 1


def gather(value: T) -> list[T]:
    """What every rank passes, in the order of the ranks; all must call it. The values must be picklable."""
    if not dist.is_initialized():
        return [value]
    everyone: list[T] = [value] * dist.get_world_size()
    dist.all_gather_object(everyone, value)
    return everyone


def agreed(value: T) -> T:
    """Rank 0's value on every rank, such as its clock, so that all take the same decision by it."""
    return gather(value)[0]


def _context(module: str) -> BaseContext:
    """How ranks that call a function of `module` are started."""
    if sys.platform != "linux":  # elsewhere a process that has loaded the system's libraries may not be forked
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    # Heeded by the first rank of a program, which starts the server; a program's own main file is not to run there.
    context.set_forkserver_preload([*_HEAVY, *(name for name in [module] if name != "__main__")])
    return context


def _join(
    environment: Mapping[str, str],
    function: Callable[..., None],
    rank: int,
    world: int,
    rendezvous: str,
    arguments: tuple[Any, ...],
) -> None:
    os.environ.clear()  # the server's are those of when it began
    os.environ.update(environment)
    Thread(target=_end_with_the_first, name="stepladder-rank-0", daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is rank 0's business; it ends the others
    _in_rank(function, rank, world, rendezvous, arguments)


def _end_with_the_first() -> None:
    """Wait until rank 0 is gone, however it went. A server ends when all that it has forked have."""
    first = multiprocessing.parent_process()
    if first is not None:
        wait([first.sentinel])
        os.kill(os.getpid(), signal.SIGKILL)


def _in_rank(function: Callable[..., None], rank: int, world: int, rendezvous: str, arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    cores = sorted(_cores())
    if world == len(cores):  # fewer would share the first cores with those of every other run on the machine
        _stay_on({cores[rank]})
    if world > 1:
        # What is on the processor goes over gloo all the same.
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
        dist.init_process_group(backend, init_method=f"file://{rendezvous}", rank=rank, world_size=world)
    try:
        function(rank, world, *arguments)
    finally:
        if world > 1:
            dist.destroy_process_group()


def _cores() -> set[int]:
    """The cores this process may use; Linux alone knows them."""
    return os.sched_getaffinity(0) if sys.platform == "linux" else set()


def _stay_on(cores: set[int]) -> None:
    if cores and sys.platform == "linux":
        os.sched_setaffinity(0, cores)
