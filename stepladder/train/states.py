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


class States:
    """The states of a trainer at `path`. All ranks must call every method."""

    def __init__(self, trainer: Trainer, path: Path) -> None:
        self.trainer, self.path = trainer, path
        self._divided: Checkpoints | None = None
        if trainer.sharded is not None:
            modules = {"model": trainer.model, "head": trainer.head, "critic": trainer.critic}
            self._divided = Checkpoints(path, {name: one for name, one in modules.items() if one is not None}, trainer.optimizers)

    def write(self, rest: Mapping[str, Any]) -> None:
        """Write all that an exact continuation needs, with `rest` of rank 0; of divided weights in the background."""
        if self._divided is not None:
            self._divided.save(self.trainer.step_count, {**self.trainer.progress(), **rest})
        elif not dist.is_initialized() or dist.get_rank() == 0:
            save_state(self.path, {**self.trainer.state(), **rest})

    def read(self) -> dict[str, Any] | None:
        """Continue where it was written last, and give what stands beside; None where it was not."""
        if not self.path.exists():
            return None
        if self._divided is None:
            state: dict[str, Any] = torch.load(self.path, weights_only=False, map_location="cpu")
            self.trainer.load_state(state)
            return state
        found = self._divided.load()
        if found is not None:
            self.trainer.load_progress(found)
        return found

    def finish(self) -> None:
        """Wait for what is being written. Raises what went wrong."""
        if self._divided is not None:
            self._divided.finish()


def remove_state(path: Path) -> None:
    """Of a phase that is over."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
