"""The screens that perception is measured on: synthetic ones with held-out parts, and what `stepladder collect` has stored."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random

from stepladder.config import ConfigError
from stepladder.data.demonstrations import VALIDATION_SHARE, held_back
from stepladder.data.regions import RegionStore
from stepladder.data.screen_pool import HELD_OUT_SPLITS, Screen, ScreenPool, page_screen
from stepladder.data.screens import Split
from stepladder.envs.desktop.regions import tree_regions
from stepladder.images import ImageStore
from stepladder.store import TrajectoryStore
from stepladder.types import Observation, Region, Trajectory

#: The demonstrations in a directory that `stepladder collect` has written.
COLLECTED_FILE = "trajectories.jsonl"
#: What each source is called in tables.
CONDITIONS = {
    "pages": "real pages",
    "desktops": "desktops",
    "train": "known words, fonts and sizes",
    "heldout_words": "held-out words",
    "heldout_fonts": "held-out fonts",
    "heldout_sizes": "held-out sizes",
}
SYNTHETIC: tuple[Split, ...] = ("train", *HELD_OUT_SPLITS)
#: Screens of training are numbered from 0; those that measure "train" come from here on.
UNSEEN = 1_000_000


def synthetic_screens(images: ImageStore, split: Split, count: int, width: int, height: int) -> Iterator[Screen]:
    """`count` screens that no training has seen, each with one before it that differs in one thing."""
    pool = ScreenPool(images, split, UNSEEN + count, width, height, changes=True)
    return (pool[UNSEEN + number] for number in range(count))


def stored_screens(directory: Path, *, seen: bool, ignore_above: float) -> list[Screen]:
    """The different screenshots of the demonstrations in `directory`, with the one before each, in a random order that is always
    the same. Their pictures stay in the directory.

    Regions are those that were stored, or come from the accessibility trees of the observations. Only demonstrations that are held
    back from training count, unless `seen`. Raises ConfigError where there are none.
    """
    path = directory / COLLECTED_FILE
    if not path.exists():
        raise ConfigError(f"{directory} holds no {COLLECTED_FILE}; name a directory that `stepladder collect` has written")
    regions = RegionStore(directory / "regions.jsonl")
    with TrajectoryStore(path) as store:
        chosen = [trajectory for trajectory in store if seen or held_back(trajectory.id)]
    chosen.sort(key=lambda trajectory: (trajectory.task.id, trajectory.seed, trajectory.id))
    screens = list(_different(chosen, lambda seen_at: _regions(seen_at, regions), ignore_above))
    if not screens:
        raise ConfigError(
            f"{directory} has no screenshot with known regions in the one demonstration of {VALIDATION_SHARE} that is held back; "
            "collect more, or take those that training may have seen as well (seen=true)"
        )
    Random("pages").shuffle(screens)
    return screens


def _different(
    trajectories: Sequence[Trajectory], regions: Callable[[Observation], Sequence[Region] | None], ignore_above: float
) -> Iterator[Screen]:
    known: set[str] = set()
    for trajectory in trajectories:
        observations = [step.observation for step in trajectory.steps] + ([trajectory.final] if trajectory.final else [])
        screens = [_screen(observation, regions(observation), ignore_above) for observation in observations]
        for earlier, screen in itertools.pairwise([None, *screens]):
            if screen is not None and screen.image.sha256 not in known:
                known.add(screen.image.sha256)
                yield Screen(screen.image, screen.regions, screen.ignore_above, earlier)


def _screen(observation: Observation, regions: Sequence[Region] | None, ignore_above: float) -> Screen | None:
    if observation.screenshot is None or regions is None:
        return None
    return page_screen(observation.screenshot, regions, ignore_above)


def _regions(observation: Observation, stored: RegionStore) -> Sequence[Region] | None:
    image = observation.screenshot
    if image is not None and image in stored:
        return stored.get(image)
    if image is None or observation.tree is None:
        return None
    return tree_regions(observation.tree, image.width, image.height)
