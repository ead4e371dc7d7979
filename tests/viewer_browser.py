"""A viewer that is served and a real Chromium that looks at it, for tests of the pages."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import uvicorn
from playwright.sync_api import Browser, Page, expect, sync_playwright

from stepladder.envs.browser.find import find_chromium
from stepladder.viewer.runs import Runs
from stepladder.viewer.server import make_app

#: Milliseconds that a page may take to show what is expected, on a busy machine too.
PATIENCE = 30_000


@contextmanager
def chromium() -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(find_chromium()), args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def served(directories: list[Path]) -> Iterator[str]:
    """The address of a viewer of these runs."""
    runs = Runs(directories)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        config = uvicorn.Config(make_app(runs), log_level="warning", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)
            runs.close()


@dataclass
class Tab:
    """A page of a browser, with everything that went wrong in it."""

    page: Page
    address: str
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        self.page.on("console", lambda message: self.faults.append(message.text) if message.type == "error" else None)
        self.page.on("dialog", lambda dialog: (self.faults.append(f"dialog: {dialog.message}"), dialog.dismiss()))

    def open(self, path: str) -> Page:
        self.page.goto(self.address + path)
        self.page.wait_for_selector("main h1, main .notice, main .empty, main [role=grid]")
        return self.page


def trajectory(identifier: str, run: str = "first", **query: str) -> str:
    text = "&".join(f"{name}={value}" for name, value in query.items())
    return f"/run/{run}/trajectory/episodes/{quote(identifier, safe='')}" + (f"?{text}" if text else "")


def url(page: Page) -> str:
    return page.evaluate("location.pathname + location.search")
