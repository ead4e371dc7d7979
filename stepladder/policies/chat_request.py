"""What a chat completion request asks for: messages with pictures as data URLs, and how to sample."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from PIL import Image

from stepladder.envs.bridge.answers import known_fields
from stepladder.envs.bridge.wire import BadRequest
from stepladder.images import ImageStore
from stepladder.policies.pictures import from_data_url
from stepladder.types import ImageRef, Message, Role, Sampling

#: Fields that say nothing about the reply.
_IGNORED = ("user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key")
#: Fields that only have the value that changes nothing.
_NEUTRAL: Mapping[str, Any] = {
    "n": 1,
    "top_logprobs": 0,
    "frequency_penalty": 0,
    "presence_penalty": 0,
    "repetition_penalty": 1,
    "top_k": -1,
    "min_p": 0,
    "logit_bias": {},
    "tools": [],
    "tool_choice": "none",
    "response_format": {"type": "text"},
}
_READ = (
    *("model", "messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "seed", "stop", "stream"),
    *("stream_options", "logprobs", "return_token_ids", "include_stop_str_in_output"),
)
_ROLES: Mapping[str, Role] = {**{role: role for role in get_args(Role)}, "developer": "system"}
#: The most pixels of one picture: more than any screen has, and few enough to be decoded.
LARGEST_PICTURE = 40_000_000


@dataclass(frozen=True, slots=True, eq=False)
class ChatRequest:
    """`stream`: the reply piece by piece, with `usage` in a last piece. `logprobs`, `token_ids`: whether these are wanted.
    `keep_stop`: the stop string stays in the text."""

    messages: tuple[Message, ...]
    sampling: Sampling
    stream: bool
    usage: bool
    logprobs: bool
    token_ids: bool
    keep_stop: bool


class Borrowed:
    """The pictures of one request in a store that all requests share; a picture leaves memory with the last request that has it."""

    _lock = threading.Lock()

    def __init__(self, images: ImageStore, held: Counter[str]) -> None:
        self._images, self._held = images, held
        self._refs: list[ImageRef] = []

    def put(self, data: bytes) -> ImageRef:
        """Raises ValueError for what is no picture, or a larger one than screens are."""
        with self._lock:
            ref = self._images.put(data)
            self._held[ref.sha256] += 1
            self._refs.append(ref)
        if ref.width * ref.height > LARGEST_PICTURE:
            raise ValueError(f"a picture of {ref.width} x {ref.height} pixels; it may have {LARGEST_PICTURE}")
        try:
            self._images.load(ref)  # a broken one is this request's fault, and should not fail inside the engine
        except (ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise ValueError(f"the picture cannot be decoded: {error}") from error
        return ref

    def close(self) -> None:
        """Give them back. May be called twice."""
        with self._lock:
            refs, self._refs = self._refs, []
            for ref in refs:
                self._held[ref.sha256] -= 1
                if not self._held[ref.sha256]:
                    del self._held[ref.sha256]
                    self._images.forget(ref)


def read_chat(body: Mapping[str, Any], model: str, room: int, vocabulary: int, pictures: Borrowed) -> ChatRequest:
    """The request; `room` tokens are the longest reply there can be, ids of tokens lie below `vocabulary`.

    Raises BadRequest that names the field.
    """
    given = known_fields(body, (*_READ, *_NEUTRAL, *_IGNORED), "the request")
    for name, neutral in _NEUTRAL.items():
        if name in given and given[name] != neutral:
            raise BadRequest(f"{name}: this server has only {neutral!r}; leave it out")
    if given.get("model", model) != model:
        raise BadRequest(f"model: there is only {model!r}")
    said = given.get("messages")
    if not isinstance(said, list) or not said:
        raise BadRequest("messages: must be a list of messages, at least one")
    options = given.get("stream_options", {})
    if not isinstance(options, dict):
        raise BadRequest("stream_options: must be an object")
    return ChatRequest(
        messages=tuple(_message(one, f"messages[{place}]", vocabulary, pictures) for place, one in enumerate(said)),
        sampling=_sampling(given, room),
        stream=_flag(given, "stream"),
        usage=_flag(options, "include_usage"),
        logprobs=_flag(given, "logprobs"),
        token_ids=_flag(given, "return_token_ids"),
        keep_stop=_flag(given, "include_stop_str_in_output"),
    )


def _sampling(given: Mapping[str, Any], room: int) -> Sampling:
    stop = given.get("stop", [])
    stop = [stop] if isinstance(stop, str) else stop
    if not isinstance(stop, list) or not all(isinstance(one, str) and one for one in stop):
        raise BadRequest("stop: must be a string or a list of strings, none of them empty")
    limit = "max_completion_tokens" if "max_completion_tokens" in given else "max_tokens"
    return Sampling(
        temperature=_number(given, "temperature", 1.0, 0.0, 100.0),
        top_p=_number(given, "top_p", 1.0, 1e-6, 1.0),
        max_tokens=min(_whole(given, limit, 1) or room, room),
        stop=tuple(stop),
        seed=_whole(given, "seed", -(2**63)),
    )


def _message(said: Any, where: str, vocabulary: int, pictures: Borrowed) -> Message:
    if not isinstance(said, dict):
        raise BadRequest(f"{where}: must be an object")
    fields = known_fields(said, ("role", "content", "name", "token_ids", "refusal"), where)
    role = fields.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise BadRequest(f"{where}.role: must be one of {', '.join(_ROLES)}")
    content = fields.get("content", "")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(parts, list):
        raise BadRequest(f"{where}.content: must be a string or a list of parts")
    read = tuple(_part(one, f"{where}.content[{place}]", pictures) for place, one in enumerate(parts))
    tokens = fields.get("token_ids")
    if tokens is None:
        return Message(_ROLES[role], read)
    if role != "assistant" or not isinstance(tokens, list) or not all(type(one) is int and 0 <= one < vocabulary for one in tokens):
        raise BadRequest(f"{where}.token_ids: must be ids of tokens, 0 to {vocabulary - 1}, of an assistant's message")
    return Message("assistant", read, np.asarray(tokens, dtype=np.int32))


def _part(said: Any, where: str, pictures: Borrowed) -> str | ImageRef:
    kind = said.get("type") if isinstance(said, dict) else None
    if kind == "text" and isinstance(said.get("text"), str):
        return str(said["text"])
    if kind != "image_url":
        raise BadRequest(
            f'{where}: must be {{"type": "text", "text": ...}} or {{"type": "image_url", "image_url": {{"url": ...}}}}'
        )
    url = said.get("image_url")
    url = url.get("url") if isinstance(url, dict) else url
    if not isinstance(url, str):
        raise BadRequest(f"{where}.image_url.url: must be a string")
    try:
        return pictures.put(from_data_url(url))
    except ValueError as error:
        raise BadRequest(f"{where}: {error}") from error


def _flag(given: Mapping[str, Any], name: str) -> bool:
    value = given.get(name) or False
    if not isinstance(value, bool):
        raise BadRequest(f"{name}: must be true or false")
    return value


def _number(given: Mapping[str, Any], name: str, default: float, least: float, most: float) -> float:
    value = given.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise BadRequest(f"{name}: must be a number from {least:g} to {most:g}")
    return float(value)


def _whole(given: Mapping[str, Any], name: str, least: int) -> int | None:
    value = given.get(name)
    if value is None:
        return None
    if type(value) is not int or not least <= value < 2**63:
        raise BadRequest(f"{name}: must be a whole number, at least {least}")
    return value
