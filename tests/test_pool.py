"""Environments that are lent: spares, checks, quarantine, a machine that is full."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
from desktops import WRITE, EditorEnvironment, sandboxed
from fakes import FakeEnvironment, pool_of
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.config import ConfigError
from stepladder.envs.browser.environment import BrowserEnvironment
from stepladder.images import ImageStore
from stepladder.interfaces import Environment, EnvironmentFailure
from stepladder.pressure import Pressure, Room, _free, _free_in_group, room_left
from stepladder.rollout.demonstrate import run_demonstration
from stepladder.rollout.pool import EnvironmentPool, PoolSettings
from stepladder.types import Action, Limits

FREE = {"memory": 0.0, "load": 0.0}


class Warm(FakeEnvironment):
    """Can be prepared and checked; counts both. Not well from the moment that `ill` is set."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__()
        self.seconds = seconds
        self.prepared = self.checked = 0
        self.ill = False

    async def prepare(self) -> None:
        await asyncio.sleep(self.seconds)
        self._complain()
        self.prepared += 1

    async def check(self) -> None:
        self._complain()
        self.checked += 1

    def _complain(self) -> None:
        if self.ill:
            raise EnvironmentFailure("it has a cold")


async def until(true: object, seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not true():  # type: ignore[operator]
            await asyncio.sleep(0.005)


def test_an_environment_is_lent_to_one_at_a_time_and_goes_back_to_its_task() -> None:
    async def main() -> None:
        async with pool_of([FakeEnvironment(), FakeEnvironment()]) as pool:
            async with pool.lease("a") as first, pool.lease("b") as second:
                assert first.environment is not second.environment
                waiting = asyncio.create_task(pool.lease("c").__aenter__())
                await asyncio.sleep(0.02)
                assert not waiting.done()
            third = await waiting
            assert third.environment in (first.environment, second.environment)
            pool._give_back(third, "c")
            pool._places.release()
            async with pool.lease("c") as fourth:
                assert fourth.environment is third.environment
            assert pool.counts["lent"] == 4

    asyncio.run(main())


def test_a_spare_goes_on_while_another_one_is_prepared() -> None:
    async def main() -> None:
        slow = [Warm(0.3), Warm(60.0)]
        async with pool_of(slow, settings=PoolSettings(spares=1, **FREE)) as pool:
            assert pool.size == 1
            async with pool.lease("a") as first:
                pass
            async with asyncio.timeout(0.1), pool.lease("a") as second:
                assert second.environment is not first.environment
            assert pool.counts["waited"] == 0
            async with pool.lease("a") as third:  # both are being prepared
                assert third.environment is first.environment
                assert slow[0].prepared == 1
            assert (pool.counts["waited"], pool.counts["prepared"]) == (1, 1)
        assert all(environment.closed for environment in slow)

    asyncio.run(main())


def test_without_spares_nothing_is_prepared() -> None:
    async def main() -> None:
        environment = Warm()
        async with pool_of([environment]) as pool, pool.lease():
            pass
        assert environment.prepared == 0

    asyncio.run(main())


@pytest.mark.parametrize("what", ["prepare", "check"])
def test_one_that_is_not_well_is_replaced_before_anybody_gets_it(what: str) -> None:
    async def main() -> None:
        ill, other, fresh = Warm(), Warm(), Warm()
        async with pool_of([ill, other], [fresh], PoolSettings(spares=1, check_every=0.02, **FREE)) as pool:
            if what == "prepare":
                async with pool.lease("a") as lease:
                    assert lease.environment is ill
                    ill.ill = True
            else:
                ill.ill = True
            await until(lambda: pool.counts["opened"] == 3)
            assert ill.closed
            async with pool.lease("b") as one:
                assert one.environment is not ill
            assert pool.counts["unprepared" if what == "prepare" else "unhealthy"] == 1
            if what == "check":
                await until(lambda: other.checked and fresh.checked)
        assert other.closed
        assert fresh.closed

    asyncio.run(main())


def test_an_exception_of_the_user_quarantines() -> None:
    async def main() -> None:
        first, second = FakeEnvironment(), FakeEnvironment()
        async with pool_of([first], [second]) as pool:
            with pytest.raises(KeyError):
                async with pool.lease():
                    raise KeyError("mine")
            async with pool.lease() as lease:
                assert lease.environment is second
            assert first.closed
            assert pool.counts["quarantined"] == 1

    asyncio.run(main())


def test_openings_that_fail_are_tried_again_and_then_given_up() -> None:
    async def main(failures: int) -> EnvironmentPool:
        tries = 0

        async def open_many(count: int) -> Sequence[Environment]:
            nonlocal tries
            tries += 1
            if 1 < tries <= 1 + failures:
                raise OSError("no more ports")
            return [FakeEnvironment() for _ in range(count)]

        async with EnvironmentPool(open_many, 1, PoolSettings(most_failures=3, **FREE)) as pool:
            async with pool.lease() as lease:
                lease.fail()
            async with pool.lease() as lease:
                assert not lease.environment.closed  # type: ignore[attr-defined]
        return pool

    pool = asyncio.run(main(2))
    assert (pool.counts["open_failed"], pool.counts["opened"], pool.counts["closed"]) == (2, 2, 2)
    with pytest.raises(OSError, match="no more ports"):
        asyncio.run(main(3))


class Checked(FakeEnvironment):
    """Can be checked; whether it is well is the same for all of them."""

    well = True

    async def check(self) -> None:
        if not self.well:
            raise EnvironmentFailure("no server answers")


@pytest.mark.parametrize("offers", ["prepare", "check"])
def test_a_broken_machine_is_given_up_though_environments_open(offers: str) -> None:
    """As a desktop without bubblewrap: it is constructed, and fails when it is first used."""

    def broken() -> FakeEnvironment:
        environment: Warm | Checked = Warm() if offers == "prepare" else Checked()
        environment.ill, environment.well = True, False  # type: ignore[union-attr]
        return environment

    opened: list[FakeEnvironment] = []

    async def open_many(count: int) -> Sequence[Environment]:
        opened.extend(new := [broken() for _ in range(count)])
        return new

    async def main(pool: EnvironmentPool) -> None:
        async with pool:
            for _ in range(20):
                async with pool.lease() as lease:
                    lease.fail()

    async def run() -> EnvironmentPool:
        pool = EnvironmentPool(open_many, 1, PoolSettings(most_failures=3, **FREE))
        with pytest.raises(EnvironmentFailure, match="it has a cold" if offers == "prepare" else "no server answers"):
            await main(pool)
        return pool

    pool = asyncio.run(run())
    # The first was lent untried, and so was the one after its failure.
    assert (pool.counts["lent"], pool.counts["opened"], pool.counts["closed"]) == (2, 5, 5)
    assert pool.counts["unprepared" if offers == "prepare" else "unhealthy"] == 3
    assert all(environment.closed for environment in opened)


def test_tasks_that_cannot_be_played_are_not_held_against_the_machine() -> None:
    async def open_many(count: int) -> Sequence[Environment]:
        return [Warm() for _ in range(count)]

    async def main() -> None:
        async with EnvironmentPool(open_many, 1, PoolSettings(most_failures=2, **FREE)) as pool, asyncio.timeout(10.0):
            for _ in range(12):
                async with pool.lease() as lease:
                    lease.fail()
            async with pool.lease():
                pass
            assert (pool.counts["lent"], pool.counts["quarantined"], pool.counts["unprepared"]) == (13, 12, 0)

    asyncio.run(main())


def test_a_trial_that_hangs_ends_and_who_closes_the_pool_meanwhile_loses_nothing() -> None:
    opened: list[Warm] = []

    async def open_many(count: int) -> Sequence[Environment]:
        opened.extend(new := [Warm(60.0) for _ in range(count)])
        return new

    async def fail_twice(pool: EnvironmentPool) -> None:
        for _ in range(2):
            async with pool.lease() as lease:
                lease.fail()

    async def given_up() -> None:
        settings = PoolSettings(most_failures=1, open_deadline=0.05, **FREE)
        async with EnvironmentPool(open_many, 1, settings) as pool:
            await fail_twice(pool)
            async with pool.lease():
                pass

    async def closed() -> None:
        async with EnvironmentPool(open_many, 1, PoolSettings(**FREE)) as pool:
            await fail_twice(pool)
            await until(lambda: len(opened) == 3)
            await asyncio.sleep(0.05)

    with pytest.raises(EnvironmentFailure, match=r"prepare took longer than 0\.05 s"):
        asyncio.run(given_up())
    assert [environment.closed for environment in opened] == [True] * 3
    opened.clear()
    asyncio.run(closed())
    assert [environment.closed for environment in opened] == [True] * 3


def test_an_opening_that_hangs_ends() -> None:
    async def open_many(count: int) -> Sequence[Environment]:
        await asyncio.Event().wait()
        return []

    async def main() -> None:
        async with EnvironmentPool(open_many, 1, PoolSettings(open_deadline=0.05, **FREE)):
            pass

    with pytest.raises(EnvironmentFailure, match=r"longer than 0\.05 s"):
        asyncio.run(main())


def test_who_waits_when_the_pool_is_closed_is_told() -> None:
    async def main() -> None:
        environment = FakeEnvironment()
        pool = await pool_of([environment]).start()
        async with pool.lease():
            other = asyncio.create_task(pool.lease().__aenter__())
            await asyncio.sleep(0.01)
            await pool.close()
        with pytest.raises(EnvironmentFailure, match="closed"):
            await other
        await until(lambda: environment.closed)

    asyncio.run(main())


def test_a_full_machine_holds_episodes_back_as_long_as_another_one_is_at_work() -> None:
    async def main() -> None:
        room = Room(memory=2**20, load=0.0)
        environments = [FakeEnvironment(), FakeEnvironment()]

        async def open_many(count: int) -> Sequence[Environment]:
            return environments

        async with EnvironmentPool(open_many, 2, PoolSettings(memory=1.0), look=lambda: room) as pool:
            async with pool.lease():  # the first always goes on
                second = asyncio.create_task(pool.lease().__aenter__())
                await asyncio.sleep(0.05)
                assert not second.done()
                room = Room(memory=2**31, load=0.0)
                await asyncio.wait_for(second, 2.0)
            assert pool.counts["held_back"] == 1

    asyncio.run(main())


def test_pools_of_named_environments() -> None:
    async def main() -> None:
        async with EnvironmentPool.of("fakes:FakeEnvironment", ImageStore(), 2, {"goal": 3}) as pool, pool.lease() as lease:
            assert lease.environment.goal == 3  # type: ignore[attr-defined]

    asyncio.run(main())
    with pytest.raises(ValueError, match="at least one"):
        EnvironmentPool.of("forms", ImageStore(), 0)
    with pytest.raises(ConfigError, match="pool: spares is -1"):
        PoolSettings(spares=-1)
    with pytest.raises(ConfigError, match="open_deadline"):
        PoolSettings(open_deadline=0)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from(["well", "fails", "raises"]), max_size=30), st.integers(1, 4), st.integers(0, 2))
def test_whatever_happens_nothing_is_lost_or_lent_twice(plan: list[str], size: int, spares: int) -> None:
    opened: list[Warm] = []
    at_work: set[int] = set()

    async def open_many(count: int) -> Sequence[Environment]:
        opened.extend(new := [Warm() for _ in range(count)])
        return new

    async def episode(pool: EnvironmentPool, what: str) -> None:
        try:
            async with pool.lease(what) as lease:
                number = id(lease.environment)
                assert number not in at_work
                assert not lease.environment.closed  # type: ignore[attr-defined]
                at_work.add(number)
                assert len(at_work) <= size
                await asyncio.sleep(0)
                at_work.remove(number)
                if what == "fails":
                    lease.fail()
                elif what == "raises":
                    raise KeyError(what)
        except KeyError:
            pass

    async def main() -> None:
        # Failures in a row make it pause, which is not what this is about.
        async with EnvironmentPool(open_many, size, PoolSettings(spares=spares, **FREE)) as pool:
            pool._failures = -1000
            await asyncio.gather(*(episode(pool, what) for what in plan))
            pool._failures = -1000
            assert pool.counts["lent"] == len(plan)
            assert pool.counts["quarantined"] == sum(what != "well" for what in plan)
        assert pool.counts["opened"] == pool.counts["closed"] == len(opened)

    asyncio.run(main())
    assert all(environment.closed for environment in opened)


def test_room() -> None:
    assert Pressure(memory=1, load=2).short(lambda: Room(2**29, 0.0)) == "memory"
    assert Pressure(memory=1, load=2).short(lambda: Room(2**31, 2.5)) == "load"
    assert Pressure(memory=1, load=2).short(lambda: Room(2**31, 1.5)) == ""
    assert Pressure(memory=0, load=0).short(lambda: Room(0, 1e9)) == ""
    assert Pressure(memory=1, load=2).short(lambda: Room(None, None)) == ""
    with pytest.raises(ValueError, match="below 0"):
        Pressure(memory=-1)
    here = room_left()
    assert here.memory is None or here.memory > 0


def test_room_in_a_container(tmp_path: Path) -> None:
    assert _free(tmp_path / "meminfo") is None
    (tmp_path / "meminfo").write_text("MemTotal: 99 kB\nMemAvailable:   12 kB\n")
    assert _free(tmp_path / "meminfo") == 12 * 1024
    assert _free_in_group(tmp_path) is None
    (tmp_path / "memory.max").write_text("max\n")
    assert _free_in_group(tmp_path) is None
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 600\ninactive_file 90\n")
    assert _free_in_group(tmp_path) == 390


def test_a_desktop_that_was_started_ahead_is_taken() -> None:
    async def main() -> None:
        environment = EditorEnvironment(ImageStore())
        try:
            await environment.prepare()
            await environment.check()
            with pytest.raises(EnvironmentFailure, match="was not reset"):
                await environment.step(Action("wait", seconds=0.0))
        finally:
            await environment.close()
        try:
            environment.task = WRITE
            await environment.prepare()
            started = environment._spare
            first, _ = await run_demonstration(environment, WRITE, 0, limits=Limits())
            assert environment._desktop is started
            await environment.prepare()
            assert environment._desktop is None
            assert environment._spare is not None
            environment._spare.sandbox.kill()
            with pytest.raises(EnvironmentFailure):
                await environment.check()
            second, _ = await run_demonstration(environment, WRITE, 1, limits=Limits())
            assert (first.reward, second.reward) == (1.0, 1.0)
        finally:
            await environment.close()
        assert sandboxed() == set()

    asyncio.run(main())


def test_a_browser_that_ended_at_rest_is_found_out() -> None:
    async def main() -> None:
        environment = BrowserEnvironment(ImageStore())
        try:
            await environment.check()  # nothing was started yet
            await environment.prepare()
            await environment.check()
            pid = environment._host.pid
            assert pid is not None
            os.killpg(pid, signal.SIGKILL)
            await until(lambda: not environment._host.alive)
            with pytest.raises(EnvironmentFailure, match="ended"):
                await environment.check()
        finally:
            await environment.close()

    asyncio.run(main())
