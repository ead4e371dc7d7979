"""Whatever breaks in the middle of an episode ends that episode with a status and without a score, and nothing else."""

from __future__ import annotations

import asyncio
import collections
import os
import shutil
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random

import pytest
from desktops import WRITE, EditorEnvironment, sandboxed

from stepladder.images import ImageStore
from stepladder.interfaces import Environment, EnvironmentFailure
from stepladder.rollout.demonstrate import run_demonstration
from stepladder.rollout.group import EpisodeJob, play_many
from stepladder.rollout.pool import EnvironmentPool, PoolSettings
from stepladder.types import Action, Limits, Trajectory

Fault = Callable[[EditorEnvironment], Awaitable[None]]


def process(environment: EditorEnvironment, command: str) -> int:
    """The pid, seen from outside, of a process inside whose command line begins so."""
    for pid in environment.desktop.sandbox.processes():
        if Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().startswith(command):
            return pid
    raise LookupError(command)


def killing(name: str, number: int = signal.SIGKILL) -> Fault:
    async def fault(environment: EditorEnvironment) -> None:
        os.kill(process(environment, name), number)

    return fault


async def sandbox_ends(environment: EditorEnvironment) -> None:
    running = environment.desktop.sandbox.process
    assert running is not None
    running.kill()


async def disk_fills(environment: EditorEnvironment) -> None:
    await environment.desktop.guest.run(["bash", "-c", "dd if=/dev/zero of=big bs=1M; cat /dev/zero > rest"], 30.0)


async def processes_multiply(environment: EditorEnvironment) -> None:
    await environment.desktop.guest.spawn(["bash", "-c", "f() { f | f & }; f; sleep 60"])
    await asyncio.sleep(0.5)


async def application_aborts(environment: EditorEnvironment) -> None:
    """As a program does that gets no more memory."""
    await environment.desktop.guest.run(["bash", "-c", "kill -ABRT $(pgrep mousepad)"])


FAULTS: dict[str, Fault] = {
    "the X server is killed": killing("Xvfb"),
    "the X server freezes": killing("Xvfb", signal.SIGSTOP),
    "the window manager is killed": killing("openbox"),
    "the application is killed": killing("mousepad"),
    "the application freezes": killing("mousepad", signal.SIGSTOP),
    "the application aborts": application_aborts,
    "the bus is killed": killing("dbus-daemon --session"),
    "the sandbox is killed": sandbox_ends,
    "the disk is full": disk_fills,
}


class Faulty(EditorEnvironment):
    """Breaks before its second step, when told to."""

    fault: Fault | None = None
    steps = 0
    injected = False

    async def step(self, action: Action) -> object:  # type: ignore[override]
        self.steps += 1
        if self.steps == 2 and self.fault is not None:
            try:
                await self.fault(self)
            except EnvironmentFailure:  # it has broken before the order was answered
                self.injected = True
                raise
            self.injected = True
        return await super().step(action)


async def play(environment: Faulty, seed: int, fault: Fault | None) -> Trajectory:
    environment.fault, environment.steps, environment.injected = fault, 0, False
    trajectory, _ = await run_demonstration(environment, WRITE, seed, limits=Limits())
    assert environment.injected == (fault is not None), f"{trajectory.status} before its time: {trajectory.error}"
    return trajectory


def faulty() -> Faulty:
    return Faulty(ImageStore(), disk=64 << 20, processes=200)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_ends_the_episode_without_a_score_and_the_next_one_is_clean(fault: str) -> None:
    async def run() -> tuple[Trajectory, Trajectory]:
        environment = faulty()
        try:
            return await play(environment, 0, FAULTS[fault]), await play(environment, 1, None)
        finally:
            await environment.close()

    broken, clean = asyncio.run(run())
    assert broken.status in ("env_error", "timeout")
    assert broken.reward is None
    assert broken.error
    assert (clean.status, clean.reward) == ("done", 1.0)
    assert sandboxed() == set()


def test_a_fork_bomb_harms_nobody() -> None:
    async def run() -> tuple[Trajectory, Trajectory]:
        environment = faulty()
        try:
            return await play(environment, 0, processes_multiply), await play(environment, 1, None)
        finally:
            await environment.close()

    broken, clean = asyncio.run(run())
    assert broken.status in ("done", "env_error", "timeout")
    assert (clean.status, clean.reward) == ("done", 1.0)
    assert sandboxed() == set()


def test_a_machine_without_bubblewrap_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    which = shutil.which
    monkeypatch.setattr("shutil.which", lambda name: None if name == "bwrap" else which(name))

    async def open_many(count: int) -> list[Environment]:
        return [faulty() for _ in range(count)]

    async def perform(environment: Environment, job: EpisodeJob) -> Trajectory:
        assert isinstance(environment, Faulty)
        return await play(environment, job.seed, None)

    async def run() -> None:
        async with EnvironmentPool(open_many, 1, PoolSettings(most_failures=2)) as pool:
            jobs = [EpisodeJob(WRITE, seed) for seed in range(9)]
            await play_many(jobs, pool, perform, failed=lambda trajectory: trajectory.environment_failed)

    with pytest.raises(EnvironmentFailure, match="bubblewrap is not installed"):
        asyncio.run(run())


@pytest.mark.faults
def test_two_hundred_episodes_with_faults() -> None:
    """Each fault 20 times, the rest undisturbed, on a pool of four desktops at once and one to spare. What an undisturbed episode
    and a whole pool are worth is known: 1."""
    random = Random(0)
    plan: list[str | None] = [fault for fault in FAULTS for _ in range(20)]
    plan += [None] * (200 - len(plan) + 20)
    random.shuffle(plan)
    counts: collections.Counter[tuple[str, str, float | None]] = collections.Counter()

    async def open_many(count: int) -> list[Environment]:
        return [faulty() for _ in range(count)]

    async def perform(environment: Environment, job: EpisodeJob) -> tuple[str | None, Trajectory]:
        fault = plan[job.seed] if job.seed < len(plan) else None
        assert isinstance(environment, Faulty)
        return fault, await play(environment, job.seed, FAULTS[fault] if fault else None)

    async def run() -> EnvironmentPool:
        async with EnvironmentPool(open_many, 4, PoolSettings(spares=1, check_every=1.0)) as pool:
            jobs = [EpisodeJob(WRITE, seed) for seed in range(len(plan))]
            played = await play_many(jobs, pool, perform, failed=lambda pair: pair[1].environment_failed, retries=0)
            counts.update((fault or "none", trajectory.status, trajectory.reward) for fault, trajectory in played)
            # Afterwards every environment of the pool is well.
            jobs = [EpisodeJob(WRITE, len(plan) + number) for number in range(10)]
            played = await play_many(jobs, pool, perform, failed=lambda pair: pair[1].environment_failed, retries=0)
            assert [(trajectory.status, trajectory.reward) for _, trajectory in played] == [("done", 1.0)] * 10
        return pool

    files = len(os.listdir("/proc/self/fd"))
    pool = asyncio.run(run())
    for (fault, status, reward), count in sorted(counts.items(), key=str):
        print(f"{fault:32} {status:10} {reward}  {count}")
        if fault == "none":
            assert (status, reward) == ("done", 1.0)
        else:
            assert status in ("env_error", "timeout")
            assert reward is None
    print(dict(pool.counts))
    assert sum(counts.values()) == len(plan)
    assert pool.counts["quarantined"] == 20 * len(FAULTS)
    assert pool.counts["opened"] == pool.counts["closed"]
    assert sandboxed() == set()
    assert len(os.listdir("/proc/self/fd")) == files
