"""A clipboard for every browser context: Chromium has one for all of them.

What an episode copies is read back at once and kept with its context; before it pastes, its own text is put back. A page of the
host's own does both, by the same keys. Only what a page copies by script (a "copy" button) is read a moment later, when the page is
looked at: episodes that share a browser and copy or paste in that moment can get each other's text.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager

from stepladder.envs.browser.page import Page

COPYING = ({"ctrl", "c"}, {"ctrl", "x"}, {"ctrl", "insert"}, {"shift", "delete"})
PASTING = ({"ctrl", "v"}, {"ctrl", "shift", "v"}, {"shift", "insert"})
_V = {"key": "v", "code": "KeyV", "windowsVirtualKeyCode": 86, "modifiers": 2}


def copies(keys: Iterable[str]) -> bool:
    return set(keys) in COPYING


def pastes(keys: Iterable[str]) -> bool:
    return set(keys) in PASTING


class Clipboard:
    """The clipboard of one browser, one user at a time. `open_page` opens an empty page in a context of its own."""

    def __init__(self, open_page: Callable[[], Awaitable[Page]]) -> None:
        self._open_page = open_page
        self._lock = asyncio.Lock()
        self._page: Page | None = None

    @asynccontextmanager
    async def lent(self) -> AsyncIterator[None]:
        """Nobody else copies or pastes meanwhile."""
        async with self._lock:
            yield

    async def write(self, text: str) -> None:
        """Only while `lent`. An empty text empties the clipboard."""
        page = await self._helper()
        # Copying an empty selection would leave the clipboard as it is: a listener sets what is copied.
        asked = page.request_evaluation(
            f"""(() => {{
          const listen = (event) => {{ event.clipboardData.setData('text/plain', {json.dumps(text)}); event.preventDefault(); }};
          addEventListener('copy', listen);
          document.execCommand('copy');
          removeEventListener('copy', listen);
        }})()""",
            user_gesture=True,
        )
        await page.answer(asked)

    async def read(self) -> str:
        """The text on the clipboard, "" when there is none. Only while `lent`."""
        page = await self._helper()
        await page.evaluate("box.value = ''; box.focus()")
        await page.handled([page.request("Input.dispatchKeyEvent", {"type": kind, **_V}) for kind in ("rawKeyDown", "keyUp")])
        return str(await page.evaluate("box.value"))

    async def _helper(self) -> Page:
        if self._page is None:
            page = await self._open_page()
            await page.evaluate("window.box = document.body.appendChild(document.createElement('textarea')); 0")
            await page.screenshot()  # a page takes no keys before its first paint
            self._page = page
        return self._page
