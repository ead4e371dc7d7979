"""A few hundred random actions of every kind over some tasks: nothing but an EnvironmentFailure leaves, nothing stays behind.

`python bench/fuzz.py` does the same with ten thousand actions over all tasks.
"""

from __future__ import annotations

import asyncio
import importlib.util
from collections import Counter
from pathlib import Path
from random import Random
from types import ModuleType

import pytest
from pages import Browser

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
    assert figures["leaked_processes"] == 0
    assert figures["leaked_folders"] == 0
    assert figures["episodes"] >= len(TASKS)
    assert len(figures["kinds"]) >= len(ACTION_KINDS) - 1  # `wait` is rare


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
