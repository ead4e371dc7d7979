"""Who may ask, and what a browser may do with the answers.

A page of any site can make a browser send requests to this machine. So a request must name a host that this server is known by (a
name of the site's own that leads here is none), must not be made by another site's page, and carries the token: once in the address
(`?token=`), then in a cookie that scripts cannot read and that no other site's page has sent along.
"""

from __future__ import annotations

import hmac
import html
import ipaddress
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stepladder.addresses import is_loopback
from stepladder.envs.bridge.answers import carries
from stepladder.viewer.answers import error_answer

#: What pages may load and do: their own scripts, styles and pictures, nothing else.
CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}
#: Fetches that no link leads to must come from the server's own pages.
_OWN_PAGES = ("same-origin", "none")
_REACHES_ALL = ("0.0.0.0", "::", "")


@dataclass(frozen=True)
class GuardSettings:
    """`host` is the address that the server listens at, `port` makes its cookie differ from that of another viewer on this machine,
    `token` None lets everybody in."""

    host: str = "127.0.0.1"
    port: int = 0
    token: str | None = None


class Guard:
    """An ASGI application around another one, for HTTP and WebSockets."""

    def __init__(self, app: ASGIApp, settings: GuardSettings) -> None:
        self._app, self._settings = app, settings
        self._cookie = f"stepladder_view_{settings.port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refused = self._refused(scope, headers)
        if scope["type"] == "websocket":
            if refused is None:
                await self._app(scope, receive, send)
            else:
                await send({"type": "websocket.close", "code": 1008, "reason": "not allowed"})
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                found = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    found.setdefault(name, value)
            await send(message)

        if refused is None:
            await self._app(scope, receive, answer)
        else:
            await refused(scope, receive, answer)

    def _refused(self, scope: Scope, headers: Mapping[str, str]) -> Response | None:
        """The answer to a request that goes no further; None lets it in."""
        host = headers.get("host", "")
        if not self._is_known(host):
            return _no(scope, 421, "wrong_host", f"this server is not called {host[:80]!r}; use the address that it printed")
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return _no(scope, 403, "other_site", "another site's page may not ask")
        if origin is None and scope["type"] == "websocket":
            return _no(scope, 403, "other_site", "a WebSocket must name its Origin")
        site, mode = headers.get("sec-fetch-site", "none"), headers.get("sec-fetch-mode", "")
        if site not in _OWN_PAGES and mode != "navigate":
            return _no(scope, 403, "other_site", "another site's page may not ask")
        return self._without_token(scope, headers)

    def _without_token(self, scope: Scope, headers: Mapping[str, str]) -> Response | None:
        token = self._settings.token
        if token is None:
            return None
        query = parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
        given = next((value for name, value in query if name == "token"), None)
        if given is not None and scope["type"] == "http" and scope["method"] == "GET":
            if hmac.compare_digest(given.encode(), token.encode()):
                return self._let_in(scope, [pair for pair in query if pair[0] != "token"])
            return _no(scope, 401, "no_token", "this is not the server's token; use the address that it printed")
        if self._has_cookie(headers.get("cookie", ""), token) or carries(token, headers.get("authorization", "")):
            return None
        return _no(scope, 401, "no_token", "the server's token is wanted; use the address that it printed when it began")

    def _has_cookie(self, header: str, token: str) -> bool:
        for part in header.split(";"):
            name, _, value = part.strip().partition("=")
            if name == self._cookie and hmac.compare_digest(value.encode(), quote(token, safe="").encode()):
                return True
        return False

    def _let_in(self, scope: Scope, query: list[tuple[str, str]]) -> Response:
        """A page that keeps the token as a cookie and goes on without it in the address. The browser is sent on by the page, and
        not by a redirect: a link in another site's page would else be followed without the cookie."""
        raw = scope.get("raw_path") or quote(scope["path"]).encode()
        path = "/" + raw.partition(b"?")[0].decode("latin-1").lstrip("/")  # two slashes would begin another host's name
        address = html.escape(f"{path}?{urlencode(query)}" if query else path, quote=True)
        page = HTMLResponse(
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Stepladder</title>'
            f'<meta http-equiv="refresh" content="0; url={address}"><p><a href="{address}">Go on</a></p></html>'
        )
        value = quote(str(self._settings.token), safe="")
        page.headers["Set-Cookie"] = f"{self._cookie}={value}; Path=/; HttpOnly; SameSite=Strict"
        page.headers["Cache-Control"] = "no-store"
        return page

    def _is_known(self, host: str) -> bool:
        """Whether a Host header names this server: by the address that it listens at, by one of this machine's own, or, where it
        listens at all of them, by any address in numbers or the machine's name."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        bound = self._settings.host.lower()
        if is_loopback(name) or name == bound:
            return True
        if bound not in _REACHES_ALL:
            return False
        return name in (platform.node().lower(), f"{platform.node().lower()}.local") or _is_address(name)


def _no(scope: Scope, status: int, kind: str, message: str) -> Response:
    if scope["path"].startswith("/api/"):
        return error_answer(status, kind, message)
    return PlainTextResponse(f"{message}\n", status)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
