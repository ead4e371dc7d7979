"""Which seeds are for what: below `HELDOUT` for training, the last of these for validation, from it on for evaluation alone."""

from __future__ import annotations

#: First seed of the held-out range; seeds below it are for training.
HELDOUT = 1_000_000
#: So many training seeds are kept for validation.
VALIDATION_SEEDS = 10_000


def train_seeds(count: int, start: int = 0) -> range:
    """`count` seeds for training, from the range below those for validation. Raises ValueError when it is too small for them."""
    last = HELDOUT - VALIDATION_SEEDS - 1
    if start < 0 or start + count - 1 > last:
        raise ValueError(f"training seeds are 0 to {last}; {count} from {start} on are not all among them")
    return range(start, start + count)


def validation_seeds(count: int, start: int = 0) -> range:
    """`count` seeds for decisions during training (when to stop, which weights to keep): the last VALIDATION_SEEDS below HELDOUT.
    Raises ValueError when there are too few."""
    if start < 0 or start + count > VALIDATION_SEEDS:
        raise ValueError(f"there are {VALIDATION_SEEDS} validation seeds; {count} from {start} on are not all among them")
    return range(HELDOUT - VALIDATION_SEEDS + start, HELDOUT - VALIDATION_SEEDS + start + count)


def heldout_seeds(count: int, start: int = 0) -> range:
    """`count` seeds that no training uses: HELDOUT and above."""
    if start < 0:
        raise ValueError(f"start is {start}; it must not be negative")
    return range(HELDOUT + start, HELDOUT + start + count)
