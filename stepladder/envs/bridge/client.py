"""An environment that lives behind a bridge server, or behind several."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import logging
import os
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import httpx

from stepladder.codec import from_json, to_json
from stepladder.envs.acting import waiting_time
from stepladder.envs.bridge.wire import read_observation
from stepladder.images import ImageStore
from stepladder.interfaces import EnvironmentFailure, EnvironmentTimeout
from stepladder.types import Action, Observation, Task

#: Where servers are looked for when none is named: comma-separated addresses, as OSWorld's own bridges take them; and their token.
SERVERS, TOKEN = "OSWORLD_SERVER_URL", "STEPLADDER_BRIDGE_TOKEN"
#: Where the task that a server knows stands in the setup of one of this environment.
REMOTE = "remote"
#: How many episodes a server is taken to have room for that does not say.
_USUAL = 10
#: Seconds until a server that is full is asked again, unless it says how many; and the fewest and most that it can say.
_AGAIN, _SOONEST, _LATEST = 5.0, 0.05, 60.0
#: Seconds until a server must have taken a connection, and seconds for its answer to come after its own deadline.
_CONNECT, _SLACK = 10.0, 20.0
T = TypeVar("T")
_logger = logging.getLogger(__name__)


class NoRoom(EnvironmentFailure):
    """A server is full, and may be asked again after `seconds`."""

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds


class BridgeEnvironment:
    """The environment that the servers at `url` (comma-separated addresses) lend.

    A reset goes to the server with most room, and to the next one when that does not answer, is full or fails; the episode then
    stays there. Where all that could start it are full, it waits for room. Its lease is renewed every `heartbeat` seconds.

    The environments behind the servers have deadlines of their own, which the servers keep. Those here are longer: they are for a
    server that says nothing at all.

    images             where screenshots go; a picture that is there already is not fetched again
    url                default: the environment variable OSWORLD_SERVER_URL
    token              default: the environment variable STEPLADDER_BRIDGE_TOKEN, or none
    deadline           seconds that one call may take
    start_deadline     seconds that a server may take to start an episode
    evaluate_deadline  seconds that grading may take at a server that does not say how many its environment may
    patience           seconds that a reset waits for room
    """

    def __init__(
        self,
        images: ImageStore,
        *,
        url: str | None = None,
        token: str | None = None,
        deadline: float = 200.0,
        start_deadline: float = 1260.0,
        evaluate_deadline: float = 660.0,
        patience: float = 7200.0,
        heartbeat: float = 60.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.urls = _named(url)
        self.images, self.task = images, Task("", "", "")
        self._token = token if token is not None else os.environ.get(TOKEN)
        self._deadline, self._heartbeat, self._transport = deadline, heartbeat, transport
        self._start_deadline, self._patience = start_deadline, patience
        #: What a reset may take in all, and what grading may: who plays an episode grants so much.
        self.reset_deadline = patience + start_deadline * len(self.urls)
        self.evaluate_deadline = self._usual_evaluate_deadline = evaluate_deadline
        self._client: httpx.AsyncClient | None = None
        self._server, self._episode = "", ""
        self._beating: asyncio.Task[None] | None = None

    @classmethod
    def tasks(cls, names: Iterable[str] | None = None) -> list[Task]:
        """The tasks that the first server that answers has, or those of them with these ids. Raises ValueError that says what is
        wrong, EnvironmentFailure when no server answers."""
        servers, headers = _named(None), _headers(os.environ.get(TOKEN))
        troubles = []
        for server in servers:
            try:
                answer = httpx.get(f"{server}/tasks", headers=headers, timeout=30.0)
                answer.raise_for_status()
                found = [from_json(Task, one, "task") for one in answer.json()["tasks"]]
            except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
                troubles.append(f"{server}: {error}")
                continue
            return [_bridged(task) for task in (found if names is None else _chosen(found, list(names)))]
        raise EnvironmentFailure(f"no server tells its tasks: {'; '.join(troubles)}")

    async def reset(self, task: Task, seed: int) -> Observation:
        """Raises EnvironmentFailure that names every server and what is wrong with it."""
        await self._leave()
        remote = task.setup.get(REMOTE)
        asked = {"task": to_json(task) if remote is None else remote, "seed": seed, "screenshot": "reference"}
        until, troubles = time.monotonic() + self._patience, dict[str, str]()
        while True:
            pauses = []
            for server in await self._by_room(set(troubles)):
                try:
                    instruction, shown = await self._begin(server, asked)
                except NoRoom as full:
                    pauses.append(full.seconds)
                except EnvironmentFailure as error:
                    troubles[server] = str(error)
                else:
                    self.task = replace(task, instruction=instruction)
                    return shown
            if not pauses:
                told = "; ".join(f"{server}: {trouble}" for server, trouble in troubles.items())
                raise EnvironmentFailure(f"no server could start the episode: {told}")
            if time.monotonic() + min(pauses) > until:
                told = "; ".join(f"{server}: {troubles.get(server, 'full')}" for server in self.urls)
                raise EnvironmentFailure(f"no server had room within {self._patience:g} s: {told}")
            await asyncio.sleep(min(pauses))

    async def step(self, action: Action) -> Observation:
        deadline = self._deadline + waiting_time(action)
        return await self._seen(await self._of_episode("/step", deadline, action=to_json(action), screenshot="reference"))

    async def evaluate(self) -> float:
        said = await self._of_episode("/evaluate", self.evaluate_deadline)
        return _read(lambda: float(said["reward"]))

    async def check(self) -> None:
        """Raises EnvironmentFailure when none of the servers answers."""
        if max(await asyncio.gather(*map(self._room, self.urls))) < 0:
            raise EnvironmentFailure(f"no server answers: {', '.join(self.urls)}")

    async def close(self) -> None:
        await self._leave()
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    # ----------------------------------------------------------------------------------------------------------- internals

    async def _begin(self, server: str, asked: dict[str, Any]) -> tuple[str, Observation]:
        """Start an episode at a server: its instruction and what is seen. Raises NoRoom, EnvironmentFailure; nothing is then left
        there."""
        # Named by us: should no answer come, it can be closed all the same.
        self._server, self._episode = server, secrets.token_hex(16)
        try:
            said = await self._ask(server, "/reset", {**asked, "episode_id": self._episode}, self._start_deadline)
            shown = await self._seen(said)
            instruction = _read(lambda: str(said["task"]["instruction"]))
            lease, evaluate = _read(lambda: (said.get("lease"), said.get("deadlines", {}).get("evaluate")))
        except NoRoom:
            self._episode = ""
            raise
        except EnvironmentFailure:
            await self._leave()
            raise
        except asyncio.CancelledError:
            await asyncio.shield(asyncio.ensure_future(self._leave()))
            raise
        self.evaluate_deadline = self._usual_evaluate_deadline
        if isinstance(evaluate, (int, float)) and evaluate > 0:
            self.evaluate_deadline = evaluate + _SLACK
        seconds = min(self._heartbeat, lease / 3) if isinstance(lease, (int, float)) and lease > 0 else self._heartbeat
        self._beating = asyncio.create_task(self._beat(seconds))
        return instruction, shown

    async def _by_room(self, failed: Collection[str]) -> Sequence[str]:
        """The servers without those that `failed`, those with most room first; one that does not answer comes last."""
        servers = [server for server in self.urls if server not in failed]
        if len(servers) < 2:
            return servers
        rooms = await asyncio.gather(*map(self._room, servers))
        return [server for _, _, server in sorted(zip((-one for one in rooms), range(len(rooms)), servers, strict=True))]

    async def _room(self, server: str) -> float:
        """For how many more episodes a server has room; -1 when it does not answer."""
        try:
            said = await self._ask(server, "/health", None, 5.0)
            return max(0.0, _read(lambda: float(said.get("capacity", _USUAL) - said["episodes"])))
        except EnvironmentFailure:
            return -1.0

    async def _of_episode(self, route: str, deadline: float, **fields: Any) -> dict[str, Any]:
        if not self._episode:
            raise EnvironmentFailure("the environment was not reset, or it failed since")
        try:
            return await self._ask(self._server, route, {"episode_id": self._episode, **fields}, deadline)
        except EnvironmentFailure:
            await self._leave()
            raise

    async def _ask(self, server: str, route: str, body: Any, deadline: float) -> dict[str, Any]:
        answer = await self._send(server, route, body, deadline)
        try:
            said = answer.json()
        except ValueError as error:
            raise EnvironmentFailure(f"{server}{route} answers {answer.status_code} with what is no JSON") from error
        if not isinstance(said, dict):
            raise EnvironmentFailure(f"{server}{route} answers {answer.status_code} with what is no JSON object")
        if answer.is_success:
            return said
        message = f"{route}: {said.get('error', answer.status_code)}"
        if said.get("kind") == "full":
            raise NoRoom(message, _seconds(answer.headers.get("retry-after", "")))
        raise (EnvironmentTimeout if answer.status_code == 504 else EnvironmentFailure)(message)

    async def _send(self, server: str, route: str, body: Any, deadline: float) -> httpx.Response:
        if self._client is None:
            self._client = httpx.AsyncClient(headers=_headers(self._token), transport=self._transport)
        timeout = httpx.Timeout(deadline, connect=min(deadline, _CONNECT), pool=_CONNECT)
        try:
            if body is None:
                return await self._client.get(server + route, timeout=timeout)
            return await self._client.post(server + route, json=body, timeout=timeout)
        except httpx.ConnectTimeout as error:
            raise EnvironmentTimeout(f"{server} could not be reached within {timeout.connect:g} s") from error
        except httpx.TimeoutException as error:
            raise EnvironmentTimeout(f"{server}{route} did not answer within {deadline:g} s") from error
        except httpx.HTTPError as error:
            raise EnvironmentFailure(f"{server}{route} cannot be reached: {error or type(error).__name__}") from error

    async def _seen(self, said: dict[str, Any]) -> Observation:
        shown = _read(lambda: read_observation(said))
        if shown.screenshot is not None and shown.screenshot not in self.images:
            answer = await self._send(self._server, f"/screenshot/{self._episode}/{shown.screenshot.sha256}", None, self._deadline)
            if not answer.is_success:
                raise EnvironmentFailure(f"{self._server} has not the screenshot that it names ({answer.status_code})")
            if _read(lambda: self.images.put(answer.content)) != shown.screenshot:
                raise EnvironmentFailure(f"{self._server} gives another picture than the one that it names")
        return shown

    async def _beat(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await self._ask(self._server, "/heartbeat", {"episode_id": self._episode}, 30.0)
            except EnvironmentFailure as error:
                _logger.warning("the lease of %s could not be renewed: %s", self._episode, error)

    async def _leave(self) -> None:
        """Give the episode back, if there is one and its server still answers."""
        beating, self._beating = self._beating, None
        if beating is not None:
            beating.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await beating
        episode, self._episode = self._episode, ""
        if episode:
            with contextlib.suppress(EnvironmentFailure):
                await self._ask(self._server, "/close", {"episode_id": episode}, 30.0)


def _named(url: str | None) -> tuple[str, ...]:
    """The servers of a comma-separated list, or of the environment. Raises ValueError when there is none."""
    servers = url if url is not None else os.environ.get(SERVERS, "")
    found = tuple(one.strip().rstrip("/") for one in servers.split(",") if one.strip())
    if not found:
        raise ValueError(f"no server is named: give url, or set {SERVERS}")
    return found


def _headers(token: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def _read(work: Callable[[], T]) -> T:
    """What `work` takes out of an answer. Raises EnvironmentFailure when that is not what it should be."""
    try:
        return work()
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise EnvironmentFailure(f"the server answers what cannot be read: {type(error).__name__}: {error}") from error


def _seconds(retry_after: str) -> float:
    """What a Retry-After header says, if that is a number of seconds."""
    return min(max(float(retry_after), _SOONEST), _LATEST) if retry_after.isascii() and retry_after.isdigit() else _AGAIN


def _bridged(task: Task) -> Task:
    """A task of a server as one of this environment: what the server knows it as stands in its setup."""
    return replace(task, env="bridge", setup={REMOTE: to_json(task)}, check={})


def _chosen(found: list[Task], names: list[str]) -> list[Task]:
    known = {task.id: task for task in found}
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise ValueError(f"the server has no task {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    return [known[name] for name in names]
