"""Which layers of a checkpoint are not those of another."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file


def changed_layers(before: Path, after: Path) -> set[str]:
    """The last names of the layers of the language model that differ. Raises AssertionError where other weights differ, and where
    the checkpoints have not the same weights."""
    old, new = (load_file(checkpoint / "model.safetensors") for checkpoint in (before, after))
    assert old.keys() == new.keys()
    changed = [name for name, value in old.items() if not value.equal(new[name])]
    assert all(".language_model.layers." in name for name in changed), changed
    return {name.split(".")[-2] for name in changed}
