"""A run as the pages show it: its files are looked at again and again, and each only as far as it has grown."""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stepladder.store import StoreError
from stepladder.viewer.directory import Contents, contents, inside
from stepladder.viewer.index import RunIndex
from stepladder.viewer.lessons import Lessons
from stepladder.viewer.metrics import Metrics, Series
from stepladder.viewer.tails import Tail, parsed, read_object

#: Seconds between two looks for new files in a run.
_LOOK_AROUND = 2.0


class Missing(Exception):
    """Something that was asked for and is not here; the message says what there is."""


class RunView:
    """One run directory. Safe for many threads."""

    def __init__(self, identifier: str, directory: Path) -> None:
        self.id, self.directory = identifier, directory.resolve()
        self.index = RunIndex(self.directory)
        self.contents = Contents()
        self._known: dict[Path, bool] = {}
        self._looked = -1e9
        self._counted: tuple[int, dict[str, dict[str, Any]]] = (-1, {})
        self._metrics: dict[str, Metrics] = {}
        self._alarm_tails: dict[str, Tail] = {}
        self._alarms: dict[str, list[dict[str, Any]]] = {}
        self._lessons: dict[str, Lessons] = {}
        self._lock = threading.RLock()

    def refresh(self, seconds: float = 1.0) -> bool:
        """Take up what has been written since the last look, for about so many seconds; whether everything was."""
        until = time.monotonic() + seconds
        with self._lock:
            if time.monotonic() - self._looked > _LOOK_AROUND:
                self.contents = contents(self.directory, self._known)
                self._looked = time.monotonic()
            for part, path in self.contents.parts.items():
                self._metrics.setdefault(part, Metrics(path / "metrics.jsonl")).refresh()
                tail = self._alarm_tails.setdefault(part, Tail(path / "alarms.jsonl"))
                if tail.changed():
                    anew, records = tail.read()
                    kept = [] if anew else self._alarms.get(part, [])
                    self._alarms[part] = kept + [_alarm(record, part) for record in records]
            complete = self.index.refresh(self.contents.stores, seconds)
            for part, paths in self.contents.lessons.items():
                complete = self._lessons.setdefault(part, Lessons()).refresh(paths, until) and complete
            return complete

    # ----------------------------------------------------------------------------------------------------------- its files

    def record(self, store: str, identifier: str) -> dict[str, Any]:
        """A trajectory as its store has it. Raises Missing, StoreError."""
        number = self.store_number(store)
        rows = self.index.select("select offset, length from trajectories where store = ? and id = ?", (number, identifier))
        if not rows:
            raise Missing(f"{store!r} of run {self.id!r} has no trajectory {identifier!r}")
        return self.read(store, rows[0]["offset"], rows[0]["length"])

    def read(self, store: str, offset: int, length: int) -> dict[str, Any]:
        """The object in these bytes of a store. Raises StoreError."""
        path = self.contents.stores[store]
        with path.open("rb") as file:
            file.seek(offset)
            record = parsed(file.read(length))
        if record is None:
            raise StoreError(f"{path}: bytes {offset} to {offset + length} are no trajectory")
        return record

    def lessons(self, store: str, identifier: str, steps: int) -> tuple[dict[int, dict[str, Any]], bool]:
        """(what was told of the first `steps` steps of a trajectory, see `Lessons.of`; whether all files beside its store are
        known)."""
        part = store.rpartition("/")[0]
        with self._lock:
            found = self._lessons.get(part) if part in self.contents.lessons else None
        return ({}, True) if found is None else (found.of(identifier, steps), found.complete)

    def store_number(self, store: str) -> int:
        """Raises Missing, which names the stores that there are."""
        number = self.index.number_of(store)
        if number is None or store not in self.contents.stores:
            there = ", ".join(map(repr, list(self.contents.stores)[:8])) or "none"
            raise Missing(f"run {self.id!r} has no store {store!r}; there are {there}")
        return number

    def picture(self, digest: str) -> Path:
        """The file of a picture. Raises Missing."""
        if re.fullmatch("[0-9a-f]{64}", digest) is None:
            raise Missing("a picture is named by the 64 hex digits of its SHA-256")
        for images in self.contents.images:
            path = images / digest[:2] / f"{digest}.png"
            if inside(path, [self.directory]):
                return path
        raise Missing(f"run {self.id!r} has no picture {digest[:12]}")

    def settings(self) -> dict[str, dict[str, Any]]:
        """The configuration of every part of the run that has one; "" is the run itself."""
        found = {part: read_object(self._file(part, "config.json")) for part in self.contents.parts}
        return {part: config for part, config in found.items() if config}

    def phases(self) -> dict[str, dict[str, Any]]:
        """The stages of the run and its parts, with whether they are done and their seconds."""
        found: dict[str, dict[str, Any]] = {}
        for part in self.contents.parts:
            for name, state in read_object(self._file(part, "phases.json")).items():
                if isinstance(state, dict):
                    found[joined(part, name)] = state
        return found

    def starts(self) -> list[dict[str, Any]]:
        """Every start of the run: time, command line, machine, versions."""
        starts = read_object(self._file("", "environment.json")).get("starts")
        return [start for start in starts if isinstance(start, dict)] if isinstance(starts, list) else []

    def reports(self) -> dict[str, Path]:
        """The report.html of every part that has one."""
        found = {part: self._file(part, "report.html") for part in self.contents.parts}
        return {part: path for part, path in found.items() if path.is_file()}

    def report_data(self) -> dict[str, Any]:
        """What the run's report.json holds; empty where there is none."""
        return read_object(self._file("", "report.json"))

    def _file(self, part: str, name: str) -> Path:
        """A file that only counts where it is no link out of the run."""
        path = self.contents.parts.get(part, self.directory) / name
        return path if not path.is_symlink() else self.directory / "no such file"

    # --------------------------------------------------------------------------------------------------------- measurements

    def series(self) -> dict[str, tuple[dict[str, Series], float]]:
        """Phase -> (its series by name, its last step), the phase that was measured last at the end. Of a part the name begins with
        the part's."""
        found = [
            (metrics.last(phase), joined(part, phase), series)
            for part, metrics in self._metrics.items()
            if part in self.contents.parts
            for phase, series in list(metrics.phases.items())
        ]
        found.sort(key=lambda one: one[0][1])
        return {phase: (series, step) for (step, _), phase, series in found}

    def latest(self) -> dict[str, Any] | None:
        """The last measurement of the part that measured last."""
        timed = [
            (changed(self.contents.parts[part] / "metrics.jsonl"), part, metrics.latest)
            for part, metrics in self._metrics.items()
            if part in self.contents.parts and metrics.latest is not None
        ]
        if not timed:
            return None
        _, part, latest = max(timed, key=lambda one: one[0])
        assert latest is not None
        return {**latest, "phase": joined(part, latest["phase"])}

    def rollouts(self) -> dict[str, float] | None:
        """The last measurement of asynchronous rollouts (phase "rollouts"), with its "step"; None where there are none."""
        found = [
            (metrics.last("rollouts"), {name: one.values[-1] for name, one in metrics.phases["rollouts"].items() if one.values})
            for part, metrics in self._metrics.items()
            if part in self.contents.parts and "rollouts" in metrics.phases
        ]
        if not found:
            return None
        (step, _), values = max(found, key=lambda one: one[0][1])
        return {**{name: value for name, value in values.items() if math.isfinite(value)}, "step": step}

    def alarms(self) -> list[dict[str, Any]]:
        return sorted((alarm for part in list(self._alarms.values()) for alarm in part), key=lambda alarm: alarm["time"])

    # --------------------------------------------------------------------------------------------------------------- counts

    def stores(self) -> list[dict[str, Any]]:
        """Every store with its numbers of trajectories, graded ones, successes, `starts` (different tasks and seeds among those
        graded) and lines that are no trajectories, and its policies, the most frequent first."""
        with self._lock:
            if self._counted[0] != self.index.version:
                self._counted = self.index.version, self._count()
            counted = self._counted[1]
        nothing = {"trajectories": 0, "graded": 0, "successes": 0, "starts": 0, "policies": []}
        unreadable = {state.name: state.unreadable for state in self.index.states()}
        return [{"id": name, **counted.get(name, nothing), "unreadable": unreadable.get(name, 0)} for name in self.contents.stores]

    def _count(self) -> dict[str, dict[str, Any]]:
        rows = self.index.select(
            """select store, policy, count(*) as trajectories, count(reward) as graded, total(reward >= 0.5) as successes
               from trajectories group by store, policy order by count(*) desc"""
        )
        starts = self.index.select(
            """select store, count(*) as starts from (select distinct store, task, seed from trajectories where reward is not null)
               group by store"""
        )
        different = {row["store"]: int(row["starts"]) for row in starts}
        found: dict[str, dict[str, Any]] = {}
        for row in rows:
            nothing = {"trajectories": 0, "graded": 0, "successes": 0, "starts": different.get(row["store"], 0), "policies": []}
            store = found.setdefault(self.index.name_of(row["store"]), nothing)
            for name in ("trajectories", "graded", "successes"):
                store[name] += int(row[name])
            store["policies"].append(row["policy"])
        return found


def joined(part: str, name: str) -> str:
    """The name of something in a part of a run."""
    return f"{part}/{name}" if part else name


def _alarm(record: Mapping[str, Any], part: str) -> dict[str, Any]:
    """An alarm with the names that its trajectories have in the whole run."""
    shown = record.get("trajectories")
    trajectories = [
        {"store": joined(part, str(one.get("store", "")).removesuffix(".jsonl")), "id": str(one.get("id", ""))}
        for one in (shown if isinstance(shown, list) else [])
        if isinstance(one, dict)
    ]
    moment = record.get("time")
    return {
        "time": moment if isinstance(moment, (int, float)) else 0.0,
        "step": record.get("step"),
        "phase": joined(part, str(record.get("phase", ""))),
        "kind": str(record.get("kind", "")),
        "message": str(record.get("message", "")),
        "trajectories": trajectories,
    }


def changed(path: Path) -> float:
    """When a file was last written, in unix seconds; 0 where there is none."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
