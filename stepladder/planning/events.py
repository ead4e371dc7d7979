"""Simulated time: what happens when, and how much of something there was on average."""

from __future__ import annotations

import heapq
from collections.abc import Callable

from stepladder.errors import UserError

#: What is done at a time.
Do = Callable[[], None]


class Events:
    """A clock that jumps from one event to the next. `now` is in seconds; what falls on the same time is done in the order in which
    it was asked for."""

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, Do]] = []
        self._count = 0

    def after(self, seconds: float, do: Do) -> None:
        """Have `do` called `seconds` from now."""
        heapq.heappush(self._heap, (self.now + seconds, self._count, do))
        self._count += 1

    def run(self, over: Callable[[], bool]) -> None:
        """Let things happen until `over`, which is asked after each. Raises UserError where nothing is left to happen before."""
        while not over():
            if not self._heap:
                raise UserError(f"the simulated pipeline stands still after {self.now:,.0f} s: everything waits for something else")
            self.now, _, do = heapq.heappop(self._heap)
            do()


class Level:
    """A number that changes with time, such as of environments at work, and its integral over time since the beginning."""

    def __init__(self, events: Events) -> None:
        self.value = 0
        self._events = events
        self._since, self._integral = 0.0, 0.0

    def add(self, change: int) -> None:
        """Change it now."""
        self._integral += self.value * (self._events.now - self._since)
        self._since = self._events.now
        self.value += change

    @property
    def integral(self) -> float:
        """Times seconds, up to now."""
        return self._integral + self.value * (self._events.now - self._since)
