"""The in-process engine: coroutines ask, one thread decodes for all of them in one batch."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import Qwen3VLForConditionalGeneration

from stepladder.interfaces import ContextFull
from stepladder.models.lora import load_learned
from stepladder.models.renderer import Renderer
from stepladder.policies.decoder import Decoder, OnToken, Reply, new_reply
from stepladder.types import Completion, Prompt, Sampling

_logger = logging.getLogger(__name__)


@dataclass(eq=False)
class _Request:
    reply: Reply
    future: Future[Completion]


@dataclass(eq=False)
class _Update:
    weights: Mapping[str, Tensor] | None
    version: int
    between_tokens: bool
    future: Future[None]


@dataclass(eq=False)
class _Abort:
    future: Future[None]


class Engine:
    """Decodes for any number of concurrent callers.

    New requests join between two tokens of the replies in progress; `max_batch` replies are written at once, and fewer while memory
    does not suffice to read another prompt beside those in progress. A request that finds the engine idle waits `linger` seconds
    for company. `context` is the largest number of tokens of prompt and reply (default: what the model's configuration says).
    `version` names the weights and is recorded with every completion. `decode` makes the decoder; other keywords are its own.
    """

    def __init__(
        self,
        model: Qwen3VLForConditionalGeneration,
        renderer: Renderer,
        *,
        max_batch: int = 64,
        context: int | None = None,
        linger: float = 0.002,
        version: int = 0,
        decode: Callable[..., Decoder] = Decoder,
        **decoder: Any,
    ) -> None:
        if max_batch < 1:
            raise ValueError(f"max_batch is {max_batch}; it must be at least 1")
        self.model = model.eval()
        self.renderer = renderer
        self.version = version
        #: Seconds in which it computed, and tokens that it has sampled, so far.
        self.busy_seconds, self.sampled_tokens = 0.0, 0
        largest = int(model.config.text_config.max_position_embeddings)
        self.context = min(context or largest, largest)
        self._decoder = decode(model, renderer, **decoder)
        self._max_batch = max_batch
        #: How many replies may be in progress now: fewer while some wait for memory.
        self._room = max_batch
        self._linger = linger
        self._inbox: queue.SimpleQueue[_Request | _Update | _Abort | None] = queue.SimpleQueue()
        self._waiting: deque[_Request] = deque()
        self._updates: deque[_Update] = deque()
        self._active: dict[Reply, _Request] = {}
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="stepladder-engine", daemon=True)
        self._thread.start()

    async def generate(self, prompt: Prompt, sampling: Sampling, on_token: OnToken | None = None) -> Completion:
        """The sampled reply. `on_token` is called in the engine's thread with every token and its log-probability as soon as it is
        sampled; it must be quick and raise nothing.

        Raises ContextFull when the prompt leaves no room for a token, RuntimeError when the engine is closed, and what went wrong
        when the model or a picture could not be read.
        """
        length = 0 if prompt.tokens is None else len(prompt.tokens)
        if length >= self.context:
            raise ContextFull(f"the prompt has {length} tokens, the model's context has {self.context}")
        if sampling.max_tokens < 1:
            raise ValueError(f"max_tokens is {sampling.max_tokens}; a reply has at least one token")
        reply = new_reply(prompt, sampling, min(sampling.max_tokens, self.context - length), on_token)
        request = _Request(reply, Future())
        self._submit(request)
        return await asyncio.wrap_future(request.future)

    async def abort(self) -> None:
        """Answer every request that was made before with what is written of its reply, perhaps nothing, and finish "abort"."""
        abort = _Abort(Future())
        self._submit(abort)
        await asyncio.wrap_future(abort.future)

    async def update_weights(
        self, weights: Mapping[str, Tensor] | None, version: int, in_progress: Literal["finish", "continue"] = "finish"
    ) -> None:
        """Load `weights`, all of them or the adapters alone (None: the model was changed in place, while the engine was idle), and
        go on as `version`.

        Replies in progress are finished first, or, with "continue", go on between two tokens with the new weights and the keys
        and values that they have (as in PipelineRL, arXiv 2509.19128). Such a reply records the version that sampled its first
        token; every log-probability is that of the weights which sampled this very token. Requests that are still waiting are
        answered with the new weights.
        """
        update = _Update(weights, version, in_progress == "continue", Future())
        self._submit(update)
        await asyncio.wrap_future(update.future)

    def close(self) -> None:
        """Stop the thread. Requests that are not answered yet fail with RuntimeError. May be called twice."""
        if not self._closed:
            self._closed = True
            self._inbox.put(None)
        self._thread.join()

    def _submit(self, item: _Request | _Update | _Abort) -> None:
        if self._closed:
            raise RuntimeError("the engine is closed")
        self._inbox.put(item)

    # ------------------------------------------------------------------ the worker thread

    def _work(self) -> None:
        while self._receive():
            self._drop_cancelled()
            if self._updates and (self._updates[0].between_tokens or not self._active):
                self._apply(self._updates.popleft())
                continue
            started, busy = time.perf_counter(), bool(self._active or self._waiting)
            if not self._updates:
                self._admit()
            self._step()
            self._deliver()
            if busy:
                self.busy_seconds += time.perf_counter() - started
        self._fail(RuntimeError("the engine was closed"))

    def _receive(self) -> bool:
        """Take in what has arrived, waiting for it when there is nothing to do. False when the engine is to stop."""
        idle = not (self._active or self._waiting or self._updates)
        while True:
            try:
                item = self._inbox.get() if idle and not self._waiting else self._inbox.get(timeout=self._linger if idle else 0)
            except queue.Empty:
                return True
            if item is None:
                return False
            if isinstance(item, _Update):
                self._updates.append(item)
                idle = False
            elif isinstance(item, _Abort):
                self._abort(item)
            else:
                self._waiting.append(item)

    def _admit(self) -> None:
        if not self._waiting:
            self._room = self._max_batch
        admitted: list[Reply] = []
        while self._waiting and len(self._active) < self._room:
            request = self._waiting.popleft()
            request.reply.version = self.version
            self._active[request.reply] = request
            admitted.append(request.reply)
        self._start(admitted)
        self._deliver()

    def _start(self, replies: list[Reply]) -> None:
        """When a pass over several prompts fails, each is tried alone, so that one bad prompt does not fail the others. Those for
        which there is no memory wait until others are done."""
        error = self._tried(replies)
        if error is None:
            return
        back: list[Reply] = []
        for reply in [reply for reply in replies if not reply.tokens]:
            failure = error if len(replies) == 1 else self._tried([reply])
            if failure is None:
                continue
            if isinstance(failure, torch.OutOfMemoryError) and self._decoder.replies:
                back.append(reply)
                continue
            _fail(self._active.pop(reply).future, failure)
            if isinstance(failure, torch.OutOfMemoryError):
                self._room = self._max_batch  # it was too large by itself
        if back:
            self._room = len(self._decoder.replies)
            _logger.warning("memory suffices for %d replies; %d wait for others to be done", self._room, len(back))
            self._waiting.extendleft(self._active.pop(reply) for reply in reversed(back))

    def _tried(self, replies: Sequence[Reply]) -> Exception | None:
        """What went wrong; then none of those without a token is in the decoder. An error for want of memory has no traceback: its
        frames would hold what was computed."""
        try:
            self._decoder.start(replies)
        except Exception as error:
            for reply in replies:
                if not reply.tokens and reply in self._decoder.replies:
                    self._decoder.drop(reply)
            return error.with_traceback(None) if isinstance(error, torch.OutOfMemoryError) else error
        return None

    def _deliver(self) -> None:
        for reply in self._decoder.pop_finished():
            self._answer(self._active.pop(reply))

    def _answer(self, request: _Request) -> None:
        self.sampled_tokens += len(request.reply.tokens)
        _succeed(request.future, request.reply.completion(self.renderer))

    def _abort(self, abort: _Abort) -> None:
        for request in self._waiting:
            request.reply.version = self.version
        for reply in self._active:
            self._decoder.drop(reply)
        for request in (*self._active.values(), *self._waiting):
            self._answer(request)
        self._active.clear()
        self._waiting.clear()
        _succeed(abort.future, None)

    def _drop_cancelled(self) -> None:
        self._waiting = deque(request for request in self._waiting if not request.future.cancelled())
        for reply in [reply for reply, request in self._active.items() if request.future.cancelled()]:
            self._decoder.drop(reply)
            del self._active[reply]

    def _step(self) -> None:
        """A failed pass fails the requests that were in it, and the engine goes on."""
        try:
            self._decoder.step()
        except Exception as error:
            failed, self._active = self._active, {}
            self._decoder.forget()
            for request in failed.values():
                _fail(request.future, error)

    def _apply(self, update: _Update) -> None:
        try:
            if update.weights is not None:
                load_learned(self.model, update.weights)
        except Exception as error:
            _fail(update.future, error)
            return
        finally:
            self._decoder.weights_changed()
        self.version = update.version
        _succeed(update.future, None)

    def _fail(self, error: Exception) -> None:
        for request in (*self._active.values(), *self._waiting):
            _fail(request.future, error)
        for update in self._updates:
            _fail(update.future, error)


def _succeed(future: Future[Any], result: object) -> None:
    if future.set_running_or_notify_cancel():
        future.set_result(result)


def _fail(future: Future[Any], error: Exception) -> None:
    if future.set_running_or_notify_cancel():
        future.set_exception(error)
