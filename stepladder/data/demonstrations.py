"""Demonstrations as training reads them: steps to learn from, with the regions of their screenshots, drawn by weight."""

from __future__ import annotations

import functools
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from stepladder.errors import TaskError
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
    def screenshot(self) -> ImageRef | None:
        """None for a step that was taken on text alone."""
        return self.step.observation.screenshot

    @property
    def key(self) -> str:
        return f"{self.trajectory.id}#{self.index}"


class Demonstrations:
    """Successful trajectories, split into train and validation by their id, so that the split never moves, and in the order of
    task and seed, so that nothing depends on the order in which they were collected.

    Leading wrong steps (`parts["mistakes"]`) are history for the steps after them and are never imitated, and neither are those
    whose `imitated` is "nothing". A failure is learned from only where its steps were chosen for that (`parts["curated"]`).
    `regions` gives what is known about a screenshot, and raises KeyError where nothing is. Raises TaskError when there is nothing
    to learn from.
    """

    def __init__(self, trajectories: Iterable[Trajectory], regions: Callable[[ImageRef], Sequence[Region]]) -> None:
        self.regions = regions
        self.train: dict[str, list[DemonstratedStep]] = {}
        self.validation: list[DemonstratedStep] = []
        self.instructions: list[str] = []
        self.count = 0
        successes = (one for one in trajectories if one.success or one.parts.get("curated"))
        for trajectory in sorted(successes, key=lambda t: (t.task.id, t.seed, t.id)):
            self.count += 1
            self.instructions.append(trajectory.task.instruction)
            wrong = int(trajectory.parts.get("mistakes", 0))
            usable = [(i, s) for i, s in enumerate(trajectory.steps) if i >= wrong and s.action is not None]
            steps = [DemonstratedStep(trajectory, i) for i, s in usable if s.imitated != "nothing"]
            if held_back(trajectory.id):
                self.validation += [step for step in steps if step.step.imitated == "reply"]
            else:
                self.train.setdefault(trajectory.task.id, []).extend(steps)
        if not any(self.train.values()):
            raise TaskError(f"there is no successful step to learn from among {self.count} demonstrations")

    @property
    def tasks(self) -> tuple[str, ...]:
        return tuple(sorted(self.train))

    def draw(self, random: Random, count: int, weights: Mapping[str, float]) -> list[DemonstratedStep]:
        """`count` training steps: a task by weight (1 where `weights` does not name it), then any step of it."""
        tasks = [task for task in self.tasks if self.train[task]]
        chosen = random.choices(tasks, [weights.get(task, 1.0) for task in tasks], k=count)
        return [random.choice(self.train[task]) for task in chosen]

    def knows(self, image: ImageRef | None) -> bool:
        """Whether there is a screenshot, and it is known what is where on it."""
        if image is None:
            return False
        try:
            self.regions(image)
        except KeyError:
            return False
        return True

    def screenshots(self) -> set[str]:
        """SHA-256 of every screenshot that some step to be imitated, or held back, was taken on."""
        steps = (*self.validation, *(step for steps in self.train.values() for step in steps))
        return {step.screenshot.sha256 for step in steps if step.screenshot is not None}

    def texts(self) -> list[str]:
        """What is said and written, each text once, in the steps to be imitated that have no screenshot: words that stand in no
        instruction and on no screen."""
        found: dict[str, None] = {}
        for step in (step for steps in self.train.values() for step in steps if step.screenshot is None):
            action = step.step.action
            found |= dict.fromkeys((step.step.observation.text, step.step.thought, "" if action is None else action.text))
        return [text for text in found if text]

    def thoughts(self) -> list[str]:
        """The thoughts of the steps to be imitated, each once."""
        return [text for text in dict.fromkeys(step.step.thought for steps in self.train.values() for step in steps) if text]

    def words(self) -> Counter[str]:
        """How often each visible word stands on the training screenshots (each distinct screenshot once)."""
        return self._counted[0]

    def labels(self) -> Counter[str]:
        """How often each word stands on something that can be clicked; counted as `words` are."""
        return self._counted[1]

    @functools.cached_property
    def _counted(self) -> tuple[Counter[str], Counter[str]]:
        words: Counter[str] = Counter()
        labels: Counter[str] = Counter()
        images = {step.screenshot: None for steps in self.train.values() for step in steps if step.screenshot is not None}
        for image in filter(self.knows, images):
            for region in self.regions(image):
                if region.kind in ("word", "color"):
                    words[region.text] += 1
                    if region.target is not None:
                        labels[region.text] += 1
        return words, labels


def held_back(identifier: str) -> bool:
    """Whether the demonstration of this id is for validation: decided by a hash of the id alone."""
    return int.from_bytes(hashlib.sha256(identifier.encode()).digest()[:4], "big") % VALIDATION_SHARE == 0
