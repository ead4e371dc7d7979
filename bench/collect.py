"""Demonstrations a second, with pictures and regions on disk, for several numbers of pages a process.

Run: OMP_NUM_THREADS=1 python bench/collect.py [tasks] [episodes of each task] [processes]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from stepladder.rollout.group import EpisodeJob
from stepladder.stages.collect import collect
from stepladder.store import TrajectoryStore
from stepladder.tasks import load_tasks


def main(spec: str, episodes: int, workers: int) -> None:
    jobs = [EpisodeJob(task, seed) for task in load_tasks(spec, "train") for seed in range(episodes)]
    for pages in (1, 2, 4, 8):
        with tempfile.TemporaryDirectory() as folder:
            found = collect(jobs, Path(folder), workers=workers, environments=pages, show=False)
            with TrajectoryStore(Path(folder) / "trajectories.jsonl") as store:
                steps = sum(summary.steps for summary in store.summaries())
        kept, rejected = found.kept.total(), found.rejected.total()
        print(
            f"{workers} processes x {pages} pages: {len(jobs) / found.seconds:.1f} episodes/s, {steps / found.seconds:.1f} steps/s "
            f"({kept} kept, {rejected} rejected, {found.missing.total()} missing, {found.seconds:.1f} s with start)",
            flush=True,
        )


if __name__ == "__main__":
    given = sys.argv[1:]
    main(given[0] if given else "miniwob@demo", int(given[1]) if len(given) > 1 else 40, int(given[2]) if len(given) > 2 else 2)
