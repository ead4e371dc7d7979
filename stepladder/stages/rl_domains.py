"""How the tasks of each domain do where several are trained in one run: one weak reward can spoil what all of them learn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def domain_figures(told: Iterable[Mapping[str, Any]], domains: Mapping[str, str]) -> dict[str, float]:
    """Means over the graded episodes of each domain, as "domain/NAME/reward" and "domain/NAME/success", and their number, as
    "domain/NAME/episodes", of the groups of an update. Nothing where all tasks of the run are of one domain.

    `domains` has the domain of every task of the run. Each group tells its "task", and of its graded members "reward", the sum of
    their task rewards, "successes", and by "episodes" and "failed" how many they are.
    """
    sums: dict[str, list[float]] = {}
    for one in told:
        total = sums.setdefault(domains[one["task"]], [0.0, 0.0, 0.0])
        for place, value in enumerate((one["reward"], one["successes"], one["episodes"] - one["failed"])):
            total[place] += value
    found: dict[str, float] = {}
    for domain in sorted(sums) if len(set(domains.values())) > 1 else ():
        reward, successes, graded = sums[domain]
        if graded:
            found |= {f"domain/{domain}/reward": reward / graded, f"domain/{domain}/success": successes / graded}
        found[f"domain/{domain}/episodes"] = graded
    return found
