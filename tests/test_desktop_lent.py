"""What whoever lends a desktop decides: its network, who watches it, and that nothing stays behind when the program is ended."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from desktops import WRITE, EditorEnvironment, sandboxed

from stepladder.envs.desktop.desktop import Desktop
from stepladder.envs.desktop.guest.processes import states
from stepladder.envs.desktop.leftovers import PREFIX, BareRoot, sweep
from stepladder.envs.osworld.environment import OSWorldEnvironment
from stepladder.images import ImageStore
from stepladder.interfaces import EnvironmentFailure
from stepladder.types import Task

ROOT = Path(__file__).parent.parent
ONLINE = replace(WRITE, setup={**WRITE.setup, "network": True})


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: those of sockets may have 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="t") as name:
        yield Path(name)


def until(true: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_program_inside_is_the_user() -> None:
    async def run() -> tuple[str, str]:
        desktop = await Desktop.start()
        try:
            asked = "whoami; id -gn; getent passwd user | cut -d: -f3,6; getent passwd | wc -l; eval echo ~user"
            ran = await desktop.guest.run(["bash", "-c", asked])
            written = await desktop.guest.run(["bash", "-c", "echo x >> /etc/passwd; rm -f /etc/passwd; cat /etc/group"])
        finally:
            await desktop.close()
        return ran.output, written.output

    told, groups = asyncio.run(run())
    assert told.splitlines() == ["user", "user", "1000:/home/user", "3", "/home/user"]
    assert groups.splitlines()[-1] == "user:x:1000:"


def test_the_network_is_lent_by_an_option_alone() -> None:
    async def networks(environment: EditorEnvironment, task: Task) -> int:
        await environment.reset(task, 0)
        ran = await environment.desktop.guest.run(["bash", "-c", "readlink /proc/self/ns/net"])
        return int(re.sub(r"\D", "", ran.output))

    async def run() -> None:
        closed, lent = EditorEnvironment(ImageStore()), EditorEnvironment(ImageStore(), network=True)
        own = int(re.sub(r"\D", "", os.readlink("/proc/self/ns/net")))
        try:
            with pytest.raises(EnvironmentFailure, match=r"task 'write' asks for the network.*options\.network=true"):
                await closed.reset(ONLINE, 0)
            assert sandboxed() == set()
            with pytest.raises(EnvironmentFailure, match=r"network is .* it must be true or false"):
                await lent.reset(replace(WRITE, setup={**WRITE.setup, "network": ["example.org"]}), 0)
            assert await networks(closed, WRITE) != own
            assert await networks(lent, WRITE) != own  # who does not ask for it has none
            assert await networks(lent, ONLINE) == own
        finally:
            await closed.close()
            await lent.close()

    asyncio.run(run())
    assert OSWorldEnvironment(ImageStore(), network=True).network
    assert not OSWorldEnvironment(ImageStore()).network


def test_viewers_find_all_episodes_at_one_place(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "stepladder.envs.desktop.vnc")

    async def greeted(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            return await asyncio.wait_for(reader.readexactly(8), 20)
        finally:
            writer.close()

    async def run() -> None:
        environment = EditorEnvironment(ImageStore(), vnc=True)
        try:
            places = []
            for seed in range(2):
                await environment.reset(WRITE, seed)
                found = re.search(
                    r"to watch write: vncviewer 127\.0\.0\.1:(\d+), password (\w{8})", caplog.records[-1].getMessage()
                )
                assert found is not None
                places.append(found.groups())
                assert await greeted(int(found[1])) == b"RFB 003."
            assert places[0] == places[1]
            assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
        finally:
            await environment.close()
        with pytest.raises(OSError, match=r"refused|[Cc]onnect"):
            await greeted(int(places[0][0]))

    asyncio.run(run())


@pytest.mark.parametrize("interrupts", [signal.SIG_DFL, signal.SIG_IGN], ids=["in front", "in the background of a script"])
def test_a_command_that_is_told_to_end_leaves_nothing_behind(folder: Path, interrupts: signal.Handlers) -> None:
    line = "eval idle --tasks desk:editor-write --episodes 50 --output runs --set environments=1 --set options.isolation=none"
    program = [sys.executable, "-c", "from stepladder.cli import main; main()", *line.split()]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder)}
    running = subprocess.Popen(
        program,
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, interrupts),
    )
    try:
        until(lambda: list(folder.glob(f"{PREFIX}*/sockets.json")) or running.poll() is not None)
        sockets = sockets_of(folder)
        running.terminate()
        assert running.wait(60) == 130
    finally:
        running.kill()
        running.wait()
    assert [path.name for path in folder.iterdir() if PREFIX in path.name] == []
    assert not any(path.exists() for path in sockets)


def sockets_of(folder: Path) -> list[Path]:
    found = [Path(name) for path in folder.glob(f"{PREFIX}*/sockets.json") for name in json.loads(path.read_text())]
    assert found
    assert all(path.exists() for path in found)
    return found


def test_what_a_killed_program_left_is_removed_by_the_next_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
import asyncio
from stepladder.envs.desktop.desktop import Desktop, DesktopSettings

async def main():
    desktop = await Desktop.start(DesktopSettings(isolation="none"))
    print(desktop.sandbox.process.pid, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder)}
    running = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert running.stdout is not None
        inner = int(running.stdout.readline())
        assert sweep(folder) == []  # its program lives
        (sockets,) = sockets_of(folder)
        (left,) = folder.glob(f"{PREFIX}*")
    finally:
        running.kill()
        running.wait()
    until(lambda: all(one.state in "ZX" for one in states(inner)))
    assert left.exists()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    mine = BareRoot()
    assert [path.name for path in folder.iterdir()] == [mine.path.name]
    assert not sockets.exists()
    mine.remove()
    mine.remove()
    assert list(folder.iterdir()) == []


def test_what_is_not_ours_is_left_alone(folder: Path) -> None:
    other, taken = folder / f"{PREFIX}other", folder / f"{PREFIX}taken"
    other.mkdir()  # nobody has said whose it is
    (folder / f"{PREFIX}file").write_text("")
    (folder / f"{PREFIX}link").symlink_to(other)
    taken.mkdir()
    (taken / "owner").write_text("1\n")
    newer = folder / "X7"
    newer.write_text("")
    (taken / "sockets.json").write_text(json.dumps({str(newer): newer.stat().st_ino + 1}))
    assert sweep(folder) == [taken]
    assert sorted(path.name for path in folder.iterdir()) == ["X7", *(f"{PREFIX}{name}" for name in ("file", "link", "other"))]
