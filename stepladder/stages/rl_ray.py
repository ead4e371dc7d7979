"""Asynchronous rollouts in Ray actors: processes that play, replicas of the model that they ask, on this machine or on many."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import ray
from torch import Tensor

from stepladder.distributed.cluster import Cluster
from stepladder.distributed.remote import Lost
from stepladder.distributed.supervised import Supervised, one_ready
from stepladder.images import ImageStore
from stepladder.rollout.asynchronous import WorkerLost
from stepladder.rollout.group import EpisodeJob
from stepladder.rollout.judging import TERM
from stepladder.run import write_json
from stepladder.stages.replica import Replica
from stepladder.stages.rl_config import RlConfig
from stepladder.stages.rl_in_process import EngineUse
from stepladder.stages.rollout_process import Playing, RolloutProcess, SharedDirectory
from stepladder.train.devices import device_of, gpus_left
from stepladder.types import Sampling, Trajectory

_logger = logging.getLogger(__name__)
#: Which process of which machine is what, while the run is at work.
PROCESSES = "processes.json"


class RayPlacement:
    """See `Placement`. Workers and replicas that are lost are begun anew, replicas with the newest weights."""

    def __init__(self, config: RlConfig) -> None:
        self.config = config
        self.workers = [RayWorker(config) for _ in range(config.ray.workers)]
        self._replicas: list[Supervised] = []
        self._cluster: Cluster | None = None
        self._use = EngineUse()
        #: The newest weights, in Ray's store of objects, and their version.
        self._weights: tuple[Any, int] | None = None

    async def open(self) -> None:
        """Raises PlacementFailure where there is no cluster, or no room in it."""
        settings, config = self.config.ray, _travelling(self.config)
        replica = {"CPU": settings.replica_cpus, "GPU": settings.replica_gpus}
        bundles = [*([replica] * settings.replicas), *([{"CPU": settings.worker_cpus}] * settings.workers)]
        if not settings.replica_gpus and device_of(config.device, config.ranks).type == "cuda":
            _logger.warning("the trainer computes on a GPU and replicas on processors; ray.replica_gpus=1 gives each of them a GPU")
        gpus = gpus_left(config.device, config.ranks)
        self._cluster = cluster = await asyncio.to_thread(Cluster, settings, bundles, gpus)
        shared = _mark(self.config.output) if settings.share_files else None
        for number in range(settings.replicas):
            born = partial(self._replica_born, number)
            self._replicas.append(await cluster.place(f"replica {number}", number, Replica, config, shared, born=born))
        playing = _playing(config)
        for number, worker in enumerate(self.workers):
            place, name = settings.replicas + number, f"worker {number}"
            born = partial(self._worker_born, number)
            worker.part = await cluster.place(name, place, RolloutProcess, playing, number, Lost, shared, born=born)
        await one_ready(self._replicas)

    async def refresh(self, weights: Mapping[str, Tensor], version: int) -> None:
        """Each replica goes on with the new weights as soon as it has them; one that is lost gets them when it is back. Raises
        why when all of them are done without."""
        plain = {name: value.detach().cpu() for name, value in weights.items()}
        self._weights = await asyncio.to_thread(ray.put, plain), version
        await asyncio.gather(*(self._tell(replica) for replica in self._replicas))
        failures = [replica.failure for replica in self._replicas]
        if failures[0] is not None and all(failures):
            raise failures[0]

    async def figures(self) -> dict[str, float]:
        """What `EngineUse` gives of all replicas, and the processes that were lost so far."""
        done = [one for one in await asyncio.gather(*(_asked(replica, "work_done") for replica in self._replicas)) if one]
        use = self._use.interval(sum(one[0] for one in done), sum(one[1] for one in done), len(self._replicas))
        parts = self._parts()
        return {**use, "processes_lost": float(sum(part.losses for part in parts))}

    async def counts(self) -> Counter[str]:
        """See `Placement.counts`; of processes that were lost nothing is known any more."""
        parts = [worker.part for worker in self.workers if worker.part is not None]
        return sum(filter(None, await asyncio.gather(*(_asked(part, "counts") for part in parts))), Counter[str]())

    async def close(self) -> None:
        """See `Placement.close`."""
        parts = [worker.part for worker in self.workers if worker.part is not None]
        await asyncio.gather(*(_asked(part, "close") for part in parts), return_exceptions=True)
        if self._cluster is not None:
            await self._cluster.close()
        for name in (SharedDirectory.NAME, PROCESSES):
            (self.config.output / name).unlink(missing_ok=True)

    def _parts(self) -> list[Supervised]:
        return [*self._replicas, *(worker.part for worker in self.workers if worker.part is not None)]

    def _note(self) -> None:
        """Who is who, for those who look at the machines."""
        found = {part.name: asdict(part.life) for part in self._parts() if part.life is not None}
        with suppress(OSError):  # nothing is read back
            write_json(self.config.output / PROCESSES, found)

    async def _replica_born(self, number: int) -> None:
        """A replica in a new process has the weights of the checkpoint."""
        self._note()
        if self._weights is not None:
            await self._replicas[number].remote.call("update", *self._weights)

    async def _worker_born(self, number: int) -> None:
        """A worker in a new process does not know whom to ask. A replica's handle is good for all of its processes."""
        self._note()
        part = self.workers[number].part
        assert part is not None
        await part.remote.call("connect", [one.remote for one in self._replicas])

    async def _tell(self, replica: Supervised) -> None:
        assert self._weights is not None
        with suppress(Lost):  # it is told when it is back
            await replica.call("update", *self._weights)


class RayWorker:
    """See `RolloutWorker`: a `RolloutProcess` in an actor. Its pictures are put where the trainer looks for them."""

    def __init__(self, config: RlConfig) -> None:
        self.capacity = config.environments
        self.part: Supervised | None = None
        self._images = ImageStore(config.output / "images", cache=0)

    async def ready(self) -> None:
        """See `RolloutWorker.ready`. Raises PlacementFailure."""
        assert self.part is not None
        await self.part.ready()

    async def play(self, job: EpisodeJob, sampling: Sampling, kept: bool) -> Trajectory:
        """See `RolloutWorker.play`."""
        assert self.part is not None
        try:
            trajectory, pictures = await self.part.call("play", job, sampling, kept)
            for data in pictures.values():
                self._images.put(data)
        except Lost as error:
            raise WorkerLost(f"{self.part.name} is lost: {error}") from error
        if pictures:
            with suppress(Lost):  # then they are sent again
                await self.part.call("received", tuple(pictures))
        found: Trajectory = trajectory
        return found


async def _asked(part: Supervised, method: str) -> Any:
    """What a part answers, None when it is lost or busy beyond measure."""
    try:
        async with asyncio.timeout(part.settings.silence):
            return await part.call(method)
    except (Lost, TimeoutError):
        return None


def _mark(directory: Path) -> SharedDirectory:
    """Make the directory one that can be told from all others."""
    shared = SharedDirectory(directory.resolve(), secrets.token_hex(16))
    directory.mkdir(parents=True, exist_ok=True)
    (directory / SharedDirectory.NAME).write_text(shared.mark)
    return shared


def _travelling(config: RlConfig) -> RlConfig:
    """The settings as another process needs them: its working directory may be another one."""
    return replace(config, checkpoint=config.checkpoint.resolve(), output=config.output.resolve())


def _playing(config: RlConfig) -> Playing:
    """What the processes that play need to know."""
    return Playing(
        checkpoint=config.checkpoint,
        output=config.output,
        environments=config.environments,
        max_steps=config.max_steps,
        options=config.options,
        pool=config.pool,
        judge=config.judge,
        judge_api=config.judge_api,
        opinion=TERM in config.rewards,
        patience=config.ray.gone,
    )
