"""The routes of the server in OSWorld's virtual machines, for a pocket desktop: OSWorld's own controllers can drive it.

Payloads, answers and status codes are OSWorld's. What cannot be done on a pocket desktop is answered with 501 and the reason, a
desktop that has ended with 500. Beyond OSWorld's there are `POST /revert`, a fresh desktop, and a token.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from stepladder.addresses import is_loopback
from stepladder.envs.osworld.lacking import Lacks
from stepladder.envs.osworld.machine_routes import NotHere, Refusal, Routes
from stepladder.envs.osworld.pocket import MISSING
from stepladder.envs.osworld.remote import EXACT, TYPING
from stepladder.envs.osworld.served import ServedDesktop
from stepladder.interfaces import EnvironmentFailure

#: The largest request that is read, in bytes.
LARGEST_REQUEST = 80 << 20
Work = Callable[[Request], Awaitable[Response]]
_logger = logging.getLogger(__name__)


def make_app(served: ServedDesktop, token: str | None) -> Starlette:
    """The application for a desktop that is up, and is closed by who started it. With `token` every call must carry it
    (`Authorization: Bearer ...`); without one it is for this machine alone."""
    routes = Routes(served)
    table: list[tuple[str, str, Work]] = [
        ("GET", "/screenshot", routes.screenshot),
        ("GET", "/terminal", routes.terminal),
        ("GET", "/accessibility", routes.accessibility),
        ("GET", "/platform", routes.platform),
        ("GET", "/cursor_position", routes.cursor_position),
        ("POST", "/execute", routes.execute),
        ("POST", "/setup/execute", routes.execute),
        ("POST", "/execute_with_verification", routes.execute_with_verification),
        ("POST", "/setup/execute_with_verification", routes.execute_with_verification),
        ("POST", "/run_python", routes.run_python),
        ("POST", "/run_bash_script", routes.run_bash_script),
        ("POST", "/screen_size", routes.screen_size),
        ("POST", "/window_size", routes.window_size),
        ("POST", "/desktop_path", routes.desktop_path),
        ("POST", "/wallpaper", routes.wallpaper),
        ("POST", "/list_directory", routes.list_directory),
        ("POST", "/file", routes.file),
        ("POST", "/start_recording", routes.start_recording),
        ("POST", "/end_recording", routes.end_recording),
        ("POST", "/setup/launch", routes.launch),
        ("POST", "/setup/upload", routes.upload),
        ("POST", "/setup/change_wallpaper", routes.wallpaper),
        ("POST", "/setup/download_file", routes.download_file),
        ("POST", "/setup/open_file", routes.open_file),
        ("POST", "/setup/activate_window", routes.activate_window),
        ("POST", "/setup/close_window", routes.close_window),
        ("POST", "/revert", routes.revert),
    ]
    return Starlette(routes=[Route(path, _guarded(work, token), methods=[method]) for method, path, work in table])


def _guarded(work: Work, token: str | None) -> Work:
    """The token is looked at before anything else; what goes wrong is an answer."""

    async def answer(request: Request) -> Response:
        response = await _answered(work, token, request)
        response.headers[TYPING] = EXACT
        return response

    return answer


async def _answered(work: Work, token: str | None, request: Request) -> Response:
    given = request.headers.get("authorization", "")
    if token is not None and not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
        return _error(401, "this server wants its token: Authorization: Bearer <token>")
    if token is None and not is_loopback(request.url.hostname or ""):
        # A page in a browser of this machine may have a name of its own that leads here.
        return _error(403, "without a token this server is for this machine alone, at an address such as 127.0.0.1")
    if token is None and "origin" in request.headers:
        # A page may send forms and files to any address, and only cannot read the answers. Programs send no origin.
        return _error(403, "without a token this server takes no requests of web pages (header Origin)")
    if "transfer-encoding" in request.headers:
        return _error(411, "a request must say its length beforehand (Content-Length)")
    length = request.headers.get("content-length", "0")
    if not length.isdigit() or int(length) > LARGEST_REQUEST:
        return _error(413, f"a request may have {LARGEST_REQUEST} bytes")
    try:
        return await work(request)
    except Refusal as error:
        return _error(error.status, str(error))
    except HTTPException as error:  # a form that cannot be read
        return _error(error.status_code, error.detail)
    except NotHere as error:
        return _error(501, str(error))
    except Lacks as error:  # a program that is not there is an error of the command
        return _error(500 if error.what.startswith(MISSING) else 501, str(error))
    except EnvironmentFailure as error:
        return _error(500, str(error))
    except Exception as error:  # a mistake of this program is one answer's, never the server's
        _logger.exception("%s failed", request.url.path)
        return _error(500, f"{type(error).__name__}: {error}")


def _error(status: int, message: str) -> Response:
    return JSONResponse({"status": "error", "message": message, "error": message}, status)
