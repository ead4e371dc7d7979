"""A training that is killed on its way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def killed_at(monkeypatch: pytest.MonkeyPatch, learner: type[Any], step: int) -> Iterator[None]:
    """Within, whoever trains with the class `learner` is interrupted before update number `step`, counted from 0; it must be."""
    update = learner.update

    def killed(self: Any, drawn: list[int]) -> dict[str, float]:
        if self.trainer.step_count == step:
            raise KeyboardInterrupt
        return dict(update(self, drawn))

    with monkeypatch.context() as patch:
        patch.setattr(learner, "update", killed)
        with pytest.raises(KeyboardInterrupt):
            yield
