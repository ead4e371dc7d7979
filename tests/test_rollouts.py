"""Rollouts that do not wait for the trainer: how far ahead they go, and that no episode is lost, kept twice or learned twice,
whatever breaks."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.config import ConfigError
from stepladder.interfaces import EnvironmentFailure
from stepladder.locks import Locked
from stepladder.rollout.asynchronous import AsynchronousSettings, Rollouts, WorkerLost
from stepladder.rollout.group import EpisodeJob, group_jobs
from stepladder.rollout.ledger import BegunGroup, Ledger, LedgerError
from stepladder.store import TrajectoryStore
from stepladder.types import Completion, Observation, Sampling, Step, Task, Trajectory

T = TypeVar("T")
TASKS = [Task("a", "a", "nowhere"), Task("b", "b", "nowhere")]
SETTINGS = AsynchronousSettings(on=True)
SIZE, GROUPS = 3, 2


def trajectory(job: EpisodeJob, version: int = 0, failed: bool = False) -> Trajectory:
    step = Step(Observation(), completion=Completion("", version=version), seconds={"environment": 1.0})
    status, reward = ("env_error", None) if failed else ("done", 1.0)
    return Trajectory(job.identifier, job.task, (step,), None, status, reward, group=job.group, index=job.index, seed=job.seed)  # type: ignore[arg-type]


@dataclass(eq=False)
class Scripted:
    """A worker: `outcome` says of each attempt how many turns of the loop it takes and how it ends. It notes what it was given."""

    capacity: int = 2
    outcome: Callable[[EpisodeJob], tuple[int, str]] = lambda job: (1, "done")
    version: int = 0
    played: list[EpisodeJob] = field(default_factory=list)
    stopped: int = 0
    now: int = 0

    async def ready(self) -> None:
        """Always."""

    async def play(self, job: EpisodeJob, sampling: Sampling, kept: bool) -> Trajectory:
        self.played.append(job)
        turns, how = self.outcome(job)
        began, self.now = self.version, self.now + 1
        assert self.now <= self.capacity
        try:
            for _ in range(turns):
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.stopped += 1
            raise
        finally:
            self.now -= 1
        if how == "lost":
            raise WorkerLost("it was killed")
        if how == "mistake":
            raise RuntimeError("a mistake in the program")
        return trajectory(job, began, how == "failed")


@dataclass
class Setting:
    """Rollouts in a directory, with everything that they need."""

    directory: Path
    workers: Sequence[Scripted]
    settings: AsynchronousSettings = SETTINGS
    taken: Iterable[int] = ()
    version: int = 0

    def begin(self, number: int, without: frozenset[str]) -> list[EpisodeJob]:
        left = [task for task in TASKS if task.id not in without]
        size = SIZE + self.settings.oversample
        return group_jobs([(left[number % len(left)], number)], size, str(number)) if left else []

    def run(self, work: Callable[[Rollouts], Awaitable[T]]) -> T:
        async def inside() -> T:
            with (
                TrajectoryStore(self.directory / "kept.jsonl", "a") as store,
                Ledger(self.directory / "groups.jsonl", TASKS) as ledger,
            ):
                make = Rollouts(
                    self.workers, store, ledger, self.begin, lambda _: Sampling(), GROUPS, self.settings, self.version, self.taken
                )
                async with make as rollouts:
                    return await work(rollouts)

        return asyncio.run(inside())

    def kept(self) -> list[str]:
        with TrajectoryStore(self.directory / "kept.jsonl") as store:
            return list(store.ids())


async def turns(count: int = 50) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def names(groups: Sequence[Sequence[Trajectory]]) -> list[str]:
    return [group[0].group for group in groups]


def test_the_trainer_gets_whole_groups_in_the_order_in_which_they_were_begun(tmp_path: Path) -> None:
    setting = Setting(tmp_path, [Scripted(), Scripted()])

    async def work(rollouts: Rollouts) -> list[str]:
        groups = await rollouts.take(3)
        assert all([one.index for one in group] == list(range(SIZE)) for group in groups)
        return names(groups)

    assert [name.partition("/")[0] for name in setting.run(work)] == ["0", "1", "2"]


@pytest.mark.parametrize("staleness", [0, 1, 3])
def test_no_more_groups_are_begun_than_staleness_allows(tmp_path: Path, staleness: int) -> None:
    workers = [Scripted(capacity=50)]
    setting = Setting(tmp_path, workers, replace(SETTINGS, staleness=staleness))

    async def work(rollouts: Rollouts) -> None:
        for update in range(4):
            await rollouts.take(GROUPS)
            await turns()  # it learns
            begun = len(rollouts.ledger.groups)
            assert begun == GROUPS * (update + 1 + staleness)
            rollouts.version = workers[0].version = update + 1
        figures = rollouts.figures()
        assert figures["staleness_max"] <= staleness
        assert figures["queue"] == GROUPS * staleness
        assert not figures["dropped"]

    setting.run(work)


def test_a_group_that_took_too_long_is_left_out_or_used(tmp_path: Path) -> None:
    slow = {"0/a-0"}
    for late in ("drop", "use"):
        workers = [Scripted(8, outcome=lambda job: (400 if job.group in slow else 1, "done"))]
        setting = Setting(tmp_path / late, workers, replace(SETTINGS, staleness=1, late=late))

        async def work(rollouts: Rollouts, worker: Scripted = workers[0]) -> tuple[list[str], float]:
            seen = []
            for update in range(6):
                seen += names(await rollouts.take(GROUPS))
                await turns(100)
                rollouts.version = worker.version = update + 1
            return seen, rollouts.figures()["dropped"]

        seen, dropped = setting.run(work)
        assert (("0/a-0" in seen), dropped) == ((False, 1) if late == "drop" else (True, 0))
        assert len(setting.kept()) == len(set(setting.kept()))
        assert {f"a-0-0/a-0-{index}" for index in range(SIZE)} <= set(setting.kept()), "what was dropped is kept all the same"


def test_members_beyond_what_a_group_needs_are_stopped(tmp_path: Path) -> None:
    workers = [Scripted(10, outcome=lambda job: (1000 if job.index == 1 else 2, "done"))]
    setting = Setting(tmp_path, workers, replace(SETTINGS, staleness=0, oversample=1))

    async def work(rollouts: Rollouts) -> None:
        (group,) = await rollouts.take(1)
        assert [one.index for one in group] == [0, 2, 3]
        await turns(3)
        assert rollouts.figures()["stopped"] == workers[0].stopped == 1

    setting.run(work)
    assert len(setting.kept()) == SIZE


def test_failed_environments_are_tried_again_and_a_task_that_always_fails_is_left_out(tmp_path: Path) -> None:
    workers = [Scripted(2, outcome=lambda job: (1, "failed" if job.task.id == "a" else "done"))]
    setting = Setting(tmp_path, workers, replace(SETTINGS, retries=1, blacklist=3))

    async def work(rollouts: Rollouts) -> None:
        await rollouts.take(GROUPS)
        await turns(200)
        figures = rollouts.figures()
        assert figures["given_up"] == figures["repeated"] == SIZE
        assert rollouts.blacklisted == {"a"}
        assert {one[0].task.id for one in await rollouts.take(4)} == {"b"}
        assert rollouts.state()["blacklisted"] == ["a"]

    setting.run(work)


def test_when_no_task_is_left_the_trainer_is_told(tmp_path: Path) -> None:
    setting = Setting(tmp_path, [Scripted(outcome=lambda job: (1, "failed"))], replace(SETTINGS, retries=0, blacklist=1))

    async def work(rollouts: Rollouts) -> None:
        for _ in range(10):
            await rollouts.take(GROUPS)

    with pytest.raises(EnvironmentFailure, match="no task is left to be played: a, b failed too often"):
        setting.run(work)


def test_an_episode_that_takes_workers_down_is_given_up(tmp_path: Path) -> None:
    workers = [Scripted(1, outcome=lambda job: (1, "lost" if job.identifier.endswith("0/a-0-1") else "done"))]
    setting = Setting(tmp_path, workers, replace(SETTINGS, losses=3))

    async def work(rollouts: Rollouts) -> None:
        (group,) = await rollouts.take(1)
        assert [one.status for one in group] == ["done", "env_error", "done"]
        assert "lost 3 times" in (group[1].error or "")
        assert rollouts.figures()["lost"] == 3

    setting.run(work)
    assert Counter(job.index for job in workers[0].played if job.group == "0/a-0") == {0: 1, 1: 3, 2: 1}


def test_a_worker_that_is_gone_is_done_without_until_it_is_the_last(tmp_path: Path) -> None:
    class Gone(Scripted):
        async def ready(self) -> None:
            if len(self.played) > 2:
                raise RuntimeError("it is lost and did not come back")

    setting = Setting(tmp_path / "one", [Gone(1), Scripted(1)])
    assert len(setting.run(lambda rollouts: rollouts.take(4))) == 4
    with pytest.raises(RuntimeError, match="did not come back"):
        Setting(tmp_path / "all", [Gone(1), Gone(1)]).run(lambda rollouts: rollouts.take(4))


def test_an_attempt_that_somebody_else_stops_is_made_again(tmp_path: Path) -> None:
    stopped: list[str] = []

    class Stopping(Scripted):
        async def play(self, job: EpisodeJob, sampling: Sampling, kept: bool) -> Trajectory:
            if job.index == 1 and job.identifier not in stopped:
                stopped.append(job.identifier)
                raise asyncio.CancelledError
            return await super().play(job, sampling, kept)

    assert len(Setting(tmp_path, [Stopping()]).run(lambda rollouts: rollouts.take(2))) == 2
    assert len(stopped) >= 2


def test_the_death_of_machines_says_nothing_of_a_task(tmp_path: Path) -> None:
    workers = [Scripted(1, outcome=lambda job: (1, "lost" if job.task.id == "a" else "done"))]
    setting = Setting(tmp_path, workers, replace(SETTINGS, losses=2, blacklist=1))

    async def work(rollouts: Rollouts) -> None:
        await rollouts.take(2)
        assert not rollouts.blacklisted

    setting.run(work)


def test_a_mistake_reaches_the_trainer(tmp_path: Path) -> None:
    setting = Setting(tmp_path, [Scripted(outcome=lambda job: (1, "mistake"))])
    with pytest.raises(RuntimeError, match="a mistake in the program"):
        setting.run(lambda rollouts: rollouts.take(1))


def test_evaluations_come_first_and_are_not_kept(tmp_path: Path) -> None:
    workers = [Scripted(1, outcome=lambda job: (3, "done"))]
    setting = Setting(tmp_path, workers)
    jobs = group_jobs([(TASKS[0], seed) for seed in range(3)], 1, "validation")

    async def work(rollouts: Rollouts) -> None:
        taking = asyncio.ensure_future(rollouts.take(1))
        await turns(2)
        found = await rollouts.evaluate(jobs, Sampling(temperature=0))
        assert [one.seed for one in found] == [0, 1, 2]
        assert not taking.done()
        await taking

    setting.run(work)
    assert [job.group.partition("/")[0] for job in workers[0].played[1:4]] == ["validation"] * 3
    assert not any("validation" in one for one in setting.kept())


def test_a_restart_plays_only_what_is_missing_and_offers_what_was_not_learned(tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    first = [Scripted(2, outcome=lambda job: (1 if job.group != "1/b-1" or job.index == 0 else 10_000, "done"))]

    async def until_killed(rollouts: Rollouts) -> None:
        assert names(await rollouts.take(1)) == ["0/a-0"]
        await turns(100)
        raise Killed

    setting = Setting(tmp_path, first)
    with pytest.raises(Killed):
        setting.run(until_killed)
    before = setting.kept()
    assert {"b-1-1/b-1-0"} <= set(before)
    again = [Scripted(4)]

    async def after(rollouts: Rollouts) -> list[str]:
        return names(await rollouts.take(2))

    # the state that was saved last knows nothing of the group that had been taken
    assert Setting(tmp_path, again).run(after) == ["0/a-0", "1/b-1"]
    assert {job.identifier for job in again[0].played}.isdisjoint(before)
    assert Setting(tmp_path, [Scripted()], taken=[0]).run(after)[0] == "1/b-1"


@given(data=st.data())
def test_whatever_happens_every_episode_is_kept_once_and_every_group_taken_once(data: st.DataObject) -> None:
    random = Random(data.draw(st.integers(0, 2**32)))
    settings = AsynchronousSettings(
        on=True,
        staleness=data.draw(st.integers(0, 3)),
        late=data.draw(st.sampled_from(["drop", "use"])),
        oversample=data.draw(st.integers(0, 2)),
        retries=data.draw(st.integers(0, 2)),
        blacklist=0,
    )

    def outcome(job: EpisodeJob) -> tuple[int, str]:
        return random.randrange(12), random.choices(["done", "failed", "lost"], [8, 1, 1])[0]

    with TemporaryDirectory() as directory:
        taken: list[str] = []
        saved: list[int] = []
        for _ in range(data.draw(st.integers(1, 3))):
            workers = [Scripted(random.randint(1, 3), outcome) for _ in range(random.randint(1, 3))]
            setting = Setting(Path(directory), workers, settings, saved)

            async def live(rollouts: Rollouts, workers: Sequence[Scripted] = workers) -> None:
                for update in range(random.randrange(4)):
                    groups = await rollouts.take(GROUPS)
                    assert all(sum(not one.environment_failed for one in group) >= SIZE or len(group) >= SIZE for group in groups)
                    ages = [rollouts.version - min(one.version or 0 for one in members(group)) for group in groups]
                    assert settings.late == "use" or max(ages) <= settings.staleness
                    taken.extend(names(groups))
                    await turns(random.randrange(20))
                    rollouts.version = update + 1
                    for worker in workers:
                        worker.version = update + 1
                    saved[:] = rollouts.state()["taken"]

            setting.run(live)
        kept = setting.kept()
        assert len(kept) == len(set(kept))
        assert len(taken) == len(set(taken)), "no group is learned twice by weights that were saved"
        with Ledger(Path(directory) / "groups.jsonl", TASKS) as ledger:
            jobs = {job.identifier for group in ledger.groups.values() for job in group.jobs}
            assert set(kept) <= jobs
            whole = {group.number: group for group in ledger.groups.values() if group.number in saved}
            for group in whole.values():
                assert sum(job.identifier in set(kept) for job in group.jobs) >= group.size


def members(group: Sequence[Trajectory]) -> list[Completion]:
    return [step.completion for one in group for step in one.steps if step.completion is not None]


# ------------------------------------------------------------------------------------------------------------ the ledger


def begun(number: int) -> BegunGroup:
    return BegunGroup(number, tuple(group_jobs([(TASKS[number % 2], number)], SIZE + 1, str(number))), SIZE, version=number)


@given(count=st.integers(0, 5), cut=st.integers(0, 400))
def test_a_ledger_that_was_cut_anywhere_has_its_whole_lines(count: int, cut: int) -> None:
    with TemporaryDirectory() as directory:
        path = Path(directory) / "groups.jsonl"
        with Ledger(path, TASKS) as ledger:
            for number in range(count):
                ledger.append(begun(number))
        data = path.read_bytes()
        path.write_bytes(data[:cut])
        whole = data[:cut].count(b"\n")
        with Ledger(path, TASKS) as ledger:
            assert ledger.groups == {number: begun(number) for number in range(whole)}
            ledger.append(begun(77))
        with Ledger(path, TASKS) as ledger:
            assert set(ledger.groups) == {*range(whole), 77}


def test_a_ledger_of_another_run_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "groups.jsonl"
    with Ledger(path, TASKS) as ledger:
        ledger.append(begun(1))
        with pytest.raises(Locked):
            Ledger(path, TASKS)
    with pytest.raises(LedgerError, match=r"groups.jsonl, line 1 is no group of this run: KeyError\('b'\)"):
        Ledger(path, TASKS[:1])
    with suppress(LedgerError):
        Ledger(path, TASKS).close()
    assert os.path.getsize(path)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"staleness": -1}, "asynchronous.staleness is -1; it must be at least 0"),
        ({"losses": 0}, "asynchronous.losses is 0; it must be at least 1"),
        ({"late": "never"}, "asynchronous.late is 'never'; it must be one of drop, use"),
        ({"in_progress": "stop"}, "asynchronous.in_progress is 'stop'; it must be one of continue, finish"),
    ],
)
def test_settings_that_cannot_be(changed: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(SETTINGS, **changed).check()  # type: ignore[arg-type]
