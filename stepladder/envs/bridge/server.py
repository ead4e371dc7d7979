"""An HTTP server that lends environments, with the routes of OSWorld's bridges: /reset, /step, /render, /evaluate, /close, /health.

What those do not have: many episodes at once, a token, leases, an environment's failure told as a failure and never as a reward of
0, /render that looks at the screen again. `schema.py` describes every route; the server gives it at /openapi.json.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from stepladder.codec import to_json
from stepladder.envs.bridge.leases import Episode, Full, Leases, OpenEnvironment, Taken, Unknown
from stepladder.envs.bridge.schema import openapi
from stepladder.envs.bridge.wire import BadRequest, observation_payload, read_action, read_task
from stepladder.interfaces import EnvironmentFailure, EnvironmentTimeout
from stepladder.types import Action, ImageRef, Task

#: The largest request that is read, in bytes.
LARGEST_REQUEST = 16 << 20
MAX_PAUSE = 10.0
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServerSettings:
    """`capacity` episodes at once; a lease of `lease` seconds, renewed by every call; `deadline` seconds for one call of an
    environment. With `token` every call must carry it (`Authorization: Bearer ...`)."""

    token: str | None = None
    capacity: int = 8
    lease: float = 600.0
    deadline: float = 180.0

    def __post_init__(self) -> None:
        if self.capacity < 1 or self.lease <= 0 or self.deadline <= 0:
            raise ValueError(f"capacity {self.capacity}, lease {self.lease} and deadline {self.deadline} must be above 0")
        if self.token == "":
            raise ValueError("the token is empty; leave it out to have none")


class _Failure(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, message: str, kind: str) -> None:
        super().__init__(message)
        self.status, self.kind = status, kind


def make_app(open_environment: OpenEnvironment, tasks: Sequence[Task], settings: ServerSettings) -> Starlette:
    """The application. `open_environment(images)` opens one more environment whose pictures go to `images`; `tasks` are those that
    can be asked for by their id."""
    server = _Server(open_environment, tasks, settings)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        server.leases.start()
        try:
            yield
        finally:
            await server.leases.stop()

    def route(path: str, method: str, work: Callable[[Request], Awaitable[Response]]) -> Route:
        return Route(path, server.guarded(work), methods=[method])

    return Starlette(
        routes=[
            route("/health", "GET", server.health),
            route("/tasks", "GET", server.list_tasks),
            route("/openapi.json", "GET", server.describe),
            route("/screenshot/{episode_id}/{sha256}", "GET", server.screenshot),
            route("/reset", "POST", server.reset),
            route("/step", "POST", server.step),
            route("/render", "POST", server.render),
            route("/evaluate", "POST", server.evaluate),
            route("/heartbeat", "POST", server.heartbeat),
            route("/close", "POST", server.close),
        ],
        lifespan=lifespan,
    )


class _Server:
    def __init__(self, open_environment: OpenEnvironment, tasks: Sequence[Task], settings: ServerSettings) -> None:
        self.settings = settings
        self.tasks: Mapping[str, Task] = {task.id: task for task in tasks}
        self.kind = tasks[0].env if tasks else ""
        self.leases = Leases(open_environment, settings.capacity, settings.lease)

    def guarded(self, work: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        """The token is looked at before anything else; what goes wrong is an answer."""

        async def answer(request: Request) -> Response:
            try:
                self.authorise(request)
                return await work(request)
            except _Failure as failure:
                return _error(failure.status, str(failure), failure.kind)
            except (BadRequest, Taken) as error:
                return _error(400, str(error), "bad_request")
            except Unknown as error:
                return _error(404, str(error), "unknown_episode")
            except Full as error:
                return _error(503, str(error), "full", {"Retry-After": "5"})
            except (EnvironmentTimeout, TimeoutError) as error:
                return _error(504, str(error) or f"it took longer than {self.settings.deadline:g} s", "timeout")
            except EnvironmentFailure as error:
                return _error(502, str(error), "env_error")
            except Exception as error:  # a mistake of an environment is one episode's, never the server's
                _logger.exception("%s failed", request.url.path)
                return _error(502, f"{type(error).__name__}: {error}", "env_error")

        return answer

    def authorise(self, request: Request) -> None:
        if self.settings.token is None:
            return
        given = request.headers.get("authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {self.settings.token}".encode()):
            raise _Failure(401, "this server wants its token: Authorization: Bearer <token>", "unauthorised")

    # -------------------------------------------------------------------------------------------------------------- routes

    async def health(self, _: Request) -> Response:
        leases = self.leases
        return JSONResponse(
            {"status": "ok", "episodes": leases.running, "capacity": leases.capacity, "env": self.kind, "counts": leases.counts}
        )

    async def list_tasks(self, _: Request) -> Response:
        return JSONResponse({"tasks": [to_json(task) for task in self.tasks.values()]})

    async def describe(self, _: Request) -> Response:
        return JSONResponse(openapi(self.settings.token is not None))

    async def screenshot(self, request: Request) -> Response:
        """A picture of an episode by its SHA-256: binary, and the same for ever."""
        episode = self.leases.get(request.path_params["episode_id"])
        try:
            content = episode.images.get(ImageRef(request.path_params["sha256"], 0, 0))
        except KeyError as error:
            raise _Failure(404, "there is no such picture in this episode", "unknown_picture") from error
        return Response(content, media_type="image/png", headers={"Cache-Control": "max-age=31536000, immutable"})

    async def reset(self, request: Request) -> Response:
        body = await _body(request)
        given = body.get("task", body.get("task_config"))
        if given is None:
            raise BadRequest("task: is missing")
        task, seed = read_task(given, self.tasks), body.get("seed", 0)
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
            raise BadRequest("seed: must be a whole number from 0 on")
        if self.kind and task.env != self.kind:
            raise BadRequest(f"task: is one of environment {task.env!r}; this server has {self.kind!r}")
        identifier = body.get("episode_id", secrets.token_hex(16))
        if not isinstance(identifier, str) or not re.fullmatch("[0-9a-f]{32}", identifier):
            raise BadRequest("episode_id: must be 32 hexadecimal digits, or left out")
        episode = await self.leases.begin(identifier, task, seed, self.settings.deadline)
        answer = {"episode_id": episode.id, "lease": self.settings.lease, "task": to_json(episode.task)}
        return JSONResponse({**answer, **seen(episode, body)})

    async def step(self, request: Request) -> Response:
        body = await _body(request)
        identifier = _identifier(body)
        self.leases.get(identifier)
        if "action" not in body:
            raise BadRequest("action: is missing")
        actions, pause = read_action(body["action"]), body.get("pause", 0)
        if isinstance(pause, bool) or not isinstance(pause, (int, float)) or not 0 <= pause <= MAX_PAUSE:
            raise BadRequest(f"pause: must be a number of seconds from 0 to {MAX_PAUSE:g}")
        async with self.leases.working(identifier, self.settings.deadline) as episode:
            for action in actions:
                episode.shown = await episode.environment.step(action)
                if episode.shown.done:
                    break
            if pause and not episode.shown.done:
                await asyncio.sleep(pause)
                episode.shown = await episode.environment.step(Action("wait"))
            episode.steps += 1
        ended = {"done": True} if actions[-1].kind == "done" else {"fail": True} if actions[-1].kind == "fail" else {}
        done = bool(ended) or episode.shown.done
        return JSONResponse({**seen(episode, body), "reward": 0, "done": done, "step": episode.steps, "info": ended})

    async def render(self, request: Request) -> Response:
        """What is on the screen now, looked at again."""
        body = await _body(request)
        async with self.leases.working(_identifier(body), self.settings.deadline) as episode:
            episode.shown = await episode.environment.step(Action("wait"))
        return JSONResponse(seen(episode, body))

    async def evaluate(self, request: Request) -> Response:
        async with self.leases.working(_identifier(await _body(request)), self.settings.deadline) as episode:
            reward = float(await episode.environment.evaluate())
        return JSONResponse({"reward": reward})

    async def heartbeat(self, request: Request) -> Response:
        self.leases.get(_identifier(await _body(request)))
        return JSONResponse({"status": "ok", "lease": self.settings.lease})

    async def close(self, request: Request) -> Response:
        identifier = _identifier(await _body(request))
        await self.leases.close(identifier)
        return JSONResponse({"status": "closed", "episode_id": identifier})


def seen(episode: Episode, body: Mapping[str, Any]) -> dict[str, Any]:
    """What the episode shows, as the request wants it."""
    return observation_payload(episode.shown, episode.images, episode.task.instruction, body.get("screenshot") != "reference")


def _identifier(body: Mapping[str, Any]) -> str:
    identifier = body.get("episode_id")
    if not isinstance(identifier, str):
        raise BadRequest("episode_id: must be a string, as /reset gave it")
    return identifier


async def _body(request: Request) -> dict[str, Any]:
    """The object that was sent. Raises BadRequest, _Failure."""
    length = request.headers.get("content-length", "0")
    if not length.isdigit() or int(length) > LARGEST_REQUEST:
        raise _Failure(413, f"a request may have {LARGEST_REQUEST} bytes", "too_large")
    content = b""
    async for chunk in request.stream():
        content += chunk
        if len(content) > LARGEST_REQUEST:
            raise _Failure(413, f"a request may have {LARGEST_REQUEST} bytes", "too_large")
    try:
        body = json.loads(content or b"{}")
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is no JSON: {error}") from error
    if not isinstance(body, dict):
        raise BadRequest("the body must be a JSON object")
    return body


def _error(status: int, message: str, kind: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"error": message, "kind": kind}, status, headers)
