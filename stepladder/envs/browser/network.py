"""What the pages of a task may fetch, and from which hosts."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from stepladder.types import Task


def task_hosts(task: Task) -> tuple[str, ...]:
    """The host names that `task` may reach; their subdomains are meant too."""
    return tuple(task.setup.get("network", ()))


def reaches(url: str, hosts: tuple[str, ...]) -> bool:
    """Whether `url` is a web address at one of `hosts` or below it."""
    address = urlsplit(url)
    if address.scheme not in ("http", "https", "ws", "wss") or address.hostname is None:
        return False
    return any(address.hostname == host or address.hostname.endswith(f".{host}") for host in hosts)


class RequestRules:
    """Decides about every request of a page.

    allow    whether a URL may be fetched
    serve    bodies (HTML) by URL, answered without any network
    refused  addresses of documents (pages, frames) that were refused
    """

    def __init__(self) -> None:
        self.allow: Callable[[str], bool] = lambda url: False
        self.serve: Mapping[str, str] = {}
        self.refused: list[str] = []

    def decide(self, paused: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """The call (method and parameters) that answers a `Fetch.requestPaused` event."""
        url: str = paused["request"]["url"]
        answer: dict[str, Any] = {"requestId": paused["requestId"]}
        document = url.partition("#")[0]
        if document in self.serve:
            body = base64.b64encode(self.serve[document].encode()).decode("ascii")
            headers = [{"name": "Content-Type", "value": "text/html; charset=utf-8"}]
            return "Fetch.fulfillRequest", answer | {"responseCode": 200, "responseHeaders": headers, "body": body}
        if self.allow(url):
            return "Fetch.continueRequest", answer
        if paused["resourceType"] == "Document":
            self.refused.append(url)
            # An aborted navigation leaves the page where it is; any other reason would show an error page instead.
            return "Fetch.failRequest", answer | {"errorReason": "Aborted"}
        return "Fetch.failRequest", answer | {"errorReason": "BlockedByClient"}
