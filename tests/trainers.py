"""The trainer that a stage makes, without what it would train."""

from collections.abc import Callable

import pytest

from stepladder.train.trainer import Trainer


class Made(Exception):
    """Carries the trainer out of the stage."""

    def __init__(self, trainer: Trainer) -> None:
        super().__init__()
        self.trainer = trainer


def first_trainer(monkeypatch: pytest.MonkeyPatch, stage: Callable[[], object]) -> Trainer:
    """What `stage`, in this process alone, makes first; it ends there."""

    def stop(self: Trainer) -> None:
        raise Made(self)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "__post_init__", stop)
        with pytest.raises(Made) as made:
            stage()
    return made.value.trainer
