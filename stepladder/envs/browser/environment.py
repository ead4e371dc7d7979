"""BrowserEnvironment: one episode at a time in a page of Chromium. Subclasses say where a task starts and how it is graded."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Self

from stepladder.envs.acting import CannotDo, waiting_time
from stepladder.envs.browser.actions import (
    InputCall,
    InputState,
    input_calls,
    key_name,
    release_all,
    releases,
)
from stepladder.envs.browser.cdp import ProtocolError
from stepladder.envs.browser.clipboard import copies, pastes
from stepladder.envs.browser.dialogs import DialogState
from stepladder.envs.browser.drag import DRAG_EVENTS, drag_on
from stepladder.envs.browser.host import BrowserHost
from stepladder.envs.browser.network import reaches, task_hosts
from stepladder.envs.browser.page import WORLD, DialogOpened, Page, PageClosed, ScriptError, is_stale
from stepladder.envs.browser.popups import PICKERS_SCRIPT, REQUESTS_SCRIPT
from stepladder.envs.browser.select import SELECT_SCRIPT
from stepladder.envs.browser.tabs import Tabs
from stepladder.envs.browser.tree import DIGEST_SCRIPT, REGIONS_SCRIPT, accessibility_tree, parse_regions
from stepladder.images import ImageStore
from stepladder.interfaces import EnvironmentFailure, EnvironmentTimeout
from stepladder.types import Action, Observation, Region, Task

#: The caret of a text field would blink by the clock: equal states must look equal however long they took.
STEADY_CARET = """(() => {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync('* { caret-animation: manual !important }');
  document.adoptedStyleSheets.push(sheet);
})()"""
#: The smallest viewport, in pixels: dialogs fit on it.
MIN_WIDTH, MIN_HEIGHT = 120, 90


class BrowserEnvironment:
    """The base of all browser environments.

    A subclass implements `_start` (go to the task's page, return the task with its instruction filled in), `_score`, and may set
    `finished_script`, a JavaScript expression that is true once the page has ended the episode, `page_scripts`, JavaScript that
    runs in every document before the page's own, `_wants_url`, and `shortcuts` (False: keys such as ctrl+w and F5 go to the page
    alone).

    The network is off; `task.setup["network"]`, a list of host names, opens it for these hosts and the hosts below them.

    images         where screenshots go
    host           a running browser to share; by default the environment has its own
    width, height  viewport in pixels, the size of every screenshot
    tree           also give the accessibility tree with every observation
    chromium       path of the browser; see `find_chromium`
    fresh_context  a new browser context (cookies, storage, pages) for every episode; without it a subclass may keep the page
    deadline       seconds that one call (reset, step, evaluate) may take
    """

    finished_script = "false"
    page_scripts: tuple[str, ...] = ()
    shortcuts = True

    def __init__(
        self,
        images: ImageStore,
        *,
        host: BrowserHost | None = None,
        width: int = 1280,
        height: int = 720,
        tree: bool = False,
        chromium: str | os.PathLike[str] | None = None,
        fresh_context: bool = True,
        deadline: float = 10.0,
    ) -> None:
        if width < MIN_WIDTH or height < MIN_HEIGHT:
            raise ValueError(f"a viewport of {width} x {height} pixels is too small; {MIN_WIDTH} x {MIN_HEIGHT} is the least")
        self.images = images
        self.width, self.height = self._default_size = width, height
        self.tree = tree
        self.fresh_context = fresh_context
        self.deadline = deadline
        self.task = Task("", "", "")
        self._owns_host = host is None
        self._host = host if host is not None else BrowserHost(chromium)
        self._host.users.add(self)
        self._tabs: Tabs | None = None
        self._network: tuple[str, ...] = ()
        self._serve: dict[str, str] = {}
        self._input = InputState()
        self._dialog: DialogState | None = None
        self._messages: list[str] = []
        self._answer = ""
        self._last: Observation | None = None
        self._broken = False

    @classmethod
    async def create_many(cls, images: ImageStore, count: int, *, per_browser: int = 1, **options: Any) -> list[Self]:
        """`count` environments, `per_browser` of them in one Chromium, each with a browser context of its own.

        One each is the quickest and keeps a page that hangs away from the others. Sharing saves memory (a browser with a page
        takes 100 to 200 MB, another page in it 20 to 35 MB); then frames are made in turns, and a page that hangs within a frame
        holds the others up until its deadline. A browser ends with its last environment.
        """
        if per_browser < 1:
            raise ValueError(f"per_browser is {per_browser}; it must be 1 or more")
        if options.get("host") is not None:
            return [cls(images, **options) for _ in range(count)]
        chromium = options.pop("chromium", None)
        environments: list[Self] = []
        while len(environments) < count:
            host = BrowserHost(chromium)
            for _ in range(min(per_browser, count - len(environments))):
                environment = cls(images, host=host, **options)
                environment._owns_host = True
                environments.append(environment)
        return environments

    # ------------------------------------------------------------------------------------------- what subclasses implement

    async def _start(self, task: Task, seed: int) -> Task:
        """Bring the page to the start of `task` (with `_navigate`, `_serve`) and return it with its instruction filled in."""
        raise NotImplementedError(f"{type(self).__name__} does not say how a task starts")

    async def _score(self) -> float:
        """The task reward in [0, 1] of the page as it is."""
        raise NotImplementedError(f"{type(self).__name__} does not say how a task is graded")

    def _allowed(self, url: str) -> bool:
        """Whether the pages of the present task may fetch `url`: those of `network`; `_serve` and data: need no permission."""
        return reaches(url, self._network)

    def _viewport(self, task: Task) -> tuple[int, int]:
        """Width and height of the screen for `task`, in pixels."""
        return self._default_size

    # ------------------------------------------------------------------------------------------------------ the environment

    async def reset(self, task: Task, seed: int) -> Observation:
        """Start `task` in a fresh browser context (or the old page, see `fresh_context`). Raises EnvironmentFailure."""
        async with self._guard("reset", self._host.launch_timeout + self.deadline):
            await self._open(task)
        async with self._guard("reset", self.deadline):
            self.task = task
            with suppress(DialogOpened):  # a page may greet with a dialog; the observation shows it
                self.task = await self._start(task, seed)
            return await self._observe()

    async def step(self, action: Action) -> Observation:
        """Carry out one action and show the settled result; `Observation.text` says what could not be done."""
        async with self._guard("step", self.deadline + waiting_time(action)):
            try:
                await self._act(action)
            except CannotDo as error:
                self._messages.append(str(error))
            except DialogOpened:
                pass  # the observation shows it
            return await self._observe()

    async def evaluate(self) -> float:
        """The task reward in [0, 1]. Open dialogs are dismissed first: a page that waits for one cannot be graded."""
        async with self._guard("evaluate", self.deadline):
            while True:
                try:
                    await self._dismiss_dialogs()
                    return await self._score()
                except DialogOpened:
                    continue

    async def close(self) -> None:
        """End everything. The browser ends with its last environment, unless it was given by the caller."""
        await self._drop_context()
        self._host.users.discard(self)
        if self._owns_host and not self._host.users:
            await self._host.close()

    async def prepare(self) -> None:
        """Have a browser that runs. Raises EnvironmentFailure."""
        await self._host.start()

    async def check(self) -> None:
        """Raises EnvironmentFailure when its browser was started and has ended, or no longer answers."""
        if self._host.pid is not None:
            await self._host.check()
            if not self._host.alive:
                raise EnvironmentFailure("the browser ended while nobody used it")

    async def evaluate_script(self, js: str) -> Any:
        """JSON value of a JavaScript expression in the current page. Raises ScriptError when it throws."""
        async with self._guard("evaluate_script", self.deadline):
            return await self._current().evaluate(js)

    async def regions(self) -> tuple[Region, ...]:
        """Every visible word and widget of the current page with its box and the widget it belongs to."""
        async with self._guard("regions", self.deadline):
            return parse_regions(await self._current().evaluate_apart("stepladder.regions()"))

    # --------------------------------------------------------------------------------------------------- opening and ending

    async def _open(self, task: Task) -> None:
        """Have a page that works: a fresh one, or with `fresh_context` False the old one when it is still good."""
        wanted = (*self._viewport(task), task_hosts(task))
        tabs = self._tabs
        same = not self.fresh_context and wanted == (self.width, self.height, self._network)
        if same and not self._broken and tabs is not None and tabs.context.pages and self._host.alive:
            await self._tidy(tabs)
        else:
            await self._drop_context()
            self.width, self.height, self._network = wanted
            context = await self._host.new_context(self.width, self.height, self._network)
            try:
                context.prepare = self._prepare
                self._tabs = await Tabs.open(context)
            except BaseException:
                await self._host.discard(context)
                raise
            self._input = InputState()
        self._broken = False
        self._dialog, self._last, self._messages, self._answer = None, None, [], ""
        self._serve.clear()

    async def _tidy(self, tabs: Tabs) -> None:
        """Make the page that is kept like a new one, as far as browser and hands go."""
        await self._dismiss_dialogs()
        page = await tabs.keep_first()
        await self._send(page, release_all(self._input))
        self._input = InputState()
        await self._send(page, input_calls(Action("move"), self._input, self.width, self.height))

    async def _drop_context(self) -> None:
        """Close the context of the last episode. A browser that does not obey is killed, and so is one that failed us alone."""
        tabs, self._tabs, self._last = self._tabs, None, None
        if self._broken and self._host.users == {self}:
            self._host.kill()
        elif tabs is not None:
            await self._host.discard(tabs.context)
        elif self._broken:
            await self._host.check()  # the failure came before there was a context: perhaps the browser hangs

    @asynccontextmanager
    async def _guard(self, what: str, seconds: float) -> AsyncIterator[None]:
        """Failures become EnvironmentFailure or, after `seconds`, EnvironmentTimeout; either way the page is given up."""
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError:
            self._broken = True
            await self._drop_context()
            raise EnvironmentTimeout(f"{what}: the page did not answer within {seconds:g} s") from None
        except (ScriptError, DialogOpened):
            raise  # the page itself is well
        except EnvironmentFailure:
            self._broken = True
            await self._drop_context()
            raise
        except asyncio.CancelledError:
            self._broken = True
            raise

    def _prepare(self, page: Page) -> None:
        page.rules.allow, page.rules.serve = self._allowed, self._serve
        own = (STEADY_CARET, PICKERS_SCRIPT, SELECT_SCRIPT, DIGEST_SCRIPT, REGIONS_SCRIPT)
        page.scripts = [(source, WORLD) for source in own] + [(source, "") for source in (REQUESTS_SCRIPT, *self.page_scripts)]

    async def _navigate(self, url: str) -> None:
        """Go to `url`, which `_allowed` or `_serve` must let through, and wait until it has loaded."""
        await self._current().navigate(url)

    def _current(self) -> Page:
        """The page that is shown. Raises EnvironmentFailure when there is none."""
        return self._current_tabs().page

    def _current_tabs(self) -> Tabs:
        if self._tabs is None:
            raise EnvironmentFailure("the environment was not reset, or it failed since")
        return self._tabs

    # ------------------------------------------------------------------------------------------------------------- acting

    async def _act(self, action: Action) -> None:
        page = self._current()
        if self._dialog is not None and self._dialog.dialog is page.dialog:
            await self._answer_dialog(self._dialog, action)
            return
        if action.kind in ("done", "fail"):
            self._answer = action.text
            return
        if action.kind == "wait":
            await self._wait(waiting_time(action))
            return
        if action.kind == "call":
            raise CannotDo(f"this page offers no function {action.name!r}")
        if action.kind == "key" and self.shortcuts and await self._current_tabs().press(_combination(action)):
            return
        calls = input_calls(action, self._input, self.width, self.height)
        together = {*self._input.held, *map(key_name, action.keys)} if action.kind in ("key", "key_down") else set()
        if copies(together) or pastes(together):
            await self._use_clipboard(page, calls, pastes(together))
        else:
            await self._send(page, calls)

    async def _use_clipboard(self, page: Page, calls: list[InputCall], paste: bool) -> None:
        """Send keys that copy or paste, with the clipboard of this context in place of the browser's only one."""
        context, clipboard = self._current_tabs().context, self._host.clipboard
        if clipboard is None:
            raise EnvironmentFailure("the browser ended")
        async with clipboard.lent():
            await clipboard.write(context.clipboard)
            await self._send(page, calls)
            if not paste:
                context.clipboard = await clipboard.read()
                with suppress(PageClosed):
                    # The page noted that something was copied; were that read later, it could be what a neighbour copied since.
                    await page.evaluate_apart("stepladder.digest()")

    async def _send(self, page: Page, calls: list[InputCall]) -> None:
        """Send input without waiting in between, let a frame deliver it, and wait until the page has handled it."""
        sent: list[asyncio.Future[dict[str, Any]]] = []
        by_frame = False
        rest = list(calls)
        try:
            while rest:
                call = rest.pop(0)
                if call is None:
                    await page.handled(sent, by_frame)
                    await page.frame()
                elif page.drag_data is not None and call[1].get("type") in DRAG_EVENTS:
                    await drag_on(page, call[1])
                else:
                    sent.append(page.request(*call))
                    by_frame = call[1].get("type") in ("mouseMoved", "mouseWheel")
            await page.handled(sent, by_frame)
        except PageClosed:
            page.drag_data = None  # the action closed its own page
        except DialogOpened:
            page.after_dialog += releases(rest)  # no button or key may stay down
            raise

    async def _wait(self, seconds: float) -> None:
        """Real time passes, for pages with timers; frames go on."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while loop.time() < end:
            await self._current().frame()
            await asyncio.sleep(min(0.02, max(0.0, end - loop.time())))

    async def _answer_dialog(self, state: DialogState, action: Action) -> None:
        verdict = state.act(action, self.width, self.height)
        if verdict is not None:
            self._dialog = None
            await self._current().answer_dialog(verdict == "accept", state.typed)

    async def _dismiss_dialogs(self) -> None:
        page = self._current()
        while page.dialog is not None:
            self._dialog = None
            await page.answer_dialog(False)

    # ---------------------------------------------------------------------------------------------------------- observing

    async def _observe(self) -> Observation:
        """The settled page as an observation."""
        tabs = self._current_tabs()
        while True:
            try:
                said = await tabs.follow()
                if said:
                    self._messages.append(said)
                return await self._observe_page(tabs.page)
            except DialogOpened:
                return self._observe_dialog(tabs.page)
            except PageClosed:
                continue  # another page is shown then
            except ProtocolError as error:
                if not is_stale(error):
                    raise  # otherwise the page went elsewhere while it was looked at

    async def _observe_page(self, page: Page) -> Observation:
        await page.loaded()
        await self._take_effect(page)
        asked = page.request_evaluation(f"Boolean({self.finished_script})")
        digest = await page.evaluate_apart("stepladder.digest()")
        if digest["closed"]:
            await page.gone()
            raise PageClosed("the page closed itself")
        if digest["copied"]:
            await self._keep_copied()
        done = (await page.answer(asked))["result"].get("value") is True
        tree = await accessibility_tree(page) if self.tree else None
        screenshot = await page.screenshot()
        self._last = Observation(self.images.put(screenshot), tree, self._text(), digest["url"], str(digest["key"]), done)
        return self._last

    async def _take_effect(self, page: Page) -> None:
        """Let what the action has changed take effect before the page is described; the screenshot is the frame after that."""
        await page.frame()

    async def _keep_copied(self) -> None:
        """A script of the page (a "copy" button) has filled the browser's clipboard: keep the text with this context."""
        if self._host.clipboard is not None:
            async with self._host.clipboard.lent():
                self._current_tabs().context.clipboard = await self._host.clipboard.read()

    def _observe_dialog(self, page: Page) -> Observation:
        """A page with an open dialog: the last screenshot with the dialog over it."""
        if page.dialog is None:
            raise EnvironmentFailure("a dialog closed by itself")
        if self._dialog is None or self._dialog.dialog is not page.dialog:
            self._dialog = DialogState.of(page.dialog)
        state = self._dialog
        screenshot = self.images.put(state.draw(page.last_screenshot, self.width, self.height))
        tree = state.elements(self.width, self.height) if self.tree else None
        key = hashlib.sha256(f"{self._last.state_key if self._last else ''}|{state.text}".encode()).hexdigest()[:14]
        url = self._last.url if self._last else ""
        return Observation(screenshot, tree, self._text(state.text), url, key)

    def _text(self, *first: str) -> str:
        """What has been gathered for `Observation.text` since the last observation."""
        lines, self._messages = [*first, *self._messages, *self._current_tabs().refusals()], []
        return "\n".join(lines)


def _combination(action: Action) -> str:
    """The keys of an action as one word, such as "ctrl+shift+r"."""
    return "+".join(key_name(name) for name in action.keys)
