"""Screens with known regions as training data: synthetic ones drawn when first asked for, always the same for the same number."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Protocol, get_args

from stepladder.data.screens import Alteration, Split, screen
from stepladder.images import ImageStore, encode_png
from stepladder.types import ImageRef, Region, Trajectory

#: As many widgets of a synthetic screen there are at least to be altered.
ALTERABLE = 6
HELD_OUT_SPLITS: tuple[Split, ...] = tuple(split for split in get_args(Split) if split != "train")
#: Beside the demonstrations: trajectories whose pages were seen and that are not imitated.
VISITED_FILE = "visited.jsonl"


@dataclass(frozen=True)
class Screen:
    """A screenshot whose regions are known. Above `ignore_above` pixels the list is not complete (an instruction area). `before` is
    the screen as it was one step earlier, where that is known."""

    image: ImageRef
    regions: Sequence[Region]
    ignore_above: float = 0.0
    before: Screen | None = None


def page_screen(image: ImageRef, regions: Sequence[Region], ignore_above: float) -> Screen:
    """A page without what stands in its instruction area: a word that is quoted there is not a second place to click."""
    return Screen(image, tuple(r for r in regions if r.box[1] + r.box[3] > ignore_above), ignore_above)


class Screens(Protocol):
    """Screens to draw from."""

    def draw(self, random: Random) -> Screen: ...


class VisitedScreens:
    """Pages that were seen and lead to nothing to imitate, as those that were only looked at and those of failed episodes: their
    regions are known all the same.

    Every screenshot of `trajectories` once, without those in `known` (SHA-256). Drawn as demonstrations are: a task by weight (1
    where `weights` does not name it), then any page of it.
    """

    def __init__(
        self,
        trajectories: Iterable[Trajectory],
        regions: Callable[[ImageRef], Sequence[Region]],
        *,
        known: Container[str] = (),
        weights: Mapping[str, float] | None = None,
        ignore_above: float = 0.0,
    ) -> None:
        self.regions, self.ignore_above = regions, ignore_above
        pages: dict[str, dict[ImageRef, None]] = {}
        for trajectory in sorted(trajectories, key=lambda t: (t.task.id, t.seed, t.id)):
            for observation in (*(step.observation for step in trajectory.steps), trajectory.final):
                if observation is not None and observation.screenshot and observation.screenshot.sha256 not in known:
                    pages.setdefault(trajectory.task.id, {})[observation.screenshot] = None
        self.pages = {task: tuple(images) for task, images in sorted(pages.items())}
        self._weights = [(weights or {}).get(task, 1.0) for task in self.pages]

    def __len__(self) -> int:
        return sum(map(len, self.pages.values()))

    def draw(self, random: Random) -> Screen:
        task = random.choices(list(self.pages), self._weights)[0]
        image = random.choice(self.pages[task])
        return page_screen(image, self.regions(image), self.ignore_above)


class ScreenPool:
    """`size` synthetic screens of one split, which say the words `known` most of the time and leave the uppermost `top` pixels
    empty. Pictures are kept in the memory of `images` and never written to its directory. With `changes` every screen has one
    before it, which differs in one thing, if that could be drawn."""

    def __init__(
        self,
        images: ImageStore,
        split: Split,
        size: int,
        width: int,
        height: int,
        known: Sequence[str] = (),
        top: int = 0,
        changes: bool = False,
    ) -> None:
        self.images, self.split, self.size = images, split, size
        self.width, self.height = width, height
        self.known, self.top, self.changes = known, top, changes
        self._drawn: dict[int, Screen] = {}

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, number: int) -> Screen:
        """Screen `number`; raises IndexError beyond the pool's size."""
        if not 0 <= number < self.size:
            raise IndexError(f"screen {number} of {self.size}")
        if number not in self._drawn:
            self._drawn[number] = self._pair(number) if self.changes else self._screen(number)
        return self._drawn[number]

    def _screen(self, number: int, altered: Alteration | None = None) -> Screen:
        random = Random(f"{self.split}-{number}")
        pixels, regions = screen(random, self.split, 1, self.width, self.height, known=self.known, top=self.top, altered=altered)
        return Screen(self.images.put(encode_png(pixels), persist=False), regions)

    def _pair(self, number: int) -> Screen:
        """Screen `number` after one thing has changed, or before: something appears as often as it disappears."""
        random = Random(f"{self.split}-{number}-change")
        plain, other = self._screen(number), self._screen(number, Alteration(random.randrange(ALTERABLE), random.random() < 0.5))
        first, last = (plain, other) if random.random() < 0.5 else (other, plain)
        return replace(last, before=first)

    def draw(self, random: Random) -> Screen:
        return self[random.randrange(self.size)]
