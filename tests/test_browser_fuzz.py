"""A few hundred random actions of every kind over some tasks: nothing but an EnvironmentFailure leaves, nothing stays behind.

`python bench/fuzz.py` does the same with ten thousand actions over all tasks.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from random import Random
from types import ModuleType

import pytest
from pages import Browser

from stepladder.envs.browser import catalogue
from stepladder.envs.browser.miniwob import MiniWobEnvironment
from stepladder.images import ImageStore
from stepladder.types import ACTION_KINDS

TASKS = [
    "choose-list",
    "click-tab-2",
    "copy-paste",
    "drag-box",
    "email-inbox",
    "enter-date",
    "login-user",
    "terminal",
    "use-slider",
]
PAGE = """<select autofocus><option>a<option>b</select><input type=date><input type=color><textarea>text</textarea>
<button onclick="alert(1)">alert</button><button onclick="prompt('?')">prompt</button><button onclick="open('')">open</button>
<button onclick="window.close()">close</button><a href=http://example.org/>away</a><a download=x href=data:,x>load</a>
<button onclick="onbeforeunload = (event) => event.preventDefault()">stay</button><button onclick="location.reload()">again</button>
<p draggable=true>drag me</p><iframe srcdoc='<select><option>x<option>y</select>'></iframe><div style='height:2000px'></div>"""


@pytest.fixture(scope="module")
def fuzz() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz", Path(__file__).parent.parent / "bench" / "fuzz.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_random_actions_on_tasks(fuzz: ModuleType) -> None:
    figures = asyncio.run(fuzz.run(actions=300, browsers=2, seed=1, names=TASKS, steps=12))
    assert figures["escaped"] == []
    assert figures["failures"] == {}
    assert [figures[key] for key in fuzz.LEAKS] == [0, 0, 0]
    assert figures["episodes"] >= len(TASKS)
    assert len(figures["kinds"]) >= len(ACTION_KINDS) - 1  # `wait` is rare


def test_what_stays_behind_is_seen(fuzz: ModuleType) -> None:
    async def play() -> None:
        environment = MiniWobEnvironment(ImageStore())
        host = environment._host
        await environment.reset(catalogue.task("click-test"), 0)
        assert await fuzz.open_contexts(host) == (1, 2)
        for _ in range(2):
            await host.new_context(160, 210)
        assert await fuzz.open_contexts(host) == (3, 2)
        group, connection = host.pid, host._connection
        assert group is not None
        assert connection is not None
        assert group in fuzz.processes(set())
        os.killpg(group, signal.SIGSTOP)  # a browser that does not end although nobody holds it any more
        process, host._process, host._connection = host._process, None, None
        assert process is not None
        await environment.close()
        assert group in fuzz.processes(set())
        assert len(fuzz.processes({group})) > 1
        process.kill()
        connection.close()

    asyncio.run(play())


def test_figures_are_written_and_a_leak_is_the_exit_code(fuzz: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["fuzz.py", "--actions", "5", "--json", str(tmp_path / "figures.json"), "click-test"])
    with pytest.raises(SystemExit) as ended:
        fuzz.main()
    assert ended.value.code == 0
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert (figures["actions"] >= 5, figures["tasks"]) == (True, 1)

    async def leak(*_: object) -> dict:
        return {**figures, "leaked_contexts": 1}

    monkeypatch.setattr(fuzz, "run", leak)
    with pytest.raises(SystemExit) as ended:
        fuzz.main()
    assert ended.value.code == 1


def test_random_actions_on_a_page_with_everything(fuzz: ModuleType) -> None:
    browser, random, said = Browser(tree=True), Random(3), Counter[str]()
    for _ in range(10):
        browser.open(PAGE)
        for _ in range(30):
            observation = browser.run(browser.environment.step(fuzz.random_action(random, 320, 240)))
            assert observation.screenshot is not None
            assert (observation.screenshot.width, observation.screenshot.height) == (320, 240)
            assert observation.state_key
            assert observation.tree is not None
            said.update(observation.text.split(" ")[:1])
        assert browser.run(browser.environment.evaluate()) == 1.0
    assert sum(said.values()) > 0
    browser.close()
