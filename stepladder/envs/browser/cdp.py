"""Chrome DevTools Protocol over the remote-debugging pipe: JSON messages that end in a zero byte, file descriptors 3 and 4.

https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stepladder.interfaces import EnvironmentFailure, EnvironmentTimeout

EventHandler = Callable[[str, dict[str, Any]], None]
_READ_SIZE = 1 << 20


class ProtocolError(EnvironmentFailure):
    """Chromium answered a call with an error."""


class BrowserGone(EnvironmentFailure):
    """The browser process ended, or its pipe was closed, while it was needed."""


class BrowserProcess:
    """Chromium in a process group of its own, with our ends of its debugging pipe.

    Killing the group kills every renderer too. Chromium ends by itself when its pipe closes, so it does not outlive a Python
    process that was killed.
    """

    def __init__(self, command: list[str], errors: Path) -> None:
        """`command` must contain --remote-debugging-pipe. Standard error goes to the file `errors`."""
        to_browser_read, self.write_fd = os.pipe()
        self.read_fd, from_browser_write = os.pipe()
        # Numbers above 3 and 4, so that neither dup2 below overwrites the other's source.
        child_read = fcntl.fcntl(to_browser_read, fcntl.F_DUPFD_CLOEXEC, 10)
        child_write = fcntl.fcntl(from_browser_write, fcntl.F_DUPFD_CLOEXEC, 10)
        os.close(to_browser_read)
        os.close(from_browser_write)
        null = os.devnull
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, null, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, null, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, os.fspath(errors), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
            (os.POSIX_SPAWN_DUP2, child_read, 3),
            (os.POSIX_SPAWN_DUP2, child_write, 4),
        ]
        try:
            self.pid = os.posix_spawn(command[0], command, os.environ, file_actions=actions, setpgroup=0)
        except OSError as error:
            os.close(self.read_fd)
            os.close(self.write_fd)
            raise BrowserGone(f"cannot start {command[0]}: {error}") from error
        finally:
            os.close(child_read)
            os.close(child_write)
        self.returncode: int | None = None

    def running(self) -> bool:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode is None

    def kill(self) -> None:
        """Kill the whole process group and collect the browser. May be called twice."""
        with contextlib.suppress(ProcessLookupError):  # every process of the group may have ended already
            os.killpg(self.pid, signal.SIGKILL)
        if self.returncode is None:
            _, status = os.waitpid(self.pid, 0)
            self.returncode = os.waitstatus_to_exitcode(status)


class Connection:
    """Calls and events over one debugging pipe, for the event loop that is running when it is made.

    Sessions are "flat": each page has a session id, which travels with its calls and events.
    """

    def __init__(self, read_fd: int, write_fd: int, name: str = "the browser") -> None:
        self.name = name
        self.loop = asyncio.get_running_loop()
        self.closed = False
        self._read_fd, self._write_fd = read_fd, write_fd
        self._received = bytearray()
        self._scanned = 0
        self._outgoing: deque[memoryview] = deque()
        self._last_id = 0
        self._pending: dict[int, tuple[str, str | None, asyncio.Future[dict[str, Any]]]] = {}
        self._handlers: dict[str | None, EventHandler] = {}
        os.set_blocking(read_fd, False)
        os.set_blocking(write_fd, False)
        self.loop.add_reader(read_fd, self._on_readable)

    def post(self, method: str, params: Mapping[str, Any] | None = None, session: str | None = None) -> int:
        """Send a call and forget its answer. Raises BrowserGone."""
        if self.closed:
            raise BrowserGone(f"{method}: {self.name} is gone")
        self._last_id += 1
        message: dict[str, Any] = {"id": self._last_id, "method": method, "params": params or {}}
        if session is not None:
            message["sessionId"] = session
        self._write(json.dumps(message).encode() + b"\0")
        return self._last_id

    def request(
        self, method: str, params: Mapping[str, Any] | None = None, session: str | None = None
    ) -> asyncio.Future[dict[str, Any]]:
        """Send a call now; the future is its answer (or ProtocolError, or BrowserGone)."""
        number = self.post(method, params, session)
        future: asyncio.Future[dict[str, Any]] = self.loop.create_future()
        self._pending[number] = (method, session, future)
        return future

    async def call(
        self, method: str, params: Mapping[str, Any] | None = None, session: str | None = None, timeout: float | None = None
    ) -> dict[str, Any]:
        """Send a call and await its answer. Raises ProtocolError, BrowserGone, EnvironmentTimeout after `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                return await self.request(method, params, session)
        except TimeoutError:
            raise EnvironmentTimeout(f"{method}: {self.name} did not answer within {timeout:g} s") from None

    def listen(self, session: str | None, handler: EventHandler) -> None:
        """Send the events of a session (None: of the browser) to `handler(method, params)`. One handler per session."""
        self._handlers[session] = handler

    def end_session(self, session: str, error: EnvironmentFailure) -> None:
        """Forget a session whose page is gone; its calls that wait fail with `error`."""
        self._handlers.pop(session, None)
        for number in [number for number, (_, owner, _) in self._pending.items() if owner == session]:
            _fail(self._pending.pop(number)[2], error)

    def close(self) -> None:
        """Close the pipe; every call that waits fails with BrowserGone. May be called twice."""
        if self.closed:
            return
        self.closed = True
        if not self.loop.is_closed():
            self.loop.remove_reader(self._read_fd)
            self.loop.remove_writer(self._write_fd)
        os.close(self._read_fd)
        os.close(self._write_fd)
        pending, self._pending = self._pending, {}
        for method, _, future in pending.values():
            if not self.loop.is_closed():
                _fail(future, BrowserGone(f"{method}: {self.name} ended before it answered"))
        handlers, self._handlers = self._handlers, {}
        if not self.loop.is_closed():
            for handler in handlers.values():
                handler("connectionClosed", {})

    def _write(self, data: bytes) -> None:
        if not self._outgoing:
            try:
                sent = os.write(self._write_fd, data)
            except BlockingIOError:
                sent = 0
            except OSError as error:
                self.close()
                raise BrowserGone(f"{self.name} is gone: {error}") from error
            if sent == len(data):
                return
            self.loop.add_writer(self._write_fd, self._on_writable)
            data = data[sent:]
        self._outgoing.append(memoryview(data))

    def _on_writable(self) -> None:
        try:
            while self._outgoing:
                sent = os.write(self._write_fd, self._outgoing[0])
                self._outgoing[0] = self._outgoing[0][sent:]
                if not self._outgoing[0]:
                    self._outgoing.popleft()
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        self.loop.remove_writer(self._write_fd)

    def _on_readable(self) -> None:
        try:
            data = os.read(self._read_fd, _READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        self._received += data
        while True:
            end = self._received.find(0, self._scanned)
            if end < 0:
                self._scanned = len(self._received)
                return
            message = json.loads(self._received[:end])
            del self._received[: end + 1]
            self._scanned = 0
            self._dispatch(message)
            if self.closed:
                return

    def _dispatch(self, message: dict[str, Any]) -> None:
        number = message.get("id")
        if number is None:
            handler = self._handlers.get(message.get("sessionId"))
            if handler is not None:
                handler(message["method"], message.get("params", {}))
            return
        if number not in self._pending:
            return
        method, _, future = self._pending.pop(number)
        if "error" in message:
            error = message["error"]
            _fail(future, ProtocolError(f"{method}: {error.get('message', error)}"))
        elif not future.done():
            future.set_result(message["result"])


def _fail(future: asyncio.Future[dict[str, Any]], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # marks it as seen: asyncio must not complain about a caller that no longer waits
