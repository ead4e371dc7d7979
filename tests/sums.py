"""An environment in which an action needs what can only be deduced: which door to open is the sum of the digits on the wall.

Six digits stand in each of two rooms. The right door is the remainder of their sum divided by five. It is written nowhere, and
every digit matters.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence

from stepladder.images import ImageStore
from stepladder.types import Action, Observation, Task

ROOMS, DIGITS, DOORS = 2, 6, 5


class SumsEnvironment:
    """The seed says what stands on the walls."""

    def __init__(self, images: ImageStore | None = None) -> None:
        self.task, self.room, self.right, self.walls = Task("", "", ""), 0, 0, [()]

    @classmethod
    def tasks(cls) -> list[Task]:
        return [Task("sums", "open the right doors", "sums:SumsEnvironment", max_steps=ROOMS)]

    async def reset(self, task: Task, seed: int) -> Observation:
        draw = random.Random(f"sums {seed}")
        self.walls = [tuple(draw.randrange(10) for _ in range(DIGITS)) for _ in range(ROOMS)]
        self.task, self.room, self.right = task, 0, 0
        return self._seen()

    async def step(self, action: Action) -> Observation:
        self.right += action.text == str(door(self.walls[self.room]))
        self.room += 1
        return self._seen()

    async def evaluate(self) -> float:
        return float(self.room == ROOMS and self.right == ROOMS)

    async def close(self) -> None:
        pass

    async def solve(self) -> AsyncIterator[tuple[str, Action]]:
        for wall in self.walls[self.room :]:
            chosen = str(door(wall))
            yield f"{' '.join(running(wall))}\nAction: Open {chosen}.", Action("type", text=chosen)

    def _seen(self) -> Observation:
        if self.room == ROOMS:
            return Observation(text="out", state_key="out", done=True)
        wall = " ".join(map(str, self.walls[self.room]))
        return Observation(text=wall, state_key=f"{self.room} {wall} {self.right}")


def door(wall: Sequence[int]) -> int:
    return sum(wall) % DOORS


def running(wall: Sequence[int]) -> list[str]:
    """Each digit with the door that the digits up to it lead to."""
    return [f"{digit} {door(wall[: number + 1])}" for number, digit in enumerate(wall)]
