"""The state of a trainer on disk, from which an interrupted run goes on: a file, or, where weights are divided among ranks, a
directory of distributed checkpoints."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from stepladder.train.checkpoints import Checkpoints
from stepladder.train.trainer import Trainer, save_state


def write_state(trainer: Trainer, path: Path, rest: Mapping[str, Any]) -> None:
    """Write all that an exact continuation needs, with `rest` of rank 0. All ranks must call it."""
    if trainer.sharded is not None:
        _checkpoints(trainer, path).save(trainer.step_count, {**trainer.progress(), **rest})
    elif not dist.is_initialized() or dist.get_rank() == 0:
        save_state(path, {**trainer.state(), **rest})


def read_state(trainer: Trainer, path: Path) -> dict[str, Any] | None:
    """Continue where `write_state` was called last, and give what stands beside; None where it was not. All ranks must call it."""
    if not path.exists():
        return None
    if trainer.sharded is None:
        state: dict[str, Any] = torch.load(path, weights_only=False, map_location="cpu")
        trainer.load_state(state)
        return state
    found = _checkpoints(trainer, path).load()
    if found is not None:
        trainer.load_progress(found)
    return found


def remove_state(path: Path) -> None:
    """Of a phase that is over."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def _checkpoints(trainer: Trainer, path: Path) -> Checkpoints:
    modules = {"model": trainer.model, "head": trainer.head, "critic": trainer.critic}
    return Checkpoints(path, {name: one for name, one in modules.items() if one is not None}, trainer.optimizers)
