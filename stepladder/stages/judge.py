"""A model as judge of episodes that are there already, and how far it agrees with the checks of their tasks.

    stepladder judge runs/eval --policy openai:http://127.0.0.1:8000 --votes 4

    verdicts.jsonl        one line an episode, with votes and replies, written the moment it is judged
    judge.json            counts, rates and their intervals; judge.md and judge.html show them

Started again, it goes on with the episodes that have no line yet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from stepladder.config import ConfigError, to_dict
from stepladder.domains import domain_of
from stepladder.judges.agreement import Agreement, Judged, agreement_json, summarise
from stepladder.judges.judge import Judge, JudgeSettings
from stepladder.judges.judged_task import is_judged
from stepladder.policies.budget import BudgetSpent
from stepladder.progress import Progress
from stepladder.run import Run, describe_machine, write_json
from stepladder.stages.evaluate import about
from stepladder.stages.judge_page import judge_markdown, judge_page
from stepladder.stages.judging import check_judge, open_judge
from stepladder.stages.lines import Lines
from stepladder.stages.policies import ApiOptions, policy_name, weights_digest
from stepladder.stages.source_run import episode_stores, images_of
from stepladder.store import TrajectoryStore
from stepladder.types import Trajectory

VERDICTS = "verdicts.jsonl"
#: Settings that change how the work is done and not what comes of it.
MAY_CHANGE = ("output", "parallel", "confidence", *(f"api.{name}" for name in ApiOptions.FREE))


@dataclass(frozen=True)
class JudgeConfig:
    """`run` is a run directory, of which all stores directly in it are judged, or one store (.jsonl); its pictures are in `images`
    beside it. `judge` says who judges and how, `api` how a server is called. `parallel` episodes are judged at a time. Intervals
    hold at `confidence`."""

    run: Path = Path("runs/eval")
    output: Path = Path("runs/judge")
    judge: JudgeSettings = field(default_factory=JudgeSettings)
    parallel: int = 4
    confidence: float = 0.95
    api: ApiOptions = field(default_factory=ApiOptions)

    def check(self) -> None:
        """Raises ConfigError."""
        check_judge(self.judge, self.api, "say who judges, such as openai:http://127.0.0.1:8000 or a checkpoint directory")
        if self.parallel < 1:
            raise ConfigError(f"parallel is {self.parallel}; it must be at least 1")
        if not 0 < self.confidence < 1:
            raise ConfigError(f"confidence is {self.confidence}; it must lie between 0 and 1")


def main(config: JudgeConfig, show: bool = True) -> Agreement:
    """Judge what was not judged yet, and write the summary. Raises ConfigError, UserError for a run without episodes,
    PolicyFailure; BudgetSpent after the summary of what was judged until then is written."""
    config.check()
    assert config.judge.policy is not None
    stores = episode_stores(config.run)
    settings = {**to_dict(config), "weights": weights_digest(config.judge.policy)}
    spent: BudgetSpent | None = None
    with Run(config.output, settings, seeds={"judge": config.judge.seed}, may_change=MAY_CHANGE) as run:
        verdicts, meter = Lines(config.output / VERDICTS, Judged), config.api.meter()
        left = _left(stores, verdicts)
        if left:
            images, phase = images_of(config.run), run.phase(f"judge the last {len(left)}")
            with phase, open_judge(config.judge, images, config.api, meter) as judge, _opened(stores) as opened:
                assert judge is not None
                try:
                    asyncio.run(_judge_all(judge, opened, left, verdicts, config.parallel, show))
                except BudgetSpent as error:
                    spent = error
        if meter.used:
            run.log(0, "calls of the judge", **meter.used)
        found = summarise(verdicts.read(), config.confidence)
        _write(config, found)
        measured = {name: one.value for name, one in found.all.measures.items() if one.value is not None}
        run.log(found.counts["judged"], "judge", **measured)
    if spent is not None:
        raise spent
    return found


async def _judge_all(
    judge: Judge,
    stores: dict[str, TrajectoryStore],
    left: list[tuple[str, str]],
    verdicts: Lines[Judged],
    parallel: int,
    show: bool,
) -> None:
    """Several at a time, each written when it is judged. The first error ends it; what was judged until then is kept."""
    waiting, done, agreed, compared = iter(left), 0, 0, 0
    with Progress("judge", len(left), show=show) as progress:

        async def work() -> None:
            nonlocal done, agreed, compared
            for name, identifier in waiting:
                judged = await _judged(judge, name, stores[name].get(identifier))
                verdicts.append(judged)
                done += 1
                if judged.success is not None and judged.truth is not None:
                    compared, agreed = compared + 1, agreed + (judged.success == judged.truth)
                progress.update(done, len(left), {"agreement %": 100 * agreed / max(1, compared)})

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(parallel):
                    group.create_task(work())
        except* Exception as errors:
            raise errors.exceptions[0] from errors
        finally:
            await judge.close()


async def _judged(judge: Judge, store: str, trajectory: Trajectory) -> Judged:
    verdict = await judge.judge(trajectory)
    truth = None if trajectory.environment_failed or is_judged(trajectory.task) else trajectory.success
    return Judged(
        store,
        trajectory.id,
        trajectory.task.id,
        domain_of(trajectory.task),
        truth,
        verdict.success,
        verdict.votes,
        verdict.replies,
        verdict.shown,
        verdict.screenshots,
        trajectory.final is not None and trajectory.final.screenshot is not None,
        verdict.reason,
        verdict.usage,
    )


def _left(stores: dict[str, Path], verdicts: Lines[Judged]) -> list[tuple[str, str]]:
    """(store, id) of the graded episodes without a verdict."""
    known = {(one.store, one.id) for one in verdicts.read()}
    with _opened(stores) as opened:
        graded = [(name, one.id) for name, store in opened.items() for one in store.summaries() if one.reward is not None]
    return [one for one in graded if one not in known]


@contextmanager
def _opened(stores: dict[str, Path]) -> Iterator[dict[str, TrajectoryStore]]:
    opened = {name: TrajectoryStore(path) for name, path in stores.items()}
    try:
        yield opened
    finally:
        for store in opened.values():
            store.close()


def _write(config: JudgeConfig, found: Agreement) -> None:
    assert config.judge.policy is not None
    title = f"{policy_name(config.judge.policy)} as judge of {config.run}"
    ends = config.judge.ends
    shown = "all screenshots" if ends is None else f"the first {ends} and the last {ends} screenshots"
    print_ = {
        "judge": f"{config.judge.policy}, {config.judge.votes} votes at temperature {config.judge.temperature:g}, {shown}",
        **about(describe_machine()),
    }
    write_json(config.output / "judge.json", {**agreement_json(found), "title": title, "about": print_})
    (config.output / "judge.md").write_text(judge_markdown(title, found, print_), encoding="utf-8")
    (config.output / "judge.html").write_text(judge_page(title, found, print_), encoding="utf-8")
