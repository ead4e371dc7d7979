"""A vLLM or SGLang server in place of the engine in this process: it samples, the model that learns stays here.

The server is given token ids and gives token ids (law 2), with the log-probability of each under the distribution that it was
sampled from and the version of the weights. New weights or adapters go to it as files. A reply that an update interrupts goes on
from what is written of it; its log-probabilities stay, each that of the weights which sampled this very token.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from transformers import Qwen3VLForConditionalGeneration

from stepladder.interfaces import ContextFull
from stepladder.models.forward import banned_ids
from stepladder.models.renderer import Renderer
from stepladder.policies.decoder import OnToken
from stepladder.policies.http import ApiClient, PolicyFailure
from stepladder.policies.pictures import Pictures
from stepladder.policies.served_protocol import InProgress, ServedProtocol, ServedReply, ServedRequest
from stepladder.policies.served_weights import WeightFiles
from stepladder.policies.server_control import ServerControl
from stepladder.types import Completion, FinishReason, Prompt, Sampling

#: Seconds between two requests to abort what has not been answered; after which `abort` no longer waits for the server; and after
#: which one is asked again that has interrupted a reply before its first token.
_AGAIN, _GRACE, _PAUSE = 0.2, 10.0, 0.25
#: So many times, one after another, may a server interrupt a reply without having added to it.
_INTERRUPTIONS = 240
#: What vLLM and SGLang call weights that nobody has named.
_UNNAMED = "default"


@dataclass(eq=False)
class _Writing:
    """A reply that is being written. `waits` is what it waits for: the server where `served`, else the end of an update.
    `given_up` says that `abort` no longer waits for the server."""

    id: str
    prompt: Prompt
    sampling: Sampling
    limit: int
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    version: int | None = None
    usage: Counter[str] = field(default_factory=Counter)
    waits: asyncio.Future[Any] | None = None
    served: bool = False
    aborted: bool = False
    given_up: bool = False

    def add(self, reply: ServedReply, version: int, usage: Mapping[str, float]) -> None:
        if reply.tokens and self.version is None:
            self.version = version
        self.tokens += reply.tokens
        self.logprobs += reply.logprobs
        for name, amount in usage.items():
            self.usage[name] += amount  # type: ignore[assignment]  # dollars are no whole numbers

    def completion(self, renderer: Renderer, finish: FinishReason, version: int) -> Completion:
        return Completion(
            text=renderer.decode(self.tokens),
            tokens=np.asarray(self.tokens, dtype=np.int32),
            logprobs=np.asarray(self.logprobs, dtype=np.float32),
            finish=finish,
            version=version if self.version is None else self.version,
            usage=dict(self.usage),
        )


@dataclass(frozen=True)
class _Adapter:
    """What the server calls it, and the version of the weights that it makes."""

    name: str
    version: int


class ServedEngine:
    """Answers as `policies.engine.Engine` does. `version` names the weights that `update_weights` has brought last; before that the
    server is taken to have those of the `version` that is given. Completions tell no entropies.

    `context` is the largest number of tokens of prompt and reply that model and server can read. `busy_seconds` is the time in
    which requests were under way, `sampled_tokens` how many ids came back.
    """

    def __init__(
        self,
        server: ServedProtocol,
        client: ApiClient,
        control: ServerControl,
        files: WeightFiles,
        model: Qwen3VLForConditionalGeneration,
        renderer: Renderer,
        *,
        served_name: str,
        adapters: bool,
        context: int,
        version: int = 0,
    ) -> None:
        if renderer.images is None:
            raise ValueError("this Renderer has no image store; construct it with images=")
        self.renderer, self.context, self.version, self.name = renderer, context, version, client.name
        self.busy_seconds, self.sampled_tokens = 0.0, 0
        self._server, self._client, self._control, self._files = server, client, control, files
        self._model, self._adapters = served_name, adapters
        self._banned = tuple(banned_ids(model, renderer).tolist())
        self._pictures = Pictures(renderer.images)
        self._sent: set[str] = set()
        self._first_version, self._updated = version, False
        self._adapter: _Adapter | None = None
        self._writing: set[_Writing] = set()
        self._served, self._began = 0, 0.0
        self._updating: asyncio.Event | None = None
        self._idle: asyncio.Event | None = None
        self._unknown: str | None = None
        self._closed = False

    async def generate(self, prompt: Prompt, sampling: Sampling, on_token: OnToken | None = None) -> Completion:
        """The sampled reply. `on_token` is called with every token and its log-probability when the reply has come.

        Raises ContextFull when the prompt leaves no room for a token, RuntimeError when the engine is closed, KeyError for a
        picture that is not there, and PolicyFailure that names the server when it does not answer, when it has read other ids than
        it was given, or when its weights are not known after an update that failed.
        """
        if prompt.tokens is None:
            raise ValueError("the prompt has no tokens; render the messages first")
        length = len(prompt.tokens)
        if length >= self.context:
            raise ContextFull(f"the prompt has {length} tokens, the model's context has {self.context}")
        if sampling.max_tokens < 1:
            raise ValueError(f"max_tokens is {sampling.max_tokens}; a reply has at least one token")
        self._server.check(sampling)
        limit = min(sampling.max_tokens, self.context - length)
        writing = _Writing(secrets.token_hex(12), prompt, sampling, limit)
        self._writing.add(writing)
        try:
            finish = await self._write(writing)
        finally:
            self._writing.remove(writing)
        self.sampled_tokens += len(writing.tokens)
        if on_token is not None:
            for token, logprob in zip(writing.tokens, writing.logprobs, strict=True):
                on_token(token, logprob)
        return writing.completion(self.renderer, finish, self.version)

    async def abort(self) -> None:
        """Answer every request that was made before with what is written of its reply, perhaps nothing, and finish "abort"."""
        aborted = list(self._writing)
        for one in aborted:
            one.aborted = True
        with suppress(PolicyFailure):  # a server that is gone writes nothing more
            await self._interrupt(aborted, _GRACE)
        for one in aborted:
            one.given_up = True
            if one.waits is not None:
                one.waits.cancel()

    async def update_weights(self, weights: Mapping[str, Tensor] | None, version: int, in_progress: InProgress = "finish") -> None:
        """Bring `weights` to the server, all of them or the adapters alone (None: those that the model has now), and go on as
        `version`. What the server has computed with the old ones is dropped.

        Replies in progress are finished first, or, with "continue", interrupted and then gone on with: the server reads prompt and
        reply again with the new weights. Such a reply records the version that sampled its first token. Requests that come
        meanwhile wait.

        Raises PolicyFailure that names the server and the step that failed; `version` stays. When the server's weights are not
        known then, requests fail until an update succeeds.
        """
        self._check_open()
        while self._updating is not None:
            await self._updating.wait()
        self._updating = over = asyncio.Event()
        try:
            await self._update(weights, version, in_progress)
        finally:
            self._updating = None
            over.set()

    def close(self) -> None:
        """Ask nothing more; requests under way fail with RuntimeError. The server goes on. May be called twice."""
        self._closed = True
        for one in self._writing:
            if one.waits is not None and not one.waits.get_loop().is_closed():
                one.waits.get_loop().call_soon_threadsafe(one.waits.cancel)

    # ------------------------------------------------------------------ replies

    async def _write(self, writing: _Writing) -> FinishReason:
        """Ask until the reply is complete: an update, or another trainer of the same server, may interrupt it several times."""
        in_vain = 0
        while not writing.aborted:
            if self._updating is not None:
                await self._wait(writing, self._updating.wait())
                continue
            self._check_open()
            if self._unknown is not None:
                raise PolicyFailure(self._unknown)
            reply = await self._ask(writing)
            if reply is not None and reply.finish != "abort":
                return reply.finish
            if len(writing.tokens) >= writing.limit:
                return "length"
            in_vain = 0 if reply is None or reply.tokens or self._updating is not None else in_vain + 1
            if in_vain > _INTERRUPTIONS:
                raise PolicyFailure(f"{self.name} interrupts every request before its first token")
            if in_vain:
                await self._wait(writing, asyncio.sleep(_PAUSE))
        return "abort"

    async def _wait(self, writing: _Writing, what: Any) -> Any:
        """The result of the coroutine `what`; None where `abort` has ended it."""
        writing.waits = asyncio.ensure_future(what)
        try:
            return await writing.waits
        except asyncio.CancelledError:
            if writing.given_up:
                return None
            self._check_open()
            raise
        finally:
            writing.waits = None

    async def _ask(self, writing: _Writing) -> ServedReply | None:
        """One answer of the server, which is added to what is written; None when `abort` did not wait for it."""
        adapter, version = self._adapter, self.version
        if not self._served:
            self._began = time.monotonic()
        self._served += 1
        writing.served = True
        try:
            found = await self._wait(writing, self._answer(writing, adapter))
        finally:
            writing.served = False
            self._served -= 1
            if not self._served:
                self.busy_seconds += time.monotonic() - self._began
                if self._idle is not None:
                    self._idle.set()
        if found is None:
            return None
        reply, usage = found
        writing.add(reply, self._version_of(reply, adapter, version), usage)
        return reply

    async def _answer(self, writing: _Writing, adapter: _Adapter | None) -> tuple[ServedReply, Mapping[str, float]]:
        """A picture is sent once and then named, until the server says that it does not have it any more."""
        hashes = {image.sha256 for image in writing.prompt.images}
        named = hashes & self._sent if self._server.names_pictures else set()
        try:
            found = await self._call(writing, adapter, named)
        except PolicyFailure as error:
            if not (named and self._server.lacks_picture(str(error))):
                raise
            self._sent -= named
            found = await self._call(writing, adapter, set())
        self._sent |= hashes
        return found

    async def _call(self, writing: _Writing, adapter: _Adapter | None, named: set[str]) -> tuple[ServedReply, Mapping[str, float]]:
        images = writing.prompt.images
        urls = await asyncio.to_thread(lambda: [None if one.sha256 in named else self._pictures.data_url(one) for one in images])
        request = ServedRequest(
            id=writing.id,
            model=self._model,
            adapter=None if adapter is None else adapter.name,
            prompt=writing.prompt,
            written=tuple(writing.tokens),
            pictures=urls,
            sampling=writing.sampling,
            limit=writing.limit - len(writing.tokens),
            image_id=self.renderer.image_id,
            stop_ids=self.renderer.stop_ids,
            banned_ids=self._banned,
        )
        body = self._server.body(request)
        return await self._client.call(self._server.path, body, lambda said: self._server.read(said, request))

    def _version_of(self, reply: ServedReply, adapter: _Adapter | None, version: int) -> int:
        """`version`, which the weights had when this was asked for, unless the server tells that it has others. Adapters are named
        by every request; full weights have a label at the server, which is their version."""
        first = not self._updated and version == self._first_version
        label = _UNNAMED if self._adapters and adapter is None else str(version) if self._adapters else reply.label
        if label in (None, str(version)) or (first and label == _UNNAMED) or not reply.tokens:
            return version
        raise PolicyFailure(
            f"{self.name} has weights that it calls {label!r}, where they should be {version}: it was started anew, or another run "
            "has updated them; bring it the present ones"
        )

    async def _interrupt(self, writing: Sequence[_Writing], longest: float | None = None) -> None:
        """Have the server answer these requests with what is written. One that has not reached it yet is asked for again."""
        until = None if longest is None else time.monotonic() + longest
        while served := [one for one in writing if one.served and one.waits is not None and not one.waits.done()]:
            for step in self._server.abort([one.id for one in served]):
                await self._control.take(step)
            waits = [one.waits for one in served if one.waits is not None]
            if waits:
                await asyncio.wait(waits, timeout=_AGAIN)
            if until is not None and time.monotonic() > until:
                return

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("the engine is closed")

    # ------------------------------------------------------------------ updates

    async def _update(self, weights: Mapping[str, Tensor] | None, version: int, in_progress: InProgress) -> None:
        try:
            directory = await asyncio.to_thread(self._files.write, weights, version)
        except OSError as error:
            raise PolicyFailure(f"version {version} for {self.name} could not be written: {error}") from error
        if in_progress == "continue":
            await self._interrupt(list(self._writing))
        self._idle = asyncio.Event()
        if self._served:
            await self._idle.wait()
        self._idle = None
        if self._adapters:
            await self._swap(directory, version)
        else:
            await self._load(directory, version, in_progress)
        self.version, self._updated = version, True
        self._files.keep(directory)

    async def _swap(self, directory: Path, version: int) -> None:
        """One adapter for another. The old one is there until the new one is."""
        await self._control.take(self._server.load_adapter(directory.name, directory))
        old, self._adapter = self._adapter, _Adapter(directory.name, version)
        if old is not None:
            with suppress(PolicyFailure):  # a server that was started anew does not have it
                await self._control.take(self._server.unload_adapter(old.name))

    async def _load(self, directory: Path, version: int, in_progress: InProgress) -> None:
        """All weights, in a pause. A server that fails in the middle of it has weights that nobody knows."""
        touched = False
        try:
            for step in self._server.load_weights(directory, str(version), in_progress):
                touched = touched or step.touches
                await self._control.take(step)
        except PolicyFailure as error:
            with suppress(PolicyFailure):
                await self._control.take(self._server.resume())
            if not touched:
                raise PolicyFailure(f"{error}; version {self.version} stays") from None
            self._unknown = (
                f"{error}; its weights are not known any more. Does it see {directory.parent}? Where it has ended start it again; "
                "the next update brings all weights"
            )
            raise PolicyFailure(self._unknown) from None
        await self._control.take(self._server.resume())
        self._unknown = None
