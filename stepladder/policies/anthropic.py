"""Anthropic's Messages API with the computer tool.

A reply's text is its content, a JSON list of blocks as the API gave them; the agent `anthropic` reads it, and prompts carry the
same text. What the environment shows after a reply with tools becomes their results.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Protocol

from stepladder.images import ImageStore
from stepladder.policies.answers import Malformed, counts, part, rejection_in_stream
from stepladder.policies.blocks import COMPLAINT, ToolAgent, parts, read_blocks, write_blocks
from stepladder.policies.budget import Meter
from stepladder.policies.http import ApiClient, CallLimits, credentials
from stepladder.policies.pictures import Pictures
from stepladder.types import Completion, FinishReason, ImageRef, Message, Prompt, Sampling

#: The environment variables of the key, and of the address of a gateway.
KEY, BASE_URL = "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"
URL = "https://api.anthropic.com"
API_VERSION = "2023-06-01"
_FINISH: Mapping[str, FinishReason] = {"max_tokens": "length", "model_context_window_exceeded": "length"}
_USAGE = {
    "input_tokens": "input_tokens",
    "cached_tokens": "cache_read_input_tokens",
    "cache_write_tokens": "cache_creation_input_tokens",
    "output_tokens": "output_tokens",
}
#: How the pieces of a streamed block are called, and which field of the block they make up.
_PIECES = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "signature", "input_json_delta": "partial_json"}


class AnthropicAgent(ToolAgent, Protocol):
    @property
    def beta(self) -> str:
        """The beta flag of the tool's version, "" for none."""


class AnthropicPolicy:
    """Asks `model` by POST /v1/messages.

    agent   whose tool is declared, and to whose display screenshots are scaled
    images  where the pictures of the messages are
    key     default: the environment variable ANTHROPIC_API_KEY. Raises PolicyFailure when there is none
    url     default: the environment variable ANTHROPIC_BASE_URL, or Anthropic's own address
    stream  whether the reply comes piece by piece, which keeps connections through gateways alive
    extra   further fields of every request, such as {"thinking": {"type": "enabled", "budget_tokens": 2048}}, with which the API
            takes neither temperature nor top_p; a field that is None is left out

    What is asked is cached up to the last two user messages. The API has no seed.
    """

    def __init__(
        self,
        model: str,
        agent: AnthropicAgent,
        images: ImageStore,
        *,
        name: str | None = None,
        key: str | None = None,
        url: str | None = None,
        stream: bool = False,
        extra: Mapping[str, Any] | None = None,
        limits: CallLimits | None = None,
        meter: Meter | None = None,
    ) -> None:
        key, url = credentials(key, url, KEY, BASE_URL, URL)
        headers = {"x-api-key": key, "anthropic-version": API_VERSION}
        if agent.beta:
            headers["anthropic-beta"] = agent.beta
        self.model, self.agent = model, agent
        self.name = name or f"anthropic:{model}"
        self.version = 0
        self.client = ApiClient(self.name, url, headers, secret=key, limits=limits, meter=meter)
        self._pictures = Pictures(images, (agent.coordinates.width, agent.coordinates.height))
        self._stream, self._extra = stream, dict(extra or {})

    async def generate(self, messages: tuple[Message, ...], sampling: Sampling) -> tuple[Prompt, Completion]:
        """Raises ContextFull, BudgetSpent, PolicyFailure."""
        body = await asyncio.to_thread(self._body, messages, sampling)
        said, usage = await self.client.call("/v1/messages", body, _read, _assemble)
        finish = _FINISH.get(str(said.get("stop_reason")), "stop")
        return Prompt(messages), Completion(write_blocks(said["content"]), finish=finish, usage=usage)

    async def close(self) -> None:
        await self.client.close()

    # ----------------------------------------------------------------------------------------------------------- internals

    def _body(self, messages: Sequence[Message], sampling: Sampling) -> dict[str, Any]:
        system = "\n\n".join(message.text for message in messages if message.role == "system" and message.text.strip())
        body: dict[str, Any] = {
            "model": self.model,
            "max_tokens": sampling.max_tokens,
            "system": system or None,
            "messages": self._turns([message for message in messages if message.role != "system"]),
            "tools": [self.agent.tool()],
            "stop_sequences": list(sampling.stop) or None,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p if sampling.top_p < 1 else None,
            "stream": True if self._stream else None,
            **self._extra,
        }
        if (self._extra.get("thinking") or {}).get("type", "disabled") != "disabled":
            body |= {"temperature": None, "top_p": None}
        return {name: value for name, value in body.items() if value is not None}

    def _turns(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        turns: list[dict[str, Any]] = []
        calls: list[dict[str, Any]] = []
        for message in messages:
            if message.role == "assistant":
                blocks = _sendable(message)
                calls = [block for block in blocks if block["type"] == "tool_use"]
                turns.append({"role": "assistant", "content": blocks})
                continue
            content = [self._block(one, self._zoomed(calls)) for one in parts(message)]
            if calls:
                content, calls = _results([str(call.get("id")) for call in calls], content), []
            turns.append({"role": "user", "content": content or [{"type": "text", "text": "(nothing)"}]})
        for turn in [turn for turn in turns if turn["role"] == "user"][-2:]:
            turn["content"][-1]["cache_control"] = {"type": "ephemeral"}
        return turns

    def _zoomed(self, calls: Sequence[Mapping[str, Any]]) -> tuple[float, ...] | None:
        """The region of the display that the last call asked to see."""
        given = calls[-1].get("input") if calls else None
        region = given.get("region") if isinstance(given, dict) and given.get("action") == "zoom" else None
        if not isinstance(region, list) or len(region) != 4 or not all(type(one) in (int, float) for one in region):
            return None
        width, height = self.agent.coordinates.width, self.agent.coordinates.height
        left, right = sorted(min(max(one, 0), width) for one in region[::2])
        top, bottom = sorted(min(max(one, 0), height) for one in region[1::2])
        return (left, top, right, bottom) if right - left >= 1 and bottom - top >= 1 else None

    def _block(self, one: str | ImageRef, region: tuple[float, ...] | None) -> dict[str, Any]:
        if isinstance(one, str):
            return {"type": "text", "text": one}
        cut = None
        if region is not None:  # at the resolution of the screenshot, not of the display
            wide, high = one.width / self.agent.coordinates.width, one.height / self.agent.coordinates.height
            cut = (region[0] * wide, region[1] * high, region[2] * wide, region[3] * high)
        kind, text = self._pictures.encoded(one, cut)
        return {"type": "image", "source": {"type": "base64", "media_type": kind, "data": text}}


def _sendable(message: Message) -> list[dict[str, Any]]:
    """An assistant's message as blocks; the API refuses empty texts, and thinking that it has not signed."""
    blocks = read_blocks(message.text)
    if blocks is None:
        blocks = [{"type": "text", "text": message.text}] if message.text.strip() else []
    kept = [block for block in blocks if _acceptable(block)]
    return kept or [{"type": "text", "text": "(nothing)"}]


def _acceptable(block: Mapping[str, Any]) -> bool:
    if block["type"] == "thinking":
        return bool(block.get("signature"))
    return block["type"] != "text" or bool(str(block.get("text", "")).strip())


def _results(calls: Sequence[str], content: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The results of the tools that were called, every one answered, the last with what the environment shows.

    A result that is an error may hold text alone: then the screenshot stands after the results.
    """
    failed = any(block["type"] == "text" and block["text"].startswith(COMPLAINT) for block in content)
    results: list[dict[str, Any]] = [{"type": "tool_result", "tool_use_id": call} for call in calls]
    if not failed:
        for result in results[:-1]:
            result["content"] = [{"type": "text", "text": "Done"}]
        results[-1]["content"] = content or [{"type": "text", "text": "Done"}]
        return results
    said = [block for block in content if block["type"] == "text"]
    for result in results:
        result |= {"is_error": True, "content": [dict(block) for block in said]}
    return [*results, *(block for block in content if block["type"] != "text")]


def _read(said: Any) -> tuple[Any, dict[str, float]]:
    for block in part(said, "content", list, "answer"):
        part(block, "type", str, "content")
    return said, counts(said.get("usage"), _USAGE)


async def _assemble(events: AsyncIterator[tuple[str, str]]) -> Any:
    """The whole message from the events of a stream."""
    message: dict[str, Any] = {}
    blocks: dict[int, dict[str, Any]] = {}
    async for _, data in events:
        try:
            event = json.loads(data)
        except (ValueError, RecursionError):
            raise Malformed(f"an event of the answer is no JSON: {data[:80]!r}") from None
        kind = part(event, "type", str, "event")
        if kind == "error":
            raise rejection_in_stream(event.get("error"))
        if kind == "message_start":
            message = dict(part(event, "message", dict, kind))
        elif kind == "content_block_start":
            blocks[part(event, "index", int, kind)] = dict(part(event, "content_block", dict, kind))
        elif kind == "content_block_delta":
            _take_in(part(event, "delta", dict, kind), blocks.get(part(event, "index", int, kind)))
        elif kind == "message_delta":
            message |= part(event, "delta", dict, kind)
            message["usage"] = {**(message.get("usage") or {}), **(event.get("usage") or {})}
        elif kind == "message_stop":
            return {**message, "content": [_whole(blocks[index]) for index in sorted(blocks)]}
    raise Malformed("the answer ended before it was whole")


def _take_in(delta: Mapping[str, Any], block: dict[str, Any] | None) -> None:
    if block is None:
        raise Malformed("a piece of the answer belongs to no block")
    kind = part(delta, "type", str, "delta")
    if kind in _PIECES:
        name = _PIECES[kind]
        block[name] = (block.get(name) or "") + part(delta, name, str, kind)


def _whole(block: dict[str, Any]) -> dict[str, Any]:
    """A block with the input of its tool, which comes as pieces of JSON."""
    pieces = block.pop("partial_json", None)
    if pieces:
        try:
            block["input"] = json.loads(pieces)
        except (ValueError, RecursionError):
            block["input"] = {"unreadable": pieces}  # a reply that max_tokens has cut off; the agent says so to the model
    return block
