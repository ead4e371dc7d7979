"""The routes of OpenEnv (Meta, Hugging Face) for the bridge's episodes: /reset, /step, /state, /schema, /metadata, /health, /mcp.

An episode is one of the bridge: it has a lease, counts against the capacity, and fails as `env_error`. OpenEnv has no call that
grades, so the step that ends an episode does: the agent says done or fail, the environment ends it, or the steps of its task are
used up. Its `reward` is the grade; before, `reward` is null. Then the episode is closed. `openenv_socket.py` has the WebSocket.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from stepladder.codec import to_json
from stepladder.envs.bridge.answers import known_fields, read_body
from stepladder.envs.bridge.leases import Episode, Leases, Unknown
from stepladder.envs.bridge.openenv_schema import openenv_paths, schemas
from stepladder.envs.bridge.schema import document
from stepladder.envs.bridge.tree import tree_xml
from stepladder.envs.bridge.wire import BadRequest, picture_base64, read_action, read_seed, read_task
from stepladder.types import ACTION_KINDS, Action, Status, Task

#: Where its routes are; the address that a client of OpenEnv is given ends so.
PREFIX = "/openenv"
#: The longest name that an episode can be given.
LONGEST_NAME = 255
#: JSON-RPC: there is no such method.
_NO_METHOD = -32601


@dataclass(frozen=True)
class Shown:
    """What a reset or a step leads to: why the episode is over (None while it is not) and its grade."""

    episode: Episode
    status: Status | None = None
    reward: float | None = None

    def payload(self, name: str, with_picture: bool) -> dict[str, Any]:
        """What OpenEnv's clients read, for the episode that they call `name`: `observation`, `reward`, `done`."""
        episode, seen = self.episode, self.episode.shown
        observation = {
            "episode_id": name,
            "task_id": episode.task.id,
            "instruction": episode.task.instruction,
            "step": episode.steps,
            "status": self.status,
            "screenshot": None if seen.screenshot is None else to_json(seen.screenshot),
            "accessibility_tree": None if seen.tree is None else tree_xml(seen.tree),
            "terminal": seen.text or None,
            "url": seen.url or None,
        }
        if with_picture:
            observation["screenshot_base64"] = picture_base64(seen, episode.images)
        return {"observation": observation, "reward": self.reward, "done": self.status is not None}

    @property
    def picture(self) -> bytes | None:
        """The screenshot, a PNG file."""
        shown = self.episode.shown.screenshot
        return None if shown is None else self.episode.images.get(shown)


class OpenEnv:
    """What both of OpenEnv's transports do with the episodes of `leases`. `env` names the environment ("": any), `deadline` is
    seconds for one call of it, `token` says whether a token is wanted."""

    def __init__(self, leases: Leases, tasks: Mapping[str, Task], env: str, deadline: float, token: bool) -> None:
        self.leases, self.tasks, self.env, self.deadline, self.token = leases, tasks, env, deadline, token

    def routes(self) -> list[tuple[str, str, Callable[[Request], Awaitable[Response]]]]:
        """(path below PREFIX, method, handler)."""
        return [
            ("/health", "GET", self._health),
            ("/metadata", "GET", self._metadata),
            ("/schema", "GET", self._schema),
            ("/openapi.json", "GET", self._describe),
            ("/state", "GET", self._state),
            ("/reset", "POST", self._reset),
            ("/step", "POST", self._step),
            ("/mcp", "POST", self._mcp),
        ]

    async def begin(self, identifier: str, given: Mapping[str, Any]) -> Shown:
        """Start an episode: `task` (default: the one that the seed picks), `seed` (default: any). Raises BadRequest and whatever
        `Leases.begin` raises."""
        seed = read_seed(given["seed"]) if "seed" in given else secrets.randbelow(2**31)
        if "task" in given:
            task = read_task(given["task"], self.tasks, self.env)
        elif self.tasks:
            task = list(self.tasks.values())[seed % len(self.tasks)]
        else:
            raise BadRequest("task: is missing, and this server has none of its own")
        episode = await self.leases.begin(identifier, task, seed, self.deadline)
        return await self._graded(episode, "done" if episode.shown.done else None)

    async def act(self, identifier: str, given: Any, deadline: float) -> Shown:
        """One step, `deadline` seconds long at most. Raises BadRequest, Unknown, EnvironmentFailure, TimeoutError."""
        self.leases.get(identifier)
        actions = read_openenv_action(given)
        async with self.leases.working(identifier, deadline) as episode:
            last = await episode.act(actions)
        return await self._graded(episode, _status(last, episode))

    async def _graded(self, episode: Episode, status: Status | None) -> Shown:
        """Grade the episode if it is over, and close it."""
        if status is None:
            return Shown(episode)
        async with self.leases.working(episode.id, self.deadline, "evaluate"):
            reward = await episode.grade()
        with suppress(Unknown):  # its user may have closed it meanwhile
            await self.leases.close(episode.id)
        return Shown(episode, status, reward)

    # -------------------------------------------------------------------------------------------------------------- routes

    async def _health(self, _: Request) -> Response:
        return JSONResponse({"status": "healthy"})

    async def _metadata(self, _: Request) -> Response:
        known = f"{len(self.tasks)} tasks of Stepladder's environment {self.env!r}. reset takes `task`, one of those at /tasks."
        return JSONResponse({"name": self.env or "stepladder", "description": known, "version": _version()})

    async def _schema(self, _: Request) -> Response:
        return JSONResponse(schemas())

    async def _describe(self, _: Request) -> Response:
        return JSONResponse(document(openenv_paths(""), self.token))

    async def _mcp(self, request: Request) -> Response:
        return JSONResponse(no_tools(await read_body(request)))

    async def _state(self, request: Request) -> Response:
        identifier = _named(request.query_params.get("episode_id"))
        return JSONResponse(state(self.leases.get(identifier), identifier))

    async def _reset(self, request: Request) -> Response:
        given = known_fields(await read_body(request), ("task", "seed", "episode_id"), "reset")
        identifier = _named(given["episode_id"]) if "episode_id" in given else secrets.token_hex(16)
        return _answer(request, await self.begin(identifier, given), identifier)

    async def _step(self, request: Request) -> Response:
        given = known_fields(await read_body(request), ("action", "episode_id", "timeout_s", "request_id"), "step")
        identifier, seconds = _named(given.get("episode_id")), given.get("timeout_s", self.deadline)
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not seconds > 0:
            raise BadRequest("timeout_s: must be a number of seconds above 0")
        return _answer(request, await self.act(identifier, given.get("action"), min(seconds, self.deadline)), identifier)


def state(episode: Episode, name: str) -> dict[str, Any]:
    """What OpenEnv calls the state of an episode that its user calls `name`."""
    return {"episode_id": name, "step_count": episode.steps, "task_id": episode.task.id, "seed": episode.seed}


def no_tools(request: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON-RPC answer to any call of a tool: these environments are acted in by steps, and have no tools."""
    known = request.get("id")
    return {
        "jsonrpc": "2.0",
        "id": known if isinstance(known, (str, int)) and not isinstance(known, bool) else None,
        "error": {"code": _NO_METHOD, "message": "this environment has no MCP tools; act in it with step"},
    }


def read_openenv_action(given: Any) -> list[Action]:
    """The actions of an object: the fields of an `Action`, or `pyautogui` lines, which are parsed and never run. A field that is
    null counts as left out, and `metadata`, which every action of OpenEnv has, is not read. Raises BadRequest."""
    if not isinstance(given, dict):
        raise BadRequest("action: must be an object, as /schema says")
    fields = {name: value for name, value in given.items() if value is not None and name != "metadata"}
    if "pyautogui" in fields:
        if len(fields) > 1 or not isinstance(fields["pyautogui"], str):
            raise BadRequest("action: pyautogui must be a string, and stand alone")
        return read_action(fields["pyautogui"])
    if "kind" not in fields:
        raise BadRequest(f"action: needs pyautogui, or kind, one of {', '.join(ACTION_KINDS)}")
    return read_action(fields)


def _status(last: Action, episode: Episode) -> Status | None:
    if last.kind == "fail":
        return "gave_up"
    if episode.over:
        return "done"
    return "max_steps" if episode.steps >= episode.task.max_steps else None


def _named(identifier: Any) -> str:
    if not isinstance(identifier, str) or not 0 < len(identifier) <= LONGEST_NAME:
        raise BadRequest(f"episode_id: must be a string of 1 to {LONGEST_NAME} characters, as the observation of /reset gives it")
    return identifier


def _answer(request: Request, shown: Shown, name: str) -> Response:
    """As JSON, or as two parts where the request accepts multipart/mixed: the JSON without the picture, and the PNG file."""
    ranges = [one.split(";")[0].strip().lower() for one in request.headers.get("accept", "").split(",")]
    if "multipart/mixed" not in ranges:
        return JSONResponse(shown.payload(name, with_picture=True))
    parts = [("application/json", json.dumps(shown.payload(name, with_picture=False)).encode())]
    if shown.picture is not None:
        parts.append(("image/png", shown.picture))
    boundary = secrets.token_hex(16)
    content = b"".join(f"--{boundary}\r\nContent-Type: {kind}\r\n\r\n".encode() + part + b"\r\n" for kind, part in parts)
    return Response(content + f"--{boundary}--\r\n".encode(), media_type=f"multipart/mixed; boundary={boundary}")


def _version() -> str | None:
    """That of Stepladder, where it is installed."""
    try:
        return version("stepladder")
    except PackageNotFoundError:
        return None
