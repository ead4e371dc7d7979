"""Demonstrations as training reads them: steps to learn from, with the regions of their screenshots, drawn by weight."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from stepladder.types import ImageRef, Region, Step, Task, Trajectory

#: One demonstration in this many is kept for validation.
VALIDATION_SHARE = 30


@dataclass(frozen=True)
class DemonstratedStep:
    """Step `index` of a trajectory, to be imitated with the steps before it as history."""

    trajectory: Trajectory
    index: int

    @property
    def task(self) -> Task:
        return self.trajectory.task

    @property
    def step(self) -> Step:
        return self.trajectory.steps[self.index]

    @property
    def screenshot(self) -> ImageRef:
        image = self.step.observation.screenshot
        assert image is not None, f"step {self.index} of {self.trajectory.id} has no screenshot"
        return image

    @property
    def key(self) -> str:
        return f"{self.trajectory.id}#{self.index}"


class Demonstrations:
    """Successful trajectories, split into train and validation by their id, so that the split never moves.

    Leading wrong steps (`parts["mistakes"]`) are history for the steps after them and are never imitated. `regions` gives what is
    known about a screenshot. Raises ValueError when there is nothing to learn from.
    """

    def __init__(self, trajectories: Iterable[Trajectory], regions: Callable[[ImageRef], Sequence[Region]]) -> None:
        self.regions = regions
        self.train: dict[str, list[DemonstratedStep]] = {}
        self.validation: list[DemonstratedStep] = []
        self.instructions: list[str] = []
        self.count = 0
        for trajectory in trajectories:
            if not trajectory.success:
                continue
            self.count += 1
            self.instructions.append(trajectory.task.instruction)
            wrong = int(trajectory.parts.get("mistakes", 0))
            steps = [DemonstratedStep(trajectory, i) for i, s in enumerate(trajectory.steps) if i >= wrong and s.action is not None]
            if held_back(trajectory.id):
                self.validation += steps
            else:
                self.train.setdefault(trajectory.task.id, []).extend(steps)
        if not any(self.train.values()):
            raise ValueError(f"there is no successful step to learn from among {self.count} demonstrations")

    @property
    def tasks(self) -> tuple[str, ...]:
        return tuple(sorted(self.train))

    def draw(self, random: Random, count: int, weights: Mapping[str, float]) -> list[DemonstratedStep]:
        """`count` training steps: a task by weight (1 where `weights` does not name it), then any step of it."""
        tasks = [task for task in self.tasks if self.train[task]]
        chosen = random.choices(tasks, [weights.get(task, 1.0) for task in tasks], k=count)
        return [random.choice(self.train[task]) for task in chosen]

    def words(self) -> Counter[str]:
        """How often each visible word stands on the training screenshots (each distinct screenshot once)."""
        counted: Counter[str] = Counter()
        seen: set[str] = set()
        for steps in self.train.values():
            for step in steps:
                image = step.screenshot
                if image.sha256 not in seen:
                    seen.add(image.sha256)
                    counted.update(region.text for region in self.regions(image) if region.kind in ("word", "color"))
        return counted


def held_back(identifier: str) -> bool:
    """Whether the demonstration of this id is for validation: decided by a hash of the id alone."""
    return int.from_bytes(hashlib.sha256(identifier.encode()).digest()[:4], "big") % VALIDATION_SHARE == 0
