"""A server that is killed, a connection that is cut: the episode is over without a score, and the next one is played elsewhere."""

from __future__ import annotations

import asyncio
import collections
import socket
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import httpx
import pytest

from stepladder.envs.bridge.client import BridgeEnvironment
from stepladder.envs.forms.environment import FormsEnvironment
from stepladder.images import ImageStore
from stepladder.interfaces import EnvironmentFailure
from stepladder.types import Task, Trajectory

TOKEN = "of the test"
LOGIN = next(task for task in FormsEnvironment.tasks() if task.id.endswith("login"))


class Server:
    """`stepladder serve` in a process of its own; started again on the same port after it was killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        program = "import sys; from stepladder.cli import main; main()"
        words = ["serve", "--tasks", "forms", "--port", str(self.port), "--set", f"token={TOKEN}"]
        process = subprocess.Popen([sys.executable, "-c", program, *words], cwd=self.folder, stderr=subprocess.DEVNULL)
        for _ in range(300):
            with socket.socket() as trial:
                if trial.connect_ex(("127.0.0.1", self.port)) == 0:
                    return process
            time.sleep(0.05)
        raise RuntimeError("the server did not come up")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def health(self) -> dict[str, object]:
        found: dict[str, object] = httpx.get(f"{self.url}/health", headers={"Authorization": f"Bearer {TOKEN}"}).json()
        return found


class Played(BridgeEnvironment):
    """Solves the form beside it in memory, and does there what it does here, so that a solution is known."""

    fault: str | None = None
    server: Server | None = None

    async def play(self, task: Task, seed: int) -> Trajectory:
        twin = FormsEnvironment(ImageStore())
        await twin.reset(task, seed)
        reward, status, error, steps = None, "done", None, 0
        try:
            await self.reset(task, seed)
            async for _, action in twin.solve():
                if steps == 1 and self.fault is not None:
                    await self.breaks(self.fault)
                await asyncio.gather(twin.step(action), self.step(action))
                steps += 1
            reward = await self.evaluate()
        except EnvironmentFailure as failure:
            status, error = "env_error", str(failure)
        return Trajectory(f"{task.id}-{seed}", task, (), None, status, reward, seed=seed, error=error)  # type: ignore[arg-type]

    async def breaks(self, fault: str) -> None:
        assert self.server is not None
        if fault == "the server is killed":
            self.server.kill()
            self.server.process = self.server.start()
        else:
            client, self._client = self._client, None
            assert client is not None
            await client.aclose()
            self._transport = httpx.MockTransport(_cut)


def _cut(_: httpx.Request) -> httpx.Response:
    raise httpx.ReadError("the connection was cut")


def test_a_killed_server_ends_the_episode_and_the_next_one_is_played(tmp_path: Path) -> None:
    server = Server(tmp_path)

    async def run() -> list[Trajectory]:
        environment = Played(ImageStore(), url=server.url, token=TOKEN, deadline=20.0)
        environment.server, environment.fault = server, "the server is killed"
        broken = await environment.play(LOGIN, 0)
        environment.fault = None
        whole = await environment.play(LOGIN, 1)
        await environment.close()
        return [broken, whole]

    try:
        broken, whole = asyncio.run(run())
        assert (broken.status, broken.reward) == ("env_error", None)
        assert (whole.status, whole.reward) == ("done", 1.0)
        assert server.health()["episodes"] == 0
    finally:
        server.kill()


@pytest.mark.faults
def test_servers_and_connections_break_again_and_again(tmp_path: Path) -> None:
    """Twenty killed servers and twenty cut connections among a hundred episodes, three at a time on a server each."""
    plan: list[str | None] = ["the server is killed"] * 20 + ["the connection is cut"] * 20 + [None] * 60
    Random(0).shuffle(plan)
    servers = [Server(tmp_path) for _ in range(3)]
    counts: collections.Counter[tuple[str, str, float | None]] = collections.Counter()

    async def run() -> None:
        queue = list(enumerate(plan))

        async def work(server: Server) -> None:
            while queue:
                seed, fault = queue.pop()
                environment = Played(ImageStore(), url=server.url, token=TOKEN, deadline=20.0)
                environment.server, environment.fault = server, fault
                trajectory = await environment.play(LOGIN, seed)
                await environment.close()
                counts[fault or "none", trajectory.status, trajectory.reward] += 1

        await asyncio.gather(*map(work, servers))

    try:
        asyncio.run(run())
        for (fault, status, reward), count in sorted(counts.items(), key=str):
            print(f"{fault:24} {status:10} {reward}  {count}")
            assert (status, reward) == (("done", 1.0) if fault == "none" else ("env_error", None))
        assert sum(counts.values()) == len(plan)
    finally:
        for server in servers:
            server.kill()
