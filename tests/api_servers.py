"""A real HTTP server on loopback that replays what tests tell it to, in the shapes that APIs answer in."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette


@dataclass(frozen=True)
class Reply:
    """An answer: a JSON value, or bytes; with `events` a stream of server-sent events instead. After `wait` seconds. `reset` cuts
    the connection after half of it."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    events: Sequence[tuple[str, Any]] | None = None
    wait: float = 0.0
    reset: bool = False

    def content(self) -> bytes:
        if self.events is None:
            return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        lines = []
        for event, data in self.events:
            text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
            lines.append(f"event: {event}\ndata: {text}\n\n" if event else f"data: {text}\n\n")
        return "".join(lines).encode()


class Replaying:
    """Answers each POST with the next of `replies`, the last one again and again. Keeps what was asked, when, and with which
    headers; `most` is the largest number of requests that were under way at once. /v1/models lists one model of `owner`."""

    def __init__(self, replies: Sequence[Reply], owner: str = "vllm") -> None:
        self.replies, self.owner = list(replies), owner
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self.paths: list[str] = []
        self.running = self.most = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        if scope["path"] == "/v1/models":
            listed = {"object": "list", "data": [{"id": "m", "object": "model", "owned_by": self.owner}]}
            await _send(send, Reply(listed))
            return
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            content = b""
            while True:
                message = await receive()
                content += message.get("body", b"")
                if not message.get("more_body"):
                    break
            self.asked.append(json.loads(content))
            self.headers.append({name.decode(): value.decode() for name, value in scope["headers"]})
            self.times.append(time.monotonic())
            self.paths.append(scope["path"])
            reply = self.replies[min(len(self.asked), len(self.replies)) - 1]
            await asyncio.sleep(reply.wait)
        finally:
            self.running -= 1
        await _send(send, reply)


async def _send(send: Any, reply: Reply) -> None:
    content = reply.content()
    kind = "text/event-stream" if reply.events is not None else "application/json"
    headers = {"content-type": kind, **reply.headers}
    if reply.events is None:
        headers["content-length"] = str(len(content))
    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": reply.status, "headers": encoded})
    if reply.reset:
        await send({"type": "http.response.body", "body": content[: len(content) // 2], "more_body": True})
        raise ConnectionResetError("as the test wants it")  # uvicorn closes the connection in the middle of the body
    for start in range(0, len(content), 97):  # pieces that end anywhere, in the middle of a character too
        await send({"type": "http.response.body", "body": content[start : start + 97], "more_body": True})
    await send({"type": "http.response.body", "body": b""})


@contextmanager
def serving(app: Starlette | Replaying | Callable[..., Any]) -> Iterator[str]:
    """The address of `app`, served by a thread on a free port of loopback."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        listening.close()
