"""Which device a process computes on."""

from __future__ import annotations

import logging
import os

import torch
import torch.distributed as dist

from stepladder.config import ConfigError
from stepladder.train.parallel import ranks_here

_logger = logging.getLogger(__name__)
#: The default of settings that name a device.
AUTOMATIC = "auto"


def check_device(device: str, ranks: int = 1) -> None:
    """Raises ConfigError for a device that is not there, and for more ranks on this machine than GPUs: each has one for itself.
    `device` is "auto" (a GPU for each rank where there are as many, else the processor), "cpu", "cuda" or, for a single rank, such
    as "cuda:1"."""
    kind, _, number = device.partition(":")
    if kind not in (AUTOMATIC, "cpu", "cuda") or (number and (kind != "cuda" or not number.isdecimal())):
        raise ConfigError(f"device is {device!r}; it must be 'auto', 'cpu', 'cuda' or such as 'cuda:1'")
    if _kind(device, ranks) == "cpu":
        if device == AUTOMATIC and torch.cuda.is_available():
            _logger.warning("%d ranks find %d GPUs and compute on the processor", ranks_here(ranks), torch.cuda.device_count())
        return
    here, count = ranks_here(ranks), torch.cuda.device_count()
    if not torch.cuda.is_available():
        raise ConfigError(f"device is {device!r}, and PyTorch finds no GPU here; say device=cpu")
    if number and here > 1:
        raise ConfigError(f"device is {device!r}, one GPU, and {here} ranks need one each; say device=cuda, or ranks=1")
    if number and int(number) >= count:
        raise ConfigError(f"device is {device!r}; the GPUs here are cuda:0 to cuda:{count - 1}")
    if here > count:
        raise ConfigError(f"{here} ranks need a GPU each, and there are {count}; say ranks={count}, or device=cpu")


def device_of(device: str, ranks: int = 1) -> torch.device:
    """The device of this rank, by the setting: of GPUs the one with the rank's number on this machine. `ranks` is how many there
    will be, for a process that is none yet."""
    ranks = dist.get_world_size() if dist.is_initialized() else ranks
    if _kind(device, ranks) == "cpu":
        return torch.device("cpu")
    if ":" in device:
        return torch.device(device)
    own = int(os.environ.get("LOCAL_RANK", dist.get_rank())) if dist.is_initialized() else 0
    return torch.device("cuda", own)


def gpus_left(device: str, ranks: int = 1) -> list[str]:
    """The GPUs of this machine that its ranks do not compute on, as CUDA_VISIBLE_DEVICES names them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [str(number) for number in range(torch.cuda.device_count())] if visible is None else visible.split(",")
    names = [name.strip() for name in names[: torch.cuda.device_count()]]
    if _kind(device, ranks) == "cpu":
        return [name for name in names if name]
    _, _, number = device.partition(":")
    taken = {int(number)} if number else set(range(ranks_here(ranks)))
    return [name for place, name in enumerate(names) if name and place not in taken]


def loading_device(device: torch.device, sharded: bool) -> torch.device:
    """Where a model is put before it is divided among ranks, if it is: it may be too large for any of their devices."""
    return torch.device("cpu") if sharded else device


def use(device: torch.device) -> None:
    """Make it the one that libraries take which ask for none, in this thread."""
    if device.type == "cuda":
        torch.cuda.set_device(device)


def _kind(device: str, ranks: int) -> str:
    if device == AUTOMATIC:
        return "cuda" if torch.cuda.is_available() and ranks_here(ranks) <= torch.cuda.device_count() else "cpu"
    return device.partition(":")[0]
