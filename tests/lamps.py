"""A board of nine lamps, one of which is to be lit: it is asked for by a word, and only examples tell which lamp a word means.

A click lights the lamp in whose field it is, and puts all others out; a click that lights the lamp that is asked for ends the
episode. The board begins with another lamp lit. What a click did can be seen; which click is right must be learned word by word.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

import numpy as np

from stepladder.images import ImageStore
from stepladder.types import Action, Observation, Region, Task

SIDE, FIELD = 3, 32
SIZE = SIDE * FIELD
LAMPS = SIDE * SIDE
#: Words by the lamp that they mean: the number of the word modulo LAMPS.
_STARTS, _ENDS = ("ka", "lo", "mi", "nu", "pe", "ro"), ("ban", "del", "fug", "hit", "jom", "sek")
WORDS = tuple(start + end for start in _STARTS for end in _ENDS)
COLORS = {False: (70, 70, 80), True: (250, 220, 60)}


def lamp_of(word: str) -> int:
    return WORDS.index(word) % LAMPS


def center(lamp: int) -> tuple[float, float]:
    return (lamp % SIDE + 0.5) * FIELD, (lamp // SIDE + 0.5) * FIELD


class LampsEnvironment:
    """The seed says which lamp is lit at first."""

    def __init__(self, images: ImageStore) -> None:
        self.images, self.task, self.lit = images, Task("", "", ""), 0

    @classmethod
    def tasks(cls) -> list[Task]:
        kind = "lamps:LampsEnvironment"
        return [Task(f"lamps-{word}", f"Light {word}.", kind, setup={"word": word}, max_steps=1) for word in WORDS]

    async def reset(self, task: Task, seed: int) -> Observation:
        self.task = task
        others = [lamp for lamp in range(LAMPS) if lamp != self._wanted()]
        self.lit = random.Random(seed).choice(others)
        return self._seen()

    async def step(self, action: Action) -> Observation:
        if action.kind == "click" and action.x is not None and action.y is not None:
            column, row = int(action.x // FIELD), int(action.y // FIELD)
            if 0 <= column < SIDE and 0 <= row < SIDE:
                self.lit = row * SIDE + column
        return self._seen()

    async def evaluate(self) -> float:
        return float(self.lit == self._wanted())

    async def close(self) -> None:
        pass

    async def regions(self) -> tuple[Region, ...]:
        return ()

    async def solve(self) -> AsyncIterator[tuple[str, Action]]:
        yield "", Action("click", *center(self._wanted()))

    def _wanted(self) -> int:
        return lamp_of(self.task.setup["word"])

    def _seen(self) -> Observation:
        pixels = np.full((SIZE, SIZE, 3), 25, dtype=np.uint8)
        for lamp in range(LAMPS):
            x, y = (lamp % SIDE) * FIELD, (lamp // SIDE) * FIELD
            pixels[y + 4 : y + FIELD - 4, x + 4 : x + FIELD - 4] = COLORS[lamp == self.lit]
        image = self.images.put_pixels(pixels)
        return Observation(image, state_key=f"{self.task.id} {self.lit}", done=self.lit == self._wanted())
