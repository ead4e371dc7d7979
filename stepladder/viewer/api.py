"""The JSON API as functions of a path and a query: what the server answers, and what an export writes to files.

/runs                                         the runs
/runs/{run}                                   one run: settings, phases, stores, measurements, alarms
/runs/{run}/metrics                           the series of a phase
/runs/{run}/tasks                             success rates by task
/runs/{run}/trajectories                      trajectories by filter
/runs/{run}/trajectories/{store}/{id}         one trajectory
/runs/{run}/trajectories/{store}/{id}/tree/{step}    an accessibility tree of it
/runs/{run}/groups, .../groups/{store}/{group}       groups, and the members of one
/compare?a=RUN/STORE/ID&b=...                 trajectories side by side
"""

from __future__ import annotations

import string
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from stepladder.codec import from_json
from stepladder.store import StoreError
from stepladder.types import Trajectory
from stepladder.viewer import listing, trajectory_page
from stepladder.viewer.comparison import MOST_SIDES, MOST_STEPS, side_by_side
from stepladder.viewer.listing import BadQuery
from stepladder.viewer.metrics import thinned
from stepladder.viewer.overview import headline, kind, overview
from stepladder.viewer.run_view import Missing, RunView
from stepladder.viewer.runs import Runs
from stepladder.viewer.token_texts import TokenTexts, checkpoint_of

#: Points of a series in a chart, by default and at most.
POINTS, MOST_POINTS = 400, 5000
#: Seconds that one answer spends on reading what is new.
_PATIENCE = 1.0
_SIDES = string.ascii_lowercase[:MOST_SIDES]


class Api:
    """Answers about `runs`. `tokenizer` is a checkpoint directory whose tokenizer tells the text of tokens where that of the run's
    own checkpoint does not lie in one of the runs."""

    def __init__(self, runs: Runs, tokenizer: Path | None = None) -> None:
        self.runs = runs
        self._tokenizer = tokenizer
        self._texts = TokenTexts()

    def answer(self, path: Sequence[str], query: Mapping[str, str]) -> dict[str, Any]:
        """The answer to a path, given as its decoded segments behind /api. Raises Missing, BadQuery, StoreError."""
        match list(path):
            case ["runs"]:
                return self._runs()
            case ["compare"]:
                return self._compare(query)
            case ["runs", identifier, *rest]:
                run = self.runs.get(identifier)
                run.refresh(_PATIENCE)
                return self._of_run(run, rest, query)
        raise Missing("there is no such address")

    def _of_run(self, run: RunView, path: list[str], query: Mapping[str, str]) -> dict[str, Any]:
        match path:
            case []:
                return self._run(run)
            case ["metrics"]:
                return _metrics(run, query)
            case ["tasks"]:
                return listing.tasks(run, query)
            case ["trajectories"]:
                return listing.trajectories(run, query)
            case ["groups"]:
                return listing.groups(run, query)
            case ["groups", store, name]:
                return self._group(run, store, name)
            case ["trajectories", store, identifier]:
                return self._trajectory(run, store, identifier)
            case ["trajectories", store, identifier, "tree", number]:
                if not number.isascii() or not number.isdigit() or len(number) > 9:
                    raise BadQuery(f"step is {number[:40]!r}; it must be a whole number")
                return {"elements": trajectory_page.tree(run.record(store, identifier), int(number))}
        raise Missing("there is no such address")

    def _runs(self) -> dict[str, Any]:
        until = time.monotonic() + _PATIENCE
        runs = self.runs.all()
        for run in runs:
            run.refresh(max(0.02, until - time.monotonic()))
        return {"total": len(runs), "runs": [overview(run) for run in runs]}

    def _run(self, run: RunView) -> dict[str, Any]:
        settings, starts, stores = run.settings(), run.starts(), run.stores()
        reports = {part: "/".join(("/api/reports", segment(run.id), *map(segment, filter(None, [part])))) for part in run.reports()}
        return {
            "id": run.id,
            "name": run.directory.name,
            "kind": kind(run, starts),
            "config": settings.get("", {}),
            "configs": settings,
            "machine": starts[-1] if starts else None,
            "phases": run.phases(),
            "total": sum(store["trajectories"] for store in stores),
            "stores": stores,
            "metrics": [
                {"phase": phase, "keys": sorted(series), "steps": last} for phase, (series, last) in run.series().items() if series
            ],
            "headline": headline(run),
            "latest": run.latest(),
            "report": reports.get(""),
            "reports": reports,
            "alarms": run.alarms(),
            "indexing": run.index.share(),
        }

    def _group(self, run: RunView, store: str, name: str) -> dict[str, Any]:
        found = listing.group(run, store, name)
        first = run.record(store, found["members"][0]["id"])
        return {**found, "instruction": trajectory_page.task_of(first)["instruction"]}

    def _trajectory(self, run: RunView, store: str, identifier: str) -> dict[str, Any]:
        page = self._side(run, store, identifier)
        task, seed = page["task"]["id"], page["seed"]
        page["neighbours"] = listing.neighbours(run, store, identifier)
        runs = self.runs.all()
        for other in runs:
            other.refresh(_PATIENCE / (1 + len(runs)))
        same = listing.same_start(runs, task, seed) if isinstance(task, str) and isinstance(seed, int) else []
        here = (run.id, store, identifier)
        page["same_start"] = [one for one in same if (one["run"], one["store"], one["id"]) != here]
        return page

    def _side(self, run: RunView, store: str, identifier: str, record: Mapping[str, Any] | None = None) -> dict[str, Any]:
        record = run.record(store, identifier) if record is None else record
        texts = self.token_texts(run, store)
        name = record.get("group", "")
        advantage = listing.group_advantage(run, store, name, identifier) if isinstance(name, str) else None
        lessons, complete = run.lessons(store, str(record.get("id", "")), len(trajectory_page.objects(record, "steps")))
        page = trajectory_page.page(record, lambda digest: picture_address(run.id, digest), texts.get, advantage, lessons)
        page["lessons"]["complete"] = complete
        return {"run": run.id, "store": store, **page}

    def _compare(self, query: Mapping[str, str]) -> dict[str, Any]:
        named = [query[name] for name in _SIDES if query.get(name)]
        if len(named) < 2:
            raise BadQuery(f"compare takes a=RUN/STORE/ID and b=RUN/STORE/ID, up to {_SIDES[-1]}; the three parts are URL-encoded")
        sides, typed = [], []
        for text in named:
            parts = text.split("/")
            if len(parts) != 3:
                raise BadQuery(f"{text[:80]!r} is no RUN/STORE/ID; each of the three parts must be URL-encoded")
            identifier, store, trajectory = map(unquote, parts)
            run = self.runs.get(identifier)
            run.refresh(_PATIENCE)
            record = run.record(store, trajectory)
            if len(trajectory_page.objects(record, "steps")) > MOST_STEPS:
                raise BadQuery(f"{trajectory!r} has more than {MOST_STEPS} steps, too many to be aligned")
            sides.append(self._side(run, store, trajectory, record))
            try:
                typed.append(from_json(Trajectory, record))
            except ValueError as error:
                raise StoreError(f"{trajectory!r} of {store!r} is no trajectory of this version: {error}") from error
        return {"sides": sides, **side_by_side(typed)}

    def token_texts(self, run: RunView, store: str) -> Mapping[int, str]:
        """The texts of the tokens in a store: of the checkpoint that its part of the run names, or has made, where that lies in one
        of the runs; else of the tokenizer that was given."""
        for checkpoint in _checkpoints(run, store, [one.directory for one in self.runs.all()]):
            texts = self._texts.of(checkpoint)
            if texts:
                return texts
        return self._texts.of(self._tokenizer) if self._tokenizer is not None else {}


def picture_address(run: str, digest: str) -> str:
    return f"/api/images/{segment(run)}/{segment(digest)}"


def segment(text: str) -> str:
    """A text as one segment of a path."""
    return quote(text, safe="", errors="replace")


def _metrics(run: RunView, query: Mapping[str, str]) -> dict[str, Any]:
    found = run.series()
    phase = query.get("phase", "")
    if phase not in found:
        if phase or not found:
            raise Missing(f"run {run.id!r} has no measurements of phase {phase!r}; there are those of {', '.join(found) or 'none'}")
        phase = next(reversed(found))
    text = query.get("points") or str(POINTS)
    if not text.isascii() or not text.isdigit() or not 2 <= int(text[:9]) <= MOST_POINTS:
        raise BadQuery(f"points is {text[:40]!r}; it must be 2 to {MOST_POINTS}")
    series, _ = found[phase]
    return {"phase": phase, "series": {key: thinned(one, int(text)) for key, one in series.items()}}


def _checkpoints(run: RunView, store: str, directories: Sequence[Path]) -> list[Path]:
    """Where the tokenizer of a store may lie: only directories inside the runs that were given count."""
    part = store.rpartition("/")[0]
    configs = run.settings()
    named = [text for text in (checkpoint_of(configs.get(part, {})), checkpoint_of(configs.get("", {}))) if text]
    found: list[Path] = []
    for text in named:
        path = Path(text)
        found.append(path)
        if run.directory.name in path.parts:  # the run may have been moved since
            place = len(path.parts) - 1 - path.parts[::-1].index(run.directory.name)
            found.append(run.directory.joinpath(*path.parts[place + 1 :]))
    here = run.contents.parts.get(part, run.directory)
    found += [here / "checkpoint", run.directory / "checkpoint"]
    kept = []
    for path in found:
        try:
            real = (path / "tokenizer.json").resolve(strict=True)
        except (OSError, RuntimeError, ValueError):
            continue
        if any(real.is_relative_to(directory) for directory in directories):
            kept.append(real.parent)
    return kept
