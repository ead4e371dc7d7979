"""The viewer as an ASGI application: the pages, the JSON API, pictures, events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from stepladder.viewer.answers import failure_answer, json_answer
from stepladder.viewer.api import Api, picture_address
from stepladder.viewer.events import event_stream
from stepladder.viewer.guard import Guard, GuardSettings
from stepladder.viewer.listing import BadQuery
from stepladder.viewer.live_screens import is_running, live_screens
from stepladder.viewer.pictures import Thumbnails, read_picture
from stepladder.viewer.play import routes as play_routes
from stepladder.viewer.run_view import Missing
from stepladder.viewer.runs import Runs

#: Where the pages' own files lie.
STATIC = Path(__file__).parent / "static"
#: Addresses of pages; which of them it is, the page itself finds out.
PAGES = ("/", "/run/{rest:path}", "/compare", "/live/{rest:path}", "/play")
#: A picture is named by its content, so it never changes.
_FOR_GOOD = {"Cache-Control": "private, max-age=31536000, immutable"}
#: A report of a run is a page that others have written: it may show itself and nothing more, and is of no site's own.
_REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; sandbox"


@dataclass(frozen=True)
class ViewerSettings:
    """`guard` says who may ask. `tokenizer` is a checkpoint directory whose tokenizer tells the text of tokens where the run's own
    is not there. `play` are the routes of plays (`stepladder.viewer.play`), by default the one that
    says that it is not allowed."""

    guard: GuardSettings = field(default_factory=GuardSettings)
    tokenizer: Path | None = None
    play: Sequence[BaseRoute] = field(default_factory=lambda: play_routes(None))


def make_app(runs: Runs, settings: ViewerSettings | None = None) -> ASGIApp:
    """The application that shows `runs`."""
    settings = settings or ViewerSettings()
    server = _Server(runs, Api(runs, settings.tokenizer))
    routes: list[BaseRoute] = [
        *settings.play,
        Route("/api/live/{rest:path}", server.live),
        Route("/api/images/{rest:path}", server.blocking(server.picture)),
        Route("/api/reports/{rest:path}", server.blocking(server.report)),
        Route("/api/{rest:path}", server.blocking(server.answer)),
        Mount("/static", _Static(directory=STATIC)),
        *(Route(page, server.page) for page in PAGES),
        Route("/{rest:path}", server.nothing),
    ]
    return Guard(Starlette(routes=routes), settings.guard)


class _Server:
    def __init__(self, runs: Runs, api: Api) -> None:
        self._runs, self._api = runs, api
        self._thumbnails = Thumbnails()

    def blocking(self, work: Callable[[Request], Response]) -> Callable[[Request], Any]:
        """An endpoint whose work, which reads files, is done in another thread; what goes wrong is an answer."""

        async def endpoint(request: Request) -> Response:
            try:
                return await run_sync(work, request)
            except Exception as error:
                return failure_answer(error)

        return endpoint

    def answer(self, request: Request) -> Response:
        return json_answer(self._api.answer(segments(request)[1:], request.query_params))

    def picture(self, request: Request) -> Response:
        match segments(request)[2:]:
            case [identifier, digest]:
                path = self._runs.get(identifier).picture(digest)
            case _:
                raise Missing("pictures lie at /api/images/RUN/SHA256")
        width = request.query_params.get("width")
        if width is None:
            data, kind = read_picture(path)
        elif width.isascii() and width.isdigit() and len(width) < 6:
            data, kind = self._thumbnails.get(digest, path, int(width))
        else:
            raise BadQuery(f"width is {width[:40]!r}; it must be a number of pixels")
        return Response(data, headers=_FOR_GOOD, media_type=kind)

    def report(self, request: Request) -> Response:
        match segments(request)[2:]:
            case [identifier]:
                part = ""
            case [identifier, part]:
                pass
            case _:
                raise Missing("reports lie at /api/reports/RUN/PART")
        run = self._runs.get(identifier)
        run.refresh()
        path = run.reports().get(part)
        if path is None:
            raise Missing(f"run {identifier!r} has no report of its part {part!r}")
        headers = {"Content-Security-Policy": _REPORT_POLICY, "Cache-Control": "no-store"}
        return Response(path.read_bytes(), headers=headers, media_type="text/html; charset=utf-8")

    async def live(self, request: Request) -> Response:
        try:
            match segments(request)[2:]:
                case [identifier]:
                    run = await run_sync(self._runs.get, identifier)
                    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
                    return StreamingResponse(event_stream(run), media_type="text/event-stream", headers=headers)
                case [identifier, "screens"]:
                    return await run_sync(self._screens, identifier)
            raise Missing("there is no such address")
        except Exception as error:
            return failure_answer(error)

    def _screens(self, identifier: str) -> Response:
        run = self._runs.get(identifier)
        run.refresh()
        screens = live_screens(run, lambda digest: picture_address(run.id, digest))
        running = bool(screens) or is_running(run)
        return json_answer({"total": len(screens), "screens": screens, "running": running, "rollouts": run.rollouts()})

    async def page(self, _: Request) -> Response:
        data = await run_sync((STATIC / "index.html").read_bytes)
        return Response(data, headers={"Cache-Control": "no-cache"}, media_type="text/html; charset=utf-8")

    async def nothing(self, _: Request) -> Response:
        return PlainTextResponse("there is no such page\n", 404)


class _Static(StaticFiles):
    """The pages' own files, asked for anew each time: a later version of Stepladder has others of the same names."""

    def file_response(self, *arguments: Any, **options: Any) -> Response:
        response = super().file_response(*arguments, **options)
        response.headers["Cache-Control"] = "no-cache"
        return response


def segments(request: Request) -> list[str]:
    """The parts of a request's path, each decoded by itself: a slash in the name of a store or of a trajectory is a part of it."""
    raw: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    return [unquote(part, errors="replace") for part in raw.partition(b"?")[0].decode("latin-1").strip("/").split("/")]
