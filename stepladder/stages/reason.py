"""Reasoning integration, rung 10: demonstrations with thoughts before their actions, as another directory that `sft` reads.

    stepladder reason runs/collect --output runs/reason                                    # from the oracle's plan
    stepladder reason runs/collect --by teacher --policy openai:http://127.0.0.1:8000 --level observation --output runs/reason
    stepladder reason runs/reason --by reflection --rollouts runs/flywheel/turn-0 --output runs/reflected

    trajectories.jsonl, plays.jsonl   as of the demonstrations, with thoughts, and recoveries
    images/                           the same files under two names, where the file system can
    regions.jsonl, visited.jsonl      as of the demonstrations, and regions of the screens that recoveries have seen
    left_out.jsonl                    episodes of which nothing was kept, with the reasons
    reason.json                       counts, and what was left out and why

An episode is written whole with its thoughts or not at all; started again, the stage goes on with those that are missing.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

from stepladder.config import to_dict
from stepladder.policies.budget import BudgetSpent, Meter
from stepladder.progress import Progress
from stepladder.run import Run, write_json
from stepladder.stages.policies import weights_digest
from stepladder.stages.reason_config import MAY_CHANGE, ReasonConfig
from stepladder.stages.reason_reflection import reflect
from stepladder.stages.reason_work import COLLECTED, REASONING, Work, each, learned, opened, opened_teacher, taught
from stepladder.thoughts.plan import with_plan
from stepladder.thoughts.teacher import Teacher
from stepladder.types import Trajectory


@dataclass
class Reasoned:
    """What came of it: episodes and thoughts that were written, episodes taken over as they were, and what was left out, by reason:
    steps of kept episodes, or whole episodes."""

    episodes: int = 0
    thoughts: int = 0
    taken_over: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


def main(config: ReasonConfig, show: bool = True) -> Reasoned:
    """Write what is missing in `config.output`. Raises ConfigError, UserError, PolicyFailure; BudgetSpent after what was written
    until then is counted."""
    config.check()
    settings = {**to_dict(config), "weights": None if config.teacher.policy is None else weights_digest(config.teacher.policy)}
    spent: BudgetSpent | None = None
    with Run(config.output, settings, seeds={"teacher": config.teacher.seed}, may_change=MAY_CHANGE) as run:
        meter, without = config.api.meter(), Counter[str]()
        with run.phase("reason"), opened(config) as work:
            try:
                if config.by == "oracle":
                    _plan(work, show)
                elif config.by == "teacher":
                    _ask(work, meter, show)
                else:
                    _take_over(work)
                    reflect(work, meter, without, show)
            except BudgetSpent as error:
                spent = error
            found = _counted(work, without)
        if meter.used:
            run.log(0, "calls of the teacher", **meter.used)
        write_json(config.output / "reason.json", {**vars(found), "left_out": dict(found.left_out)})
    if spent is not None:
        raise spent
    return found


def _plan(work: Work, show: bool) -> None:
    missing = work.missing()
    with Progress("reason by oracle", len(missing), show=show) as progress:
        for number, (name, identifier) in enumerate(missing, start=1):
            trajectory = work.stores[name][0].get(identifier)
            reason = _unfit(trajectory)
            if reason:
                work.leave_out(name, identifier, {reason: 1})
            else:
                planned = with_plan(trajectory, work.regions, work.config.level, work.config.plan)
                work.keep(name, (planned, {}, len(learned(planned))))
            progress.update(number, len(missing))


def _ask(work: Work, meter: Meter, show: bool) -> None:
    async def all_of(teacher: Teacher) -> None:
        orders: list[Callable[[], Awaitable[None]]] = [partial(one, teacher, *pair) for pair in work.missing()]
        try:
            await each(orders, work.config.parallel, "reason by teacher", show)
        finally:
            await teacher.close()

    async def one(teacher: Teacher, name: str, identifier: str) -> None:
        trajectory = work.stores[name][0].get(identifier)
        reason = _unfit(trajectory)
        if reason:
            work.leave_out(name, identifier, {reason: 1})
        else:
            work.keep(name, await taught(teacher, trajectory, work))

    with opened_teacher(work, meter) as teacher:
        assert teacher is not None
        asyncio.run(all_of(teacher))


def _unfit(trajectory: Trajectory) -> str:
    """Why nothing is written for an episode; empty where something is."""
    if REASONING in trajectory.extra:
        return "it has thoughts already"
    if not (trajectory.success or trajectory.parts.get("curated")):
        return "it is no success"
    return "" if learned(trajectory) else "nothing of it is learned"


def _take_over(work: Work) -> None:
    """Every demonstration as it is."""
    for name, identifier in work.missing():
        old, new = work.stores[name]
        new.append(old.get(identifier))


def _counted(work: Work, without: Counter[str]) -> Reasoned:
    """From what is written, so that it is the same after a kill; `without` are failures that were no case for reflection."""
    found = Reasoned(left_out=Counter(without))
    for name, (old, new) in work.stores.items():
        for trajectory in new:
            if work.config.by == "reflection" and not (name == COLLECTED and trajectory.id not in old):
                found.taken_over += 1
                continue
            said = trajectory.extra[REASONING]
            found.episodes += 1
            found.thoughts += said["thoughts"]
            found.left_out.update(said["left_out"])
    for one in work.left_out.read():
        found.left_out.update(one.reasons)
    return found
