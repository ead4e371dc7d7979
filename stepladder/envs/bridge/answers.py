"""What a request holds, who may send it, and what goes wrong as an answer. All faces of the bridge share these."""

from __future__ import annotations

import base64
import binascii
import difflib
import hmac
import json
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import JSONResponse, Response

from stepladder.addresses import is_loopback
from stepladder.envs.bridge.leases import Full, Over, Taken, Unknown
from stepladder.envs.bridge.wire import BadRequest
from stepladder.interfaces import EnvironmentFailure, EnvironmentTimeout

#: The largest request that is read, in bytes.
LARGEST_REQUEST = 16 << 20
#: Seconds after which a client that found the server full may ask again.
RETRY_AFTER = 5
_logger = logging.getLogger(__name__)


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, message: str, kind: str) -> None:
        super().__init__(message)
        self.status, self.kind = status, kind


@dataclass(frozen=True)
class Fault:
    """What went wrong: an HTTP status, a kind of those in the OpenAPI document, and words for people."""

    status: int
    kind: str
    message: str


def fault_of(error: Exception, deadline: float) -> Fault:
    """What an exception means to a client; one that nobody foresaw is a mistake of this program, and goes into the log. `deadline`
    is what a TimeoutError has exceeded, in seconds."""
    if isinstance(error, Refused):
        return Fault(error.status, error.kind, str(error))
    if isinstance(error, ClientDisconnect):
        return Fault(400, "bad_request", "the client went away before it had said everything")
    if isinstance(error, (BadRequest, Taken, Over)):
        return Fault(400, "bad_request", str(error))
    if isinstance(error, Unknown):
        return Fault(404, "unknown_episode", str(error))
    if isinstance(error, Full):
        return Fault(503, "full", str(error))
    if isinstance(error, (EnvironmentTimeout, TimeoutError)):
        return Fault(504, "timeout", str(error) or f"it took longer than {deadline:g} s")
    if isinstance(error, EnvironmentFailure):
        return Fault(502, "env_error", str(error))
    _logger.error("the server failed in a way that it should not", exc_info=error)
    return Fault(500, "server_error", f"a mistake of the server: {type(error).__name__}: {error}")


def fault_answer(fault: Fault) -> Response:
    headers = {"Retry-After": str(RETRY_AFTER)} if fault.kind == "full" else {}
    if fault.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse({"error": fault.message, "kind": fault.kind}, fault.status, headers)


def of_a_page(connection: HTTPConnection) -> bool:
    """Whether a request or WebSocket may come from a page in a browser. Browsers let the pages of any site send to any address,
    also to this machine's own: with the page's site as Origin, or under a name of the site's that leads to this machine."""
    return "origin" in connection.headers or not is_loopback(connection.url.hostname or "")


def carries(token: str, header: str) -> bool:
    """Whether an Authorization header holds the token: as a bearer, or as the password of a user, which is what clients send that
    are given an address such as http://user:TOKEN@host."""
    scheme, _, rest = header.partition(" ")
    given = header.encode()
    if scheme.lower() == "basic":
        try:
            given = b"Bearer " + base64.b64decode(rest.strip(), validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return False
    return hmac.compare_digest(given, f"Bearer {token}".encode())


async def read_body(request: Request, largest: int = LARGEST_REQUEST) -> dict[str, Any]:
    """The JSON object that was sent, of at most `largest` bytes. Raises BadRequest, Refused."""
    length = request.headers.get("content-length", "0")
    if not length.isdigit() or int(length) > largest:
        raise Refused(413, f"a request may have {largest} bytes", "too_large")
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > largest:
            raise Refused(413, f"a request may have {largest} bytes", "too_large")
    try:
        body = json.loads(content or b"{}")
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is no JSON: {error}") from error
    if not isinstance(body, dict):
        raise BadRequest("the body must be a JSON object")
    return body


def known_fields(given: Mapping[str, Any], known: Collection[str], where: str) -> dict[str, Any]:
    """The fields that are not null, which means the same as to leave them out. Raises BadRequest for one that is not known."""
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise BadRequest(f"{where}: there is no field {name[:64]!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    return {name: value for name, value in given.items() if value is not None}
