"""The episodes and pictures of a run that another stage reads."""

from __future__ import annotations

from pathlib import Path

from stepladder.errors import UserError
from stepladder.images import ImageStore
from stepladder.viewer.directory import contents


def episode_stores(run: Path) -> dict[str, Path]:
    """The stores directly in a run directory by name, or the one store (.jsonl) that `run` is. Raises UserError where there are
    none."""
    if run.is_file():
        return {run.stem: run}
    if not run.is_dir():
        raise UserError(f"{run} is neither a run directory nor a store of episodes (.jsonl)")
    stores = contents(run).stores
    found = {name: path for name, path in stores.items() if path.parent == run}
    if not found:
        below = sorted(stores)
        raise UserError(f"{run} holds no episodes" + (f"; there are some in {run / below[0]}.jsonl" if below else ""))
    return dict(sorted(found.items()))


def images_of(run: Path) -> ImageStore:
    """The pictures of these episodes."""
    return ImageStore((run.parent if run.is_file() else run) / "images")
