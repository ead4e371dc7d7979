"""A server that is killed, a connection that is cut under way: the episode has no score, and the pool plays it again elsewhere."""

from __future__ import annotations

import asyncio
import collections
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest

from stepladder.envs.bridge.client import BridgeEnvironment
from stepladder.envs.forms.environment import FormsEnvironment
from stepladder.images import ImageStore
from stepladder.interfaces import Environment
from stepladder.rollout.demonstrate import run_demonstration
from stepladder.rollout.group import EpisodeJob, play_many
from stepladder.rollout.pool import EnvironmentPool, PoolSettings
from stepladder.types import Action, Limits, Observation, Task, Trajectory

TOKEN = "of the test"
LOGIN = next(task for task in FormsEnvironment.tasks() if task.id.endswith("login"))
LEASE = 4
#: What happens to a request under way: it does not arrive; its answer does not, or not the whole of it; the server dies over it;
#: nothing of its episode gets through any more, so that only its lease ends it.
FAULTS = ("request lost", "answer lost", "answer torn", "killed", "silenced")
REQUEST_LOST, ANSWER_LOST, ANSWER_TORN, KILLED, SILENCED = FAULTS
WHERE = ("reset", "step")


class Server:
    """`stepladder serve` in a process of its own; started again on the same port after it was killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        program = "import sys; from stepladder.cli import main; main()"
        words = ["serve", "--tasks", "forms", "--port", str(self.port), "--token", TOKEN]
        settings = ["--set", f"lease={LEASE}", "--set", "memory=0", "--set", "load=0"]
        process = subprocess.Popen([sys.executable, "-c", program, *words, *settings], cwd=self.folder, stderr=subprocess.DEVNULL)
        for _ in range(600):
            with socket.socket() as trial:
                if trial.connect_ex(("127.0.0.1", self.port)) == 0:
                    return process
            time.sleep(0.05)
        raise RuntimeError("the server did not come up")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def running(self) -> int:
        said = httpx.get(f"http://127.0.0.1:{self.port}/health", headers={"Authorization": f"Bearer {TOKEN}"}).json()
        return int(said["episodes"])


class Way:
    """A TCP proxy before a server, which does to chosen requests what is planned for them."""

    def __init__(self, server: Server, planned: dict[bytes, str]) -> None:
        #: Faults by a part of the request that they strike, those of all ways; what has struck here; episodes of which nothing
        #: gets through.
        self.server, self.planned = server, planned
        self.struck: collections.Counter[str] = collections.Counter()
        self.silenced: set[bytes] = set()
        self.restarting: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        self._listener = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._listener.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        await asyncio.gather(*self.restarting)
        self._listener.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.server.port)
        except OSError:
            writer.transport.abort()
            return
        fault: list[str] = []
        answering = asyncio.create_task(self._answer(there, writer, fault))
        with suppress(OSError):
            while asked := await reader.read(1 << 16):
                if any(episode in asked for episode in self.silenced) or (found := self._strikes(asked)) == REQUEST_LOST:
                    break
                if found is not None:
                    fault.append(found)
                back.write(asked)
                await back.drain()
                if found == KILLED:
                    self._kill()
        answering.cancel()
        for end in (writer, back):
            end.transport.abort()

    async def _answer(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter, fault: list[str]) -> None:
        with suppress(OSError):
            while said := await there.read(1 << 16):
                if fault:
                    if fault[0] == ANSWER_TORN:
                        writer.write(said[: len(said) // 2])
                        await writer.drain()
                    break
                writer.write(said)
                await writer.drain()
        writer.transport.abort()

    def _strikes(self, asked: bytes) -> str | None:
        for part, fault in self.planned.items():
            if part in asked:
                del self.planned[part]
                self.struck[fault] += 1
                if fault == SILENCED:
                    self.silenced.add(asked.partition(b'"episode_id":"')[2][:32])
                return fault
        return None

    def _kill(self) -> None:
        self.server.kill()

        async def start() -> None:
            self.server.process = await asyncio.to_thread(self.server.start)

        self.restarting.append(asyncio.create_task(start()))


class Played(BridgeEnvironment):
    """Solves the form beside it in memory, so that a solution is known, and meets the faults of its episodes, each once."""

    planned: dict[bytes, str]
    faults: dict[int, tuple[str, str]]

    async def reset(self, task: Task, seed: int) -> Observation:
        self.twin, self.seed, self.fault = FormsEnvironment(ImageStore()), seed, self.faults.pop(seed, None)
        await self.twin.reset(task, seed)
        if self.fault is not None and self.fault[0] == "reset":
            self.planned[f'"seed":{seed},"screenshot"'.encode()] = self.fault[1]
        return await super().reset(task, seed)

    async def step(self, action: Action) -> Observation:
        fault, self.fault = self.fault, None
        if fault is None or fault[0] != "step":
            return await super().step(action)
        request = f'"episode_id":"{self._episode}","action"'.encode()
        self.planned[request] = fault[1]
        try:
            return await super().step(action)
        finally:
            if self.planned.pop(request, None) is not None:  # the server was gone before it could be struck
                self.faults[self.seed] = fault

    async def solve(self) -> AsyncGenerator[tuple[str, Action], None]:
        async for thought, action in self.twin.solve():
            yield thought, action
            await self.twin.step(action)


def play(folder: Path, faults: Sequence[tuple[str, str] | None], servers: int) -> list[tuple[int, str, float | None]]:
    """Play an episode for each fault, with a pool of three environments at so many servers, and look at what comes of it. Returns
    every attempt as (seed, status, reward)."""
    planned: dict[bytes, str] = {}
    ways = [Way(Server(folder), planned) for _ in range(servers)]
    left = {seed: fault for seed, fault in enumerate(faults) if fault is not None}
    attempts: list[tuple[int, str, float | None]] = []

    async def open_many(count: int) -> Sequence[Environment]:
        opened = []
        for _ in range(count):
            environment = Played(ImageStore(), url=",".join(way.url for way in ways), token=TOKEN, deadline=20.0)
            environment.planned, environment.faults = planned, left
            opened.append(environment)
        return opened

    async def attempt(environment: Environment, job: EpisodeJob) -> Trajectory:
        trajectory, _ = await run_demonstration(environment, job.task, job.seed, limits=Limits())
        attempts.append((job.seed, trajectory.status, trajectory.reward))
        return trajectory

    async def run() -> None:
        for way in ways:
            await way.open()
        async with EnvironmentPool(open_many, 3, PoolSettings(check_every=0, memory=0, load=0, most_failures=50)) as pool:
            jobs = [EpisodeJob(LOGIN, seed) for seed in range(len(faults))]
            found = await play_many(jobs, pool, attempt, failed=lambda one: one.environment_failed, retries=5)
        assert [(one.status, one.reward) for one in found] == [("done", 1.0)] * len(jobs)
        broken = [one for one in attempts if one[1:] != ("done", 1.0)]
        assert {one[1:] for one in broken} <= {("env_error", None)}
        assert pool.counts["quarantined"] == pool.counts["repeated"] == len(broken)
        for way in ways:
            await way.close()

    try:
        asyncio.run(run())
        struck = sum((way.struck for way in ways), collections.Counter[str]())
        assert struck == collections.Counter(fault[1] for fault in faults if fault is not None)
        until = time.monotonic() + 10 * LEASE
        while any(way.server.running() for way in ways):
            assert time.monotonic() < until, "episodes go on that nobody plays"
            time.sleep(0.1)
    finally:
        for way in ways:
            way.server.kill()
    return attempts


@pytest.mark.parametrize("where", WHERE)
def test_whatever_breaks_under_way_is_played_again(where: str, tmp_path: Path) -> None:
    attempts = play(tmp_path, [*((where, fault) for fault in FAULTS), None, None], servers=2)
    if where == "step":  # that episode is lost; a reset goes on to the next server
        for seed in range(len(FAULTS)):
            assert (seed, "env_error", None) in attempts


@pytest.mark.faults
def test_servers_and_connections_break_again_and_again(tmp_path: Path) -> None:
    """Sixty faults among a hundred episodes, three at a time, at three servers."""
    plan: list[Any] = [(where, fault) for where in WHERE for fault in FAULTS for _ in range(6)] + [None] * 40
    Random(0).shuffle(plan)
    attempts = play(tmp_path, plan, servers=3)
    for (status, reward), count in sorted(collections.Counter(one[1:] for one in attempts).items()):
        print(f"{status:10} {reward}  {count}")
