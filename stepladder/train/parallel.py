"""Ranks: processes that train together, each with one thread, gradients summed over gloo or, of GPUs, over NCCL.

On two cores, two processes of one thread were quicker and steadier than one process of two threads.

On one machine a program starts its ranks itself. They are forked, on Linux, by a server that has imported what all of them need and
does nothing else: the first of a program starts it, and later ones are there at once.

On several machines `torchrun` starts the same command as often as there are ranks. The first of them does what it says, and alone
writes files of a run; the others wait for what all ranks have to do (`Launched`).
"""

from __future__ import annotations

import functools
import os
import pickle
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import wait
from multiprocessing.context import BaseContext
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from torch._C._distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from stepladder.config import ConfigError

T = TypeVar("T")
#: Set by torchrun in the processes that it starts.
LAUNCHED = "TORCHELASTIC_RUN_ID"
#: How long the other ranks wait for the first one's next word.
_PATIENCE = timedelta(days=365)
#: Seconds after which a rank that shows no sign of life is gone.
_SILENCE = 60.0
#: What takes seconds to be imported, and every rank needs.
_HEAVY = ("torch", "transformers.models.qwen3_vl.modeling_qwen3_vl")


def run_ranks(function: Callable[..., None], ranks: int, *arguments: Any) -> None:
    """Call function(rank, world, *arguments) in `ranks` processes: rank 0 here, the others in new ones, or in those that torchrun
    has started. `function` and `arguments` must be picklable. The others end with this process, however it ends. Raises
    RuntimeError when one of them fails, ConfigError where torchrun has started another number of them."""
    if ranks < 1:
        raise ValueError(f"ranks is {ranks}; it must be at least 1")
    started = launched()
    if started is not None:
        started.run(function, ranks, arguments)
        return
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
            _in_rank(function, 0, ranks, arguments, init_method=f"file://{rendezvous}")
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


@dataclass(frozen=True)
class Launched:
    """Ranks that `torchrun` has started, of which this process is one. They meet in `store`, which all can reach."""

    rank: int
    world: int
    store: Store

    def run(self, function: Callable[..., None], ranks: int, arguments: tuple[Any, ...]) -> None:
        """Call function(rank, world, *arguments) in all of them, and come back when all have done it; the first rank calls this.
        Raises ConfigError where `ranks` are wanted and there are others."""
        if ranks != self.world:
            raise ConfigError(f"ranks is {ranks}, and torchrun has started {self.world}; say ranks={self.world}")
        self._call(self._tell((function, arguments)), function, arguments)

    def serve(self) -> None:
        """Do what the first rank has to be done by all, until it has nothing more; all others call this."""
        number = 0
        while True:
            number += 1
            self.store.wait([f"call {number}"], _PATIENCE)
            called = pickle.loads(self.store.get(f"call {number}"))
            if called is None:
                self.store.add("gone", 1)
                return
            try:
                self._call(number, *called)
            except SystemExit:
                time.sleep(10)  # the first rank says what is wrong, and torchrun ends whoever is left
                raise
            except BaseException:
                self.fail()
                raise

    def dismiss(self) -> None:
        """There is nothing more to do: the others end, and this comes back when they do."""
        self._tell(None)
        while self.store.add("gone", 0) < self.world - 1:
            time.sleep(0.05)

    def fail(self) -> None:
        """Tell all ranks to end."""
        self.store.set("failed", str(self.rank))

    def watch(self, store: Store) -> None:
        """End this process when another rank has failed or shows no sign of life, or nobody can be reached: torchrun ends those of
        its own machine alone. `store` is another connection to the same place; this is for a thread of its own."""
        watched, seen = range(1, self.world) if self.rank == 0 else range(1), dict[int, tuple[int, float]]()
        reason = ""
        while not reason:
            try:
                store.add(f"beat {self.rank}", 1)
                beats = {rank: store.add(f"beat {rank}", 0) for rank in watched}
                if store.add("gone", 0):
                    return
                if store.check(["failed"]):
                    reason = f"rank {store.get('failed').decode()} has failed"
            except (RuntimeError, ValueError) as error:
                reason = f"the ranks have lost each other: {error}"
            now = time.monotonic()
            for rank, beat in beats.items() if not reason else ():
                if beat != seen.get(rank, (-1, now))[0]:
                    seen[rank] = (beat, now)
                elif beat and now - seen[rank][1] > _SILENCE:
                    reason = f"rank {rank} has shown no sign of life for {_SILENCE:.0f} seconds"
                    self.fail()
            time.sleep(1)
        print(f"rank {self.rank} ends: {reason}", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)  # what is open is closed; but something that waits for another rank waits for ever
        os._exit(1)

    def _tell(self, what: Any) -> int:
        number = self.store.add("calls", 1)
        self.store.set(f"call {number}", pickle.dumps(what))  # type: ignore[arg-type]  # bytes are taken, too
        return number

    def _call(self, number: int, function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        def whole(rank: int, world: int) -> None:
            function(rank, world, *arguments)
            agreed(None)  # all have done it

        _in_rank(whole, self.rank, self.world, (), store=PrefixStore(f"group {number}", self.store))


@functools.cache
def launched() -> Launched | None:
    """The ranks that torchrun has started, this process among them; None where it has not started this process. From then on the
    process ends when another rank fails."""
    if os.environ.pop(LAUNCHED, None) is None:  # programs that this one starts are not launched by torchrun
        return None
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    store, _, _ = next(rendezvous("env://", rank, world))
    own, other = (PrefixStore("stepladder", one) for one in (store, store.clone()))
    found = Launched(rank, world, own)
    Thread(target=found.watch, args=(other,), name="stepladder-ranks", daemon=True).start()
    return found


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
    _in_rank(function, rank, world, arguments, init_method=f"file://{rendezvous}")


def _end_with_the_first() -> None:
    """Wait until rank 0 is gone, however it went. A server ends when all that it has forked have."""
    first = multiprocessing.parent_process()
    if first is not None:
        wait([first.sentinel])
        os.kill(os.getpid(), signal.SIGKILL)


def _in_rank(function: Callable[..., None], rank: int, world: int, arguments: tuple[Any, ...], **meeting: Any) -> None:
    """`meeting` says how the ranks find each other, as `torch.distributed.init_process_group` takes it."""
    torch.set_num_threads(1)
    cores = sorted(_cores())
    if ranks_here(world) == len(cores):  # fewer would share the first cores with those of every other run on the machine
        _stay_on({cores[int(os.environ.get("LOCAL_RANK", rank)) if world > 1 else rank]})
    if world > 1:
        # What is on the processor goes over gloo all the same.
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
        dist.init_process_group(backend, rank=rank, world_size=world, **meeting)
    try:
        agreed(None)  # one that had nothing to say and left would break the connection that another is still making
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
