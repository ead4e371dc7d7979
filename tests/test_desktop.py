"""Pocket desktops for real: what is done arrives, nothing gets out or stays behind, whatever breaks ends the episode alone."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from desktops import NOTE, WRITE, EditorEnvironment, sandboxed

from stepladder.envs.conformance import check_environment
from stepladder.envs.desktop.applications import APPLICATIONS
from stepladder.envs.desktop.desktop import Desktop, DesktopSettings
from stepladder.envs.desktop.homes import home
from stepladder.envs.desktop.launch import launch
from stepladder.envs.desktop.sandbox import HOME, SandboxLimits
from stepladder.envs.desktop.vnc import open_vnc
from stepladder.images import ImageStore
from stepladder.interfaces import EnvironmentFailure, EnvironmentTimeout
from stepladder.rollout.demonstrate import run_demonstration
from stepladder.types import Action, Limits

TEXT = "Grüße, “World”! 漢字 日本語 🙂👍🏽 «ñ» {a}[b] <tag> `~^| Ωλ €\n\tsecond line: éèê ßẞ"


def on_desktop(work: Callable[[Desktop], Awaitable[Any]], **settings: Any) -> Any:
    """Run `work` on a desktop of its own."""

    async def run() -> Any:
        desktop = await Desktop.start(DesktopSettings(**settings))
        try:
            return await work(desktop)
        finally:
            await desktop.close()

    return asyncio.run(run())


def shell(desktop: Desktop, command: str, timeout: float = 20.0) -> Awaitable[Any]:
    return desktop.guest.run(["bash", "-c", command], timeout)


async def editor(desktop: Desktop) -> None:
    await desktop.guest.write(desktop.inside(NOTE), b"")
    await launch(desktop, APPLICATIONS["mousepad"], [desktop.inside(NOTE)])


async def saved(desktop: Desktop) -> str:
    """What the editor has written once it is told to save."""
    await desktop.act(Action("key", keys=("ctrl", "s")))
    content = None
    for _ in range(100):
        content = await desktop.guest.read(desktop.inside(NOTE))
        if content:
            break
        await asyncio.sleep(0.05)
    return (content or b"").decode().rstrip("\n")


def test_the_contract_is_kept() -> None:
    asyncio.run(check_environment(lambda: EditorEnvironment(ImageStore(), tree=True), [WRITE], seeds=(0,), deterministic=False))


@pytest.mark.parametrize("isolation", ["bubblewrap", "none"])
def test_any_text_arrives_intact(isolation: str) -> None:
    async def work(desktop: Desktop) -> None:
        await editor(desktop)
        await desktop.act(Action("type", text=TEXT))
        assert await saved(desktop) == TEXT

    on_desktop(work, isolation=isolation)


def test_text_waits_for_a_program_that_is_busy() -> None:
    async def work(desktop: Desktop) -> None:
        await editor(desktop)
        # More different characters than there are spare keys, so that keys are used again while it is busy.
        many = "".join(chr(ord("一") + number) for number in range(60))
        await shell(desktop, "pkill -STOP mousepad; (sleep 1; pkill -CONT mousepad) >/dev/null 2>&1 &")
        await desktop.act(Action("type", text=many))
        assert await saved(desktop) == many

    on_desktop(work)


def test_pointer_wheel_and_drag_do_what_they_say() -> None:
    async def work(desktop: Desktop) -> None:
        lines = "\n".join(f"line {number}" for number in range(200))
        await desktop.guest.write(desktop.inside(NOTE), lines.encode())
        window = await launch(desktop, APPLICATIONS["mousepad"], [desktop.inside(NOTE)])
        left, top, width, height = window.box
        before = desktop.pixels()
        await desktop.act(Action("scroll", left + width / 2, top + height / 2, amount=-5.0))
        await desktop.settle()
        scrolled = desktop.pixels()
        assert not np.array_equal(
            before[top + 60 : top + height, left : left + 200], scrolled[top + 60 : top + height, left : left + 200]
        )
        await desktop.act(Action("scroll", amount=50.0))
        await desktop.settle()
        # Select by dragging over the first line, and replace what is selected.
        await desktop.act(Action("drag", left + 3.0, top + 40.0, x2=left + width - 60.0, y2=top + 40.0))
        await desktop.act(Action("type", text="new"))
        await desktop.act(Action("key", keys=("ctrl", "s")))
        await desktop.settle()
        content = await desktop.guest.read(desktop.inside(NOTE))
        assert content is not None
        assert content.decode().split("\n")[:2] == ["new", "line 1"]
        # The window moves with its title bar.
        await desktop.act(Action("drag", left + width / 2, top - 12.0, x2=left + width / 2 + 100, y2=top + 18.0))
        await desktop.settle()
        moved = (await desktop.windows())[-1].box
        assert (moved[0] - left, moved[1] - top) == (100, 30)

    on_desktop(work)


def test_the_pointer_is_in_the_picture() -> None:
    async def work(desktop: Desktop) -> None:
        await desktop.act(Action("move", 50.0, 60.0))
        await desktop.settle()
        seen = desktop.pixels()
        await desktop.act(Action("move", 400.0, 300.0))
        await desktop.settle()
        assert seen[55:80, 45:70].std() > desktop.pixels()[55:80, 45:70].std() == 0

    on_desktop(work)


@pytest.mark.parametrize(("width", "height"), [(640, 480), (1920, 1080)])
def test_screens_of_any_size(width: int, height: int) -> None:
    async def work(desktop: Desktop) -> None:
        assert desktop.pixels().shape == (height, width, 3)
        await desktop.act(Action("move", width - 1.0, height - 1.0))

    on_desktop(work, width=width, height=height)


def test_a_screen_that_is_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="640 x 480 is the least"):
        DesktopSettings(width=320, height=200)


def test_nothing_of_the_machine_is_seen_or_reached() -> None:
    async def work(desktop: Desktop) -> None:
        assert (await shell(desktop, f"ls -A {Path(__file__).parent} /var/lib/dpkg 2>/dev/null")).output == ""
        assert (await shell(desktop, "id -u; echo $HOME")).output.split() == ["1000", HOME]
        numbers = (await shell(desktop, "ls /proc | grep -E '^[0-9]+$'")).output.split()
        assert len(numbers) < 40
        assert max(map(int, numbers)) < 1000
        assert (await shell(desktop, "cat /proc/net/dev | grep -v lo | wc -l")).output.strip() == "2"
        assert (await shell(desktop, "echo x > /usr/x || echo x > /etc/x")).returncode != 0
        assert (await shell(desktop, "cat /etc/shadow")).returncode != 0
        # A file that is a link to one of the machine's is the sandbox's own file of that name, or none.
        await shell(desktop, "ln -s /etc/shadow link; ln -s /var/secret other")
        assert await desktop.guest.read(f"{HOME}/link") is None
        assert await desktop.guest.read(f"{HOME}/other") is None
        # What a file is not is not waited for either.
        await shell(desktop, "mkfifo pipe; mkdir folder")
        assert await desktop.guest.read(f"{HOME}/pipe") is None
        assert await desktop.guest.read(f"{HOME}/folder") is None

    on_desktop(work)


def test_the_program_inside_cannot_be_ended_or_spoken_for() -> None:
    async def work(desktop: Desktop) -> None:
        forged = '{\\"id\\": 1, \\"content\\": null}'
        for pid in (1, 2):
            assert (await shell(desktop, f"ls /proc/{pid}/fd; echo {forged} > /proc/{pid}/fd/1")).returncode != 0
        await shell(desktop, "kill -9 1; kill 1; kill -INT 1")
        assert (await shell(desktop, "echo alive")).output == "alive\n"
        await shell(desktop, "(setsid sleep 0.2 &)")
        await asyncio.sleep(0.6)
        assert "<defunct>" not in (await shell(desktop, "ps -ef")).output

    on_desktop(work)


def test_a_frame_file_that_is_cut_short_ends_the_desktop_alone() -> None:
    async def work(desktop: Desktop) -> None:
        await shell(desktop, ": > /run/frames/Xvfb_screen0")
        with pytest.raises(EnvironmentFailure, match="cut short"):
            desktop.pixels()

    on_desktop(work)


def test_a_job_that_a_terminal_stops_is_no_fault() -> None:
    async def work(desktop: Desktop) -> None:
        await launch(desktop, APPLICATIONS["xterm"])
        await desktop.act(Action("type", text="sleep 60\n"))
        await asyncio.sleep(0.3)
        await desktop.act(Action("key", keys=("ctrl", "z")))
        await asyncio.sleep(0.3)
        await desktop.settle()
        assert (await shell(desktop, "ps -o stat= -C sleep")).output.startswith("T")

    on_desktop(work)


def test_a_person_can_watch() -> None:
    async def work(desktop: Desktop) -> None:
        port = await open_vnc(desktop)
        reader, writer = await asyncio.open_connection("127.0.0.1", port.port)
        assert (await asyncio.wait_for(reader.readexactly(12), 20)).startswith(b"RFB 003.")
        writer.write(b"RFB 003.008\n")
        kinds = await asyncio.wait_for(reader.readexactly(2), 20)
        assert kinds == bytes([1, 2])  # one way in, with a password
        writer.close()
        await port.close()

    on_desktop(work)


def test_what_a_sandbox_may_use_is_limited() -> None:
    async def work(desktop: Desktop) -> None:
        full = await shell(desktop, "dd if=/dev/zero of=big bs=1M count=200")
        assert "No space left" in full.errors
        await shell(desktop, "rm big")
        large = await desktop.guest.run(["python3", "-c", "bytearray(2 << 30)"])
        assert "MemoryError" in large.errors
        bomb = await shell(desktop, "for i in $(seq 300); do sleep 5 >/dev/null 2>&1 & done", 60)
        assert "Resource temporarily unavailable" in bomb.errors

    on_desktop(work, limits=SandboxLimits(processes=120, memory=1 << 30, disk=100 << 20))


def test_desktops_do_not_see_each_other() -> None:
    async def run() -> None:
        first, second = await asyncio.gather(Desktop.start(), Desktop.start())
        try:
            await first.guest.write(f"{HOME}/x", b"1")
            assert await second.guest.read(f"{HOME}/x") is None
            await editor(first)
            assert len(await first.windows()) == 1
            assert await second.windows() == []
        finally:
            await first.close()
            await second.close()

    asyncio.run(run())


def test_a_command_that_hangs_is_stopped_with_all_that_it_started() -> None:
    async def work(desktop: Desktop) -> None:
        ran = await shell(desktop, "sleep 77 & sleep 88", 0.5)
        assert ran.timed_out
        assert (await shell(desktop, "pgrep -c sleep")).output.strip() == "0"
        much = await desktop.guest.run(["bash", "-c", "yes | head -c 100000"], limit=1000)
        assert (len(much.content), much.cut) == (1000, True)

    on_desktop(work)


def test_programs_inside_can_be_ended_by_others() -> None:
    async def work(desktop: Desktop) -> None:
        assert (await shell(desktop, "sleep 30 & kill $!; wait $!; echo $?")).output.strip() == "143"
        assert (await shell(desktop, "timeout -s INT 0.2 sleep 30; echo $?")).output.strip() == "124"

    on_desktop(work)


def test_a_missing_program_is_named() -> None:
    async def work(desktop: Desktop) -> None:
        with pytest.raises(EnvironmentFailure, match="no-such-program does not start"):
            await desktop.launch(["no-such-program"])
        with pytest.raises(EnvironmentTimeout, match="no such window came within"):
            await desktop.wait_for_window(lambda window: True, 0.2)

    on_desktop(work)


def test_a_home_is_made_once_and_copied() -> None:
    async def run() -> None:
        settings = DesktopSettings()
        first = await home([APPLICATIONS["mousepad"]], settings)
        assert await home([APPLICATIONS["mousepad"]], settings) == first
        assert (first / ".config/gtk-3.0/settings.ini").read_text().startswith("[Settings]")
        desktop = await Desktop.start(DesktopSettings(home=first))
        try:
            assert await desktop.guest.read(f"{HOME}/.config/gtk-3.0/settings.ini") is not None
            await desktop.guest.write(f"{HOME}/.config/gtk-3.0/settings.ini", b"changed")
        finally:
            await desktop.close()
        assert (first / ".config/gtk-3.0/settings.ini").read_text().startswith("[Settings]")

    asyncio.run(run())


def test_nothing_is_left_behind() -> None:
    before = len(os.listdir("/proc/self/fd"))

    async def run() -> None:
        environment = EditorEnvironment(ImageStore())
        for seed in range(3):
            trajectory, _ = await run_demonstration(environment, WRITE, seed, limits=Limits())
            assert (trajectory.status, trajectory.reward) == ("done", 1.0)
        await environment.close()
        await environment.close()

    asyncio.run(run())
    assert sandboxed() == set()
    assert len(os.listdir("/proc/self/fd")) == before


def test_without_isolation_it_is_said_and_nothing_is_left_behind(caplog: pytest.LogCaptureFixture) -> None:
    left: list[Path] = []

    async def work(desktop: Desktop) -> None:
        await editor(desktop)
        assert desktop.inside(HOME) != HOME
        display = (await shell(desktop, "echo $DISPLAY")).output.strip().removeprefix(":")
        left.extend([Path(f"/tmp/.X11-unix/X{display}"), Path(desktop.inside(HOME))])
        assert all(path.exists() for path in left)

    on_desktop(work, isolation="none")
    assert "not isolated" in caplog.text
    assert sandboxed() == set()
    assert not any(path.exists() for path in left)
