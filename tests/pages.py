"""What the browser tests share: one event loop and one Chromium for a test module, and episodes on pages given as HTML."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

import numpy as np

from stepladder.envs.browser.pages import PageEnvironment
from stepladder.images import ImageStore
from stepladder.types import Action, Observation, Task

T = TypeVar("T")
STYLE = "<style>body{margin:0;font:14px sans-serif} *{box-sizing:border-box}</style>"


class Browser:
    """Episodes in one environment, driven from plain (not async) tests."""

    def __init__(self, **options: Any) -> None:
        self.loop = asyncio.new_event_loop()
        self.images = ImageStore()
        options = {"width": 320, "height": 240, "deadline": 60.0, **options}
        self.environment = PageEnvironment(self.images, **options)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(asyncio.wait_for(coroutine, 120))

    def open(self, html: str, **setup: Any) -> Observation:
        """Start an episode on this page."""
        check = setup.pop("check", {"javascript": "true"})
        task = Task("page", "Do it.", "page", {"html": f"<!doctype html>{STYLE}{html}", **setup}, check)
        return self.run(self.environment.reset(task, 0))

    def act(self, kind: Any, **fields: Any) -> Observation:
        return self.run(self.environment.step(Action(kind, **fields)))

    def evaluate(self, js: str) -> Any:
        return self.run(self.environment.evaluate_script(js))

    def pixels(self, observation: Observation) -> np.ndarray:
        assert observation.screenshot is not None
        return self.images.load(observation.screenshot)

    def close(self) -> None:
        self.run(self.environment.close())
        self.run(self.environment._host.close())
        self.loop.close()


def browser_fixture(**options: Any) -> Iterator[Browser]:
    browser = Browser(**options)
    yield browser
    browser.close()
