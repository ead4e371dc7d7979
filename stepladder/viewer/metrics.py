"""Measurements of a run as series of numbers, read once, and thinned out for charts."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

from stepladder.viewer.tails import Tail

Point = tuple[float, float]
#: Of every measurement, and no series.
_NO_SERIES = ("step", "phase", "time")
#: What a chart of a run shows when one must be chosen, the best first.
_HEADLINES = ("success", "validation", "held_out", "accuracy", "reward", "score", "ce", "loss")


class Series:
    """One number over the steps of a phase. `steps` and `values` are float64[N]."""

    __slots__ = ("steps", "values")

    def __init__(self) -> None:
        self.steps, self.values = array("d"), array("d")

    def add(self, step: float, value: float) -> None:
        """A measurement of a step takes the place of an earlier one of it, and of those of later steps: a run that was killed
        repeats the steps after its last checkpoint."""
        while self.steps and self.steps[-1] >= step:
            self.steps.pop()
            self.values.pop()
        self.steps.append(step)
        self.values.append(value)

    def fall_back(self, step: float) -> None:
        """Forget what comes after `step`."""
        while self.steps and self.steps[-1] > step:
            self.steps.pop()
            self.values.pop()


class Metrics:
    """The measurements in one metrics.jsonl, as far as it has been written; see `stepladder.run.read_metrics` for what counts."""

    def __init__(self, path: Path) -> None:
        self._tail = Tail(path)
        self.phases: dict[str, dict[str, Series]] = {}
        self.latest: dict[str, Any] | None = None
        #: Step and time of each phase's last measurement.
        self._last: dict[str, tuple[float, float]] = {}

    def refresh(self) -> bool:
        """Read what is new; whether there was something."""
        if not self._tail.changed():
            return False
        anew, records = self._tail.read()
        if anew:
            self.phases, self.latest, self._last = {}, None, {}
        for record in records:
            self._add(record)
        return bool(records) or anew

    def last(self, phase: str) -> tuple[float, float]:
        """Step, and time in unix seconds, of the last measurement of a phase."""
        return self._last[phase]

    def _add(self, record: Mapping[str, Any]) -> None:
        step, name = record.get("step"), record.get("phase")
        if not is_number(step) or not isinstance(name, str):
            return
        series = self.phases.setdefault(name, {})
        if name in self._last and step < self._last[name][0]:
            for one in series.values():
                one.fall_back(step)
        moment = record.get("time")
        self._last[name] = (step, moment if is_number(moment) else 0.0)
        for key, value in record.items():
            if key not in _NO_SERIES and is_number(value):
                series.setdefault(key, Series()).add(step, value)
        self.latest = {"phase": name, "step": step, "metrics": values_of(record)}


def values_of(record: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a measurement."""
    return {key: value for key, value in record.items() if key not in _NO_SERIES and is_number(value)}


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a JSON value is a number that a float can hold."""
    return type(value) is float or (type(value) is int and abs(value) < 1 << 1000)


def thinned(series: Series, points: int) -> list[Point]:
    """At most about `points` of a series: it is cut into equal parts, and of each the lowest and the highest are kept, so that no
    peak is lost. Values that are no numbers are left out."""
    steps, values = series.steps, series.values
    found = [place for place in range(len(steps)) if math.isfinite(values[place]) and math.isfinite(steps[place])]
    if len(found) > points:
        kept = {found[0], found[-1]}
        parts = max(1, points // 2 - 1)
        for part in range(parts):
            places = found[part * len(found) // parts : (part + 1) * len(found) // parts]
            if places:
                kept.add(min(places, key=values.__getitem__))
                kept.add(max(places, key=values.__getitem__))
        found = sorted(kept)
    return [(steps[place], values[place]) for place in found]


def headline_curve(phases: Sequence[Mapping[str, Series]], points: int = 60) -> list[Point]:
    """The series that says most about a run: of its last phase that has one with three points, or two; empty where none has."""
    for least in (3, 2):
        for phase in reversed(phases):
            for key in _HEADLINES:
                if key in phase and len(phase[key].steps) >= least:
                    return thinned(phase[key], points)
    return []
