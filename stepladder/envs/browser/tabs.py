"""The tabs of an episode: which one is shown, the keys that the browser itself handles, and what its pages were refused."""

from __future__ import annotations

from typing import Self

from stepladder.envs.acting import CannotDo
from stepladder.envs.browser.host import BrowserContext
from stepladder.envs.browser.page import Page
from stepladder.interfaces import EnvironmentFailure


class Tabs:
    """The pages of a browser context; `page` is the one that the agent sees. Make it with `open`."""

    def __init__(self, context: BrowserContext, page: Page) -> None:
        self.context, self.page = context, page
        self._seen = {page.target}

    @classmethod
    async def open(cls, context: BrowserContext) -> Self:
        """Tabs with one empty page."""
        return cls(context, await context.new_page())

    async def follow(self) -> str:
        """Show the newest page; when the page shown is gone, the one that opened it, or the last one that is left. Returns what is
        to be said about it. Raises EnvironmentFailure when no page is left."""
        page, said = self.page, ""
        fresh = [other for other in self.context.pages if other.target not in self._seen]
        if fresh:
            page, said = fresh[-1], "a new tab was opened and is shown"
            await page.ready
        elif page not in self.context.pages:
            if not self.context.pages:
                raise EnvironmentFailure(f"no page is left: {page.ended or 'the browser ended'}")
            page = next((other for other in self.context.pages if other.target == page.opener), self.context.pages[-1])
            said = "the tab was closed; another one is shown"
        self._seen = {other.target for other in self.context.pages}
        if page is not self.page:
            await self._show(page)
        return said

    async def keep_first(self) -> Page:
        """Close all pages but the first."""
        for extra in self.context.pages[1:]:
            await extra.close()
        self.page = self.context.pages[0]
        self._seen = {self.page.target}
        return self.page

    async def press(self, keys: str) -> bool:
        """Keys that the browser itself handles, such as "ctrl+w"; False when these go to the page. Raises CannotDo."""
        page, pages = self.page, self.context.pages
        if keys in ("ctrl+r", "f5", "ctrl+shift+r", "shift+f5"):
            await page.call("Page.reload")
            await page.loaded()
        elif keys in ("alt+left", "alt+right"):
            if not await page.go(-1 if keys == "alt+left" else 1):
                raise CannotDo("there is no page to go to in the history")
        elif keys in ("ctrl+w", "ctrl+f4"):
            if len(pages) == 1:
                raise CannotDo("the last tab cannot be closed")
            await page.close()
        elif keys == "ctrl+t":
            await self.context.new_page()
        elif keys in ("ctrl+tab", "ctrl+shift+tab", "ctrl+pagedown", "ctrl+pageup"):
            step = 1 if keys in ("ctrl+tab", "ctrl+pagedown") else -1
            await self._show(pages[(pages.index(page) + step) % len(pages)])
        else:
            return False
        return True

    def refusals(self) -> list[str]:
        """What the pages were refused since this was asked last."""
        lines = []
        for page in self.context.pages:
            refused, page.rules.refused = page.rules.refused, []
            lines += [f"navigation to {url[:200]} was refused: this task does not allow it" for url in dict.fromkeys(refused)]
        downloads, self.context.refused_downloads = self.context.refused_downloads, []
        return lines + [f"the download of {name[:200]} was refused" for name in downloads]

    async def _show(self, page: Page) -> None:
        self.page = page
        await page.call("Page.bringToFront")
