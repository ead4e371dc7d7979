"""What each domain came to in a run of reinforcement learning, at its beginning and at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stepladder.report import DomainTrained

Record = Mapping[str, Any]
#: Beginning and end of a run are this share of its updates each, at least one.
SHARE = 0.1
PREFIX = "domain/"


def domains_of(records: Sequence[Record]) -> tuple[DomainTrained, ...]:
    """One row for each domain that the measurements of updates name ("domain/NAME/..."), the one that gained least first; none
    where the run was of one domain. Means weigh every graded episode alike."""
    updates = [record for record in records if record["phase"] == "rl" and record["step"] > 0]
    names = dict.fromkeys(name for record in updates for name in measured(record, "episodes"))
    rows = [row for name in names if (row := _row(name, updates)) is not None]
    return tuple(sorted(rows, key=lambda row: (row.last_reward - row.first_reward, row.domain)))


def measured(record: Record, figure: str) -> dict[str, str]:
    """Domain -> name of the measurement `figure` ("reward", "success" or "episodes") of it in a record."""
    suffix = f"/{figure}"
    return {name[len(PREFIX) : -len(suffix)]: name for name in record if name.startswith(PREFIX) and name.endswith(suffix)}


def _row(domain: str, updates: Sequence[Record]) -> DomainTrained | None:
    """None where no episode of the domain has a grade."""
    played = [record for record in updates if record.get(f"{PREFIX}{domain}/episodes")]
    if not played:
        return None
    size = max(1, round(SHARE * len(played)))
    first, last = played[:size], played[-size:]
    return DomainTrained(
        domain=domain,
        episodes=round(sum(record[f"{PREFIX}{domain}/episodes"] for record in played)),
        first=(first[0]["step"], first[-1]["step"]),
        last=(last[0]["step"], last[-1]["step"]),
        first_reward=_mean(domain, "reward", first),
        last_reward=_mean(domain, "reward", last),
        first_success=_mean(domain, "success", first),
        last_success=_mean(domain, "success", last),
    )


def _mean(domain: str, figure: str, records: Sequence[Record]) -> float:
    counts = [record[f"{PREFIX}{domain}/episodes"] for record in records]
    sums = (n * record[f"{PREFIX}{domain}/{figure}"] for n, record in zip(counts, records, strict=True))
    return float(sum(sums) / sum(counts))
