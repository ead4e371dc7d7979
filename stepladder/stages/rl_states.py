"""Saved states of reinforcement learning: a file, or, where the weights are divided among ranks, a directory of parts.

state.pt      weights, optimizer, standing; state.previous.pt those before (`train.state_file`)
state/        the same from all ranks (`train.checkpoints`), written in the background
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from stepladder.models.lora import learned_state
from stepladder.stages.rl_learner import Learner
from stepladder.train.checkpoints import Checkpoints
from stepladder.train.parallel import agreed
from stepladder.train.shard import gathered
from stepladder.train.state_file import StateFile

#: Seconds that a state gets to be written when a run ends with an error.
_SETTLE = 60.0


class RlStates:
    """The states of `learner` in the `directory` of its run. All ranks must call every method alike."""

    def __init__(self, rank: int, learner: Learner, directory: Path) -> None:
        self.rank, self.learner = rank, learner
        self._file = StateFile(directory / "state.pt")
        self._parts: Checkpoints | None = None
        #: The update of the newest state.
        self._newest = -1
        if learner.sharded is not None:
            self._parts = Checkpoints(directory / "state", {"model": learner.model}, learner.trainer.optimizers)

    def save(self, standing: Mapping[str, Any]) -> None:
        """Write what an exact continuation needs; `standing` is that of rank 0."""
        if self._parts is not None:
            if standing["update"] != self._newest:
                self._parts.save(standing["update"], {**self.learner.progress(), "standing": dict(standing)})
                self._newest = standing["update"]
        elif not self.rank:
            self._file.save({**self.learner.state(), "standing": dict(standing)})

    def load(self) -> dict[str, Any] | None:
        """Continue where it was saved last, and give the standing; None where nothing was saved. Raises TornState, RuntimeError."""
        if self._parts is not None:
            state = self._parts.load()
            if state is not None:
                self.learner.load_progress(state)
                self._newest = state["standing"]["update"]
        else:
            state = agreed(None if self.rank else self._file.load())
            if state is not None:
                self.learner.load_state(state)
        return None if state is None else dict(state["standing"])

    def learned(self) -> dict[str, Tensor]:
        """What training has changed, whole; where the weights are divided, on rank 0 alone."""
        state = learned_state(self.learner.model)
        return state if self._parts is None else gathered(state)

    def whole(self) -> dict[str, Tensor] | None:
        """All weights, gathered on rank 0; None where every rank has all of them."""
        return None if self._parts is None else gathered(self.learner.model.state_dict())

    def settle(self) -> None:
        """Give what is being written some time to be done, before this rank ends with an error."""
        if self._parts is not None:
            self._parts.settle(_SETTLE)

    def finish(self) -> None:
        """Wait for what is being written. Raises what went wrong."""
        if self._parts is not None:
            self._parts.finish()
