"""Demonstrations: the environments' own solutions of tasks on training seeds, by several processes at a time.

    stepladder collect --set tasks=miniwob@demo --set episodes=600 --set output=runs/collect

    trajectories.jsonl   the demonstrations that succeeded
    rejected.jsonl       those that did not, with their status and reward
    visited.jsonl        first screens of further seeds, where nothing was done (`visits`)
    regions.jsonl        what is where on each screenshot a demonstration acted on, and on each first screen
    images/              the screenshots

Each demonstration is a function of its task and seed alone, so that a collection which was killed and started again ends with the
same set as one that was not; only the order of the lines, and the regions of screens whose trajectory was lost, may differ.
Workers play, this process alone writes. The screen on which a demonstration ended is left out where the environment allows it:
nothing learns from it.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random
from typing import Any

from stepladder.config import ConfigError, to_dict
from stepladder.data.regions import RegionStore
from stepladder.data.screen_pool import VISITED_FILE
from stepladder.images import ImageStore
from stepladder.interfaces import Environment
from stepladder.progress import Progress
from stepladder.rollout.by_task import ByTask
from stepladder.rollout.demonstrate import VISIT, Seen, look_at, run_demonstration
from stepladder.rollout.group import EpisodeJob, play_many
from stepladder.rollout.pool import EnvironmentPool, PoolSettings
from stepladder.run import Run, write_json
from stepladder.seeds import train_seeds
from stepladder.store import TrajectoryStore
from stepladder.tasks import load_tasks, task_set_hash
from stepladder.types import Limits, Observation, Trajectory

Demonstration = tuple[Trajectory, list[Seen]]
#: Most jobs that are handed out at once.
CHUNK = 20
#: Settings that change how much is collected, or how quickly, and nothing in what is there.
MAY_CHANGE = ("output", "workers", "environments", "pool", "episodes", "visits")
#: The first seed of the pages that are only looked at; their jobs have VISIT for a group.
FIRST_VISIT = 100_000
#: Workers that may die before the collection gives up.
MOST_DEATHS = 5


@dataclass(frozen=True)
class CollectConfig:
    """`episodes` training seeds of each task, from `first` on. A share `mistakes` of the demonstrations starts after a wrong step.
    `visits` other training seeds of each task are opened and looked at, with nothing done: what stands where on a page is known
    without anybody's demonstration, and perception learns from it. `workers` processes play `environments` episodes each at a time.
    `pool` says how they are kept, `options` go to the environment (such as {"height": 224})."""

    tasks: str = "miniwob@demo"
    output: Path = Path("runs/collect")
    episodes: int = 600
    first: int = 0
    mistakes: float = 0.25
    regions: bool = True
    visits: int = 0
    workers: int = 2
    environments: int = 2
    options: Mapping[str, Any] = field(default_factory=dict)
    pool: PoolSettings = field(default_factory=PoolSettings)


@dataclass
class Collected:
    """Counts by task. `rejected` ended without success, `missing` had no grade in any attempt (their environment failed);
    `visited` pages were looked at. `environments` counts what happened to these (`EnvironmentPool.counts`), without those of
    processes that died."""

    kept: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    visited: Counter[str] = field(default_factory=Counter)
    missing: Counter[str] = field(default_factory=Counter)
    environments: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0


@dataclass(frozen=True)
class Orders:
    """What a worker needs to know; all of it can be pickled."""

    images: Path
    mistakes: float
    regions: bool
    environments: int
    options: Mapping[str, Any]
    pool: PoolSettings = field(default_factory=PoolSettings)


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    jobs: dict[str, EpisodeJob] = field(default_factory=dict)


def main(config: CollectConfig, show: bool = True) -> Collected:
    """Collect what is missing in `config.output`. Raises ConfigError, ValueError."""
    if not 0 <= config.mistakes <= 1:
        raise ConfigError(f"mistakes is {config.mistakes}; it is a share between 0 and 1")
    if config.workers < 1 or config.environments < 1:
        raise ConfigError("workers and environments must be at least 1")
    if config.visits and not config.regions:
        raise ConfigError(f"visits is {config.visits} with regions off; a page is visited for its regions")
    if config.visits and config.first + config.episodes > FIRST_VISIT:
        last = config.first + config.episodes - 1
        raise ConfigError(
            f"the demonstrations' seeds go up to {last}; with visits they must end below {FIRST_VISIT}, where those begin"
        )
    tasks = load_tasks(config.tasks, split="train")
    settings = {**to_dict(config), "task_set": task_set_hash(tasks)}
    jobs = [EpisodeJob(task, seed) for task in tasks for seed in train_seeds(config.episodes, config.first)]
    jobs += [EpisodeJob(task, seed, VISIT) for task in tasks for seed in train_seeds(config.visits, FIRST_VISIT)]
    with Run(config.output, settings, seeds={"first": config.first}, may_change=MAY_CHANGE) as run:
        with run.phase(f"collect {config.episodes} of each task, visit {config.visits}") as phase:
            collected = collect(
                jobs,
                config.output,
                mistakes=config.mistakes,
                regions=config.regions,
                workers=config.workers,
                environments=config.environments,
                options=config.options,
                pool=config.pool,
                show=show,
            )
        collected.seconds = phase.seconds
        write_json(config.output / "collected.json", vars(collected))
    return collected


def collect(
    jobs: Sequence[EpisodeJob],
    directory: Path,
    *,
    mistakes: float = 0.25,
    regions: bool = True,
    workers: int = 2,
    environments: int = 2,
    options: Mapping[str, Any] | None = None,
    pool: PoolSettings | None = None,
    show: bool = True,
) -> Collected:
    """Play the demonstrations of `jobs` that `directory` lacks, and look at the pages of those of the group VISIT; the counts are
    those of all `jobs`.

    Demonstrations whose environment failed are tried again, in this call and in the next one. Raises RuntimeError when a worker
    fails with a mistake of this program, or when workers die again and again.
    """
    started = time.monotonic()
    with (
        TrajectoryStore(directory / "trajectories.jsonl", "a") as kept,
        TrajectoryStore(directory / "rejected.jsonl", "a") as rejected,
        TrajectoryStore(directory / VISITED_FILE, "a") as visited,
        Progress("collect", len(jobs), show=show) as progress,
    ):
        had = {_key(s.task, s.seed) for store in (kept, rejected) for s in store.summaries() if s.reward is not None}
        had |= {_key(s.task, s.seed) for s in visited.summaries()}
        missing = [job for job in jobs if _key(job.task.id, job.seed) not in had]
        known = RegionStore(directory / "regions.jsonl")
        writer = _Writer(kept, rejected, visited, known, progress, len(jobs), len(jobs) - len(missing))
        counts: Counter[str] = Counter()
        if missing:
            orders = Orders(directory / "images", mistakes, regions, environments, dict(options or {}), pool or PoolSettings())
            queue = JobQueue(missing, slots=workers * environments)
            crew = _Crew(queue, orders, writer)
            crew.work(min(workers, len(missing)))
            counts = crew.counts
        return _count(jobs, kept, rejected, visited, counts, time.monotonic() - started)


class JobQueue:
    """Jobs that wait, by task, handed out in pieces. Pieces get smaller towards the end, so that all `slots` pages end at about the
    same time."""

    def __init__(self, jobs: Iterable[EpisodeJob], slots: int) -> None:
        self._slots = slots
        self._waiting: ByTask[EpisodeJob] = ByTask()
        self.add(jobs)

    def add(self, jobs: Iterable[EpisodeJob]) -> None:
        for job in jobs:
            self._waiting.add(job.task.id, job)

    def take(self, task: str) -> list[EpisodeJob]:
        """Some jobs of `task`, or when it has none left, of the task with the most; none when all is handed out."""
        return self._waiting.take(task, min(CHUNK, 1 + len(self._waiting) // (2 * self._slots)))


def has_mistake(task: str, seed: int, share: float) -> Random | None:
    """The generator of this demonstration's wrong step, None when it has none: decided by task and seed alone."""
    generator = Random(f"mistake {task} {seed}")
    return generator if generator.random() < share else None


def is_lesson(trajectory: Trajectory) -> bool:
    """Whether something is learned from it: a demonstration that succeeded, or a page that was looked at."""
    return trajectory.success or (trajectory.policy == VISIT and not trajectory.environment_failed)


def _seen(trajectory: Trajectory) -> list[Observation]:
    """The screens whose regions come with it."""
    if trajectory.policy == VISIT:
        return [] if trajectory.final is None else [trajectory.final]
    return [step.observation for step in trajectory.steps]


class _Writer:
    """Keeps what workers send: regions before their trajectory, so that no kept demonstration lacks them."""

    def __init__(
        self,
        kept: TrajectoryStore,
        rejected: TrajectoryStore,
        visited: TrajectoryStore,
        regions: RegionStore,
        progress: Progress,
        total: int,
        before: int,
    ) -> None:
        self.kept, self.rejected, self.visited, self.regions, self.progress = kept, rejected, visited, regions, progress
        self.total, self.before, self.done = total, before, before
        self.failed = 0
        self.started = time.monotonic()

    def keep(self, demonstration: Demonstration) -> None:
        trajectory, regions = demonstration
        if is_lesson(trajectory):
            for observation, seen in zip(_seen(trajectory), regions, strict=False):
                if observation.screenshot is not None and seen is not None:
                    self.regions.append(observation.screenshot, seen)
            (self.visited if trajectory.policy == VISIT else self.kept).append(trajectory)
        else:
            attempt = sum(f"{trajectory.id}~{number}" in self.rejected for number in range(100))
            self.rejected.append(replace(trajectory, id=f"{trajectory.id}~{attempt}"))
            self.failed += 1
        self.done += 1
        speed = (self.done - self.before) / (time.monotonic() - self.started)
        self.progress.update(self.done, self.total, {"failed": self.failed, "episodes/s": speed})


class _Crew:
    """The parent's side: hands out chunks, receives demonstrations, replaces workers that died."""

    def __init__(self, waiting: JobQueue, orders: Orders, writer: _Writer) -> None:
        self.waiting, self.orders, self.writer = waiting, orders, writer
        self.workers: list[_Worker] = []
        self.deaths = 0
        self.counts: Counter[str] = Counter()

    def work(self, count: int) -> None:
        try:
            for _ in range(count):
                self._hire()
            while self.workers:
                ready = wait([worker.connection for worker in self.workers])
                for worker in [worker for worker in self.workers if worker.connection in ready]:
                    self._serve(worker)
        finally:
            for worker in self.workers:
                worker.connection.close()
            for worker in self.workers:
                worker.process.join(10)
                worker.process.kill()
                worker.process.join()

    def _hire(self) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, self.orders), name="stepladder-collect", daemon=True)
        process.start()
        theirs.close()
        self.workers.append(_Worker(process, ours))

    def _serve(self, worker: _Worker) -> None:
        try:
            kind, content = worker.connection.recv()
        except (EOFError, ConnectionError):
            self._bury(worker)
            return
        if kind == "next":
            chunk = self.waiting.take(content)
            worker.jobs |= {_key(job.task.id, job.seed): job for job in chunk}
            try:
                worker.connection.send(chunk)
            except OSError:  # it died after it had asked
                self._bury(worker)
        elif kind == "demonstration":
            self.writer.keep(content)
            worker.jobs.pop(_key(content[0].task.id, content[0].seed))
        elif kind == "counts":
            self.counts.update(content)
        else:
            raise RuntimeError(f"a collecting process failed:\n{content}")

    def _bury(self, worker: _Worker) -> None:
        """A worker is gone: at the end of its work, or in the middle of it."""
        worker.process.join()
        worker.connection.close()
        self.workers.remove(worker)
        if not worker.jobs:
            return
        self.deaths += 1
        if self.deaths > MOST_DEATHS:
            raise RuntimeError(f"{self.deaths} collecting processes died, the last one with exit code {worker.process.exitcode}")
        self.waiting.add(worker.jobs.values())
        self._hire()


def _count(
    jobs: Sequence[EpisodeJob],
    kept: TrajectoryStore,
    rejected: TrajectoryStore,
    visited: TrajectoryStore,
    environments: Counter[str],
    seconds: float,
) -> Collected:
    collected = Collected(environments=environments, seconds=seconds)
    good = {_key(summary.task, summary.seed) for summary in kept.summaries()}
    looked_at = {_key(summary.task, summary.seed) for summary in visited.summaries()}
    bad = {_key(summary.task, summary.seed) for summary in rejected.summaries() if summary.reward is not None}
    for job in jobs:
        key = _key(job.task.id, job.seed)
        for keys, counter in ((good, collected.kept), (bad, collected.rejected), (looked_at, collected.visited)):
            if key in keys:
                counter[job.task.id] += 1
                break
        else:
            collected.missing[job.task.id] += 1
    return collected


def _key(task: str, seed: int) -> str:
    return f"{task} {seed}"


# ---------------------------------------------------------------------------------------------------------- the worker process


def _work(connection: Connection, orders: Orders) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which closes the connection
    try:
        try:
            asyncio.run(_Workplace(connection, orders).run())
        except (EOFError, ConnectionError):
            raise
        except Exception:
            connection.send(("error", traceback.format_exc()))  # the parent raises it
    except (EOFError, ConnectionError):
        return  # the parent is gone: nobody is left to be told


class _Workplace:
    """The worker's side: some environments of each kind, each playing one chunk after another."""

    def __init__(self, connection: Connection, orders: Orders) -> None:
        self.connection, self.orders = connection, orders
        self.images = ImageStore(orders.images, cache=0)
        self.pools: dict[str, EnvironmentPool] = {}
        self.lock = asyncio.Lock()
        #: SHA-256 of the pictures whose regions the parent has got from this worker and keeps. The parent takes what it is sent in
        #: order, so that whoever dies, no demonstration is kept before the regions that it relies on.
        self.known: set[str] = set()

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self.orders.environments):
                    group.create_task(self._serve())
        except* (EOFError, ConnectionError) as errors:
            raise EOFError("the collecting parent is gone") from errors
        else:
            self.connection.send(("counts", sum((pool.counts for pool in self.pools.values()), Counter[str]())))
        finally:
            for pool in self.pools.values():
                await pool.close()

    async def _serve(self) -> None:
        task = ""
        while True:
            async with self.lock:
                self.connection.send(("next", task))
                chunk: list[EpisodeJob] = await asyncio.to_thread(self.connection.recv)
                if not chunk:
                    return
                task, kind = chunk[0].task.id, chunk[0].task.env
                if kind not in self.pools:
                    pool = EnvironmentPool.of(kind, self.images, self.orders.environments, self.orders.options, self.orders.pool)
                    self.pools[kind] = await pool.start()
            for job in chunk:  # one by one, so that the others that serve have an environment too
                await play_many([job], self.pools[kind], self._play, failed=_environment_failed, on_result=self._send)

    async def _play(self, environment: Environment, job: EpisodeJob) -> Demonstration:
        if job.group == VISIT:
            return await look_at(environment, job.task, job.seed, limits=Limits(), known=self.known)
        mistakes = has_mistake(job.task.id, job.seed, self.orders.mistakes)
        return await run_demonstration(
            environment,
            job.task,
            job.seed,
            limits=Limits(),
            mistakes=mistakes,
            regions=self.orders.regions,
            known=self.known,
            final=False,
        )

    def _send(self, demonstration: Demonstration) -> None:
        self.connection.send(("demonstration", demonstration))
        trajectory, _ = demonstration
        if self.orders.regions and is_lesson(trajectory):  # the parent keeps the regions of those alone
            self.known |= {observation.screenshot.sha256 for observation in _seen(trajectory) if observation.screenshot}


def _environment_failed(demonstration: Demonstration) -> bool:
    return demonstration[0].environment_failed
