"""Are rewards to be trusted? Every task's check against episodes that did not do what was asked for.

    stepladder audit --tasks desk

    outcomes.jsonl    what everything came to, a line for each start, written the moment it is known
    evidence.jsonl    the episodes that earned something they should not have, and the solutions of their starts
    images/           their screenshots
    audit.json        the summary; audit.html shows it with pictures

Started again, starts whose environment failed are tried again, and all others are left alone.
"""

from __future__ import annotations

import asyncio
import fnmatch
import json
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from stepladder.audit.findings import NO_FINDING, Summary, load_allowed, summarise, summary_json
from stepladder.audit.known import KNOWN
from stepladder.audit.page import audit_page
from stepladder.audit.probes import Outcome, Prober, ProbeSettings, Tried
from stepladder.config import ConfigError, to_dict
from stepladder.images import ImageStore
from stepladder.interfaces import Environment
from stepladder.progress import Progress
from stepladder.rollout.group import EpisodeJob, play_many
from stepladder.rollout.opening import check_options
from stepladder.rollout.pool import EnvironmentPool, PoolSettings
from stepladder.run import Run, write_json
from stepladder.seeds import train_seeds
from stepladder.store import TrajectoryStore
from stepladder.tasks import load_tasks, task_set_hash
from stepladder.types import ImageRef, Task, Trajectory

OUTCOMES, EVIDENCE = "outcomes.jsonl", "evidence.jsonl"
#: Where the pictures of episodes are while nobody knows yet whether they belong to a finding. They stand apart from `images`, where
#: those of plays and recordings may be too, so that no picture but an audit's own is ever removed.
PASSING = ".audited"
#: Starts after which these pictures are removed: those of a whole audit would fill a disk.
BATCH = 100
#: Settings that change how much is tried, or how it is judged, and no single outcome.
MAY_CHANGE = ("output", "environments", "pool", "seeds", "allow", "most_chance")
Start = tuple[str, int]


@dataclass(frozen=True)
class AuditConfig:
    """`seeds` training seeds of every task are tried, as `probes` says. `environments` work at a time, with `options` for the
    environment, kept as `pool` says.

    Random clicks are a finding where they earn something in more than a share `most_chance` of episodes, as surely as a 95 %
    interval can tell. `allow` is a JSON file of findings that are known to be right, beside those that Stepladder knows of its own
    tasks."""

    tasks: str = "desk"
    output: Path = Path("runs/audit")
    seeds: int = 3
    environments: int = 2
    probes: ProbeSettings = field(default_factory=ProbeSettings)
    most_chance: float = 0.05
    allow: Path | None = None
    options: dict[str, Any] = field(default_factory=dict)
    pool: PoolSettings = field(default_factory=PoolSettings)

    def check(self) -> None:
        """Raises ConfigError for what cannot be."""
        for name in ("seeds", "environments"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if not 0 <= self.most_chance <= 1:
            raise ConfigError(f"most_chance is {self.most_chance}; it is a share, 0 to 1")
        self.probes.check()


def main(config: AuditConfig, show: bool = True) -> Summary:
    """Try everything that was not tried yet, and write the summary. Raises ConfigError, TaskError."""
    config.check()
    allowed = (*KNOWN, *(load_allowed(config.allow) if config.allow is not None else ()))
    tasks = load_tasks(config.tasks)
    kinds = tuple(dict.fromkeys(task.env for task in tasks))
    if len(kinds) > 1:
        raise ConfigError(f"tasks of one environment at a time can be audited, not of {', '.join(kinds)}")
    check_options(kinds[0], config.options)
    settings = {**to_dict(config), "task_set": task_set_hash(tasks)}
    with Run(config.output, settings, seeds={"seeds": config.seeds}, may_change=MAY_CHANGE) as run:
        outcomes = asyncio.run(_Audit(config, tasks, run, show).work())
        summary = _told(summarise(outcomes, allowed, config.most_chance))
        _write(config, tasks, summary, outcomes)
        run.log(0, "audit", tasks=len(tasks), findings=len(summary.findings), open=len(summary.open))
    return summary


class _Audit:
    """One run over the starts that are left."""

    def __init__(self, config: AuditConfig, tasks: Sequence[Task], run: Run, show: bool) -> None:
        self.config, self.run, self.show = config, run, show
        self.starts = [(task, seed) for task in tasks for seed in train_seeds(config.seeds)]
        self.path = config.output / OUTCOMES

    async def work(self) -> list[Outcome]:
        """The outcomes of all starts, in their order."""
        config, found = self.config, read_outcomes(self.path)
        left = [start for start in self.starts if _unknown(found.get((start[0].id, start[1])))]
        done, counts = 0, Counter[str]()
        with (
            Progress("audit", len(left), show=self.show) as progress,
            self.path.open("a") as file,
            TrajectoryStore(config.output / EVIDENCE, "a") as evidence,
        ):

            def keep(images: ImageStore, tried: list[Tried]) -> None:
                nonlocal done
                outcomes = [one for one, _ in self._kept(tried, evidence, images)]
                start = (outcomes[0].task, outcomes[0].seed)
                found[start] = outcomes
                file.write(json.dumps([_plain(one) for one in outcomes]) + "\n")
                file.flush()
                done += 1
                earned = sum(_suspect(one) for its in found.values() for one in its)
                progress.update(done, len(left), {"scored": earned})

            for first in range(0, len(left), BATCH):
                jobs = [EpisodeJob(task, seed) for task, seed in left[first : first + BATCH]]
                size = min(config.environments, len(jobs))
                with _passing(config.output / PASSING) as images:
                    async with EnvironmentPool.of(jobs[0].task.env, images, size, config.options, config.pool) as pool:
                        await play_many(jobs, pool, self._play, failed=_broken, retries=1, on_result=partial(keep, images))
                counts += pool.counts
                evidence.sync()
        if left:
            self.run.log(0, "environments", **counts)
        return [one for task, seed in self.starts for one in found[task.id, seed]]

    async def _play(self, environment: Environment, job: EpisodeJob) -> list[Tried]:
        return [tried async for tried in Prober(environment, job.task, job.seed, self.config.probes).all()]

    def _kept(self, tried: list[Tried], evidence: TrajectoryStore, images: ImageStore) -> list[Tried]:
        """The outcomes with the ids of episodes that were kept, with their pictures. The solution goes with them, to be laid beside
        them."""
        target = ImageStore(self.config.output / "images", cache=0)
        suspect = any(_suspect(one) for one, _ in tried)
        kept: list[Tried] = []
        for one, trajectory in tried:
            name = ""
            if trajectory is not None and (_suspect(one) or (suspect and one.probe == "oracle")):
                name = _free(trajectory.id, evidence)
                for ref in _pictures(trajectory):
                    if ref not in target:
                        target.put(images.get(ref))
                evidence.append(replace(trajectory, id=name))
            kept.append((replace(one, evidence=name), trajectory))
        return kept


def _told(summary: Summary) -> Summary:
    """Without the unused entries of Stepladder's own list that are about tasks of which none was audited."""
    unused = (
        one for one in summary.unused if one not in KNOWN or any(fnmatch.fnmatchcase(row.task, one.task) for row in summary.rows)
    )
    return replace(summary, unused=tuple(unused))


def read_outcomes(path: Path) -> dict[Start, list[Outcome]]:
    """The outcomes of every start of an audit, of several lines for the same start those of the last one; a line that was cut off
    counts as not written."""
    found: dict[Start, list[Outcome]] = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            outcomes = [Outcome(**one) for one in json.loads(line)]
            found[outcomes[0].task, outcomes[0].seed] = outcomes
        except (ValueError, TypeError, IndexError):
            continue
    return found


def _plain(one: Outcome) -> dict[str, Any]:
    return {name: value for name, value in asdict(one).items() if name in ("task", "seed", "probe", "reward") or value}


def _unknown(outcomes: list[Outcome] | None) -> bool:
    return outcomes is None or any(one.failed for one in outcomes)


def _broken(tried: list[Tried]) -> bool:
    return any(one.failed for one, _ in tried)


def _suspect(one: Outcome) -> bool:
    """Whether an outcome may be part of a finding."""
    return one.earned and one.probe not in NO_FINDING and not (one.infeasible and one.probe == "gives_up")


def _free(identifier: str, store: TrajectoryStore) -> str:
    """The id, or where a start was tried before the id and a number."""
    number = sum(f"{identifier}~{count}" in store for count in range(100)) if identifier in store else 0
    return f"{identifier}~{number}" if identifier in store else identifier


@contextmanager
def _passing(folder: Path) -> Iterator[ImageStore]:
    """A store of pictures that is gone with the context, and begins without those of an audit that was killed."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        yield ImageStore(folder, cache=0)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _pictures(trajectory: Trajectory) -> Iterator[ImageRef]:
    for observation in (*(step.observation for step in trajectory.steps), trajectory.final):
        if observation is not None and observation.screenshot is not None:
            yield observation.screenshot


def _write(config: AuditConfig, tasks: Sequence[Task], summary: Summary, outcomes: Sequence[Outcome]) -> None:
    """audit.json and audit.html."""
    about = {
        "task set": f"{config.tasks}, {task_set_hash(list(tasks))}",
        "seeds": f"{config.seeds} training seeds of each task, from 0 on",
        "episodes": f"{sum(one.reward is not None for one in outcomes):,} graded, {sum(bool(one.void) for one in outcomes):,} say "
        f"nothing, {sum(one.failed for one in outcomes):,} missing",
        "evidence": EVIDENCE,
    }
    write_json(config.output / "audit.json", {**summary_json(summary), "about": about})
    with TrajectoryStore(config.output / EVIDENCE) as store:
        wanted = {finding.evidence[0] for finding in summary.findings if finding.evidence}
        evidence = {name: store.get(name) for name in wanted if name in store}
    page = audit_page(f"Audit of {config.tasks}", summary, evidence, ImageStore(config.output / "images"), about)
    (config.output / "audit.html").write_text(page, encoding="utf-8")
