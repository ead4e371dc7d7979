"""What ranks that torchrun has started do in tests: `torchrun -m launched_sums DIRECTORY RANKS WHAT`."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import launched_sums  # functions of the main program have another name in the other processes
import torch
import torch.distributed as dist

from stepladder.train.parallel import gather, launched, ranks_here, run_ranks


def add_up(rank: int, world: int, directory: Path, number: int) -> None:
    total = torch.tensor([float(rank + number)])
    dist.all_reduce(total)
    told = gather((rank, os.environ["LOCAL_RANK"], ranks_here(world)))
    if rank != 0:
        time.sleep(0.5)
    (directory / f"{number}-{rank}").write_text(f"{float(total)} {told}")


def fail(rank: int, world: int, directory: Path, number: int) -> None:
    (directory / f"pid-{rank}").write_text(str(os.getpid()))
    if rank == 1:
        raise ValueError("rank 1 has failed")
    time.sleep(300)


def main() -> None:
    directory, ranks, what = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    started = launched()
    assert started is not None
    if started.rank:
        started.serve()
        return
    for number in (0, 10):
        run_ranks(getattr(launched_sums, what), ranks, directory, number)
        assert len(list(directory.glob(f"{number}-*"))) == ranks, "it comes back when all have done it"
    started.dismiss()


if __name__ == "__main__":
    main()
