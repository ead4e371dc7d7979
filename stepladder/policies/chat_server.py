"""A model in this process as an OpenAI-compatible chat server.

    POST /v1/chat/completions    also with "stream": true
    GET  /v1/models
    GET  /health                 without the token

Beyond OpenAI's interface it has vLLM's fields `return_token_ids` (then the answer has `prompt_token_ids`, and `token_ids` in its
choice) and `include_stop_str_in_output`, and three of its own: `token_ids` of an assistant's message are put into the prompt as
they are, the answer's `image_spans` are the (start, length) of each picture's placeholders, and `weights_version` is that of the
engine. Log-probabilities are those of the distribution that was sampled.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from stepladder.envs.bridge.answers import Refused, carries, of_a_page, read_body
from stepladder.envs.bridge.wire import BadRequest
from stepladder.images import ImageStore
from stepladder.interfaces import ContextFull
from stepladder.policies.chat_request import Borrowed, ChatRequest, read_chat
from stepladder.policies.openai_chat import AGENT
from stepladder.policies.server_sent_events import write_event
from stepladder.types import Completion, Prompt

if TYPE_CHECKING:
    from stepladder.policies.engine import Engine

#: The largest request in bytes: a history of screenshots as base64.
LARGEST_REQUEST = 64 << 20
T = TypeVar("T")
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """The model is called `name`. With `token` calls must carry it (`Authorization: Bearer ...`). More than `capacity` requests at
    once are told to come back later. `agent` are the options that the model was trained with, which /v1/models tells."""

    name: str
    token: str | None = None
    capacity: int = 256
    agent: Mapping[str, Any] = field(default_factory=dict)


def make_chat_app(engine: Engine, images: ImageStore, settings: ChatSettings) -> Starlette:
    """The application. `images` is the store of the engine's renderer; pictures of requests are in its memory while they run."""
    server = _Server(engine, images, settings)
    return Starlette(
        routes=[
            Route("/v1/chat/completions", server.guarded(server.chat), methods=["POST"]),
            Route("/v1/models", server.guarded(server.models), methods=["GET"]),
            Route("/health", server.health, methods=["GET"]),
        ]
    )


class _Server:
    def __init__(self, engine: Engine, images: ImageStore, settings: ChatSettings) -> None:
        self.engine, self.images, self.settings = engine, images, settings
        self.held: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.running = 0
        self.created = int(time.time())

    def guarded(self, work: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        """The token is looked at before anything else; what goes wrong is an answer."""

        async def answer(request: Request) -> Response:
            try:
                token = self.settings.token
                if token is not None and not carries(token, request.headers.get("authorization", "")):
                    raise Refused(401, "this server wants its token: Authorization: Bearer <token>", "invalid_api_key")
                if token is None and of_a_page(request):
                    raise Refused(403, "without a token this server answers this machine alone, and no web page", "web_page")
                return await work(request)
            except Exception as error:
                self.counts["failed"] += 1
                return _error(error)

        return answer

    # -------------------------------------------------------------------------------------------------------------- routes

    async def health(self, _: Request) -> Response:
        return JSONResponse({"status": "ok", "running": self.running, "counts": dict(self.counts)})

    async def models(self, _: Request) -> Response:
        model = {"id": self.settings.name, "object": "model", "created": self.created, "owned_by": "stepladder"}
        about = {"max_model_len": self.engine.context, AGENT: dict(self.settings.agent)}
        return JSONResponse({"object": "list", "data": [{**model, **about}]})

    async def chat(self, request: Request) -> Response:
        if self.running >= self.settings.capacity:
            raise Refused(429, f"{self.running} requests are under way; come back later", "rate_limit_exceeded")
        pictures = Borrowed(self.images, self.held)
        self.running += 1
        handed_over = False
        try:
            body = await read_body(request, LARGEST_REQUEST)
            vocabulary = self.engine.renderer.vocabulary
            asked = await asyncio.to_thread(read_chat, body, self.settings.name, self.engine.context, vocabulary, pictures)
            prompt = self.engine.renderer.render(asked.messages)
            answer = _Answer(self.engine, self.settings.name, asked, prompt)
            if asked.stream:
                await _unless_gone(request, answer.begin())
                handed_over = True
                return StreamingResponse(self._streamed(answer, pictures), media_type="text/event-stream")
            whole = answer.whole(await _unless_gone(request, self.engine.generate(prompt, asked.sampling)))
            self.counts["answered"] += 1
            return JSONResponse(whole)
        finally:
            if not handed_over:
                self._done(pictures)

    async def _streamed(self, answer: _Answer, pictures: Borrowed) -> AsyncIterator[str]:
        try:
            async for piece in answer.pieces():
                yield piece
            self.counts["answered"] += 1
        finally:
            answer.cancel()
            self._done(pictures)

    def _done(self, pictures: Borrowed) -> None:
        pictures.close()
        self.running -= 1


class _Answer:
    """One answer, whole or in pieces."""

    def __init__(self, engine: Engine, model: str, asked: ChatRequest, prompt: Prompt) -> None:
        self.engine, self.asked, self.prompt = engine, asked, prompt
        self.head = {"id": f"chatcmpl-{secrets.token_hex(12)}", "created": int(time.time()), "model": model}
        self.sampled: asyncio.Queue[tuple[int, float] | None] = asyncio.Queue()
        self.first: tuple[int, float] | None = None
        self.work: asyncio.Future[Completion] | None = None

    def whole(self, completion: Completion) -> dict[str, Any]:
        assert completion.tokens is not None
        assert completion.logprobs is not None
        text, stop_reason = self._shown(completion)
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "finish_reason": completion.finish,
            "stop_reason": stop_reason,
            **self._extras(completion.tokens.tolist(), completion.logprobs.tolist()),
        }
        return {
            **self.head,
            "object": "chat.completion",
            "choices": [choice],
            "usage": self._usage(len(completion.tokens)),
            **self._of_prompt(),
            "weights_version": completion.version,
        }

    async def begin(self) -> None:
        """Start, and wait until the reply has begun, so that what goes wrong before has a status of its own."""
        loop = asyncio.get_running_loop()

        def on_token(token: int, logprob: float) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits for this reply any more
                loop.call_soon_threadsafe(self.sampled.put_nowait, (token, logprob))

        self.work = asyncio.ensure_future(self.engine.generate(self.prompt, self.asked.sampling, on_token))
        self.work.add_done_callback(lambda _: self.sampled.put_nowait(None))
        try:
            self.first = await self.sampled.get()
            if self.first is None:
                await self.work
        except BaseException:
            self.cancel()
            raise

    async def pieces(self) -> AsyncIterator[str]:
        """The events of a stream that has begun."""
        assert self.work is not None
        yield self._chunk({"role": "assistant", "content": ""}, **self._of_prompt(), weights_version=self.engine.version)
        tokens: list[int] = []
        sent = ""
        while (sampled := await self._next()) is not None:
            tokens += [token for token, _ in sampled]
            text = self._certain(self.engine.renderer.decode(tokens))
            extras = self._extras([token for token, _ in sampled], [logprob for _, logprob in sampled])
            if len(text) > len(sent) or extras:
                yield self._chunk({"content": text[len(sent) :]}, extras)
                sent = max(sent, text, key=len)
        try:
            completion = await self.work
        except Exception as error:
            yield write_event(json.dumps(_body_of(error)[1]))
            return
        text, stop_reason = self._shown(completion)
        yield self._chunk({"content": text[len(sent) :]}, {"finish_reason": completion.finish, "stop_reason": stop_reason})
        if self.asked.usage:
            yield write_event(json.dumps({**self._chunk_head(), "choices": [], "usage": self._usage(len(tokens))}))
        yield write_event("[DONE]")

    def cancel(self) -> None:
        if self.work is not None:
            self.work.cancel()

    # ----------------------------------------------------------------------------------------------------------- internals

    async def _next(self) -> list[tuple[int, float]] | None:
        """What has been sampled since the last time, at least one token; None at the end."""
        sampled, self.first = self.first or await self.sampled.get(), None
        if sampled is None:
            return None
        found = [sampled]
        while not self.sampled.empty():
            sampled = self.sampled.get_nowait()
            if sampled is None:
                self.sampled.put_nowait(None)
                break
            found.append(sampled)
        return found

    def _shown(self, completion: Completion) -> tuple[str, str | None]:
        """The text as it is wanted, and the stop string that ended it."""
        assert completion.tokens is not None
        by_token = len(completion.tokens) > 0 and int(completion.tokens[-1]) in self.engine.renderer.stop_ids
        if completion.finish != "stop" or by_token:
            return completion.text, None
        places = [(completion.text.find(one), one) for one in self.asked.sampling.stop if one in completion.text]
        if not places:
            return completion.text, None
        place, stop = min(places)
        return (completion.text if self.asked.keep_stop else completion.text[:place]), stop

    def _certain(self, text: str) -> str:
        """The beginning of `text` that no later token changes: without half a character, and without what may be the beginning of
        a stop string that is to be cut off."""
        text = text.rstrip("\ufffd")
        if self.asked.keep_stop or not self.asked.sampling.stop:
            return text
        held = max(len(one) for one in self.asked.sampling.stop) - 1
        places = [text.find(one) for one in self.asked.sampling.stop if one in text]
        return text[: min([len(text) - held, *places])] if len(text) > held else ""

    def _chunk(self, delta: dict[str, Any], choice: dict[str, Any] | None = None, **fields: Any) -> str:
        choices = [{"index": 0, "delta": delta, "finish_reason": None, **(choice or {})}]
        return write_event(json.dumps({**self._chunk_head(), "choices": choices, **fields}))

    def _chunk_head(self) -> dict[str, Any]:
        return {**self.head, "object": "chat.completion.chunk"}

    def _of_prompt(self) -> dict[str, Any]:
        if not self.asked.token_ids or self.prompt.tokens is None:
            return {}
        return {"prompt_token_ids": self.prompt.tokens.tolist(), "image_spans": [list(span) for span in self.prompt.image_spans]}

    def _extras(self, tokens: Sequence[int], logprobs: Sequence[float]) -> dict[str, Any]:
        extras: dict[str, Any] = {"token_ids": list(tokens)} if self.asked.token_ids else {}
        if self.asked.logprobs:
            texts = [self.engine.renderer.decode([token]) for token in tokens]
            extras["logprobs"] = {
                "content": [
                    {"token": text, "logprob": logprob, "bytes": list(text.encode()), "top_logprobs": []}
                    for text, logprob in zip(texts, logprobs, strict=True)
                ]
            }
        return extras

    def _usage(self, written: int) -> dict[str, int]:
        read = 0 if self.prompt.tokens is None else len(self.prompt.tokens)
        return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


async def _unless_gone(request: Request, work: Awaitable[T]) -> T:
    """The result of `work`, which is cancelled when the client hangs up."""
    working = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise Refused(499, "the client has hung up", "cancelled")
        return await working
    finally:
        watching.cancel()
        working.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _error(error: Exception) -> Response:
    status, body = _body_of(error)
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {"Retry-After": "1"} if status == 429 else {}
    return JSONResponse(body, status, headers)


def _body_of(error: Exception) -> tuple[int, dict[str, Any]]:
    """(status, body) of what went wrong; what nobody foresaw is a mistake of the server and goes into the log."""
    if isinstance(error, Refused):
        status, code = error.status, error.kind
    elif isinstance(error, ContextFull):
        status, code = 400, "context_length_exceeded"
    elif isinstance(error, BadRequest):
        status, code = 400, "invalid_value"
    else:
        _logger.error("a request failed in a way that it should not", exc_info=error)
        status, code = 500, "internal_error"
    kind = "server_error" if status >= 500 else "authentication_error" if status == 401 else "invalid_request_error"
    message = str(error) if status < 500 else f"{type(error).__name__}: {error}"
    return status, {"error": {"message": message, "type": kind, "param": None, "code": code}}
