"""An HTTP server that lends environments, with the routes of OSWorld's bridges: /reset, /step, /render, /evaluate, /close, /health.

What those do not have: many episodes at once, a token, leases, an environment's failure told as a failure and never as a reward of
0, /render that looks at the screen again. `schema.py` describes every route; the server gives it at /openapi.json. Under /openenv
are the routes of OpenEnv, for episodes under the same leases (`openenv.py`).
"""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute

from stepladder.codec import to_json
from stepladder.envs.acting import waiting_time
from stepladder.envs.bridge.answers import Refused, carries, fault_answer, fault_of, of_a_page, read_body
from stepladder.envs.bridge.leases import Episode, Leases, OpenEnvironment, granted
from stepladder.envs.bridge.openenv import PREFIX, OpenEnv
from stepladder.envs.bridge.openenv_schema import openenv_paths
from stepladder.envs.bridge.openenv_socket import OpenEnvSocket
from stepladder.envs.bridge.schema import openapi
from stepladder.envs.bridge.wire import BadRequest, observation_payload, read_action, read_seed, read_task
from stepladder.pressure import Pressure
from stepladder.types import ImageRef, Task

MAX_PAUSE = 10.0


@dataclass(frozen=True)
class ServerSettings:
    """`capacity` episodes at once; a lease of `lease` seconds, renewed by every call; `deadline` seconds for one call of an
    environment (more where it grants itself more). With `token` every call must carry it (`Authorization: Bearer ...`); without
    one calls are taken from programs of this machine alone. `pressure` says when the machine is too full for a further episode."""

    token: str | None = None
    capacity: int = 8
    lease: float = 600.0
    deadline: float = 180.0
    pressure: Pressure = field(default_factory=Pressure)

    def __post_init__(self) -> None:
        if self.capacity < 1 or self.lease <= 0 or self.deadline <= 0:
            raise ValueError(f"capacity {self.capacity}, lease {self.lease} and deadline {self.deadline} must be above 0")
        if self.token == "":
            raise ValueError("the token is empty; leave it out to have none")


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
            *(route(PREFIX + path, method, work) for path, method, work in server.openenv.routes()),
            WebSocketRoute(PREFIX + "/ws", OpenEnvSocket(server.openenv, settings.token).play),
        ],
        lifespan=lifespan,
    )


class _Server:
    def __init__(self, open_environment: OpenEnvironment, tasks: Sequence[Task], settings: ServerSettings) -> None:
        self.settings = settings
        self.tasks: Mapping[str, Task] = {task.id: task for task in tasks}
        self.kind = tasks[0].env if tasks else ""
        self.leases = Leases(open_environment, settings.capacity, settings.lease, settings.pressure)
        self.openenv = OpenEnv(self.leases, self.tasks, self.kind, settings.deadline, settings.token is not None)

    def guarded(self, work: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        """Who asks is looked at before anything else; what goes wrong is an answer."""

        async def answer(request: Request) -> Response:
            try:
                self.authorise(request)
                return await work(request)
            except Exception as error:
                return fault_answer(fault_of(error, self.settings.deadline))

        return answer

    def authorise(self, request: Request) -> None:
        if self.settings.token is None:
            if of_a_page(request):
                raise Refused(403, "without a token this server is for programs of this machine, at 127.0.0.1 or such", "forbidden")
            return
        if not carries(self.settings.token, request.headers.get("authorization", "")):
            raise Refused(401, "this server wants its token: Authorization: Bearer <token>", "unauthorised")

    # -------------------------------------------------------------------------------------------------------------- routes

    async def health(self, _: Request) -> Response:
        leases = self.leases
        return JSONResponse(
            {"status": "ok", "episodes": leases.running, "capacity": leases.capacity, "env": self.kind, "counts": leases.counts}
        )

    async def list_tasks(self, _: Request) -> Response:
        return JSONResponse({"tasks": [to_json(task) for task in self.tasks.values()]})

    async def describe(self, _: Request) -> Response:
        return JSONResponse(openapi(self.settings.token is not None, openenv_paths(PREFIX)))

    async def screenshot(self, request: Request) -> Response:
        """A picture of an episode by its SHA-256: binary, and the same for ever."""
        episode = self.leases.get(request.path_params["episode_id"])
        try:
            content = episode.images.get(ImageRef(request.path_params["sha256"], 0, 0))
        except KeyError as error:
            raise Refused(404, "there is no such picture in this episode", "unknown_picture") from error
        return Response(content, media_type="image/png", headers={"Cache-Control": "max-age=31536000, immutable"})

    async def reset(self, request: Request) -> Response:
        body = await read_body(request)
        given = body.get("task", body.get("task_config"))
        if given is None:
            raise BadRequest("task: is missing")
        task, seed = read_task(given, self.tasks, self.kind), read_seed(body.get("seed", 0))
        identifier = body.get("episode_id", secrets.token_hex(16))
        if not isinstance(identifier, str) or not re.fullmatch("[0-9a-f]{32}", identifier):
            raise BadRequest("episode_id: must be 32 hexadecimal digits, or left out")
        episode = await self.leases.begin(identifier, task, seed, self.settings.deadline)
        deadlines = {what: granted(episode.environment, what, self.settings.deadline) for what in ("step", "evaluate")}
        answer = {"episode_id": episode.id, "lease": self.settings.lease, "deadlines": deadlines, "task": to_json(episode.task)}
        return JSONResponse({**answer, **seen(episode, body)})

    async def step(self, request: Request) -> Response:
        body = await read_body(request)
        identifier = _identifier(body)
        self.leases.get(identifier)
        if "action" not in body:
            raise BadRequest("action: is missing")
        actions, pause = read_action(body["action"]), body.get("pause", 0)
        if isinstance(pause, bool) or not isinstance(pause, (int, float)) or not 0 <= pause <= MAX_PAUSE:
            raise BadRequest(f"pause: must be a number of seconds from 0 to {MAX_PAUSE:g}")
        deadline = self.settings.deadline + pause + sum(map(waiting_time, actions))
        async with self.leases.working(identifier, deadline, "step") as episode:
            last = await episode.act(actions, pause)
        ended = {last.kind: True} if last.kind in ("done", "fail") else {}
        return JSONResponse({**seen(episode, body), "reward": 0, "done": episode.over, "step": episode.steps, "info": ended})

    async def render(self, request: Request) -> Response:
        """What is on the screen now, looked at again."""
        body = await read_body(request)
        async with self.leases.working(_identifier(body), self.settings.deadline, "step") as episode:
            await episode.look()
        return JSONResponse(seen(episode, body))

    async def evaluate(self, request: Request) -> Response:
        identifier = _identifier(await read_body(request))
        async with self.leases.working(identifier, self.settings.deadline, "evaluate") as episode:
            reward = await episode.grade()
        return JSONResponse({"reward": reward})

    async def heartbeat(self, request: Request) -> Response:
        self.leases.get(_identifier(await read_body(request)))
        return JSONResponse({"status": "ok", "lease": self.settings.lease})

    async def close(self, request: Request) -> Response:
        identifier = _identifier(await read_body(request))
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
