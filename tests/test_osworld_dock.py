"""The dock of OSWorld's machine: from an empty desktop a click starts a program."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.envs.desktop.look import Look
from stepladder.envs.osworld import dock
from stepladder.envs.osworld.environment import OSWorldEnvironment
from stepladder.envs.osworld.task_file import make_task
from stepladder.images import ImageStore
from stepladder.types import Action

EMPTY = make_task({"id": "t", "instruction": "y", "config": [], "evaluator": {"func": "infeasible"}}, "os", "f.json")


def play(work: Callable[[OSWorldEnvironment, Look], Awaitable[None]], width: int = 1920, height: int = 1080) -> None:
    """`work` on a desktop where nothing has been started."""

    async def run() -> None:
        environment = OSWorldEnvironment(ImageStore(), width=width, height=height)
        try:
            await environment.reset(EMPTY, 0)
            await work(environment, Look(environment.desktop))
        finally:
            await environment.close()

    asyncio.run(run())


def on(name: str, height: int, kind: str = "click") -> Action:
    entries = dock.installed()
    x, y = dock.place([entry.name for entry in entries].index(name), height, len(entries))
    return Action(kind, float(x), float(y))  # type: ignore[arg-type]


@given(st.integers(480, 1080), st.integers(1, 12))
def test_icons_lie_within_the_dock_and_leave_room_for_windows(height: int, entries: int) -> None:
    size, width = dock.icon_size(height, entries), dock.width(height, entries)
    places = [dock.place(entry, height, entries) for entry in range(entries)]
    assert size >= 16
    assert all(x - size // 2 >= 0 and x + size // 2 <= width for x, _ in places)
    assert all(below - above > size for (_, above), (_, below) in itertools.pairwise(places))
    assert places[0][1] - size // 2 > 0
    assert places[-1][1] + size // 2 <= height * 3 // 4


@pytest.mark.parametrize(("width", "height"), [(1920, 1080), (640, 480)])
def test_a_click_starts_a_program_that_has_the_keyboard(width: int, height: int) -> None:
    async def work(environment: OSWorldEnvironment, look: Look) -> None:
        assert await look.titles() == [], "the dock itself is no window of an application"
        await environment.step(on("Terminal", height))
        await look.window("xterm")
        await environment.step(Action("type", text="touch made\n"))

        async def made() -> bool:
            return await look.entry("made") is not None

        assert await look.until(made)

    play(work, width, height)


def test_a_name_is_shown_at_once_and_other_buttons_do_nothing() -> None:
    async def work(environment: OSWorldEnvironment, look: Look) -> None:
        # Beside the dock, at the height of the icon: where the name is shown.
        top, left = int(on("Terminal", 720).y or 0), dock.width(720, len(dock.installed()))

        def beside() -> bool:
            return bool(environment.desktop.pixels()[top - 5 : top + 5, left : left + 60].any())

        assert not beside()
        await environment.step(on("Terminal", 720, "move"))
        assert beside()
        for kind in ("right_click", "middle_click"):
            await environment.step(on("Terminal", 720, kind))
        assert await look.titles() == []

    play(work, 1280, 720)


def test_chromium_is_started_as_tasks_start_it_and_leaves_room_for_the_dock() -> None:
    async def work(environment: OSWorldEnvironment, look: Look) -> None:
        await environment.step(on("Chromium", 1080))
        window = await look.window("chromium", seconds=20.0)
        assert ".config/google-chrome" in window.classes[0], "the profile that getters read"
        assert window.box[0] >= dock.width(1080, len(dock.installed()))
        assert window.box[2:] == (1050, 1060), "as large as without a dock"

    play(work)


def test_a_window_that_is_maximized_does_not_cover_the_dock_and_an_icon_hides_it() -> None:
    async def work(environment: OSWorldEnvironment, look: Look) -> None:
        await environment.step(on("Files", 720))
        before = await look.window("thunar")
        left, top, _, _ = before.box
        title = Action("double_click", left + 100.0, top - 10.0)
        await environment.step(title)

        async def maximized() -> bool:
            return (await look.window("thunar")).box[2] > before.box[2]

        assert await look.until(maximized)
        width = dock.width(720, len(dock.installed()))
        box = (await look.window("thunar")).box
        assert (box[0], box[0] + box[2]) == (width, 1280)
        # The first window's icon comes after those that start programs.
        entries = len(dock.installed())
        x, y = dock.place(entries, 720, entries)
        shown = environment.desktop.pixels()[360, 640:1280].any()
        await environment.step(Action("click", float(x), float(y + 6)))
        assert shown
        assert not environment.desktop.pixels()[360, 640:1280].any(), "the empty screen is black"

    play(work, 1280, 720)


def test_a_dock_that_is_ended_is_no_failure() -> None:
    async def work(environment: OSWorldEnvironment, look: Look) -> None:
        assert (await look.run("/usr/bin/pkill", dock.PROGRAM)).returncode == 0
        await environment.step(Action("wait", seconds=0.2))
        assert await environment.evaluate() == 0.0

    play(work, 640, 480)


def test_without_its_program_there_is_no_dock_and_a_terminal_still_opens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dock, "PROGRAM", "no-such-dock")
    assert dock.installed() == []

    async def work(environment: OSWorldEnvironment, look: Look) -> None:
        assert not environment.desktop.pixels()[:, :40].any(), "the empty screen is black"
        await environment.step(Action("key", keys=("ctrl", "alt", "t")))
        await look.window("xterm")

    play(work, 640, 480)


def test_only_installed_programs_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {dock.PROGRAM, "xterm", "chromium"}
    monkeypatch.setattr("stepladder.envs.osworld.dock.shutil.which", lambda name: name if name in there else None)
    assert [entry.name for entry in dock.installed()] == ["Chromium", "Terminal"]
