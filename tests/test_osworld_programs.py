"""OSWorld's tasks with programs that `make osworld` installs: GIMP is ready when a task begins, known solutions score 1."""

from __future__ import annotations

import asyncio
import shutil
from typing import Any

import pytest

from stepladder.envs.desktop.look import Look
from stepladder.envs.osworld.coverage import lacks
from stepladder.envs.osworld.environment import OSWorldEnvironment
from stepladder.envs.osworld.task_file import make_task
from stepladder.images import ImageStore
from stepladder.rollout.demonstrate import run_demonstration
from stepladder.types import Limits, Task

gimp = pytest.mark.skipif(shutil.which("gimp") is None, reason="GIMP is not installed: make osworld")
sound = pytest.mark.skipif(
    not (shutil.which("pulseaudio") and shutil.which("pactl")), reason="PulseAudio is not installed: make osworld"
)
QUIT = {"type": "execute", "parameters": {"command": ["python3", "-c", "import pyautogui; pyautogui.hotkey(['ctrl', 'q'])"]}}
LAUNCH = {"type": "launch", "parameters": {"command": ["gimp"]}}
VOLUME = "pulseaudio --start\npactl list sinks | grep '^[[:space:]]Volume:' | head -n 1 | awk '{print $5}' | sed 's/%//g'"


def setting(identifier: str, key: str, value: str) -> Task:
    """A task about GIMP whose solution is known by its id, and which asks for a setting."""
    evaluator = {
        "postconfig": [QUIT, {"type": "sleep", "parameters": {"seconds": 0.5}}],
        "func": "check_config_status",
        "expected": {"type": "rule", "rules": {"type": "key-value", "key": key, "value": value}},
        "result": {"type": "gimp_config_file", "file_name": "gimprc", "dest": "gimprc"},
    }
    content = {"id": identifier, "instruction": "y", "config": [LAUNCH], "evaluator": evaluator}
    return make_task(content, "gimp", "f.json")


def volume() -> Task:
    result = {"type": "vm_command_line", "command": VOLUME, "shell": True}
    evaluator: dict[str, Any] = {
        "func": "exact_match",
        "result": result,
        "expected": {"type": "rule", "rules": {"expected": "100\n"}},
    }
    return make_task({"id": "28cc3b7e", "instruction": "y", "config": [], "evaluator": evaluator}, "os", "f.json")


def score(task: Task) -> tuple[str, float | None]:
    async def run() -> tuple[str, float | None]:
        environment = OSWorldEnvironment(ImageStore())
        try:
            trajectory, _ = await run_demonstration(environment, task, 0, limits=Limits())
            return trajectory.status, trajectory.reward
        finally:
            await environment.close()

    return asyncio.run(run())


@gimp
def test_gimp_is_ready_when_a_task_begins_and_nothing_is_as_wanted_yet() -> None:
    async def run() -> None:
        environment = OSWorldEnvironment(ImageStore())
        try:
            await environment.reset(setting("7767eef2", "theme", '"Light"'), 0)
            look = Look(environment.desktop)
            assert await look.titles() == ["GNU Image Manipulation Program"], "what tells that it starts is gone"
            left, top, width, height = (await look.window("GNU")).box
            shown = environment.desktop.pixels()[top : top + height, left : left + width]
            assert len({tuple(pixel) for pixel in shown[::4, ::4].reshape(-1, 3).tolist()}) > 50, "its window is painted"
            assert await environment.evaluate() == 0.0
        finally:
            await environment.close()

    asyncio.run(run())


@gimp
@pytest.mark.parametrize(("identifier", "key", "value"), [("7767eef2", "theme", '"Light"'), ("7b7617bd", "undo-levels", "100")])
def test_settings_of_gimp_are_found_in_its_preferences(identifier: str, key: str, value: str) -> None:
    assert score(setting(identifier, key, value)) == ("done", 1.0)


@sound
def test_the_volume_is_low_until_somebody_turns_it_up() -> None:
    async def idle() -> float:
        environment = OSWorldEnvironment(ImageStore())
        try:
            await environment.reset(volume(), 0)
            return await environment.evaluate()
        finally:
            await environment.close()

    assert asyncio.run(idle()) == 0.0
    assert score(volume()) == ("done", 1.0)


def test_a_sound_server_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    there = shutil.which
    monkeypatch.setattr("shutil.which", lambda name: None if name in ("pulseaudio", "pactl") else there(name))
    assert lacks(volume(), None) == ["program pulseaudio", "program pactl"]
