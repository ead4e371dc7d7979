"""The weights of an asynchronous run that episodes are sampled from, in a process of their own."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import Tensor

from stepladder.images import ImageStore
from stepladder.models.half_linear import halve_linear_weights
from stepladder.models.lora import add_adapters
from stepladder.policies.engine import Engine
from stepladder.policies.local import LocalPolicy
from stepladder.stages.local_policy import load_policy
from stepladder.stages.rl_config import RlConfig
from stepladder.stages.rollout_process import Missing, Pictures, SharedDirectory
from stepladder.train.precision import bfloat16_is_fast
from stepladder.types import Completion, ImageRef, Message, Prompt, Sampling

#: Encoded pictures that a replica keeps in memory, where it shares no directory.
_KEPT = 4096


def own_engine(config: RlConfig, images: ImageStore, device: torch.device, autocast: bool) -> Engine:
    """An engine on `device` with weights of its own, those of the run's checkpoint. Raises ConfigError where that is none."""
    model, renderer = load_policy(config.checkpoint, images)
    add_adapters(model, config.lora, config.seed)
    if autocast:
        halve_linear_weights(model)
    return Engine(model.to(device), renderer, autocast=autocast, **config.engine.options(config.environments))


class Replica:
    """The model of a run and its engine. It answers when it was told weights once."""

    def __init__(self, config: RlConfig, shared: SharedDirectory | None) -> None:
        torch.set_num_threads(max(1, int(config.ray.replica_cpus)))
        if config.ray.replica_gpus and not torch.cuda.is_available():
            raise RuntimeError(f"ray.replica_gpus is {config.ray.replica_gpus:g}, and PyTorch finds no GPU where this replica is")
        sees = shared is not None and shared.is_here()
        self._images = ImageStore(config.output / "images" if sees else None)
        device = torch.device("cuda" if config.ray.replica_gpus else "cpu")
        # The trainer may be on a GPU, and this processor without bfloat16.
        self._engine = own_engine(config, self._images, device, config.bf16 and bfloat16_is_fast())
        self._policy = LocalPolicy(self._engine, "student")
        self._in_progress = config.asynchronous.in_progress
        self._received: OrderedDict[str, ImageRef] = OrderedDict()
        self._told = asyncio.Event()

    async def generate(
        self, messages: tuple[Message, ...], sampling: Sampling, pictures: Pictures
    ) -> tuple[Prompt, Completion] | Missing:
        """See `Policy.generate`; or which pictures it needs, too."""
        await self._told.wait()
        self._receive(pictures)
        missing = {one.sha256 for message in messages for one in message.images if one not in self._images}
        return Missing(frozenset(missing)) if missing else await self._policy.generate(messages, sampling)

    async def update(self, weights: Mapping[str, Tensor], version: int) -> None:
        """See `Engine.update_weights`. Weights that come after newer ones are left."""
        if self._told.is_set() and version < self._engine.version:
            return
        await self._engine.update_weights(weights, version, self._in_progress)
        self._told.set()

    async def work_done(self) -> tuple[float, int]:
        """(seconds in which it computed, tokens that it sampled) so far."""
        return self._engine.busy_seconds, self._engine.sampled_tokens

    def _receive(self, pictures: Pictures) -> None:
        for data in pictures.values():
            ref = self._images.put(data)
            self._received[ref.sha256] = ref
        while len(self._received) > _KEPT:
            self._images.forget(self._received.popitem(last=False)[1])
