"""Work that waits, by task: to load another task's page can cost more than an episode, so one goes on with what is loaded."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class ByTask(Generic[T]):
    """Things that wait, in the order in which they were added to their task."""

    def __init__(self) -> None:
        self._tasks: dict[str, deque[T]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._tasks.values()))

    def add(self, task: str, thing: T) -> None:
        self._tasks.setdefault(task, deque()).append(thing)

    def take(self, task: str, most: int = 1) -> list[T]:
        """At most `most` things of `task`, or when it has none left, of the task with the most; none when none is left."""
        if not self._tasks:
            return []
        chosen = task if task in self._tasks else max(self._tasks, key=lambda name: len(self._tasks[name]))
        waiting = self._tasks[chosen]
        taken = [waiting.popleft() for _ in range(min(len(waiting), most))]
        if not waiting:
            del self._tasks[chosen]
        return taken
