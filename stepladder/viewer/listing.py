"""Lists of a run: its tasks, its trajectories by filter, its groups. Nothing here reads a trajectory."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stepladder.rollout.demonstrate import VISIT
from stepladder.stats import success_rate
from stepladder.viewer.index import storable
from stepladder.viewer.run_view import Missing, RunView

#: What a list of trajectories can be sorted by, and the column that it is.
SORTS = {
    "written": "number",
    "store": "store",
    "id": "id",
    "task": "task",
    "seed": "seed",
    "status": "status",
    "reward": "reward",
    "steps": "steps",
    "group": "member_of",
    "index": "place",
    "policy": "policy",
}
#: Query parameters of a list of trajectories beside offset and limit.
FILTERS = ("store", "task", "status", "reward", "step", "group", "policy", "q", "seed", "sort")
MOST, USUAL = 1000, 100
#: How advantages are reckoned here.
KIND = "group-normalised"
_NUMBER = r"-?\d+(?:\.\d+)?"
_COLUMNS = "number, store, id, task, seed, status, reward, steps, member_of, place, policy"


class BadQuery(Exception):
    """A query that means nothing; the message names the parameter and what would be right."""


@dataclass(frozen=True)
class Page:
    """The part of a list that is asked for."""

    offset: int = 0
    limit: int = USUAL

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Page:
        """Raises BadQuery."""
        offset, limit = (_natural(query, name, usual) for name, usual in (("offset", 0), ("limit", USUAL)))
        if limit > MOST:
            raise BadQuery(f"limit is {limit}; it may be {MOST} at most")
        return cls(offset, limit)


def tasks(run: RunView, query: Mapping[str, str]) -> dict[str, Any]:
    """{"total", "tasks"}: of every task its graded episodes, their success rate with its interval, and what is missing and why.

    Missing is what a start has less than the start of the same store that was graded most often: an episode whose environment
    failed and that was played again is not. Of several failures of a start the latest ones count (`stepladder.results`).

    The interval is that of as many episodes as there are starts, as in a report (`stepladder.stats.success_rate`)."""
    where, values = _where(run, query, ("store", "policy"))
    where += f" {'and' if where else 'where'} policy != ?"  # nothing was tried on a page that was only looked at
    values.append(VISIT)
    rows = run.index.select(
        f"""with one as (select task, status, reward, steps, store,
                row_number() over (partition by store, member_of, task, seed, reward is null order by number desc) as latest,
                count(reward) over (partition by store, member_of, task, seed) as done from trajectories {where}),
            asked as (select *, max(1, max(done) over (partition by store)) - done as lacking from one)
            select task, status, reward is not null as graded, count(*) as n, total(reward >= 0.5) as successes,
            total(steps) as steps from asked where graded or latest <= lacking group by task, status, graded order by task""",
        values,
    )
    starts = run.index.select(
        f"""select task, count(distinct case when reward is not null then seed end) as starts
            from trajectories {where} group by task""",
        values,
    )
    different = {row["task"]: row["starts"] for row in starts}
    found: dict[str, list[sqlite3.Row]] = {}
    for row in rows:
        found.setdefault(row["task"], []).append(row)
    page = Page.of(query) if "limit" in query or "offset" in query else Page(0, len(found))
    shown = list(found.items())[page.offset : page.offset + page.limit]
    return {"total": len(found), "tasks": [_task(task, of_task, different[task]) for task, of_task in shown]}


def _task(task: str, rows: Sequence[sqlite3.Row], starts: int) -> dict[str, Any]:
    graded = [row for row in rows if row["graded"]]
    n = sum(row["n"] for row in graded)
    rate = success_rate(int(sum(row["successes"] for row in graded)), n, starts=starts)
    return {
        "task": task,
        "n": n,
        "successes": rate.successes,
        "rate": rate.rate,
        "low": rate.low,
        "high": rate.high,
        "missing": {row["status"]: row["n"] for row in rows if not row["graded"]},
        "statuses": {row["status"]: row["n"] for row in graded},
        "steps": sum(row["steps"] for row in graded) / n if n else None,
    }


def trajectories(run: RunView, query: Mapping[str, str]) -> dict[str, Any]:
    """{"total", "trajectories"}: those that pass the filters, in order. Raises BadQuery, Missing."""
    page = Page.of(query)
    where, values = _where(run, query, FILTERS)
    total = run.index.select(f"select count(*) from trajectories {where}", values)[0][0]
    rows = run.index.select(
        f"select {_COLUMNS} from trajectories {where} order by {_order(query)} limit ? offset ?", [*values, page.limit, page.offset]
    )
    return {"total": total, "trajectories": [summary(run, row) for row in rows]}


def summary(run: RunView, row: sqlite3.Row) -> dict[str, Any]:
    """A trajectory as lists have it."""
    return {
        "store": run.index.name_of(row["store"]),
        "id": row["id"],
        "task": row["task"],
        "seed": row["seed"],
        "status": row["status"],
        "reward": row["reward"],
        "steps": row["steps"],
        "group": row["member_of"],
        "index": row["place"],
        "policy": row["policy"],
    }


def written_after(run: RunView, number: int, most: int) -> tuple[int, list[dict[str, Any]]]:
    """(number of the last trajectory, at most so many of those after `number`, the latest)."""
    rows = run.index.select(f"select {_COLUMNS} from trajectories where number > ? order by number desc limit ?", (number, most))
    return (rows[0]["number"] if rows else number), [summary(run, row) for row in reversed(rows)]


def neighbours(run: RunView, store: str, identifier: str) -> dict[str, str | None]:
    """The trajectories before and after one in its store."""
    number = run.store_number(store)
    found: dict[str, str | None] = {}
    for name, sign, order in (("previous", "<", "desc"), ("next", ">", "asc")):
        rows = run.index.select(
            f"""select id from trajectories where store = ? and number {sign}
                (select number from trajectories where store = ? and id = ?) order by number {order} limit 1""",
            (number, number, identifier),
        )
        found[name] = rows[0]["id"] if rows else None
    return found


def same_start(runs: Sequence[RunView], task: str, seed: int, most: int = 200) -> list[dict[str, Any]]:
    """The trajectories of all runs that began where this one did."""
    found: list[dict[str, Any]] = []
    for run in runs:
        rows = run.index.select(
            f"select {_COLUMNS} from trajectories where task = ? and seed = ? order by number limit ?",
            (storable(task), seed, most - len(found)),
        )
        for row in rows:
            one = summary(run, row)
            found.append({"run": run.id, **{name: one[name] for name in ("store", "id", "policy", "reward", "status", "group")}})
    return found


def groups(run: RunView, query: Mapping[str, str]) -> dict[str, Any]:
    """{"total", "groups"}: those with more than one member, in the order of writing. Raises BadQuery, Missing."""
    page = Page.of(query)
    where, values = _where(run, query, ("store", "task"))
    where = f"{where} and member_of != ''" if where else "where member_of != ''"
    counted = f"select min(number) as first from trajectories {where} group by store, member_of having count(*) > 1"
    total = run.index.select(f"select count(*) from ({counted})", values)[0][0]
    rows = run.index.select(
        f"""select store, member_of, min(number) as first from trajectories {where} group by store, member_of
            having count(*) > 1 order by first limit ? offset ?""",
        [*values, page.limit, page.offset],
    )
    found = []
    for row in rows:
        members = _members(run, row["store"], row["member_of"])
        rewards = [member["reward"] for member in members]
        found.append(
            {
                "store": run.index.name_of(row["store"]),
                "group": row["member_of"],
                "task": members[0]["task"],
                "seed": members[0]["seed"],
                "n": len(members),
                "rewards": rewards,
                "advantages": advantages(rewards),
            }
        )
    return {"total": total, "groups": found}


def group(run: RunView, store: str, name: str) -> dict[str, Any]:
    """The members of a group with their advantages. Raises Missing."""
    members = _members(run, run.store_number(store), name)
    if not members or not name:
        raise Missing(f"{store!r} of run {run.id!r} has no group {name!r}")
    shown = advantages([member["reward"] for member in members])
    return {
        "group": name,
        "store": store,
        "task": members[0]["task"],
        "seed": members[0]["seed"],
        "advantage_kind": KIND,
        "kind": KIND,
        "total": len(members),
        "members": [{**member, "advantage": value} for member, value in zip(members, shown, strict=True)],
    }


def group_advantage(run: RunView, store: str, name: str, identifier: str) -> float | None:
    """The advantage of a member of a group; None for a group of one, which has nothing to be compared with."""
    members = _members(run, run.store_number(store), name) if name else []
    if len(members) < 2:
        return None
    shown = advantages([member["reward"] for member in members])
    return next((value for member, value in zip(members, shown, strict=True) if member["id"] == identifier), None)


def advantages(rewards: Sequence[float | None]) -> list[float | None]:
    """Reward less the mean of the group, in units of its standard deviation (n - 1): how GRPO has it (`stepladder.algos`). None for
    members without a reward, 0 where all are equal."""
    graded = np.array([reward for reward in rewards if reward is not None], dtype=np.float64)
    if len(graded) < 2 or float(graded.max()) <= float(graded.min()):
        return [None if reward is None else 0.0 for reward in rewards]
    mean, deviation = float(graded.mean()), float(graded.std(ddof=1))
    return [None if reward is None else (reward - mean) / (deviation + 1e-6) for reward in rewards]


# ------------------------------------------------------------------------------------------------------------------ queries


def _members(run: RunView, store: int, name: str) -> list[dict[str, Any]]:
    rows = run.index.select(
        f"select {_COLUMNS} from trajectories where store = ? and member_of = ? and member_of != '' order by place, number",
        (store, storable(name)),
    )
    return [summary(run, row) for row in rows]


def _where(run: RunView, query: Mapping[str, str], allowed: Sequence[str]) -> tuple[str, list[Any]]:
    """The conditions of a query, and the values in them: nothing of the query itself becomes SQL."""
    conditions: list[str] = []
    values: list[Any] = []
    for name in allowed:
        text = query.get(name, "")
        if not text or name == "sort":
            continue
        if name == "store":
            conditions.append("store = ?")
            values.append(run.store_number(text))
        elif name in ("task", "status", "policy", "group"):
            wanted = [storable(text)] if name != "status" else text.split(",")
            conditions.append(f"{SORTS[name]} in ({', '.join('?' * len(wanted))})")
            values += wanted
        elif name == "seed":
            conditions.append("seed = ?")
            values.append(_natural(query, "seed", 0))
        elif name == "q":
            pattern = "%" + re.sub(r"([\\%_])", r"\\\1", storable(text)) + "%"
            columns = ("id", "task", "member_of", "policy", "status")
            conditions.append("(" + " or ".join(f"{column} like ? escape '\\'" for column in columns) + ")")
            values += [pattern] * len(columns)
        else:
            conditions += _range(name, text, "reward" if name == "reward" else "steps", values)
    return (f"where {' and '.join(conditions)}" if conditions else ""), values


def _range(name: str, text: str, column: str, values: list[Any]) -> list[str]:
    """Conditions of "0.2..0.8", "..0.8", "0.2.." or "3", which is at least 3 steps and a reward of just 3; "none" is no reward."""
    if name == "reward" and text == "none":
        return ["reward is null"]
    found = re.fullmatch(rf"({_NUMBER})?(\.\.)?({_NUMBER})?", text)
    if found is None or (found[1] is None and found[3] is None):
        raise BadQuery(f"{name} is {text[:40]!r}; write 0.2..0.8, ..0.8, 0.2.. or one number")
    low, high = found[1], found[3]
    if found[2] is None:
        high = low if name == "reward" else None
    conditions = []
    for bound, sign in ((low, ">="), (high, "<=")):
        if bound is not None:
            conditions.append(f"{column} {sign} ?")
            values.append(float(bound))
    return conditions


def _order(query: Mapping[str, str]) -> str:
    text = query.get("sort") or "written"
    column, direction = text.removeprefix("-"), "desc" if text.startswith("-") else "asc"
    if column not in SORTS:
        raise BadQuery(f"sort is {text[:40]!r}; it must be one of {', '.join(SORTS)}, with - before it for descending")
    return f"{SORTS[column]} {direction}, number {direction}"


def _natural(query: Mapping[str, str], name: str, usual: int) -> int:
    text = query.get(name) or str(usual)
    if re.fullmatch(r"\d{1,18}", text) is None:
        raise BadQuery(f"{name} is {text[:40]!r}; it must be a whole number, 0 or more")
    return int(text)
