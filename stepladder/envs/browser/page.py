"""One page (tab or pop-up window) of a browser: scripts, frames, screenshots, navigation, dialogs, refused requests."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from stepladder.envs.browser.cdp import BrowserGone, Connection, ProtocolError
from stepladder.envs.browser.network import RequestRules
from stepladder.interfaces import EnvironmentFailure

#: Our own scripts run in a world of this name: they see the page's DOM, the page cannot see or break them.
WORLD = "stepladder"
#: Seconds for which input that should need no frame is waited for without one.
_PATIENCE = 0.25
_STALE_CONTEXT = (
    "Cannot find context",
    "Execution context was destroyed",
    "uniqueContextId not found",
    "Inspected target navigated",
)


class ScriptError(EnvironmentFailure):
    """JavaScript that was evaluated in a page threw."""


class PageClosed(EnvironmentFailure):
    """The page was closed, by itself or by an action."""


class DialogOpened(EnvironmentFailure):
    """The page shows a dialog; its scripts and frames stand still until the dialog is answered."""


@dataclass(frozen=True, slots=True)
class Dialog:
    """`kind` is "alert", "confirm", "prompt" or "beforeunload"."""

    kind: str
    message: str
    default: str = ""


class FrameTurns:
    """Whose frame is being made: `running` is the last request. Chromium's graphics process ends when frames of two pages of one
    browser overlap, so the pages of a browser take turns."""

    def __init__(self) -> None:
        self.running: asyncio.Future[dict[str, Any]] | None = None


class Page:
    """One page. Made by its BrowserContext, which gives it its session; usable once `ready` is done.

    With `turns` frames are made on request (begin-frame control), without it by the browser's own clock.

    Set these before it is prepared:
    rules     what the page may fetch
    scripts   JavaScript that runs in every new document before the page's own, with the name of its world ("" is the page's)
    """

    def __init__(
        self,
        connection: Connection,
        session: str,
        target: str,
        *,
        opener: str | None,
        width: int,
        height: int,
        turns: FrameTurns | None,
    ) -> None:
        self.connection, self.session, self.target, self.opener = connection, session, target, opener
        self.width, self.height, self.turns = width, height, turns
        self.rules = RequestRules()
        self.scripts: list[tuple[str, str]] = []
        self.dialog: Dialog | None = None
        #: Input that is still due once the dialog is answered: Chromium drops what is sent while it is open.
        self.after_dialog: list[tuple[str, dict[str, Any]]] = []
        self.drag_data: dict[str, Any] | None = None
        self.frames: set[str] = {target}
        self.ended: EnvironmentFailure | None = None
        self.last_screenshot: bytes | None = None
        self.ready: asyncio.Future[None] = connection.loop.create_future()
        self._loading: set[str] = set()
        self._changed = asyncio.Event()
        self._waiters: set[asyncio.Future[bool]] = set()
        self._world: int | None = None
        self._unsettled = False
        self._committed = False
        connection.listen(session, self._on_event)

    async def prepare(self) -> None:
        """Install everything and let the page run. Completes `ready`."""
        request = self.request
        metrics = {"width": self.width, "height": self.height, "deviceScaleFactor": 1, "mobile": False}
        calls = [request("Page.enable"), request("Inspector.enable")]
        calls += [request("Fetch.enable", {"patterns": [{"urlPattern": "*"}]})]
        calls += [request("Emulation.setFocusEmulationEnabled", {"enabled": True})]
        calls += [request("Emulation.setDeviceMetricsOverride", metrics)]
        calls += [request("Input.setInterceptDrags", {"enabled": True})]
        for source, world in self.scripts:
            calls += [
                request("Page.addScriptToEvaluateOnNewDocument", {"source": source, "worldName": world, "runImmediately": True})
            ]
        calls += [request("Runtime.runIfWaitingForDebugger")]
        try:
            for call in calls:
                await call
        except EnvironmentFailure as error:
            if not self.ready.done():
                self.ready.set_exception(error)
                self.ready.exception()
            return
        if not self.ready.done():
            self.ready.set_result(None)

    def end(self, error: EnvironmentFailure) -> None:
        """The page is gone: whatever waits for it fails with `error`."""
        if self.ended is None:
            self.ended = error
        self.connection.end_session(self.session, self.ended)
        waiting: list[asyncio.Future[Any]] = [*self._waiters, self.ready]
        for waiter in waiting:
            if not waiter.done():
                waiter.set_exception(self.ended)
                waiter.exception()
        self._changed.set()

    async def close(self) -> None:
        """Close the page and wait until it is gone, or until it asks (beforeunload) whether it may."""
        with contextlib.suppress(PageClosed):
            await self.call("Page.close")
        await self.gone()

    async def gone(self) -> None:
        """Wait for a page that is closing, until it is gone or asks something."""
        while self.ended is None and self.dialog is None:
            self._changed.clear()
            await self._changed.wait()

    # ------------------------------------------------------------------------------------------------------------- calls

    def request(self, method: str, params: Mapping[str, Any] | None = None) -> asyncio.Future[dict[str, Any]]:
        """Send a call now; await its answer with `answer`."""
        if self.ended is not None:
            raise self.ended
        return self.connection.request(method, params, self.session)

    async def answer(self, future: asyncio.Future[dict[str, Any]]) -> dict[str, Any]:
        """The answer to a request. Raises DialogOpened when a dialog opens first; the request stays under way."""
        await self._done(future)
        return future.result()

    async def _done(self, future: asyncio.Future[dict[str, Any]], timeout: float | None = None) -> bool:
        """Wait until a request has been answered; False after `timeout` seconds. Raises DialogOpened and what ended the page."""
        if future.done():
            return True
        if self.dialog is not None:
            raise DialogOpened(f"the page shows a dialog: {self.dialog.message}")
        waiter: asyncio.Future[bool] = self.connection.loop.create_future()
        self._waiters.add(waiter)
        future.add_done_callback(lambda _: _wake(waiter, True))
        timer = self.connection.loop.call_later(timeout, _wake, waiter, False) if timeout is not None else None
        try:
            return await waiter
        finally:
            self._waiters.discard(waiter)
            if timer is not None:
                timer.cancel()

    async def call(self, method: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return await self.answer(self.request(method, params))

    # ----------------------------------------------------------------------------------------------------------- scripts

    async def evaluate(self, expression: str) -> Any:
        """JSON value of a JavaScript expression in the page's own world; promises are awaited. Raises ScriptError."""
        return _value(await self._retry(lambda: self.request_evaluation(expression)), expression)

    async def evaluate_apart(self, expression: str) -> Any:
        """As `evaluate`, in our own world: the page's DOM without the page's variables."""
        while True:
            context = await self.world()
            try:
                return _value(await self.answer(self.request_evaluation(expression, context)), expression)
            except ProtocolError as error:
                if not is_stale(error):
                    raise
                self._world = None

    def request_evaluation(
        self, expression: str, context: int | None = None, user_gesture: bool = False
    ) -> asyncio.Future[dict[str, Any]]:
        """Ask for the value of an expression; `user_gesture` lets it do what only a person's click may do."""
        params: dict[str, Any] = {"expression": expression, "returnByValue": True, "awaitPromise": True}
        params["userGesture"] = user_gesture
        if context is not None:
            params["contextId"] = context
        return self.request("Runtime.evaluate", params)

    async def world(self) -> int:
        """Id of our own world in the main frame's document."""
        while self._world is None:
            params = {"frameId": self.target, "worldName": WORLD, "grantUniveralAccess": True}
            try:
                self._world = int((await self.call("Page.createIsolatedWorld", params))["executionContextId"])
            except ProtocolError as error:
                if not is_stale(error):
                    raise
        return self._world

    async def _retry(self, ask: Callable[[], asyncio.Future[dict[str, Any]]]) -> dict[str, Any]:
        """Ask again for as long as navigations take the document away before it answers; the caller's deadline ends it."""
        while True:
            try:
                return await self.answer(ask())
            except ProtocolError as error:
                if not is_stale(error):
                    raise

    # ------------------------------------------------------------------------------------------------------------ frames

    async def frame(self) -> None:
        """Let the page run one frame: animation callbacks, layout, paint."""
        if self.turns is not None:
            await self._begin_frame(self.turns, {})
        else:
            # In our own world: a page may have put a clock of its own in the place of requestAnimationFrame and setTimeout.
            await self.evaluate_apart(_NEXT_FRAME)

    async def handled(self, sent: list[asyncio.Future[dict[str, Any]]], by_frame: bool = False) -> None:
        """Wait until the page has handled the input that was sent. Empties the list.

        `by_frame` says that the input ends with a move or a turn of the wheel, which Chromium delivers with a frame.
        """
        for request in sent:
            # Input that needs no frame is waited for without one: a frame cannot end in a page that its handler keeps busy, and
            # would hold up the other pages. A frame can also be ahead of the move that it is for, so frames go on.
            while not await self._done(request, 0.0 if by_frame else _PATIENCE):
                await self.frame()
            await self.answer(request)
        sent.clear()

    async def screenshot(self) -> bytes:
        """The page as PNG, `width` x `height` pixels."""
        options = {"format": "png", "optimizeForSpeed": True}
        attempts = 0
        while self.turns is not None:
            attempts += 1
            if attempts > 3 and not self._committed:
                await self.navigate("about:blank")  # a new tab whose first navigation was refused has nothing to paint
            data = (await self._begin_frame(self.turns, {"screenshot": options})).get("screenshotData")
            if data:
                self.last_screenshot = base64.b64decode(data)
                return self.last_screenshot
        self.last_screenshot = base64.b64decode((await self.call("Page.captureScreenshot", options))["data"])
        return self.last_screenshot

    async def _begin_frame(self, turns: FrameTurns, params: dict[str, Any]) -> dict[str, Any]:
        while turns.running is not None and not turns.running.done():
            await self._done(turns.running)
        turns.running = frame = self.request("HeadlessExperimental.beginFrame", params)
        return await self.answer(frame)

    # -------------------------------------------------------------------------------------------------------- navigation

    async def navigate(self, url: str) -> None:
        """Go to `url` and wait until it has loaded. Raises EnvironmentFailure when it cannot be loaded."""
        result = await self.call("Page.navigate", {"url": url})
        if "errorText" in result:
            raise EnvironmentFailure(f"{url} cannot be loaded: {result['errorText']}")
        await self.loaded()

    @property
    def loading(self) -> bool:
        return bool(self._loading)

    async def loaded(self) -> None:
        """Wait until nothing is loading and a new document has settled (focus, fonts); frames go on meanwhile."""
        while self._loading and self.ended is None and self.dialog is None:
            self._changed.clear()
            try:
                async with asyncio.timeout(0.05):
                    await self._changed.wait()
            except TimeoutError:
                await self.frame()
        if self.dialog is not None:
            raise DialogOpened(f"the page shows a dialog: {self.dialog.message}")
        if self._unsettled:
            await self._settle()

    async def _settle(self) -> None:
        """Let a new document's animation callbacks, focus and first paint happen."""
        self._unsettled = False
        try:
            asked = self.request_evaluation(_TWO_FRAMES, await self.world())
            while not asked.done():
                await self.frame()
            await self.answer(asked)
        except ProtocolError as error:
            if not is_stale(error):
                raise

    async def go(self, offset: int) -> bool:
        """Go `offset` entries through the history; False when there is no such entry."""
        history = await self.call("Page.getNavigationHistory")
        index = history["currentIndex"] + offset
        if not 0 <= index < len(history["entries"]):
            return False
        await self.call("Page.navigateToHistoryEntry", {"entryId": history["entries"][index]["id"]})
        await self.loaded()
        return True

    async def answer_dialog(self, accept: bool, text: str = "") -> None:
        """Answer the open dialog. Raises DialogOpened when the page shows the next one at once."""
        dialog, self.dialog = self.dialog, None
        await self.call("Page.handleJavaScriptDialog", {"accept": accept, "promptText": text})
        if dialog is not None and dialog.kind == "beforeunload" and not accept:
            self._loading.clear()  # the navigation that asked was called off; Chromium does not say so
        due, self.after_dialog = self.after_dialog, []
        with contextlib.suppress(PageClosed):  # the answer may have closed the page
            await self.handled([self.request(*call) for call in due])

    # ------------------------------------------------------------------------------------------------------------ events

    def _on_event(self, method: str, params: dict[str, Any]) -> None:
        handler = _EVENTS.get(method)
        if handler is not None:
            handler(self, params)

    def _on_dialog(self, params: dict[str, Any]) -> None:
        self.dialog = Dialog(params["type"], params["message"], params.get("defaultPrompt") or "")
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(DialogOpened(f"the page shows a dialog: {params['message']}"))
        self._changed.set()

    def _on_dialog_closed(self, params: dict[str, Any]) -> None:
        self.dialog = None
        self._changed.set()

    def _on_started(self, params: dict[str, Any]) -> None:
        self._loading.add(params["frameId"])
        self._changed.set()

    def _on_stopped(self, params: dict[str, Any]) -> None:
        self._loading.discard(params["frameId"])
        self._changed.set()

    def _on_frame(self, params: dict[str, Any]) -> None:
        self.frames.add(params["frameId"])

    def _on_frame_gone(self, params: dict[str, Any]) -> None:
        if params["frameId"] != self.target and params.get("reason") != "swap":
            self.frames.discard(params["frameId"])
            self._on_stopped(params)

    def _on_navigated(self, params: dict[str, Any]) -> None:
        if "parentId" not in params["frame"]:
            self._world = None
            self._unsettled = self._committed = True

    def _on_request(self, params: dict[str, Any]) -> None:
        method, answer = self.rules.decide(params)
        self.connection.post(method, answer, self.session)

    def _on_crash(self, params: dict[str, Any]) -> None:
        self.end(EnvironmentFailure("the page crashed"))

    def _on_drag(self, params: dict[str, Any]) -> None:
        self.drag_data = params["data"]

    def _on_closed(self, params: dict[str, Any]) -> None:
        self.end(BrowserGone("the browser ended"))


_EVENTS: dict[str, Callable[[Page, dict[str, Any]], None]] = {
    "Page.javascriptDialogOpening": Page._on_dialog,
    "Page.javascriptDialogClosed": Page._on_dialog_closed,
    "Page.frameStartedLoading": Page._on_started,
    "Page.frameStoppedLoading": Page._on_stopped,
    "Page.frameAttached": Page._on_frame,
    "Page.frameDetached": Page._on_frame_gone,
    "Page.frameNavigated": Page._on_navigated,
    "Fetch.requestPaused": Page._on_request,
    "Inspector.targetCrashed": Page._on_crash,
    "Input.dragIntercepted": Page._on_drag,
    "connectionClosed": Page._on_closed,
}

#: Resolves when two frames have begun, or after 300 ms in a page that gets none (in the background).
_TWO_FRAMES = """new Promise(done => {
  requestAnimationFrame(() => requestAnimationFrame(() => done(0)));
  setTimeout(() => done(1), 300);
})"""
#: Resolves after the next frame, or after 100 ms in a page that gets none (in the background).
_NEXT_FRAME = "new Promise(done => { requestAnimationFrame(() => setTimeout(done, 0)); setTimeout(done, 100); })"


def _wake(waiter: asyncio.Future[bool], answered: bool) -> None:
    if not waiter.done():
        waiter.set_result(answered)


def is_stale(error: ProtocolError) -> bool:
    """Whether a script was not answered because its document has gone."""
    return any(sign in str(error) for sign in _STALE_CONTEXT)


def _value(result: dict[str, Any], expression: str) -> Any:
    if "exceptionDetails" in result:
        details = result["exceptionDetails"]
        message = details.get("exception", {}).get("description") or details.get("text", "")
        raise ScriptError(f"JavaScript failed: {message[:500]} (in {expression[:120]!r})")
    value = result["result"]
    special = value.get("unserializableValue")
    if special in ("NaN", "Infinity", "-Infinity", "-0"):
        return float(special)
    return value.get("value")
