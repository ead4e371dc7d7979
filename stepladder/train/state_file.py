"""The state of a training in one file, and the state before it in another: where the newest is torn, the other one is taken."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from stepladder.errors import UserError
from stepladder.train.trainer import save_state

_logger = logging.getLogger(__name__)


class TornState(UserError, RuntimeError):
    """There are saved states, and none can be read; the message names them."""


class StateFile:
    """The state at `path`; the one before stands beside it as `<stem>.previous.pt`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.previous = path.with_name(f"{path.stem}.previous{path.suffix}")
        #: Whether what stands at `path` could not be read.
        self._torn = False

    def save(self, state: Mapping[str, Any]) -> None:
        """Write `state`, whole or not at all; what it replaces becomes the previous one, unless it was found to be torn. Raises
        OSError, and both files are what they were."""
        fresh = self.path.with_name(f"{self.path.name}.new")
        try:
            save_state(fresh, state)
        except BaseException:
            for left in (fresh, fresh.with_name(f"{fresh.name}.partial")):
                left.unlink(missing_ok=True)  # a full disk is not to stay full of it
            raise
        if self.path.exists() and not self._torn:
            self.path.replace(self.previous)
        fresh.replace(self.path)
        self._torn = False

    def load(self) -> dict[str, Any] | None:
        """The newest state that can be read, None where none was saved. A kill leaves whole files; a disk may not. Raises TornState
        when there is none that can be read."""
        unread = []
        for path in (self.path, self.previous):
            if not path.exists():
                continue
            try:
                state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
            except Exception as error:  # torn files show themselves in many ways
                _logger.warning("%s cannot be read: %s", path, error)
                unread.append(path)
                continue
            self._torn = bool(unread)
            if unread:
                _logger.warning("going on from %s, which was saved before it", path)
            return state
        if unread:
            raise TornState(
                f"{' and '.join(map(str, unread))} cannot be read; the disk has lost part of them. Move them away to begin again "
                "with the episodes that are stored"
            )
        return None
