"""One Chromium process that serves many browser contexts (one per episode) and pages."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from stepladder.envs.browser.cdp import BrowserGone, BrowserProcess, Connection, ProtocolError
from stepladder.envs.browser.clipboard import Clipboard
from stepladder.envs.browser.find import find_chromium, has_begin_frames
from stepladder.envs.browser.page import FrameTurns, Page, PageClosed
from stepladder.interfaces import EnvironmentFailure, EnvironmentTimeout

_PREFIX = "stepladder-chromium-"

_FLAGS = (
    "--headless",
    "--remote-debugging-pipe",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--disable-breakpad",
    "--disable-crash-reporter",
    "--no-first-run",
    "--no-default-browser-check",
    "--mute-audio",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
    "--force-color-profile=srgb",
    "--font-render-hinting=none",
    "--disable-lcd-text",
    "--disable-smooth-scrolling",
    # Repainting part of a tile blends rounded corners over the old picture: pixels would depend on what was drawn before.
    "--disable-partial-raster",
    "--disable-renderer-backgrounding",
    "--disable-backgrounding-occluded-windows",
    "--disable-background-timer-throttling",
    "--disable-hang-monitor",
    "--disable-popup-blocking",
    # Frames of other sites stay in the page's process: one session sees and reaches everything in a page.
    "--disable-site-isolation-trials",
    "--disable-features=IsolateOrigins,site-per-process,Translate,MediaRouter,OptimizationHints,PaintHolding",
    "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--password-store=basic",
    "--use-mock-keychain",
)
#: A frame happens when it is asked for, and then it holds everything. Only the headless shell knows these.
_BEGIN_FRAME_FLAGS = (
    "--enable-begin-frame-control",
    "--run-all-compositor-stages-before-draw",
    "--disable-new-content-rendering-timeout",
    "--disable-threaded-animation",
    "--disable-threaded-scrolling",
    "--disable-checker-imaging",
)
#: Where a context sends everything that it may not reach, sockets included: a port that answers nobody.
_NOWHERE = "http://127.0.0.1:9"
#: Seconds in which a browser that is well closes a context or tells its version, on a busy machine too.
_ANSWER_SECONDS = 5.0


class BrowserContext:
    """What one episode sees: cookies, storage and pages of its own. `pages` is in the order in which they were opened."""

    def __init__(self, host: BrowserHost, connection: Connection, identifier: str, width: int, height: int) -> None:
        self.host, self.connection, self.id = host, connection, identifier
        self.width, self.height = width, height
        self.pages: list[Page] = []
        self.opened = asyncio.Event()
        self.prepare: Callable[[Page], None] = lambda page: None
        self.refused_downloads: list[str] = []
        self.clipboard = ""
        self.ended: EnvironmentFailure | None = None
        self._departed: set[str] = set()
        self._arrivals: set[asyncio.Task[None]] = set()

    async def new_page(self, url: str = "about:blank") -> Page:
        """Open a page and wait until it can be used. Raises EnvironmentFailure when page, context or browser end before."""
        params: dict[str, Any] = {"url": url, "browserContextId": self.id, "width": self.width, "height": self.height}
        if self.host.begin_frames:
            params["enableBeginFrameControl"] = True
        target = (await self.connection.call("Target.createTarget", params))["targetId"]
        while True:
            for page in self.pages:
                if page.target == target:
                    await page.ready
                    return page
            if self.ended is not None:
                raise self.ended
            if target in self._departed:
                raise PageClosed("the page was closed before it could be used")
            self.opened.clear()
            await self.opened.wait()

    async def close(self) -> None:
        """Close all pages and forget cookies and storage. Pages that hang are closed too."""
        self.host.contexts.pop(self.id, None)
        self._end(PageClosed("the browser context was closed"))
        pages, self.pages = self.pages, []
        for page in pages:
            if page.ended is None and not self.connection.closed:
                # Without it a script that loops for ever would keep its process alive after its page.
                self.connection.post("Runtime.terminateExecution", session=page.session)
            page.end(PageClosed("the browser context was closed"))
        for task in self._arrivals:
            task.cancel()
        if not self.connection.closed:
            await self.connection.call("Target.disposeBrowserContext", {"browserContextId": self.id}, timeout=_ANSWER_SECONDS)

    def arrive(self, session: str, info: dict[str, Any]) -> None:
        """A page of this context was opened, by us or by another page; it waits until it is prepared."""
        page = Page(
            self.connection,
            session,
            info["targetId"],
            opener=info.get("openerId"),
            width=self.width,
            height=self.height,
            turns=self.host.turns if self.host.begin_frames else None,
        )
        self.prepare(page)
        self.pages.append(page)
        task = asyncio.ensure_future(page.prepare())
        self._arrivals.add(task)
        task.add_done_callback(self._arrived)
        self.opened.set()

    def depart(self, session: str) -> None:
        for page in [page for page in self.pages if page.session == session]:
            self.pages.remove(page)
            page.end(PageClosed("the page was closed"))
            self._departed.add(page.target)
            self.opened.set()

    def lost(self) -> None:
        """The browser is gone."""
        self._end(BrowserGone("the browser ended"))
        for page in self.pages:
            page.end(BrowserGone("the browser ended"))

    def _end(self, error: EnvironmentFailure) -> None:
        """Whoever waits for a new page gets `error`."""
        if self.ended is None:
            self.ended = error
        self.opened.set()

    def _arrived(self, task: asyncio.Task[None]) -> None:
        self._arrivals.discard(task)
        if not task.cancelled():
            task.exception()  # whoever awaits page.ready sees it


class BrowserHost:
    """A Chromium process: started when first needed, started again after it died, killed with all its children by `close`.

    `chromium` is a path (see `find_chromium`). `begin_frames` tells after `start` whether frames are made on request, which only
    the headless shell can do and does unless told not to, or by the browser's own clock. `launch_timeout` is in seconds. One host
    serves one event loop at a time; in another loop it starts a new process.
    """

    def __init__(
        self,
        chromium: str | os.PathLike[str] | None = None,
        *,
        begin_frames: bool | None = None,
        launch_timeout: float = 30.0,
    ) -> None:
        self.chromium = find_chromium(chromium)
        self.launch_timeout = launch_timeout
        self.begin_frames = has_begin_frames(self.chromium) if begin_frames is None else begin_frames
        self.contexts: dict[str, BrowserContext] = {}
        self.users: set[object] = set()
        self.clipboard: Clipboard | None = None
        self.turns = FrameTurns()
        self.launches = 0
        self.version = ""
        self.directory: Path | None = None
        self._process: BrowserProcess | None = None
        self._connection: Connection | None = None
        self._starting: asyncio.Lock | None = None

    @property
    def alive(self) -> bool:
        return (
            self._connection is not None and not self._connection.closed and self._process is not None and self._process.running()
        )

    @property
    def pid(self) -> int | None:
        """Process id, and process group id, of the running browser."""
        return self._process.pid if self._process is not None else None

    async def start(self) -> Connection:
        """The connection to a running browser, started now if need be. Raises EnvironmentFailure when it cannot be started."""
        loop = asyncio.get_running_loop()
        if self._connection is not None and self._connection.loop is not loop:
            self.kill()
        if self._connection is not None and self.alive:
            return self._connection
        if self._starting is None or not self._starting.locked():
            self._starting = asyncio.Lock()
        async with self._starting:
            if self._connection is not None and self.alive:
                return self._connection
            self.kill()
            return await self._launch()

    async def new_context(self, width: int, height: int, network: Collection[str] = ()) -> BrowserContext:
        """A fresh browser context whose pages are `width` x `height` pixels and reach the hosts of `network` (and the hosts below
        them, "example.org" includes "www.example.org"), and no others."""
        connection = await self.start()
        bypass = ";".join(["<-loopback>", *(pattern for host in network for pattern in (host, f"*.{host}"))])
        params = {"disposeOnDetach": True, "proxyServer": _NOWHERE, "proxyBypassList": bypass}
        asked = connection.request("Target.createBrowserContext", params)
        try:
            made = await asyncio.shield(asked)
        except asyncio.CancelledError:
            asked.add_done_callback(lambda late: _dispose(connection, late))
            raise
        context = BrowserContext(self, connection, made["browserContextId"], width, height)
        self.contexts[context.id] = context
        try:
            await connection.call(
                "Browser.setDownloadBehavior", {"behavior": "deny", "browserContextId": context.id, "eventsEnabled": True}
            )
        except BaseException:
            await self.discard(context)
            raise
        return context

    async def discard(self, context: BrowserContext) -> None:
        """Close a context; a browser that does not obey is killed."""
        try:
            await context.close()
        except EnvironmentFailure:
            self.kill()

    async def check(self) -> None:
        """Kill a browser that no longer answers; the next `start` has a fresh one."""
        connection = self._connection
        if connection is None:
            return
        try:
            await connection.call("Browser.getVersion", timeout=_ANSWER_SECONDS)
        except EnvironmentFailure:
            if connection is self._connection:
                self.kill()

    async def close(self) -> None:
        """End the browser and remove its files. May be called twice."""
        self.kill()

    def kill(self) -> None:
        """As `close`, for places that cannot await."""
        connection, process, directory = self._connection, self._process, self.directory
        self._connection = self._process = self.directory = self.clipboard = None
        self.contexts, contexts = {}, self.contexts
        if process is not None:
            process.kill()
            _live.discard(self)
        if connection is not None:
            connection.close()
        for context in contexts.values():
            context.lost()
        if directory is not None:
            _remove(directory)

    async def _launch(self) -> Connection:
        try:
            connection = await self._launch_once()
            if self.begin_frames and not await self._frames_on_request(connection):
                self.kill()
                self.begin_frames = False
                connection = await self._launch_once()
            return connection
        except BaseException:
            self.kill()
            raise

    async def _launch_once(self) -> Connection:
        _remove_abandoned()
        self.directory = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
        errors = self.directory / "errors.txt"
        self._process = BrowserProcess([str(self.chromium), *self._flags()], errors)
        _register(self)
        self._connection = connection = Connection(self._process.read_fd, self._process.write_fd, self.chromium.name)
        connection.listen(None, self._on_event)
        self.clipboard = Clipboard(self._open_clipboard)
        self.turns = FrameTurns()
        try:
            version = await connection.call("Browser.getVersion", timeout=self.launch_timeout)
        except (BrowserGone, EnvironmentTimeout) as error:
            said = errors.read_text(errors="replace").strip()[-2000:]
            raise EnvironmentFailure(f"{self.chromium} did not start: {error}. It said: {said or 'nothing'}") from error
        self.version = version["product"]
        self.launches += 1
        params = {"autoAttach": True, "waitForDebuggerOnStart": True, "flatten": True, "filter": [{"type": "page"}]}
        await connection.call("Target.setAutoAttach", params)
        return connection

    async def _open_clipboard(self) -> Page:
        context = await self.new_context(100, 100)
        try:
            return await context.new_page()
        except BaseException:
            await self.discard(context)
            raise

    def _flags(self) -> list[str]:
        flags = [*_FLAGS, f"--user-data-dir={self.directory}/profile"]
        if self.begin_frames:
            flags += _BEGIN_FRAME_FLAGS
        if not _sandbox_possible():
            flags.append("--no-sandbox")
        return [*flags, "about:blank"]

    async def _frames_on_request(self, connection: Connection) -> bool:
        """Whether this build has begin-frame control: a full Chromium refuses such a page."""
        params = {"url": "about:blank", "enableBeginFrameControl": True, "width": 16, "height": 16}
        try:
            target = (await connection.call("Target.createTarget", params, timeout=self.launch_timeout))["targetId"]
        except ProtocolError:
            return False
        await connection.call("Target.closeTarget", {"targetId": target}, timeout=self.launch_timeout)
        return True

    def _on_event(self, method: str, params: dict[str, Any]) -> None:
        if method == "Target.attachedToTarget":
            self._on_attached(params["sessionId"], params["targetInfo"])
        elif method == "Target.detachedFromTarget":
            for context in self.contexts.values():
                context.depart(params["sessionId"])
        elif method == "Browser.downloadWillBegin":
            for context in self.contexts.values():
                if any(page.target == params["frameId"] or params["frameId"] in page.frames for page in context.pages):
                    context.refused_downloads.append(params.get("suggestedFilename") or params["url"])
        elif method == "connectionClosed":
            for context in self.contexts.values():
                context.lost()

    def _on_attached(self, session: str, info: dict[str, Any]) -> None:
        context = self.contexts.get(info.get("browserContextId", ""))
        if context is not None:
            context.arrive(session, info)
        elif self._connection is not None:
            self._connection.post("Runtime.runIfWaitingForDebugger", session=session)


def _dispose(connection: Connection, made: asyncio.Future[dict[str, Any]]) -> None:
    """Close a context that was made after whoever asked for it had stopped waiting."""
    if not made.cancelled() and made.exception() is None and not connection.closed:
        connection.post("Target.disposeBrowserContext", {"browserContextId": made.result()["browserContextId"]})


_live: weakref.WeakSet[BrowserHost] = weakref.WeakSet()


def _register(host: BrowserHost) -> None:
    """Kill this browser when Python ends, however its environment was treated."""
    if not _live:
        atexit.unregister(_kill_all)
        atexit.register(_kill_all)
    _live.add(host)


def _kill_all() -> None:
    for host in list(_live):
        host.kill()


def _sandbox_possible() -> bool:
    """Chromium's sandbox refuses to run as root and needs user namespaces."""
    if os.geteuid() == 0:
        return False
    limit = Path("/proc/sys/user/max_user_namespaces")
    allowed = Path("/proc/sys/kernel/unprivileged_userns_clone")
    restricted = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
    if limit.exists() and limit.read_text().strip() == "0":
        return False
    if restricted.exists() and restricted.read_text().strip() == "1":
        return False
    return not (allowed.exists() and allowed.read_text().strip() == "0")


def _remove(directory: Path) -> None:
    """Remove a browser's files; its last processes may still be ending and write for a moment."""
    deadline = time.monotonic() + 2.0
    while directory.exists():
        shutil.rmtree(directory, ignore_errors=time.monotonic() < deadline)


def _remove_abandoned() -> None:
    """Remove the files of browsers whose Python process was killed."""
    for directory in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*-*"):
        owner = directory.name[len(_PREFIX) :].partition("-")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists() and Path("/proc/self").exists():
            with contextlib.suppress(OSError):
                shutil.rmtree(directory)
