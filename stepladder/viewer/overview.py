"""What the list of runs says of a run: what it is, how far it has come, and the rate that says most."""

from __future__ import annotations

import calendar
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stepladder.rollout.demonstrate import VISIT
from stepladder.stats import success_rate
from stepladder.viewer.metrics import headline_curve
from stepladder.viewer.run_view import RunView, changed

#: Settings that only one command has, where the command line was another program's.
_SETTINGS_OF = {
    "baselines": "eval",
    "baseline_episodes": "demo",
    "algo": "rl",
    "turns": "flywheel",
    "visits": "collect",
    "copying": "sft",
}
#: Policies that are measured for comparison, and one that does nothing; a run is not about them.
_BESIDE = {"idle", "random", "oracle", "give_up", VISIT}


def overview(run: RunView) -> dict[str, Any]:
    """The run in the list of runs; times are unix seconds."""
    stores, starts = run.stores(), run.starts()
    files = [*run.contents.stores.values()]
    files += [path / name for path in run.contents.parts.values() for name in ("metrics.jsonl", "phases.json")]
    return {
        "id": run.id,
        "name": run.directory.name,
        "kind": kind(run, starts),
        "started": _moment(starts[0].get("time")) if starts else None,
        "updated": max(map(changed, files), default=0.0) or changed(run.directory),
        **{name: sum(store[name] for store in stores) for name in ("trajectories", "successes", "graded")},
        "latest": run.latest(),
        "headline": headline(run),
        "alarms": len(run.alarms()),
        "curve": headline_curve([series for series, _ in run.series().values()]),
        "indexing": run.index.share(),
    }


def kind(run: RunView, starts: Sequence[Mapping[str, Any]]) -> str:
    """The command that made the run, empty where nothing tells."""
    command = starts[-1].get("command") if starts else None
    if isinstance(command, list) and len(command) > 1:
        program = Path(str(command[0]))
        ours = program.name == "stepladder" or program.parts[-2:] == ("stepladder", "__main__.py")
        if ours and re.fullmatch("[a-z][a-z-]*", str(command[1])):
            return str(command[1])
    config = run.settings().get("", {})
    return next((command for setting, command in _SETTINGS_OF.items() if setting in config), "")


def headline(run: RunView) -> dict[str, Any] | None:
    """The rate that says most, and what it is `of`: the last rung of the run's report, else the store that was last written of
    those of an evaluation, else the largest one; baselines do not count beside others. `store` is the store with its episodes,
    None where no store goes by the name of the rung. None where nothing is graded."""
    rungs = run.report_data().get("rungs")
    if isinstance(rungs, list) and rungs and isinstance(rungs[-1], dict) and rungs[-1].get("n"):
        last = rungs[-1]
        return {
            "rate": last.get("success"),
            "low": last.get("low"),
            "high": last.get("high"),
            "n": last["n"],
            "of": last.get("rung"),
            "store": _store_of(run, str(last.get("rung"))),
        }
    stores = [store for store in run.stores() if store["graded"]]
    judged = [store for store in stores if not set(store["policies"]) <= _BESIDE] or stores
    if not judged:
        return None
    settings = run.settings()
    evaluated = [store for store in judged if "baselines" in settings.get(store["id"].rpartition("/")[0], {})]
    if evaluated:
        store = max(evaluated, key=lambda one: changed(run.contents.stores[one["id"]]))
    else:
        store = max(judged, key=lambda one: one["graded"])
    found = success_rate(store["successes"], store["graded"], starts=store["starts"])
    return {"rate": found.rate, "low": found.low, "high": found.high, "n": found.n, "of": store["id"], "store": store["id"]}


def _store_of(run: RunView, rung: str) -> str | None:
    """The store of a rung of a report: it has the rung's name, or is the one beside baselines in a directory that has it."""
    stores = [store for store in run.stores() if store["graded"]]
    beside = [one for one in stores if one["id"].split("/")[-2:-1] == [rung] and not set(one["policies"]) <= _BESIDE]
    named = [store for store in stores if store["id"] == rung]
    return next((str(store["id"]) for store in (*named, *beside)), None)


def _moment(text: Any) -> float | None:
    """Unix seconds of a time as environment.json has it, such as 2026-05-12T14:03:00+0200."""
    try:
        moment = time.strptime(str(text), "%Y-%m-%dT%H:%M:%S%z")
    except ValueError:
        return None
    return float(calendar.timegm(moment) - (moment.tm_gmtoff or 0))
