"""A model behind an OpenAI-compatible chat server: vLLM, SGLang, `stepladder serve`, and others.

The text of the reply is the protocol: no tools are declared to the server, the agent's own dialect is all that it sees.

Token ids and log-probabilities come with the reply from `stepladder serve` and from vLLM, so that such rollouts can train. Of
vLLM's prompts the places of the pictures must be known too: `image_token` is the placeholder's id (151655 for Qwen3-VL). Its
log-probabilities are those of temperature 1; at another temperature start it with --logprobs-mode processed_logprobs.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Literal

import httpx
import numpy as np

from stepladder.images import ImageStore
from stepladder.policies.answers import Malformed, counts, part, rejection_in_stream
from stepladder.policies.budget import Meter
from stepladder.policies.http import ApiClient, CallLimits, PolicyFailure
from stepladder.policies.pictures import Pictures
from stepladder.types import Completion, FinishReason, ImageRef, Message, Prompt, Sampling

KEY = "OPENAI_API_KEY"
#: Where /v1/models of `stepladder serve` tells the options of the agent that the model was trained with.
AGENT = "stepladder_agent"
#: What a server can do beyond OpenAI's own interface.
Server = Literal["stepladder", "vllm", "sglang", "other"]
#: Fields by which each is asked to give token ids and log-probabilities, and to leave stop strings in the reply.
_EXTENSIONS: Mapping[Server, Mapping[str, Any]] = {
    "stepladder": {"return_token_ids": True, "logprobs": True, "include_stop_str_in_output": True},
    "vllm": {"return_token_ids": True, "logprobs": True, "include_stop_str_in_output": True},
    "sglang": {"no_stop_trim": True},
    "other": {},
}
_FINISH: Mapping[str, FinishReason] = {"length": "length", "abort": "abort", "content_filter": "abort"}
_logger = logging.getLogger(__name__)


class OpenAIChatPolicy:
    """Asks POST `url`/v1/chat/completions; `url` may end with /v1.

    images       where the pictures of the messages are
    model        the name to ask for; default: the only model that the server has
    key          default: the environment variable OPENAI_API_KEY, or none
    stream       whether the reply comes piece by piece, which keeps connections through gateways alive
    image_token  the id of the placeholder of pictures in the server's prompts (see above)
    extra        further fields of every request, such as {"top_k": 20}; a field that is None is left out
    server       what it can do; default: what /v1/models says of its owner
    """

    def __init__(
        self,
        url: str,
        images: ImageStore,
        *,
        model: str | None = None,
        name: str | None = None,
        key: str | None = None,
        stream: bool = False,
        image_token: int | None = None,
        extra: Mapping[str, Any] | None = None,
        server: Server | None = None,
        limits: CallLimits | None = None,
        meter: Meter | None = None,
    ) -> None:
        key = key if key is not None else os.environ.get(KEY, "").strip()
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        base = url.rstrip("/").removesuffix("/v1")
        self.name = name or f"openai:{base}{'#' + model if model else ''}"
        self.version = 0
        self.client = ApiClient(self.name, base, headers, secret=key or None, limits=limits, meter=meter)
        self._pictures = Pictures(images)
        self._model, self._server = model, server
        self._stream, self._image_token, self._extra = stream, image_token, dict(extra or {})
        self._warned = False

    async def generate(self, messages: tuple[Message, ...], sampling: Sampling) -> tuple[Prompt, Completion]:
        """Raises ContextFull when the server says that prompt and reply do not fit, BudgetSpent, PolicyFailure."""
        model, server = await self._known()
        body = await asyncio.to_thread(self._body, messages, sampling, model, server)
        answer, usage = await self.client.call("/v1/chat/completions", body, _read, _assemble)
        return self._result(answer, messages, sampling, usage)

    async def close(self) -> None:
        await self.client.close()

    # ----------------------------------------------------------------------------------------------------------- internals

    async def _known(self) -> tuple[str, Server]:
        """The model's name and what the server can do, asked for once."""
        if self._model is None or self._server is None:
            try:
                models, _ = await self.client.call("/v1/models", None, _read_models, counted=False)
            except PolicyFailure:
                if self._model is None:
                    raise
                models = {}  # some gateways do not list what they have
            if self._model is None:
                if len(models) != 1:
                    raise PolicyFailure(f"{self.name} has {len(models)} models; name one: {', '.join(models) or 'it lists none'}")
                self._model = next(iter(models))
            if self._server is None:
                self._server = models.get(self._model, "other")
        return self._model, self._server

    def _body(self, messages: Sequence[Message], sampling: Sampling, model: str, server: Server) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": model,
            "messages": [self._message(message, server) for message in messages],
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": sampling.seed,
            "stop": list(sampling.stop) or None,
            **_EXTENSIONS[server],
        }
        if self._stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return {name: value for name, value in {**body, **self._extra}.items() if value is not None}

    def _message(self, message: Message, server: Server) -> dict[str, Any]:
        if not message.images:
            said: dict[str, Any] = {"role": message.role, "content": message.text}
            if message.tokens is not None and server == "stepladder":  # these very ids, and not its text tokenized again (law 2)
                said["token_ids"] = message.tokens.tolist()
            return said
        return {"role": message.role, "content": [self._part(one) for one in message.content]}

    def _part(self, one: str | ImageRef) -> dict[str, Any]:
        if isinstance(one, str):
            return {"type": "text", "text": one}
        return {"type": "image_url", "image_url": {"url": self._pictures.data_url(one)}}

    def _result(
        self, answer: Mapping[str, Any], messages: tuple[Message, ...], sampling: Sampling, usage: Mapping[str, float]
    ) -> tuple[Prompt, Completion]:
        choice = answer["choices"][0]
        reason = str(choice.get("finish_reason"))
        tokens, logprobs = choice.get("token_ids"), _logprobs(choice)
        if tokens is not None and logprobs is not None and len(tokens) != len(logprobs):
            raise PolicyFailure(f"{self.name} gives {len(tokens)} token ids and {len(logprobs)} log-probabilities of one reply")
        completion = Completion(
            text=_with_stop(_text(choice), choice, sampling.stop),
            tokens=None if tokens is None else np.asarray(tokens, dtype=np.int32),
            logprobs=None if logprobs is None else np.asarray(logprobs, dtype=np.float32),
            finish=_FINISH.get(reason, "stop"),
            version=int(answer.get("weights_version") or self.version),
            usage=usage,
        )
        return self._prompt(answer, messages), completion

    def _prompt(self, answer: Mapping[str, Any], messages: tuple[Message, ...]) -> Prompt:
        ids = answer.get("prompt_token_ids")
        if ids is None:
            return Prompt(messages)
        pictures = sum(len(message.images) for message in messages)
        given = answer.get("image_spans")
        if given is not None:
            spans = tuple((int(start), int(length)) for start, length in given)
        elif self._image_token is not None:
            spans = runs(ids, self._image_token)
        elif pictures:
            if not self._warned:
                _logger.warning("%s gives token ids; to train on them, say image_token: its placeholder's id", self.name)
            self._warned = True
            return Prompt(messages)
        else:
            spans = ()
        if len(spans) != pictures:
            raise PolicyFailure(
                f"{self.name}: the prompt has {pictures} pictures and {len(spans)} runs of placeholders; is image_token right?"
            )
        return Prompt(messages, np.asarray(ids, dtype=np.int32), spans)


def served_agent(url: str, model: str | None = None) -> dict[str, Any] | None:
    """The options of the agent that `stepladder serve` tells; None for another server. Raises PolicyFailure for one that does not
    answer."""
    key = os.environ.get(KEY, "").strip()
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    address = f"{url.rstrip('/').removesuffix('/v1')}/v1/models"
    try:
        with httpx.Client(headers=headers, timeout=15.0, transport=httpx.HTTPTransport(retries=3)) as client:
            answer = client.get(address)
        listed = answer.json()["data"] if answer.is_success else []
        told = [one.get(AGENT) for one in listed if model is None or one["id"] == model]
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise PolicyFailure(f"{address} does not answer: {error or type(error).__name__}") from error
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return told[0] if len(told) == 1 and isinstance(told[0], dict) else None


def runs(ids: Sequence[int], wanted: int) -> tuple[tuple[int, int], ...]:
    """(start, length) of every unbroken run of the id `wanted`."""
    found, place = [], 0
    for same, group in groupby(ids, lambda one: one == wanted):
        length = sum(1 for _ in group)
        if same:
            found.append((place, length))
        place += length
    return tuple(found)


def _read(said: Any) -> tuple[Any, dict[str, float]]:
    choices = part(said, "choices", list, "answer")
    choice = choices[0] if choices else {}
    message = part(choice, "message", dict, "choices[0]")
    for name, kind in (("content", str), ("reasoning_content", str), ("reasoning", str)):
        if message.get(name) is not None:
            part(message, name, kind, "message")
    for holder, name in ((choice, "token_ids"), (said, "prompt_token_ids"), (said, "image_spans")):
        if holder.get(name) is not None:
            part(holder, name, list, "answer")
    _logprobs(choice)
    return said, usage_of(said.get("usage"))


def usage_of(said: Any) -> dict[str, float]:
    """The entries of `Completion.usage` in a chat completion's."""
    found = counts(said, {"input_tokens": "prompt_tokens", "output_tokens": "completion_tokens"})
    if isinstance(said, Mapping):
        found |= counts(said.get("prompt_tokens_details"), {"cached_tokens": "cached_tokens"})
        found |= counts(said.get("completion_tokens_details"), {"reasoning_tokens": "reasoning_tokens"})
    if "input_tokens" in found:
        found["input_tokens"] -= found.get("cached_tokens", 0.0)
    return found


def _read_models(said: Any) -> tuple[dict[str, Server], dict[str, float]]:
    """{model: what its server can do}; vLLM, SGLang and Stepladder name themselves as the owners of what they serve."""
    found: dict[str, Server] = {}
    for one in part(said, "data", list, "answer"):
        owner = one.get("owned_by") if isinstance(one, dict) else None
        found[part(one, "id", str, "data")] = next((server for server in _EXTENSIONS if server == owner), "other")
    return found, {}


def _logprobs(choice: Mapping[str, Any]) -> list[float] | None:
    said = choice.get("logprobs")
    content = said.get("content") if isinstance(said, Mapping) else None
    return None if content is None else [float(part(one, "logprob", (int, float), "logprobs.content")) for one in content]


def _text(choice: Mapping[str, Any]) -> str:
    """The reply; reasoning that the server has taken out stands in front of it again, as the model wrote it."""
    message = choice["message"]
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    content = message.get("content") or ""
    return f"<think>\n{reasoning.strip()}\n</think>\n\n{content.lstrip()}" if reasoning else content


def _with_stop(text: str, choice: Mapping[str, Any], stop: Sequence[str]) -> str:
    """`text` with the stop string that ended it, which some servers cut off. vLLM and SGLang say which it was; where nothing is
    said the reply stays as it came."""
    said = choice.get("stop_reason", choice.get("matched_stop"))
    if choice.get("finish_reason") != "stop" or said not in stop or said in text[-len(said) - 32 :]:
        return text
    return text + str(said)


async def _assemble(events: AsyncIterator[tuple[str, str]]) -> Any:
    """The whole answer from its chunks."""
    message: dict[str, Any] = {}
    choice: dict[str, Any] = {"message": message}
    answer: dict[str, Any] = {"choices": [choice]}
    async for _, data in events:
        if data == "[DONE]":
            break
        try:
            chunk = json.loads(data)
        except (ValueError, RecursionError):
            raise Malformed(f"a chunk of the answer is no JSON: {data[:80]!r}") from None
        if not isinstance(chunk, dict):
            raise Malformed(f"a chunk of the answer is no JSON object: {data[:80]!r}")
        if chunk.get("error") is not None:
            raise rejection_in_stream(chunk["error"])
        _take_in(chunk, answer, choice, message)
    if "finish_reason" not in choice:
        raise Malformed("the answer ended before it was whole")
    message.setdefault("content", "")
    return answer


def _take_in(chunk: Mapping[str, Any], answer: dict[str, Any], choice: dict[str, Any], message: dict[str, Any]) -> None:
    for name in ("usage", "prompt_token_ids", "image_spans", "weights_version"):
        if chunk.get(name) is not None:
            answer[name] = chunk[name]
    for piece in part(chunk, "choices", list, "chunk"):
        for name, text in part(piece, "delta", dict, "choices").items():
            if name in ("content", "reasoning_content", "reasoning") and isinstance(text, str):
                message[name] = message.get(name, "") + text
        if isinstance(piece.get("logprobs"), dict):
            choice.setdefault("logprobs", {"content": []})["content"] += part(piece["logprobs"], "content", list, "logprobs")
        if isinstance(piece.get("token_ids"), list):
            choice["token_ids"] = choice.get("token_ids", []) + piece["token_ids"]
        for name in ("finish_reason", "stop_reason", "matched_stop"):
            if piece.get(name) is not None:
                choice[name] = piece[name]
