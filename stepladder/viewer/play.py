"""Play from a web page: begin a play, follow it, say what is to be done, end it. Off unless the server was started for it.

    GET  /api/play                              whether it is allowed; tasks, starts, players, plays that go on
    POST /api/play/sessions                     {task, seed, player, instruction?, review?} -> {id}
    GET  /api/play/sessions/ID/events           server-sent events: the whole state after every change
    POST /api/play/sessions/ID                  {command, ...}: see `COMMANDS`
    GET  /api/play/sessions/ID/images/SHA256    a picture that was shown in this play

Who may ask at all is the server's business, as for every other path. Here in addition what changes anything is taken only as JSON,
which pages of other sites cannot send without being asked first, and only with an Origin that is this server itself.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from stepladder.envs import environment_class
from stepladder.types import Action, ImageRef, Task
from stepladder.viewer import play_orders as orders
from stepladder.viewer.answers import error_answer, json_answer
from stepladder.viewer.json_answers import encode
from stepladder.viewer.play_actor import NotNow
from stepladder.viewer.play_orders import BadOrder
from stepladder.viewer.play_session import Play, PlaySettings
from stepladder.viewer.play_state import state_of

PATH = "/api/play"
HOW = "Playing starts environments and models on this machine, so it is off. Start the server for it with: stepladder play"
#: The largest order, in bytes; plays that have ended and can still be looked at; seconds between signs of life of a silent stream.
LARGEST_ORDER, MOST_ENDED, HEARTBEAT = 1 << 20, 20, 15.0


class _Refused(Exception):
    """An answer that is an error; `kind` is a word for programs."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status, self.kind = status, kind


def routes(settings: PlaySettings | None) -> list[BaseRoute]:
    """The routes of play; with None the one that says that it is not allowed."""
    if settings is None:
        return [Route(PATH, _refuse, methods=["GET"])]
    plays = Plays(settings)

    def route(path: str, method: str, work: Callable[[Request], Awaitable[Response]]) -> Route:
        return Route(PATH + path, _answering(work), methods=[method])

    return [
        route("", "GET", plays.overview),
        route("/sessions", "POST", plays.begin),
        route("/sessions/{id}", "GET", plays.state),
        route("/sessions/{id}", "POST", plays.order),
        route("/sessions/{id}/events", "GET", plays.events),
        route("/sessions/{id}/images/{sha256}", "GET", plays.image),
    ]


async def _refuse(_: Request) -> Response:
    return json_answer({"allowed": False, "why": HOW})


class Plays:
    """The plays of one server."""

    def __init__(self, settings: PlaySettings) -> None:
        self.settings = settings
        self._tasks: Mapping[str, Task] = {task.id: task for task in (*settings.tasks, *settings.starts)}
        self._plays: dict[str, Play] = {}

    async def overview(self, _: Request) -> Response:
        settings = self.settings
        starts = {task.id for task in settings.starts}
        listed = [
            {
                "id": task.id,
                "env": task.env,
                "instruction": task.instruction,
                "max_steps": task.max_steps,
                "tags": list(task.tags),
                "needs_instruction": task.id in starts,
            }
            for task in self._tasks.values()
        ]
        players = [{"name": player.name, "demonstrates": player.demonstrates} for player in settings.players.values()]
        going_on = [
            {"id": play.id, "task": play.task.id, "seed": play.seed, "player": play.player.name, "doing": play.actor.doing}
            for play in self._plays.values()
            if not play.over
        ]
        answer = {"allowed": True, "tasks": listed, "total": len(listed), "players": players, "sessions": going_on}
        return json_answer({**answer, "limit": settings.sessions, "run": settings.run, "store": settings.store_name})

    async def begin(self, request: Request) -> Response:
        order = await _order(request)
        orders.known_fields(order, ("task", "seed", "player", "instruction", "review"))
        name = orders.text_of(order, "player")
        task, player = self._tasks.get(orders.text_of(order, "task")), self.settings.players.get(name)
        if task is None:
            raise BadOrder("task: there is none of this name; GET /api/play lists them")
        if player is None:
            raise BadOrder(f"player: there is no {name[:64]!r}; there are {', '.join(self.settings.players)}")
        seed = orders.whole_number(order, "seed")
        instruction = orders.text_of(order, "instruction", orders.LONGEST_INSTRUCTION).strip()
        if not instruction and task in self.settings.starts:
            raise BadOrder(f"instruction: {task.id} has none of its own; say what is to be done there")
        if player.demonstrates and (instruction or not hasattr(environment_class(task.env), "solve")):
            what = "an instruction of yours" if instruction else f"the tasks of {task.env!r}"
            raise BadOrder(f"player: {player.name} is the environment's own solution, and there is none of {what}")
        if sum(not play.over for play in self._plays.values()) >= self.settings.sessions:
            raise _Refused(
                409, "full", f"{self.settings.sessions} plays go on, and no more are allowed at a time; end one of them first"
            )
        play = Play(secrets.token_hex(8), self.settings, task, seed, player, instruction)
        play.actor.look_at_proposals("review" in order and orders.yes_or_no(order, "review"))
        self._plays[play.id] = play
        for old in [one for one in self._plays.values() if one.over][:-MOST_ENDED]:
            del self._plays[old.id]
        play.begin()
        return json_answer({"id": play.id}, 201)

    async def state(self, request: Request) -> Response:
        return json_answer(state_of(self._play(request)))

    async def events(self, request: Request) -> Response:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(_stream(self._play(request)), media_type="text/event-stream", headers=headers)

    async def image(self, request: Request) -> Response:
        play, digest = self._play(request), request.path_params["sha256"]
        if not re.fullmatch("[0-9a-f]{64}", digest) or digest not in play.shown:
            raise _Refused(404, "missing", "there is no such picture in this play")
        try:
            content = self.settings.images.get(ImageRef(digest, 0, 0))
        except (KeyError, OSError) as error:
            raise _Refused(404, "missing", "this picture is gone") from error
        headers = {"Cache-Control": "private, max-age=31536000, immutable"}
        return Response(content, media_type="image/png", headers=headers)

    async def order(self, request: Request) -> Response:
        play, order = self._play(request), await _order(request)
        command = COMMANDS.get(orders.text_of(order, "command", 64))
        if command is None:
            raise BadOrder(f"command: must be one of {', '.join(COMMANDS)}")
        fields, work = command
        orders.known_fields(order, fields)
        done = work(play, order)
        if done is not None:
            await done
        return json_answer({"ok": True})

    def _play(self, request: Request) -> Play:
        play = self._plays.get(request.path_params["id"])
        if play is None:
            raise _Refused(404, "missing", "there is no such play; it may have ended long ago")
        return play


# -------------------------------------------------------------------------------------------------------------- commands


def _act(play: Play, order: Mapping[str, Any]) -> None:
    play.act(orders.read_deed(order, _screen(play)))


def _correct(play: Play, order: Mapping[str, Any]) -> None:
    play.actor.correct(orders.read_deed(order, _screen(play)))


def _input(play: Play, order: Mapping[str, Any]) -> None:
    play.feed(orders.read_events(order, _screen(play)))


def _end(play: Play, order: Mapping[str, Any]) -> None:
    kind = order.get("how")
    if kind not in ("done", "fail"):
        raise BadOrder("how: must be done or fail")
    play.finish(Action(kind, text=orders.text_of(order, "text")))


def _mark(play: Play, order: Mapping[str, Any]) -> None:
    learned = orders.yes_or_no(order, "learned")
    play.actor.mark(orders.whole_number(order, "step"), "reply" if learned else "nothing")


def _screen(play: Play) -> ImageRef | None:
    return None if play.actor.observation is None else play.actor.observation.screenshot


#: What can be said to a play: the fields of the order, and what is done.
COMMANDS: Mapping[str, tuple[tuple[str, ...], Callable[[Play, Mapping[str, Any]], Awaitable[None] | None]]] = {
    "pause": ((), lambda play, _: play.actor.pause()),
    "run": ((), lambda play, _: play.actor.run()),
    "step": ((), lambda play, _: play.actor.step()),
    "review": (("on",), lambda play, order: play.actor.look_at_proposals(orders.yes_or_no(order, "on"))),
    "carry_out": ((), lambda play, _: play.actor.carry_out()),
    "correct": (("thought", "actions"), _correct),
    "take_over": ((), lambda play, _: play.actor.take_over()),
    "hand_back": ((), lambda play, _: play.hand_back()),
    "act": (("thought", "actions"), _act),
    "input": (("events",), _input),
    "think": (("text",), lambda play, order: play.think(orders.text_of(order, "text"))),
    "mark": (("step", "learned"), _mark),
    "end": (("how", "text"), _end),
    "judge": (("success",), lambda play, order: play.judge(orders.yes_or_no(order, "success"))),
    "discard": ((), lambda play, _: play.abandon("it was discarded")),
}


# -------------------------------------------------------------------------------------------------------------- answers


def _answering(work: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """What goes wrong is an answer."""

    async def answer(request: Request) -> Response:
        try:
            return await work(request)
        except BadOrder as error:
            return error_answer(400, "bad_order", str(error))
        except NotNow as error:
            return error_answer(409, "not_now", str(error))
        except _Refused as error:
            return error_answer(error.status, error.kind, str(error))
        except ClientDisconnect:
            return error_answer(400, "bad_order", "the client went away before it had said everything")

    return answer


async def _order(request: Request) -> dict[str, Any]:
    """The JSON object of a request that may change something. Raises BadOrder, _Refused."""
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host", ""):
        raise _Refused(403, "other_site", "orders are taken from the pages of this server alone")
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise _Refused(415, "bad_order", "an order is sent as application/json")
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > LARGEST_ORDER:
            raise _Refused(413, "too_large", f"an order may have {LARGEST_ORDER} bytes")
    try:
        order = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BadOrder(f"this is no JSON: {error}") from error
    if not isinstance(order, dict):
        raise BadOrder("an order must be a JSON object")
    return order


async def _stream(play: Play) -> AsyncIterator[bytes]:
    states = play.states()
    waiting: asyncio.Task[dict[str, Any]] | None = None
    try:
        while True:
            if waiting is None:
                waiting = asyncio.create_task(_next(states))
            done, _ = await asyncio.wait([waiting], timeout=HEARTBEAT)
            if not done:
                yield b": still here\n\n"
                continue
            try:
                state = waiting.result()
            except StopAsyncIteration:
                return
            waiting = None
            yield b"data: " + encode(state) + b"\n\n"
    finally:
        if waiting is not None:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        await states.aclose()


async def _next(states: AsyncGenerator[dict[str, Any], None]) -> dict[str, Any]:
    return await anext(states)
