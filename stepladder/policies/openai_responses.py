"""OpenAI's Responses API with the computer tool.

A reply's text is its output, a JSON list of items as the API gave them; the agent `openai_computer` reads it, and prompts carry the
same text. What the environment shows after a reply with calls becomes their outputs. Nothing is stored at the server: reasoning
goes back and forth encrypted.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from stepladder.images import ImageStore
from stepladder.policies.answers import Malformed, counts, part, rejection_in_stream
from stepladder.policies.blocks import ToolAgent, parts, read_blocks, write_blocks
from stepladder.policies.budget import Meter
from stepladder.policies.http import ApiClient, CallLimits, credentials
from stepladder.policies.openai_chat import KEY
from stepladder.policies.pictures import Pictures
from stepladder.types import Completion, FinishReason, ImageRef, Message, Prompt, Sampling

#: The environment variable of the address of a gateway.
BASE_URL = "OPENAI_BASE_URL"
URL = "https://api.openai.com"
_logger = logging.getLogger(__name__)


class OpenAIResponsesPolicy:
    """Asks `model` by POST /v1/responses.

    agent   whose tool is declared, and to whose display screenshots are scaled
    images  where the pictures of the messages are
    key     default: the environment variable OPENAI_API_KEY. Raises PolicyFailure when there is none
    url     default: the environment variable OPENAI_BASE_URL, or OpenAI's own address
    stream  whether the reply comes piece by piece, which keeps connections through gateways alive
    extra   further fields of every request, such as {"reasoning": {"effort": "low"}}; a field that is None is left out

    The models that have the tool choose themselves how they sample: temperature, top_p, seed and stop strings are not sent. Safety
    checks that the API asks for are acknowledged, and each is told in the log.
    """

    def __init__(
        self,
        model: str,
        agent: ToolAgent,
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
        self.model, self.agent = model, agent
        self.name = name or f"openai-responses:{model}"
        self.version = 0
        self.client = ApiClient(self.name, url, {"Authorization": f"Bearer {key}"}, secret=key, limits=limits, meter=meter)
        self._pictures = Pictures(images, (agent.coordinates.width, agent.coordinates.height))
        self._stream, self._extra = stream, dict(extra or {})

    async def generate(self, messages: tuple[Message, ...], sampling: Sampling) -> tuple[Prompt, Completion]:
        """Raises ContextFull, BudgetSpent, PolicyFailure."""
        body = await asyncio.to_thread(self._body, messages, sampling)
        said, usage = await self.client.call("/v1/responses", body, _read, _assemble)
        for item in said["output"]:
            for check in item.get("pending_safety_checks") or ():
                _logger.warning("%s asks for a safety check, which is acknowledged: %s", self.name, check)
        return Prompt(messages), Completion(write_blocks(said["output"]), finish=_finish(said), usage=usage)

    async def close(self) -> None:
        await self.client.close()

    # ----------------------------------------------------------------------------------------------------------- internals

    def _body(self, messages: Sequence[Message], sampling: Sampling) -> dict[str, Any]:
        tool = self.agent.tool()
        system = "\n\n".join(message.text for message in messages if message.role == "system" and message.text.strip())
        body: dict[str, Any] = {
            "model": self.model,
            "instructions": system or None,
            "input": self._items([message for message in messages if message.role != "system"]),
            "tools": [tool],
            "max_output_tokens": max(sampling.max_tokens, 16),  # the least that the API takes
            "store": False,
            "include": ["reasoning.encrypted_content"],
            # The API takes this tool with no other value.
            "truncation": "auto" if tool.get("type") == "computer_use_preview" else None,
            "stream": True if self._stream else None,
            **self._extra,
        }
        return {name: value for name, value in body.items() if value is not None}

    def _items(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        calls: list[dict[str, Any]] = []
        for message in messages:
            if message.role == "assistant":
                output = read_blocks(message.text)
                if output is None:
                    output = [{"role": "assistant", "content": [{"type": "output_text", "text": message.text or "(nothing)"}]}]
                calls = [item for item in output if item.get("type") in ("computer_call", "function_call")]
                items += output
                continue
            content = parts(message)
            if calls:
                outputs, content = self._outputs(calls, content)
                items += outputs
                calls = []
            if content:
                items.append({"role": "user", "content": [self._part(one) for one in content]})
        return items

    def _outputs(
        self, calls: Sequence[Mapping[str, Any]], content: list[str | ImageRef]
    ) -> tuple[list[dict[str, Any]], list[str | ImageRef]]:
        """The output of every call, and what of `content` is left to be said beside them.

        The output of the computer is a screenshot, so that texts are left; that of a function is text. Without a screenshot the
        calls of the computer cannot be answered, and stand in the input unanswered, which the API refuses.
        """
        pictures = [one for one in content if isinstance(one, ImageRef)]
        said = [one for one in content if isinstance(one, str)]
        outputs: list[dict[str, Any]] = []
        for call in calls:
            answer: dict[str, Any] = {"type": f"{call['type']}_output", "call_id": call.get("call_id")}
            if call["type"] == "function_call":
                answer["output"] = "\n".join(said) or "Done"
            else:
                answer["output"] = {"type": "computer_screenshot"}
                if pictures:
                    answer["output"]["image_url"] = self._pictures.data_url(pictures[-1])
                if call.get("pending_safety_checks"):
                    answer["acknowledged_safety_checks"] = call["pending_safety_checks"]
            outputs.append(answer)
        by_function = all(call["type"] == "function_call" for call in calls)
        return outputs, [*pictures] if by_function else [*said]

    def _part(self, one: str | ImageRef) -> dict[str, Any]:
        if isinstance(one, str):
            return {"type": "input_text", "text": one}
        return {"type": "input_image", "image_url": self._pictures.data_url(one), "detail": "auto"}


def _finish(said: Mapping[str, Any]) -> FinishReason:
    if said.get("status") != "incomplete":
        return "stop"
    details = said.get("incomplete_details")
    reason = details.get("reason") if isinstance(details, dict) else None
    return "length" if reason == "max_output_tokens" else "abort"


def _read(said: Any) -> tuple[Any, dict[str, float]]:
    if isinstance(said, dict) and said.get("status") == "failed":
        raise rejection_in_stream(said.get("error") or "the response has failed")
    for item in part(said, "output", list, "answer"):
        part(item, "type", str, "output")
    usage = said.get("usage")
    found = counts(usage, {"input_tokens": "input_tokens", "output_tokens": "output_tokens"})
    if isinstance(usage, dict):
        found |= counts(usage.get("input_tokens_details"), {"cached_tokens": "cached_tokens"})
        found |= counts(usage.get("output_tokens_details"), {"reasoning_tokens": "reasoning_tokens"})
    if "input_tokens" in found:
        found["input_tokens"] -= found.get("cached_tokens", 0.0)
    return said, found


async def _assemble(events: AsyncIterator[tuple[str, str]]) -> Any:
    """The response, which the last event of a stream holds whole."""
    async for _, data in events:
        try:
            event = json.loads(data)
        except (ValueError, RecursionError):
            raise Malformed(f"an event of the answer is no JSON: {data[:80]!r}") from None
        kind = part(event, "type", str, "event")
        if kind == "error":
            raise rejection_in_stream(event.get("error") or event)
        if kind in ("response.completed", "response.incomplete", "response.failed"):
            return part(event, "response", dict, kind)
    raise Malformed("the answer ended before it was whole")
