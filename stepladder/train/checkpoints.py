"""States of a training as directories that any number of ranks can read: PyTorch's distributed checkpoints (DCP).

    <directory>/update-00000040/    .metadata and a file of each rank; rest.pt: what is not a tensor of the model or its optimizers

A directory has its name only when all of it is written, so that one that was begun by a killed run is not taken for a state. The
last ones are kept; where one cannot be read, the one before it is taken.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict
from torch.optim import Optimizer

from stepladder.errors import UserError
from stepladder.train.parallel import agreed

_logger = logging.getLogger(__name__)
_REST = "rest.pt"
#: By the names of parameters: how they are divided among optimizers and their groups depends on the number of ranks.
_OPTIONS = StateDictOptions(flatten_optimizer_state_dict=True, strict=True)


class StateNotWritten(UserError):
    """A state that could not be written, because the disk is full for instance; the message says which, where and why."""


class Checkpoints:
    """Those of one training: `modules` by name with all `optimizers`. The `keep` last ones stay, and what `keeps` names."""

    def __init__(self, directory: Path, modules: Mapping[str, nn.Module], optimizers: list[Optimizer], keep: int = 2) -> None:
        if keep < 1:
            raise ValueError(f"keep is {keep}; one state at least must stay")
        self.directory, self.keep, self.optimizers = directory, keep, optimizers
        self.whole = nn.ModuleDict(dict(modules))
        # What is written in the background must not speak in between what training says.
        self._group = dist.new_group(backend="gloo") if dist.is_initialized() else None
        self._writing: Future[None] | None = None
        self._first = not dist.is_initialized() or dist.get_rank() == 0

    def save(self, update: int, rest: Mapping[str, Any], keeps: int | None = None) -> Path:
        """Begin to write the state after `update`, with `rest` from rank 0; all ranks must call it. It is copied before this comes
        back, and written in the background, one at a time: the one before is waited for, and StateNotWritten is raised here where
        it was not. `keeps` is the update of one more that is to stay, such as the best."""
        self.finish()
        final = self.directory / f"update-{update:08d}"
        partial = self.directory / f"{final.name}.partial"
        if self._first:
            try:
                for begun in self.directory.glob("update-*.partial"):
                    shutil.rmtree(begun)
                partial.mkdir(parents=True)
                torch.save(dict(rest), partial / _REST)
            except (OSError, RuntimeError) as error:  # PyTorch's writer says RuntimeError
                raise self._not_written(partial, error) from error
        agreed(None)
        state = self._state()
        written = state_dict_saver.async_save(state, checkpoint_id=partial, process_group=self._group)
        assert isinstance(written, Future)
        self._writing = finished = Future[None]()

        def publish(written: Future[Any]) -> None:
            try:
                written.result()
                if self._first:
                    self._publish(partial, final, keeps)
                finished.set_result(None)
            except (Exception, CheckpointException) as error:
                finished.set_exception(self._not_written(partial, error))

        written.add_done_callback(publish)
        return final

    def _state(self) -> dict[str, Any]:
        """Model and optimizers, by the names of parameters."""
        fresh = [optimizer for optimizer in self.optimizers if not optimizer.state]
        model, optimizers = get_state_dict(self.whole, self.optimizers, options=_OPTIONS)
        for optimizer in fresh:  # PyTorch has taken a step with them, without effect on anything but the count of steps
            for state in optimizer.state.values():
                if "step" in state:
                    state["step"].zero_()
        return {"model": model, "optimizers": optimizers}

    def settle(self, seconds: float) -> None:
        """Give what is being written that long to be done. Any rank may call it, before it ends with an error."""
        if self._writing is not None:
            wait([self._writing], seconds)

    def finish(self) -> None:
        """Wait for what is being written. All ranks must call it. Raises StateNotWritten."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()
            agreed(None)  # rank 0 has given it its name

    def _not_written(self, partial: Path, error: BaseException) -> StateNotWritten:
        """The error to be raised; what was begun of the state is removed, which makes room."""
        if self._first:
            shutil.rmtree(partial, ignore_errors=True)
        lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
        reason = lines[-1] if lines else repr(error)
        return StateNotWritten(
            f"{partial.with_suffix('')} could not be written ({reason}); states before it are whole. Put that right, such as by "
            "making room, and the same command goes on"
        )

    def _publish(self, partial: Path, final: Path, keeps: int | None) -> None:
        if final.exists():  # of the same update: it stays until the new one has its name
            final.replace(self.directory / f"{final.name}.old.partial")
        partial.replace(final)
        shutil.rmtree(self.directory / f"{final.name}.old.partial", ignore_errors=True)
        for old in self._found()[: -self.keep]:
            if old.name != f"update-{keeps or 0:08d}":
                shutil.rmtree(old)

    def load(self) -> dict[str, Any] | None:
        """Take over the last state that can be read, and give its `rest`; None where there is none. All ranks must call it. Raises
        RuntimeError where there are states and none can be read: the weights may be half of one of them."""
        self.finish()
        found, unread = agreed(self._found()), list[str]()
        for path in reversed(found):
            rest = agreed(self._rest(path) if self._first else {})
            try:
                if isinstance(rest, Exception):
                    raise rest
                state = self._state()
                state_dict_loader.load(state, checkpoint_id=path)
            except (Exception, CheckpointException) as error:  # torn files show themselves in many ways
                _logger.warning("%s cannot be read: %s", path, error)
                unread.append(f"{path.name}: {str(error).strip().splitlines()[-1:]}")
                continue
            set_state_dict(
                self.whole,
                self.optimizers,
                model_state_dict=state["model"],
                optim_state_dict=state["optimizers"],
                options=_OPTIONS,
            )
            return rest
        if unread:
            raise RuntimeError(
                f"{self.directory}: none of the saved states can be read ({'; '.join(unread)}). They are those of another model or "
                "optimizer, or torn; move the directory away to begin again"
            )
        return None

    def _rest(self, path: Path) -> dict[str, Any] | Exception:
        """What stands beside the tensors, or why it cannot be read."""
        try:
            rest: dict[str, Any] = torch.load(path / _REST, weights_only=True)
        except Exception as error:  # torn files show themselves in many ways
            return RuntimeError(str(error))
        return rest

    def _found(self) -> list[Path]:
        """The whole states, the oldest first."""
        return sorted(path for path in self.directory.glob("update-*") if path.suffix != ".partial")
