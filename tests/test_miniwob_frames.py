"""MiniWoB++, whose pages have a clock of their own, with every way of getting frames."""

from __future__ import annotations

import asyncio
import shutil
from typing import Any

import pytest

from stepladder.envs.browser import catalogue
from stepladder.envs.browser.host import BrowserHost
from stepladder.envs.browser.miniwob import MiniWobEnvironment
from stepladder.images import ImageStore
from stepladder.types import Action

WAYS: dict[str, dict[str, Any]] = {"begin-frame": {}, "ordinary": {"begin_frames": False}}
if shutil.which("chromium"):
    WAYS["chromium"] = {"chromium": "chromium"}


@pytest.mark.parametrize("way", WAYS)
def test_episodes_on_a_fresh_and_on_a_kept_page(way: str) -> None:
    async def play() -> None:
        host = BrowserHost(**WAYS[way])
        environment = MiniWobEnvironment(ImageStore(), host=host, deadline=60.0)
        try:
            for seed in (1, 2):
                first = await environment.reset(catalogue.task("enter-text"), seed)
                assert first.screenshot is not None
                assert (first.screenshot.width, first.screenshot.height) == (160, 210)
                page = environment._current()
                assert not (await environment.step(Action("wait", seconds=0.1))).done
                async for _, action in environment.solve():
                    last = await environment.step(action)
                assert last.done
                assert await environment.evaluate() == 1
                await environment.reset(catalogue.task("enter-text"), seed + 10)
                assert environment._current() is page
            assert host.launches == 1
        finally:
            await environment.close()
            await host.close()

    asyncio.run(asyncio.wait_for(play(), 300))
