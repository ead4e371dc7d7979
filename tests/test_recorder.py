"""What a person does becomes actions: by hand for every rule, and on a real X server with synthetic input as the person."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from desktops import sandboxed
from hypothesis import given
from hypothesis import strategies as st

from stepladder.config import ConfigError
from stepladder.envs.desktop.desk.environment import DeskEnvironment
from stepladder.envs.desktop.inputs import Hands
from stepladder.envs.desktop.xserver import XServer
from stepladder.images import ImageStore
from stepladder.recorder.merge import Deed, EventKind, InputEvent, Merger
from stepladder.recorder.screens import DisplayScreen
from stepladder.recorder.x11 import character
from stepladder.stages import record as stage
from stepladder.store import TrajectoryStore
from stepladder.types import Action


class Person:
    """Makes events, a hundredth of a second apart."""

    def __init__(self) -> None:
        self.events: list[InputEvent] = []
        self.time, self.x, self.y = 0.0, 0, 0

    def _add(self, kind: EventKind, **fields: Any) -> None:
        self.time += 0.01
        self.events.append(InputEvent(kind, self.time, self.x, self.y, **fields))

    def wait(self, seconds: float) -> Person:
        self.time += seconds
        return self

    def move(self, x: int, y: int) -> Person:
        self.x, self.y = x, y
        self._add("move")
        return self

    def down(self, key: str, text: str = "") -> Person:
        self._add("key_down", key=key, text=text)
        return self

    def up(self, key: str) -> Person:
        self._add("key_up", key=key)
        return self

    def press(self, key: str, text: str = "") -> Person:
        return self.down(key, text).up(key)

    def type(self, text: str) -> Person:
        for one in text:
            self.press(one.lower(), one)
        return self

    def button(self, number: int = 1, times: int = 1) -> Person:
        for _ in range(times):
            self._add("button_down", button=number)
            self._add("button_up", button=number)
        return self

    def drag(self, x: int, y: int, number: int = 1) -> Person:
        self._add("button_down", button=number)
        self.move((self.x + x) // 2, (self.y + y) // 2).move(x, y)
        self._add("button_up", button=number)
        return self

    def done(self) -> list[Action]:
        return [deed.action for deed in merged(self.events)]


def merged(events: list[InputEvent]) -> list[Deed]:
    merger = Merger()
    deeds = [deed for event in events for deed in merger.take(event)]
    return [*deeds, *merger.finish()]


def at(x: int = 10, y: int = 20) -> Person:
    return Person().move(x, y)


RULES: dict[str, tuple[Person, list[Action]]] = {
    "a click": (at().button(), [Action("click", 10, 20)]),
    "two clicks at once": (at().button(times=2), [Action("double_click", 10, 20)]),
    "three clicks at once": (at().button(times=3), [Action("triple_click", 10, 20)]),
    "four clicks at once": (at().button(times=4), [Action("triple_click", 10, 20), Action("click", 10, 20)]),
    "two slow clicks": (at().button().wait(1).button(), [Action("click", 10, 20)] * 2),
    "two clicks apart": (at().button().move(30, 20).button(), [Action("click", 10, 20), Action("click", 30, 20)]),
    "the other buttons": (at().button(3).button(2), [Action("right_click", 10, 20), Action("middle_click", 10, 20)]),
    "a drag": (at().drag(90, 70), [Action("drag", 10, 20, 90, 70)]),
    "a trembling click": (at().drag(12, 21), [Action("click", 10, 20)]),
    "a click and a drag": (at().button().drag(90, 70), [Action("click", 10, 20), Action("drag", 10, 20, 90, 70)]),
    "a click with a modifier": (at().down("ctrl").button().up("ctrl"), [Action("click", 10, 20, keys=("ctrl",))]),
    "a text": (Person().type("Hello You"), [Action("type", text="Hello You")]),
    "a capital": (Person().down("shift").press("a", "A").up("shift").type("b"), [Action("type", text="Ab")]),
    "a mistake": (Person().type("helo").press("backspace").type("lo"), [Action("type", text="hello")]),
    "all taken back": (Person().type("a").press("backspace"), []),
    "backspace alone": (Person().press("backspace"), [Action("key", keys=("backspace",))]),
    "enter": (
        Person().type("a").press("enter").type("b"),
        [Action("type", text="a"), Action("key", keys=("enter",)), Action("type", text="b")],
    ),
    "a pause": (Person().type("a").wait(5).type("b"), [Action("type", text="a"), Action("type", text="b")]),
    "text and click": (at().type("a").button(), [Action("type", text="a"), Action("click", 10, 20)]),
    "a combination": (Person().down("ctrl").press("s", "s").up("ctrl"), [Action("key", keys=("ctrl", "s"))]),
    "three keys": (
        Person().down("ctrl").down("shift").press("t", "T").up("shift").up("ctrl"),
        [Action("key", keys=("ctrl", "shift", "t"))],
    ),
    "shift and a key without text": (Person().down("shift").press("tab").up("shift"), [Action("key", keys=("shift", "tab"))]),
    "a modifier alone": (Person().press("super"), [Action("key", keys=("super",))]),
    "shift alone": (Person().press("shift"), []),
    "the wheel": (at().button(5, 3).button(4), [Action("scroll", 10, 20, amount=-3), Action("scroll", 10, 20, amount=1)]),
    "the wheel sideways": (at().button(7, 2), [Action("scroll", 10, 20, amount=2, name="horizontal")]),
    "the wheel again later": (at().button(5).wait(2).button(5), [Action("scroll", 10, 20, amount=-1)] * 2),
    "nothing but moves": (at().move(50, 50).move(10, 10), []),
}


@pytest.mark.parametrize("name", RULES)
def test_rules(name: str) -> None:
    person, wanted = RULES[name]
    assert person.done() == wanted


EVENTS = st.lists(
    st.builds(
        InputEvent,
        st.sampled_from(["key_down", "key_up", "button_down", "button_up", "move"]),
        st.just(0.0),
        st.integers(0, 100),
        st.integers(0, 100),
        st.integers(0, 9),
        st.sampled_from(["a", "b", "enter", "ctrl", "shift", "alt", "super", "backspace", ""]),
        st.sampled_from(["", "a", "B", "é"]),
    ),
    max_size=60,
)


@given(EVENTS, st.lists(st.floats(0, 2), min_size=60, max_size=60))
def test_any_events_are_merged_in_order(events: list[InputEvent], pauses: list[float]) -> None:
    clock, timed = 0.0, []
    for event, pause in zip(events, pauses, strict=False):
        clock += pause
        timed.append(InputEvent(event.kind, clock, event.x, event.y, event.button, event.key, event.text))
    deeds = merged(timed)
    assert [deed.ended for deed in deeds] == sorted(deed.ended for deed in deeds)
    assert all(deed.began <= deed.ended <= clock for deed in deeds)
    assert all(deed.action.kind != "type" or deed.action.text for deed in deeds)
    notches = sum(event.kind == "button_down" and event.button in (4, 5, 6, 7) for event in timed)
    assert sum(abs(deed.action.amount) for deed in deeds) == notches


def test_characters_of_keysyms() -> None:
    assert [character(code) for code in (0x61, 0xE9, 0x010020AC, 0xFF0D, 0)] == ["a", "é", "€", "", ""]


# ------------------------------------------------------------------------------------------------------------ a real X server


def acting(work: Callable[[Any], Awaitable[None]]) -> stage.Ready:
    """`ready` that has a person act, who then ends the recording."""
    tasks = []

    def ready(what: Any, stop: Callable[[], None]) -> None:
        async def act() -> None:
            try:
                await work(what)
            finally:
                stop()

        tasks.append(asyncio.get_running_loop().create_task(act()))

    return ready


def test_a_person_at_a_pocket_desktop(tmp_path: Path) -> None:
    async def person(environment: DeskEnvironment) -> None:
        desktop = environment.desktop
        await asyncio.sleep(0.8)
        async for _, action in environment.solve():
            if action.kind in ("done", "fail"):
                break
            await desktop.act(action)
            await asyncio.sleep(1.0)  # a person is slower than a screen

    config = stage.RecordConfig(tasks="desk:editor-write", output=tmp_path, seconds=60.0)
    trajectory = stage.main(config, acting(person))
    assert (trajectory.status, trajectory.reward, trajectory.policy) == ("done", 1.0, "person"), trajectory.error
    actions = [step.action for step in trajectory.steps if step.action is not None]
    assert [action.kind for action in actions][-2:] == ["key", "done"]
    texts = [action.text for action in actions if action.kind == "type"]
    assert texts
    assert texts[0] in trajectory.task.instruction
    first = trajectory.steps[0]
    assert first.observation.tree, "the tree before the first action"
    images = ImageStore(tmp_path / "images")
    shots = [step.observation.screenshot for step in trajectory.steps]
    assert all(shot is not None and shot in images for shot in shots)
    assert shots[0] != shots[-1]
    with TrajectoryStore(tmp_path / stage.STORE) as store:
        assert store.get(trajectory.id).steps[0].action == first.action
    assert sandboxed() == set()


def test_an_x_display_of_ones_own(tmp_path: Path) -> None:
    """A server beside the machine's own, with its pointer and keys moved through XTEST."""
    number = next(number for number in range(40, 99) if not Path(f"/tmp/.X11-unix/X{number}").exists())
    server = subprocess.Popen(["Xvfb", f":{number}", "-screen", "0", "640x480x24", "-nolisten", "tcp"], stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 20
        while not Path(f"/tmp/.X11-unix/X{number}").exists():
            assert time.monotonic() < until
            time.sleep(0.05)

        async def person(screen: DisplayScreen) -> None:
            hands = Hands(XServer(f"/tmp/.X11-unix/X{number}"), 640, 480, lambda: None)
            for action in (Action("click", 50, 60), Action("type", text="Hi 5!"), Action("drag", 10, 10, 200, 100)):
                await asyncio.to_thread(hands.act, action)
                await asyncio.sleep(0.5)
            await asyncio.to_thread(hands.act, Action("key", keys=("ctrl", "s")))
            await asyncio.sleep(0.2)

        config = stage.RecordConfig(display=f":{number}", instruction="Do this.", output=tmp_path, seconds=60.0)
        trajectory = stage.main(config, acting(person))
    finally:
        server.terminate()
        server.wait()
    assert [step.action for step in trajectory.steps] == [
        Action("click", 50, 60),
        Action("type", text="Hi 5!"),
        Action("drag", 10, 10, 200, 100),
        Action("key", keys=("ctrl", "s")),
        Action("done"),
    ]
    assert (trajectory.status, trajectory.reward, trajectory.task.instruction) == ("done", None, "Do this.")
    shot = trajectory.steps[0].observation.screenshot
    assert shot is not None
    assert (shot.width, shot.height) == (640, 480)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "either"),
        ({"tasks": "desk:editor-write", "display": ":0"}, "either"),
        ({"display": ":0"}, "instruction"),
        ({"tasks": "desk", "output": "x"}, "59 tasks"),
        ({"tasks": "forms:login"}, "no desktop"),
        ({"tasks": "desk:editor-write", "seconds": 0.0}, "seconds"),
    ],
)
def test_what_cannot_be_recorded_is_said(tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        stage.main(stage.RecordConfig(**{**settings, "output": tmp_path}))
