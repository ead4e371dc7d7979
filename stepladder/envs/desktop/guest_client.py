"""Talking to the first program inside a sandbox (`guest/server.py`): requests and answers, one JSON object a line."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from subprocess import Popen
from typing import Any

from stepladder.interfaces import EnvironmentFailure, EnvironmentTimeout

#: The longest line that is read: a whole file in base64 fits.
LONGEST_LINE = 160 << 20


class Refused(Exception):
    """The request was understood and could not be done; the message says why. The desktop itself is well."""


@dataclass(frozen=True)
class Ran:
    """What a program came to: its standard output as bytes and as text, its standard error as text. `cut` says that it wrote more
    than was kept, `timed_out` that it was killed."""

    returncode: int
    content: bytes
    errors: str
    timed_out: bool = False
    cut: bool = False

    @property
    def output(self) -> str:
        return self.content.decode(errors="replace")


class Guest:
    """A connection to the program inside. Many requests may be under way at once."""

    def __init__(self, process: Popen[bytes]) -> None:
        self._process = process
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._ready: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._reading: asyncio.Task[None] | None = None
        self._transports: list[asyncio.BaseTransport] = []
        self._writer: asyncio.StreamWriter | None = None
        self._reader: asyncio.StreamReader | None = None
        self._full = asyncio.Lock()
        #: Why the session is not whole any more.
        self.broken: str | None = None

    async def connect(self, seconds: float) -> dict[str, Any]:
        """Wait until the session is up, and return what it says of itself. Raises EnvironmentFailure, EnvironmentTimeout."""
        loop = asyncio.get_running_loop()
        self._reader = asyncio.StreamReader(limit=LONGEST_LINE)
        reading, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(self._reader), self._process.stdout)  # type: ignore[arg-type]
        writing, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, self._process.stdin)
        self._writer = asyncio.StreamWriter(writing, protocol, None, loop)
        self._transports = [reading, writing]
        self._reading = asyncio.create_task(self._read())
        try:
            async with asyncio.timeout(seconds):
                return await self._ready
        except TimeoutError:
            raise EnvironmentTimeout(f"the desktop was not up within {seconds:g} s") from None

    async def close(self) -> None:
        self._break("the desktop was closed")
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        for transport in self._transports:
            if not transport.is_closing():
                transport.abort() if isinstance(transport, asyncio.WriteTransport) else transport.close()

    async def ask(self, do: str, seconds: float = 30.0, **request: Any) -> dict[str, Any]:
        """The answer to one request. Raises Refused, EnvironmentFailure when the session has ended, EnvironmentTimeout."""
        if self.broken is not None:
            raise EnvironmentFailure(self.broken)
        assert self._writer is not None, "connect first"
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(seconds):
                async with self._full:
                    self._writer.write(json.dumps({"id": number, "do": do, **request}).encode() + b"\n")
                    await self._writer.drain()
                said = await answer
        except TimeoutError:
            raise EnvironmentTimeout(f"the desktop did not answer {do!r} within {seconds:g} s") from None
        except ConnectionError as error:
            raise EnvironmentFailure(self.broken or f"the desktop is gone: {error}") from error
        finally:
            self._waiting.pop(number, None)
        if "error" in said:
            raise Refused(said["error"])
        return said

    # ------------------------------------------------------------------------------------------------------------ requests

    async def spawn(
        self,
        argv: Sequence[str],
        log: str = "applications",
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        may_be_ended: bool = False,
    ) -> int:
        """Start a program and leave it running; its pid inside. When a signal ends or stops it, the session is broken; with
        `may_be_ended` only when it is a signal for a mistake of its own."""
        said = await self.ask("spawn", argv=list(argv), log=log, env=dict(env or {}), cwd=cwd, may_be_ended=may_be_ended)
        return int(said["pid"])

    async def run(
        self,
        argv: Sequence[str],
        timeout: float = 30.0,
        given: bytes = b"",
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        limit: int = 1 << 20,
    ) -> Ran:
        """Run a program to its end, at most `timeout` seconds, and keep at most `limit` bytes of each of its outputs."""
        said = await self.ask(
            "run",
            timeout + 10.0,
            argv=list(argv),
            timeout=timeout,
            input=base64.b64encode(given).decode(),
            env=dict(env or {}),
            cwd=cwd,
            limit=limit,
        )
        content, errors = (base64.b64decode(said[name]) for name in ("output", "errors"))
        returncode = said["returncode"] if said["returncode"] is not None else -9
        return Ran(returncode, content, errors.decode(errors="replace"), said["timed_out"], said["cut"])

    async def read(self, path: str) -> bytes | None:
        """The content of a file inside, None where there is none that can be read: no plain file, or one of more than 64 MiB."""
        content = (await self.ask("read", path=path))["content"]
        return None if content is None else base64.b64decode(content)

    async def write(self, path: str, content: bytes, mode: int | None = None) -> None:
        """Write a file whole, with the directories above it."""
        await self.ask("write", path=path, content=base64.b64encode(content).decode(), mode=mode)

    async def names(self, path: str) -> list[str] | None:
        """Names in a directory, those of directories with a slash; None where there is no such directory."""
        names: list[str] | None = (await self.ask("list", path=path))["names"]
        return names

    async def log(self, name: str) -> str:
        """The end of a log: "session", "applications" or what `spawn` was told."""
        return str((await self.ask("log", name=name))["text"])

    # ------------------------------------------------------------------------------------------------------------- reading

    async def _read(self) -> None:
        assert self._reader is not None
        try:
            while line := await self._reader.readline():
                self._take(json.loads(line))
            self._break("the desktop's sandbox ended")
        except Exception as error:  # whatever comes from inside: it is not to be trusted
            self._break(f"the desktop's sandbox says what cannot be read: {type(error).__name__}: {error}")

    def _take(self, said: dict[str, Any]) -> None:
        if "ready" in said:
            if not self._ready.done():
                self._ready.set_result({"display": int(said["ready"]["display"])})
        elif "failed" in said:
            self._break(said["failed"])
        elif "ended" in said:
            self._break(f"{said['ended']} ended with status {said['status']}; log: {said['log'] or 'empty'}")
        elif "crashed" in said:
            self._break(f"{said['crashed']} was ended by signal {abs(said['status']) % 128}")
        elif (answer := self._waiting.get(said["id"])) is not None and not answer.done():
            answer.set_result(said)

    def _break(self, why: str) -> None:
        """Nothing can be asked any more, and who waits for an answer is told why."""
        if self.broken is None:
            self.broken = why
        for waiting in (self._ready, *self._waiting.values()):
            if not waiting.done():
                waiting.set_exception(EnvironmentFailure(self.broken))
                waiting.exception()  # nobody need have waited for it
