"""Calling a model's server: attempts with growing pauses, deadlines, as many calls at once as it should have, and a budget.

What passes (429, 408, 5xx, lost connections, answers that are cut off or no JSON) is tried again until the deadline. A server that
says when to come back is not asked before, by any of the calls. What does not pass is a `PolicyFailure`, which ends a run.
"""

from __future__ import annotations

import asyncio
import email.utils
import itertools
import json
import logging
import math
import os
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx

from stepladder.errors import UserError
from stepladder.interfaces import ContextFull
from stepladder.policies.answers import Malformed, Rejected, is_context_full, rejection
from stepladder.policies.budget import Meter
from stepladder.policies.server_sent_events import read_events

T = TypeVar("T")
#: Puts the events of a streamed answer together to what the whole answer would have been.
Assemble = Callable[[AsyncIterator[tuple[str, str]]], Awaitable[Any]]
_logger = logging.getLogger(__name__)


def credentials(key: str | None, url: str | None, key_variable: str, url_variable: str, usual: str) -> tuple[str, str]:
    """(key, address without its version) of an API: what is given, else what the environment variables say, else the API's `usual`
    address. Raises PolicyFailure that names the variable when there is no key."""
    address = (url or os.environ.get(url_variable) or usual).rstrip("/").removesuffix("/v1")
    key = key if key is not None else os.environ.get(key_variable, "").strip()
    if not key:
        raise PolicyFailure(f"there is no key for {address}: set the environment variable {key_variable}")
    return key, address


class PolicyFailure(UserError):
    """A model's server does not answer, or refuses; the message says which and why. What was played before is kept."""


@dataclass(frozen=True, slots=True)
class CallLimits:
    """`deadline` bounds a call with all its attempts, `silence` the time in which nothing at all comes, in seconds; `concurrency`
    calls are made at once. The pause after a failed attempt begins at `first_pause` and doubles up to `longest_pause`, each time
    shortened by chance to between half and all of it. A server that has never answered is given up after `first_contact`, one that
    has and takes no connection any more after `lost_contact`. Raises ValueError for what is not above 0."""

    deadline: float = 600.0
    silence: float = 180.0
    concurrency: int = 16
    first_pause: float = 0.5
    longest_pause: float = 30.0
    first_contact: float = 20.0
    lost_contact: float = math.inf

    def __post_init__(self) -> None:
        for name in ("deadline", "silence", "concurrency", "first_pause", "longest_pause", "first_contact", "lost_contact"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")


@dataclass(eq=False)
class _Connection:
    """What belongs to one event loop."""

    loop: asyncio.AbstractEventLoop
    client: httpx.AsyncClient
    slots: asyncio.Semaphore


class ApiClient:
    """Calls of the server at `url`, which errors call `name`. `headers` go with every call; `secret` is kept out of messages.

    It works in whatever event loop it is called from. Raises ValueError for a URL that is not http or https.
    """

    def __init__(
        self,
        name: str,
        url: str,
        headers: Mapping[str, str],
        *,
        secret: str | None = None,
        limits: CallLimits | None = None,
        meter: Meter | None = None,
    ) -> None:
        parsed = httpx.URL(url)
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise ValueError(f"{url!r} is no address of a server; it must begin with http:// or https://")
        if parsed.userinfo:
            raise ValueError(f"the address of {parsed.host} holds a password; it belongs into an environment variable")
        if secret is not None and not (secret.isascii() and secret.isprintable()):
            raise ValueError(f"the key for {parsed.host} holds characters that no key has")
        self.name, self.url = name, url.rstrip("/")
        self.meter = meter or Meter()
        self.limits = limits or CallLimits()
        self._headers, self._secret = dict(headers), secret
        self._connection: _Connection | None = None
        self._not_before = 0.0
        self._answered = False

    async def call(
        self,
        path: str,
        body: Mapping[str, Any] | None,
        read: Callable[[Any], tuple[T, Mapping[str, float]]],
        assemble: Assemble | None = None,
        counted: bool = True,
    ) -> tuple[T, dict[str, float]]:
        """What `read` makes of the JSON answer to a POST of `body` (None: a GET), with what the call has used.

        A streamed answer is put together by `assemble`. `read` gives its result and the usage, and raises Malformed for an answer
        that is not whole. Raises ContextFull, BudgetSpent, PolicyFailure.
        """
        here = self._here()
        async with here.slots:
            if counted:
                self.meter.begin()
            return await self._until_answered(here.client, path, body, read, assemble, counted)

    async def close(self) -> None:
        """Close the connections of this event loop."""
        connection, self._connection = self._connection, None
        if connection is not None and connection.loop is asyncio.get_running_loop():
            await connection.client.aclose()

    # ----------------------------------------------------------------------------------------------------------- internals

    def _here(self) -> _Connection:
        loop = asyncio.get_running_loop()
        if self._connection is None or self._connection.loop is not loop:
            timeout = httpx.Timeout(self.limits.silence, connect=min(15.0, self.limits.silence), pool=None)
            # The slots bound the connections; httpx's own bound would make calls wait that have one.
            bounds = httpx.Limits(max_connections=None, max_keepalive_connections=self.limits.concurrency)
            client = httpx.AsyncClient(headers=self._headers, timeout=timeout, limits=bounds)
            self._connection = _Connection(loop, client, asyncio.Semaphore(self.limits.concurrency))
        return self._connection

    async def _until_answered(
        self,
        client: httpx.AsyncClient,
        path: str,
        body: Mapping[str, Any] | None,
        read: Callable[[Any], tuple[T, Mapping[str, float]]],
        assemble: Assemble | None,
        counted: bool,
    ) -> tuple[T, dict[str, float]]:
        started = time.monotonic()
        trouble, lost = "it says nothing", math.inf
        for attempt in itertools.count(1):
            try:
                async with asyncio.timeout(started + self.limits.deadline - time.monotonic()):
                    await self._hold_back()
                    result, usage = read(await self._attempt(client, path, body, assemble))
                if not counted:
                    return result, {}
                if not usage and self.meter.must_know:
                    raise PolicyFailure(f"{self.name} does not tell what a call has used, so that the budget cannot be kept")
                return result, self.meter.add({**usage, "attempts": attempt})
            except TimeoutError:
                raise PolicyFailure(self._too_late(trouble, attempt)) from None
            except Rejected as error:
                trouble = self._hidden(str(error))
                if is_context_full(error):
                    raise ContextFull(trouble) from None
                if not error.passes:
                    raise PolicyFailure(f"{self.name}: {trouble}") from None
                pause = self._pause(attempt) if error.pause is None else error.pause
                if error.pause is not None:
                    self._not_before = max(self._not_before, time.monotonic() + pause)
            except Malformed as error:
                trouble, pause = self._hidden(str(error)), self._pause(attempt)
            except httpx.HTTPError as error:
                trouble, pause = f"{type(error).__name__}: {error}", self._pause(attempt)
                lost = min(lost, time.monotonic()) if isinstance(error, httpx.ConnectError) else math.inf
                if self._answered and time.monotonic() + pause - lost > self.limits.lost_contact:
                    raise PolicyFailure(f"{self.name} at {self.url} cannot be reached any more: {trouble}") from None
            await self._wait(pause, started, trouble, attempt)
        raise AssertionError("count() has no end")

    async def _wait(self, pause: float, started: float, trouble: str, attempt: int) -> None:
        passed = time.monotonic() - started
        if not self._answered and passed + pause > self.limits.first_contact:
            raise PolicyFailure(f"{self.name} at {self.url} cannot be reached: {trouble}")
        if passed + pause > self.limits.deadline:
            raise PolicyFailure(self._too_late(trouble, attempt, f"; the next one would be in {pause:.0f} s"))
        _logger.log(logging.WARNING if attempt >= 3 else logging.INFO, "%s: %s; once more in %.1f s", self.name, trouble, pause)
        await asyncio.sleep(pause)

    def _too_late(self, trouble: str, attempts: int, more: str = "") -> str:
        return f"{self.name} has not answered within {self.limits.deadline:g} s: {trouble} ({attempts} attempts{more})"

    async def _hold_back(self) -> None:
        """Wait as long as the server wants to be left alone; calls that waited together do not come back at the same moment."""
        left = self._not_before - time.monotonic()
        if left > 0:
            await asyncio.sleep(left * random.uniform(1.0, 1.1))

    def _pause(self, attempt: int) -> float:
        longest = min(self.limits.longest_pause, self.limits.first_pause * 2.0 ** min(attempt - 1, 30))
        return longest * random.uniform(0.5, 1.0)

    async def _attempt(
        self, client: httpx.AsyncClient, path: str, body: Mapping[str, Any] | None, assemble: Assemble | None
    ) -> Any:
        """The JSON of one answer. Raises Rejected, Malformed, httpx.HTTPError."""
        method = "GET" if body is None else "POST"
        async with client.stream(method, self.url + path, json=body) as answer:
            self._answered = True
            streamed = answer.headers.get("content-type", "").startswith("text/event-stream")
            if answer.is_success and streamed and assemble is not None:
                return await assemble(read_events(answer.aiter_bytes()))
            content = await answer.aread()
        try:
            said = json.loads(content)
        except (ValueError, RecursionError):
            if answer.is_success:
                raise Malformed(f"an answer of {len(content)} bytes is no JSON: {_beginning(content)}") from None
            said = content.decode("utf-8", "replace")
        if not answer.is_success:
            raise rejection(answer.status_code, said, _retry_after(answer.headers))
        if isinstance(said, dict) and isinstance(said.get("error"), dict):  # some gateways answer so, with status 200
            code = said["error"].get("code")
            raise rejection(code if isinstance(code, int) else 500, said, None)
        return said

    def _hidden(self, text: str) -> str:
        return text.replace(self._secret, "***") if self._secret else text


def _beginning(content: bytes) -> str:
    return repr(content[:80].decode("utf-8", "replace"))


def _retry_after(headers: httpx.Headers) -> float | None:
    """Seconds that the server wants to be left alone, by its header Retry-After in seconds or as a date."""
    said = headers.get("retry-after", "").strip()
    if not said:
        return None
    try:
        return max(0.0, float(said))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(said).timestamp() - time.time())
    except ValueError:
        return None
