"""A Ray cluster, and room in it for the parts of a run."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import ray
from ray.exceptions import GetTimeoutError
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from stepladder.distributed.remote import Host, Remote
from stepladder.distributed.settings import AUTO, LOCAL, RaySettings
from stepladder.distributed.supervised import PlacementFailure, Supervised

#: Calls that one object may have at a time.
_CALLS = 10_000
_LOOPBACK = "127.0.0.1"

Resources = Mapping[str, float]


class Cluster:
    """Joins the cluster that `settings` name, or starts one, and reserves `bundles` in it: what each part of the run needs ("CPU",
    "GPU"). One that is started has the GPUs `gpus` of this machine, as CUDA_VISIBLE_DEVICES names them. Raises PlacementFailure
    when there is none, or no room in it."""

    def __init__(self, settings: RaySettings, bundles: Sequence[Resources], gpus: Sequence[str] = ()) -> None:
        self.settings, self.bundles, self._gpus = settings, bundles, gpus
        self._parts: list[Supervised] = []
        self._group: PlacementGroup | None = None
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        self._join()
        try:
            self._reserve()
        except BaseException:
            ray.shutdown()
            raise

    async def place(
        self,
        name: str,
        place: int,
        build: Callable[..., Any],
        *arguments: Any,
        born: Callable[[], Awaitable[None]] | None = None,
    ) -> Supervised:
        """The object that `build` makes of `arguments` (both picklable), in a process that has the bundle `place`."""
        bundle = self.bundles[place]
        assert self._group is not None
        actor = ray.remote(Host).options(
            num_cpus=bundle.get("CPU", 0),
            num_gpus=bundle.get("GPU", 0),
            max_restarts=-1,
            max_task_retries=0,
            max_concurrency=_CALLS,
            scheduling_strategy=PlacementGroupSchedulingStrategy(self._group, placement_group_bundle_index=place),
        )
        remote = Remote(actor.remote(build, arguments))
        part = Supervised(name, remote, self.settings, born or _nothing)
        self._parts.append(part)
        return part

    @property
    def nodes(self) -> int:
        """Machines of the cluster that are alive."""
        return sum(bool(node["Alive"]) for node in ray.nodes())

    async def close(self) -> None:
        """End all parts and let go of the cluster; one that was started here ends."""
        await asyncio.gather(*(part.close() for part in self._parts), return_exceptions=True)
        if self._group is not None:
            remove_placement_group(self._group)
        ray.shutdown()

    def _join(self) -> None:
        common: dict[str, Any] = {"log_to_driver": False, "configure_logging": False, "include_dashboard": False}
        address = self.settings.address
        if address == LOCAL:
            totals = {kind: sum(bundle.get(kind, 0.0) for bundle in self.bundles) for kind in ("CPU", "GPU")}
            needed = math.ceil(totals["GPU"])
            if needed > len(self._gpus):
                raise PlacementFailure(
                    f"ray.replica_gpus: the replicas need {totals['GPU']:g} GPUs, and the trainer leaves {len(self._gpus)} of this "
                    "machine's; set ray.replicas, ray.replica_gpus or ranks"
                )
            with _visible(self._gpus[:needed]):
                ray.init(
                    address="local",
                    num_cpus=max(1, round(totals["CPU"] + 0.5)),
                    num_gpus=needed,
                    _node_ip_address=_LOOPBACK,
                    **common,
                )
            return
        common.pop("include_dashboard")
        try:
            ray.init(address="auto" if address == AUTO else address, **common)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise PlacementFailure(
                f"ray.address: there is no Ray cluster at {address!r} that can be joined ({error}); start one with "
                "`ray start --head`, or set ray.address=local"
            ) from error

    def _reserve(self) -> None:
        bundles = [{kind: amount for kind, amount in bundle.items() if amount} or {"CPU": 0.001} for bundle in self.bundles]
        self._group = placement_group(bundles, strategy="SPREAD")
        try:
            ray.get(self._group.ready(), timeout=self.settings.patience)
        except GetTimeoutError:
            has = {kind: amount for kind, amount in ray.cluster_resources().items() if kind in ("CPU", "GPU")}
            remove_placement_group(self._group)
            needs = {kind: sum(bundle.get(kind, 0.0) for bundle in self.bundles) for kind in ("CPU", "GPU")}
            raise PlacementFailure(
                f"the cluster has no room: the run needs {needs} in parts of {bundles}, all machines together have {has}; "
                "set ray.workers, ray.replicas or what each of them needs (ray.worker_cpus, ray.replica_cpus, ray.replica_gpus)"
            ) from None


@contextmanager
def _visible(gpus: Sequence[str]) -> Iterator[None]:
    """Processes that are started meanwhile see these GPUs alone."""
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
    try:
        yield
    finally:
        if before is None:
            del os.environ["CUDA_VISIBLE_DEVICES"]
        else:
            os.environ["CUDA_VISIBLE_DEVICES"] = before


async def _nothing() -> None:
    """Default of `born`."""
