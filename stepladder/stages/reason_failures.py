"""The failures that are reflected on, with the successes of their starts, and what is where on their screens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from stepladder.compare.forks import Start
from stepladder.data.regions import RegionStore
from stepladder.errors import UserError
from stepladder.seeds import HELDOUT, VALIDATION_SEEDS
from stepladder.stages.source_run import episode_stores, images_of
from stepladder.store import TrajectoryStore
from stepladder.thoughts.recovery import Fork, find_fork
from stepladder.types import ImageRef, Region, Trajectory

#: From this seed on nothing may be learned from.
_FIRST_KEPT_SEED = HELDOUT - VALIDATION_SEEDS


class Failures:
    """What was played in `rollouts`, run directories or stores, and in the store `demonstrations`.

    Only training seeds count: what is learned from a validation or held-out seed would no longer be measured by it.
    """

    def __init__(self, rollouts: Sequence[Path], demonstrations: Path) -> None:
        self._stores = [path for run in rollouts for path in episode_stores(run).values()]
        self._images = [images_of(run) for run in rollouts]
        self._regions = [RegionStore(path) for run in rollouts for path in _region_files(run)]
        self._demonstrations = demonstrations

    def forks(self, per_start: int, left_out: Counter[str]) -> tuple[list[Fork], dict[Start, list[Trajectory]]]:
        """At most `per_start` forks of each start with different mistakes, in the order of task, seed and id, and the successes of
        each start. `left_out` is told what gave none."""
        failures, successes = self._read(left_out)
        found: list[Fork] = []
        for start, failed in failures.items():
            known: set[str] = set()
            for failure in failed:
                fork = find_fork(failure, successes[start]) if start in successes else None
                if start not in successes:
                    left_out["nobody succeeded from this start"] += 1
                elif fork is None:
                    left_out["no step at which it did something else in the same state"] += 1
                elif (mistake := repr((fork.at, fork.past[-1].actions))) in known:
                    left_out["the same mistake again"] += 1
                elif len(known) >= per_start:
                    left_out["enough of this start"] += 1
                else:
                    known.add(mistake)
                    found.append(fork)
        return found, successes

    def regions(self, image: ImageRef) -> tuple[Region, ...] | None:
        """What is where on a screen of the rollouts; None where nothing is known."""
        return next((store.get(image) for store in self._regions if image in store), None)

    def picture(self, image: ImageRef) -> bytes:
        """The encoded picture of a screen of the rollouts. Raises UserError where it is missing."""
        for store in self._images:
            if image in store:
                return store.get(image)
        raise UserError(f"the rollouts lack the picture {image.sha256[:12]}")

    def _read(self, left_out: Counter[str]) -> tuple[dict[Start, list[Trajectory]], dict[Start, list[Trajectory]]]:
        failures: dict[Start, dict[str, Trajectory]] = {}
        for one in self._each(self._stores):
            if one.seed >= _FIRST_KEPT_SEED:
                left_out["not a training seed"] += 1
            elif one.environment_failed or one.reward is None:
                left_out["environment failed"] += 1
            elif not one.success:
                failures.setdefault((one.task.id, one.seed), {}).setdefault(one.id, one)
        successes: dict[Start, dict[str, Trajectory]] = {}
        for one in self._each([*self._stores, self._demonstrations]):
            if one.success and (one.task.id, one.seed) in failures:
                successes.setdefault((one.task.id, one.seed), {}).setdefault(one.id, one)
        return _sorted(failures), _sorted(successes)

    @staticmethod
    def _each(stores: Sequence[Path]) -> Iterator[Trajectory]:
        for path in stores:
            with TrajectoryStore(path) as store:
                yield from store


def _sorted(found: dict[Start, dict[str, Trajectory]]) -> dict[Start, list[Trajectory]]:
    return {start: [found[start][name] for name in sorted(found[start])] for start in sorted(found)}


def _region_files(run: Path) -> list[Path]:
    folder = run.parent if run.is_file() else run
    return sorted(folder.glob("regions*.jsonl"))
