"""OpenEnv's WebSocket: one connection, one episode at a time, which ends with it.

Messages are JSON objects with `type` and `data`, each answered by one, in order:

    reset {task?, seed?, episode_id?, images?, token?} -> observation {observation, reward, done}
    step  an action                                    -> observation
    state                                              -> state {episode_id, step_count, ...}; renews the lease
    mcp   a JSON-RPC call                              -> mcp, an error: there are no tools
    close                                              -> nothing; the connection is closed

What goes wrong is answered as error {message, code, kind}. With `images` "binary" in a reset, no observation of its episode holds
its picture: one binary message, the PNG file, follows each whose `screenshot` is not null.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketDisconnect

from stepladder.envs.bridge.answers import Refused, carries, fault_of, known_fields, of_a_page
from stepladder.envs.bridge.leases import Unknown
from stepladder.envs.bridge.openenv import LONGEST_NAME, OpenEnv, Shown, no_tools, state
from stepladder.envs.bridge.wire import BadRequest

#: Seconds that a connection without a token may take for its first message, which must hold it.
INTRODUCTION = 10.0
#: Messages that may wait for those before them.
WAITING = 8
#: OpenEnv's codes for what goes wrong.
_CODES = {
    "bad_request": "VALIDATION_ERROR",
    "unauthorised": "SESSION_ERROR",
    "unknown_episode": "SESSION_ERROR",
    "full": "CAPACITY_REACHED",
    "env_error": "EXECUTION_ERROR",
    "timeout": "EXECUTION_ERROR",
    "server_error": "EXECUTION_ERROR",
}
#: The WebSocket status for a policy that was violated.
_VIOLATION = 1008
_TYPES = ("reset", "step", "state", "mcp", "close")


class OpenEnvSocket:
    """Accepts connections: with the token in a header, or in the first message of a client that cannot send headers."""

    def __init__(self, openenv: OpenEnv, token: str | None) -> None:
        self._openenv, self._token = openenv, token

    async def play(self, websocket: WebSocket) -> None:
        given = websocket.headers.get("authorization")
        wrong = self._token is not None and given is not None and not carries(self._token, given)
        if wrong or (self._token is None and of_a_page(websocket)):
            await websocket.close(_VIOLATION)  # before it is accepted: the client is answered 403
            return
        await websocket.accept()
        await _Session(websocket, self._openenv, None if given is not None else self._token).run()


class _Session:
    """One connection. `token` is what its first message must hold, None when nothing is wanted any more."""

    def __init__(self, websocket: WebSocket, openenv: OpenEnv, token: str | None) -> None:
        self._websocket, self._openenv, self._token = websocket, openenv, token
        self._waiting: asyncio.Queue[Message] = asyncio.Queue(WAITING)
        #: The running episode; what its user calls it; whether its pictures are sent in binary.
        self._episode, self._name, self._binary = "", "", False
        #: As it last was: it is still told when the episode is over.
        self._state: dict[str, Any] = {"episode_id": None, "step_count": 0}

    async def run(self) -> None:
        """Until either side closes. A client that goes away ends its episode at once, also one that is just being started."""
        tasks = {asyncio.create_task(self._listen()), asyncio.create_task(self._work())}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.shield(asyncio.create_task(self._leave()))

    async def _listen(self) -> None:
        """Also while a message is worked on: that the client has gone is noticed then."""
        while (message := await self._websocket.receive())["type"] != "websocket.disconnect":
            await self._waiting.put(message)

    async def _work(self) -> None:
        with suppress(WebSocketDisconnect):
            while await self._answer(await self._next()):
                pass
            await self._websocket.close(_VIOLATION if self._token is not None else 1000)

    async def _next(self) -> Message | None:
        """The next message; None when a client that has not shown its token says nothing."""
        try:
            async with asyncio.timeout(None if self._token is None else INTRODUCTION):
                return await self._waiting.get()
        except TimeoutError:
            return None

    async def _answer(self, message: Message | None) -> bool:
        """Whether the connection goes on."""
        if message is None:
            return False
        try:
            said = json.loads(message.get("text") or message.get("bytes") or "")
        except (ValueError, RecursionError) as error:
            await self._fail(f"the message is no JSON: {error}", "INVALID_JSON", "bad_request")
            return self._token is None
        kind = said.get("type") if isinstance(said, dict) else None
        if kind not in _TYPES:
            await self._fail(f"type: must be one of {', '.join(_TYPES)}", "UNKNOWN_TYPE", "bad_request")
            return self._token is None
        try:
            known_fields(said, ("type", "data"), "message")
            data = said.get("data")
            if data is not None and not isinstance(data, dict):
                raise BadRequest("data: must be an object")
            self._introduce(data or {})
            if kind == "close":
                return False
            await self._do(kind, data or {})
        except WebSocketDisconnect:
            raise
        except Exception as error:
            fault = fault_of(error, self._openenv.deadline)
            if fault.kind != "bad_request":
                await self._leave()
            await self._fail(fault.message, _CODES[fault.kind], fault.kind)
        return self._token is None

    def _introduce(self, data: Mapping[str, Any]) -> None:
        """Raises Refused for a first message without the token that is wanted."""
        if self._token is None:
            return
        given = data.get("token")
        if not isinstance(given, str) or not carries(self._token, f"Bearer {given}"):
            raise Refused(
                401,
                "this server wants its token: a header (Authorization: Bearer <token>), or `token` in the data of a first message",
                "unauthorised",
            )
        self._token = None

    async def _do(self, kind: str, data: dict[str, Any]) -> None:
        if kind == "reset":
            await self._show(await self._reset(known_fields(data, ("task", "seed", "episode_id", "images", "token"), "reset")))
        elif kind == "step":
            await self._show(await self._step(data))
        elif kind == "state":
            with suppress(Unknown):
                self._openenv.leases.get(self._episode)
            await self._send("state", self._state)
        else:
            await self._send("mcp", no_tools(data))

    async def _reset(self, given: dict[str, Any]) -> Shown:
        images, name = given.get("images", "base64"), given.get("episode_id", "")
        if images not in ("base64", "binary"):
            raise BadRequest("images: must be 'base64' or 'binary'")
        if not isinstance(name, str) or len(name) > LONGEST_NAME:
            raise BadRequest(f"episode_id: must be a string of at most {LONGEST_NAME} characters")
        await self._leave()
        # Ours, so that two clients may give their episodes the same name.
        self._episode, self._binary = secrets.token_hex(16), images == "binary"
        self._name = name or self._episode
        return await self._openenv.begin(self._episode, given)

    async def _step(self, action: dict[str, Any]) -> Shown:
        if not self._episode:
            raise Refused(404, "there is no episode, or it is over; send a reset", "unknown_episode")
        return await self._openenv.act(self._episode, action, self._openenv.deadline)

    async def _show(self, shown: Shown) -> None:
        self._state = state(shown.episode, self._name)
        if shown.status is not None:
            self._episode = ""
        await self._send("observation", shown.payload(self._name, with_picture=not self._binary))
        if self._binary and shown.picture is not None:
            await self._websocket.send_bytes(shown.picture)

    async def _fail(self, message: str, code: str, kind: str) -> None:
        data: dict[str, Any] = {"message": message, "code": code, "kind": kind}
        if kind == "full":
            leases = self._openenv.leases
            data |= {"active_sessions": leases.running, "max_sessions": leases.capacity}
        await self._send("error", data)

    async def _send(self, kind: str, data: Mapping[str, Any]) -> None:
        await self._websocket.send_text(json.dumps({"type": kind, "data": data}))

    async def _leave(self) -> None:
        """Give the episode back, if there is one."""
        episode, self._episode = self._episode, ""
        if episode:
            with suppress(Unknown):
                await self._openenv.leases.close(episode)
