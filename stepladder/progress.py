"""One progress line for long work: what it is, how far, how long, and its latest figures. Without a
terminal it is an ordinary line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress

#: Without a terminal a line is printed at most this often, in seconds.
PLAIN_INTERVAL = 20.0


class Progress:
    """Use as a context manager; `update` may be called as often as one likes."""

    def __init__(self, title: str, total: int, show: bool = True) -> None:
        self.title, self.total, self.show = title, total, show
        self._terminal = show and sys.stderr.isatty()
        self._figures = ""
        self._printed = time.monotonic()
        console = Console(stderr=True)
        columns = (TextColumn("  {task.description}"), BarColumn(bar_width=28), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = RichProgress(*columns, TextColumn("{task.fields[figures]}"), console=console, transient=True)
        self._task = self._bar.add_task(title, total=total, figures="")

    def update(self, done: int, total: int | None = None, figures: Mapping[str, float] | None = None) -> None:
        """`done` of `total` units; `figures` stay shown until the next ones come."""
        self.total = total if total is not None else self.total
        if figures is not None:
            self._figures = "  ".join(f"{name} {value:.3g}" for name, value in figures.items())
        if self._terminal:
            self._bar.update(self._task, completed=done, total=self.total, figures=self._figures)
        elif self.show and time.monotonic() - self._printed > PLAIN_INTERVAL:
            self._printed = time.monotonic()
            print(f"  {self.title}: {done}/{self.total}  {self._figures}", file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        """A line of its own, which stays."""
        if self._terminal:
            self._bar.console.print(f"  {text}", markup=False, highlight=False)
        elif self.show:
            print(f"  {text}", file=sys.stderr, flush=True)

    def __enter__(self) -> Progress:
        if self._terminal:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._terminal:
            self._bar.stop()
