"""A machine with OSWorld's server, at http://host:5000: a virtual machine of OSWorld, or what `stepladder serve-desktop` serves."""

from __future__ import annotations

import asyncio
import json
import math
import posixpath
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx

from stepladder.envs.acting import CannotDo, waiting_time
from stepladder.envs.osworld.machine import Executed
from stepladder.interfaces import EnvironmentFailure, EnvironmentTimeout
from stepladder.pyautogui.write import PREFIX, write_action
from stepladder.types import Action

#: A header of servers that read what is typed as it is; pyautogui itself knows ASCII alone.
TYPING, EXACT = "X-Stepladder-Typing", "exact"
#: Seconds beyond those of a command that its answer may take.
_ANSWER_SECONDS = 15.0
#: The largest answer that is read, in bytes.
LARGEST_ANSWER = 256 << 20


@dataclass(frozen=True)
class Answer:
    """What a route answered; header names are lower-case."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def fine(self) -> bool:
        return 200 <= self.status < 300


class NoAnswer(EnvironmentFailure):
    """The machine is not there, or not to be reached."""


class _TooLarge(EnvironmentFailure):
    """An answer has more bytes than are read."""


class RemoteMachine:
    """See `Machine`. `connect` before anything else.

    url        such as http://127.0.0.1:5000
    password   of the user on the machine, what `{CLIENT_PASSWORD}` stands for
    token      for a server that wants one; OSWorld's own wants none
    deadline   seconds that a call may take which runs no command
    """

    def __init__(
        self,
        url: str,
        *,
        password: str = "password",
        token: str | None = None,
        deadline: float = 60.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.url, self.password = url.rstrip("/"), password
        self._deadline = deadline
        self._size: tuple[int, int] | None = None
        self._exact = False
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._client = httpx.AsyncClient(headers=headers, transport=transport)

    async def connect(self) -> None:
        """Ask for the size of the screen. Raises EnvironmentFailure when the machine does not answer as OSWorld's does."""
        answer = await self._ask("POST", "/screen_size")
        said = self._object(answer, "/screen_size")
        try:
            self._size = int(said["width"]), int(said["height"])
        except (KeyError, TypeError, ValueError) as error:
            raise EnvironmentFailure(f"{self.url}/screen_size answers {str(said)[:200]}, which is no size") from error
        self._exact = answer.headers.get(TYPING.lower()) == EXACT

    async def close(self) -> None:
        await self._client.aclose()

    @property
    def size(self) -> tuple[int, int]:
        if self._size is None:
            raise EnvironmentFailure(f"{self.url} was not connected to")
        return self._size

    async def execute(self, command: str | list[str], shell: bool, seconds: float = 120.0) -> Executed:
        answer = await self._ask("POST", "/execute", seconds + _ANSWER_SECONDS, json={"command": command, "shell": shell})
        said = self._object(answer, "/execute")
        try:
            return Executed(str(said["output"]), str(said["error"]), int(said["returncode"]))
        except (KeyError, TypeError, ValueError) as error:
            raise EnvironmentFailure(f"{self.url}/execute answers {str(said)[:200]}, which is no result of a command") from error

    async def launch(self, command: str | list[str], shell: bool) -> None:
        await self._ask("POST", "/setup/launch", json={"command": command, "shell": shell})

    async def read(self, path: str) -> bytes | None:
        """The content of a file; None where there is none, or one of more than LARGEST_ANSWER bytes: an agent can make it so."""
        try:
            answer = await self._ask("POST", "/file", data={"file_path": self._path(path)}, accepted=(404,))
        except _TooLarge:
            return None
        return answer.content if answer.fine else None

    async def write(self, path: str, content: bytes) -> None:
        files = {"file_data": (posixpath.basename(path), content)}
        await self._ask("POST", "/setup/upload", data={"file_path": self._path(path)}, files=files)

    async def act(self, action: Action) -> None:
        """Raises CannotDo, having done nothing, for a place off the screen and what pyautogui cannot say."""
        if action.kind == "wait":
            await asyncio.sleep(waiting_time(action))
            return
        for x, y in ((action.x, action.y), (action.x2, action.y2)):
            self._check_place(x, y)
        try:
            code = PREFIX + write_action(action, real=not self._exact)
        except ValueError as error:
            raise CannotDo(str(error)) from error
        ran = await self.execute(["python", "-c", code], False)
        if ran.returncode == 0:
            return
        why = (ran.error.strip().splitlines() or ["no reason given"])[-1]
        if self._exact and why.startswith(f"{CannotDo.__name__}: "):
            raise CannotDo(why.partition(": ")[2])
        raise EnvironmentFailure(f"{self.url}/execute: pyautogui does not work there: {why}")

    async def activate_window(self, name: str, strict: bool, by_class: bool) -> bool:
        return await self._window("/setup/activate_window", name, strict, by_class)

    async def close_window(self, name: str, strict: bool, by_class: bool) -> bool:
        return await self._window("/setup/close_window", name, strict, by_class)

    async def screenshot(self) -> bytes:
        return (await self._ask("GET", "/screenshot")).content

    async def accessibility(self) -> str:
        said = self._object(await self._ask("GET", "/accessibility"), "/accessibility")
        if not isinstance(said.get("AT"), str):
            raise EnvironmentFailure(f"{self.url}/accessibility answers without a tree")
        return str(said["AT"])

    # ----------------------------------------------------------------------------------------------------------- internals

    async def _window(self, route: str, name: str, strict: bool, by_class: bool) -> bool:
        """Whether there was such a window, as far as the machine says: OSWorld's own answers alike in either case."""
        asked = {"window_name": name, "strict": strict, "by_class": by_class}
        return (await self._ask("POST", route, json=asked, accepted=(404,))).fine

    def _path(self, path: str) -> str:
        """OSWorld's server reads "~" in paths, and means by others what its own directory makes of them."""
        return path if path.startswith(("/", "~/")) else f"~/{path}"

    def _check_place(self, x: float | None, y: float | None) -> None:
        if x is None or y is None:
            return
        width, height = self.size
        if not (math.isfinite(x) and math.isfinite(y) and 0 <= x < width and 0 <= y < height):
            raise CannotDo(f"({x:g}, {y:g}) is outside the screen of {width} x {height} pixels")

    async def _ask(
        self, method: str, route: str, seconds: float | None = None, accepted: tuple[int, ...] = (), **request: Any
    ) -> Answer:
        """An answer that is a success or one of `accepted`. Raises EnvironmentFailure that names address and route."""
        seconds = seconds or self._deadline
        where, content = f"{self.url}{route}", bytearray()
        try:
            async with asyncio.timeout(seconds), self._client.stream(method, where, timeout=seconds, **request) as response:
                async for chunk in response.aiter_bytes():
                    content += chunk
                    if len(content) > LARGEST_ANSWER:
                        raise _TooLarge(f"{where} answers with more than {LARGEST_ANSWER} bytes")
        except (TimeoutError, httpx.TimeoutException) as error:
            raise EnvironmentTimeout(f"{where} did not answer within {seconds:g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise NoAnswer(f"{where} cannot be reached: {error or type(error).__name__}") from error
        headers = {name.lower(): value for name, value in response.headers.items()}
        answer = Answer(response.status_code, headers, bytes(content))
        if not answer.fine and answer.status not in accepted:
            raise EnvironmentFailure(f"{where} answers {answer.status}: {_message(answer)}")
        return answer

    def _object(self, answer: Answer, route: str) -> Mapping[str, Any]:
        try:
            said = json.loads(answer.content)
        except ValueError as error:
            raise EnvironmentFailure(f"{self.url}{route} answers with what is no JSON: {answer.content[:200]!r}") from error
        if not isinstance(said, dict):
            raise EnvironmentFailure(f"{self.url}{route} answers with what is no JSON object: {str(said)[:200]}")
        return said


def _message(answer: Answer) -> str:
    """What an error says of itself."""
    said: Any = answer.content.decode(errors="replace")
    with suppress(ValueError):
        said = json.loads(said)
    if isinstance(said, dict):
        said = said.get("message") or said.get("error") or said
    return str(said)[:500]
