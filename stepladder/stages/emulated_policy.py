"""Three checkpoint directories as one policy in this process: emulated fine-tuning (`policies.emulated`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from stepladder.config import ConfigError
from stepladder.images import ImageStore
from stepladder.policies.emulated import EmulatedDecoder
from stepladder.policies.engine import Engine
from stepladder.policies.local import LocalPolicy
from stepladder.stages.local_policy import load_policy


@contextmanager
def open_emulated(directories: Sequence[Path], scale: float, images: ImageStore, name: str) -> Iterator[LocalPolicy]:
    """The policy, called `name`, of (large, tuned, small). The context is the shortest of the three.

    Raises ConfigError for a directory that holds no whole checkpoint, for checkpoints whose ids or pictures do not mean the same,
    and for a scale that cannot be.
    """
    large, renderer = load_policy(directories[0], images)
    others = []
    for directory in directories[1:]:
        model, its = load_policy(directory, images)
        if not its.reads_alike(renderer):
            raise ConfigError(
                f"policy: {directory} has another vocabulary or other visual tokens than {directories[0]}; "
                "probabilities of different tokens cannot be multiplied"
            )
        others.append(model)
    context = min(int(model.config.text_config.max_position_embeddings) for model in (large, *others))
    try:
        engine = Engine(large, renderer, context=context, decode=EmulatedDecoder, tuned=others[0], small=others[1], scale=scale)
    except ValueError as error:
        raise ConfigError(f"policy: {error}") from error
    try:
        yield LocalPolicy(engine, name)
    finally:
        engine.close()
