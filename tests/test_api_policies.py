"""Policies that run elsewhere, against real HTTP servers on loopback that replay what APIs answer, trouble included."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from api_servers import Replaying, Reply, serving
from PIL import Image

from stepladder.agents.coordinates import DisplayCoordinates
from stepladder.codec import from_json, to_json
from stepladder.images import ImageStore
from stepladder.interfaces import ContextFull, Policy
from stepladder.policies.anthropic import AnthropicPolicy
from stepladder.policies.budget import Budget, BudgetSpent, Meter
from stepladder.policies.http import CallLimits, PolicyFailure
from stepladder.policies.openai_chat import OpenAIChatPolicy, runs
from stepladder.policies.openai_responses import OpenAIResponsesPolicy
from stepladder.types import Completion, Message, Prompt, Sampling

IMAGES = ImageStore()
PICTURE = IMAGES.put_pixels(np.full((40, 64, 3), 200, dtype=np.uint8))
MESSAGES = (Message("system", ("You act.",)), Message("user", (PICTURE, "Click OK.")))
GREEDY = Sampling(temperature=0.0, max_tokens=50, stop=("</tool_call>",), seed=7)
#: Quick: pauses of milliseconds.
QUICK = CallLimits(deadline=5.0, first_pause=0.01, longest_pause=0.05)
KEY = "sk-a-key-of-the-test"
PRICES = {"input_tokens": 3.0, "cached_tokens": 0.3, "cache_write_tokens": 3.75, "output_tokens": 15.0}


class ToolAgent:
    """As much of a dialect with a computer tool as policies need."""

    coordinates = DisplayCoordinates(32, 20)
    beta = "computer-use-2025-11-24"

    def __init__(self, kind: str = "computer_20251124") -> None:
        self.kind = kind

    def tool(self) -> dict[str, Any]:
        return {"type": self.kind, "name": "computer", "display_width_px": 32, "display_height_px": 20}


def chat(text: str = "Hi", **choice: Any) -> dict[str, Any]:
    """A chat completion as vLLM gives it."""
    message = {"role": "assistant", "content": text, "reasoning_content": None, "tool_calls": []}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop", "stop_reason": None, **choice}],
        "usage": {
            "prompt_tokens": 100,
            "completion_tokens": 10,
            "total_tokens": 110,
            "prompt_tokens_details": {"cached_tokens": 60},
        },
    }


def message(*content: dict[str, Any], stop_reason: str = "tool_use") -> dict[str, Any]:
    """A message as Anthropic gives it."""
    usage = {"input_tokens": 20, "cache_creation_input_tokens": 30, "cache_read_input_tokens": 50, "output_tokens": 12}
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "content": list(content),
        "stop_reason": stop_reason,
        "usage": usage,
    }


CLICK = {"type": "tool_use", "id": "toolu_1", "name": "computer", "input": {"action": "left_click", "coordinate": [3, 4]}}
SAID = {"type": "text", "text": "I click — “OK”."}


def response(*output: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A response as OpenAI gives it."""
    usage = {
        "input_tokens": 100,
        "input_tokens_details": {"cached_tokens": 40},
        "output_tokens": 9,
        "output_tokens_details": {"reasoning_tokens": 5},
        "total_tokens": 109,
    }
    return {"id": "resp_1", "object": "response", "status": "completed", "output": list(output), "usage": usage, **fields}


CALL = {
    "type": "computer_call",
    "id": "cu_1",
    "call_id": "call_1",
    "status": "completed",
    "action": {"type": "click", "button": "left", "x": 3, "y": 4},
    "pending_safety_checks": [{"id": "sc_1", "code": "malicious_instructions", "message": "Look out."}],
}


def openai(url: str, **options: Any) -> OpenAIChatPolicy:
    return OpenAIChatPolicy(url, IMAGES, **{"key": KEY, "limits": QUICK, **options})


def anthropic(url: str, **options: Any) -> AnthropicPolicy:
    return AnthropicPolicy("claude", ToolAgent(), IMAGES, **{"key": KEY, "limits": QUICK, "url": url, **options})


def responses(url: str, **options: Any) -> OpenAIResponsesPolicy:
    agent = ToolAgent("computer_use_preview")
    return OpenAIResponsesPolicy("gpt", agent, IMAGES, **{"key": KEY, "limits": QUICK, "url": url, **options})


Make = Callable[..., Any]


def ask(
    make: Make, replies: Sequence[Reply], messages: tuple[Message, ...] = MESSAGES, sampling: Sampling = GREEDY, **options: Any
) -> tuple[Prompt, Completion, Replaying]:
    """One answer of a policy whose server gives `replies`."""
    server = Replaying(replies, options.pop("owner", "vllm"))
    with serving(server) as url:

        async def main() -> tuple[Prompt, Completion]:
            policy = make(url, **options)
            try:
                return await policy.generate(messages, sampling)
            finally:
                await policy.close()

        return *asyncio.run(main()), server


def fails(make: Make, replies: Sequence[Reply], kind: type[Exception], match: str, **options: Any) -> float:
    """Seconds until the policy gives up, as it should."""
    started = time.monotonic()
    with pytest.raises(kind, match=match) as caught:
        ask(make, replies, **options)
    assert KEY not in str(caught.value)
    return time.monotonic() - started


def decoded(text: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(text)))


ALL = [
    pytest.param(openai, Reply(chat("ok")), "ok", id="openai_chat"),
    pytest.param(anthropic, Reply(message(SAID)), json.dumps([SAID], ensure_ascii=False), id="anthropic"),
    pytest.param(responses, Reply(response(CALL)), json.dumps([CALL]), id="openai_responses"),
]


# ------------------------------------------------------------------------------------------------------------ what all share


@pytest.mark.parametrize(("make", "good", "text"), ALL)
def test_trouble_that_passes_is_tried_again(make: Make, good: Reply, text: str) -> None:
    troubles = [
        Reply({"error": {"message": "slow down", "type": "rate_limit_error", "code": None}}, 429, {"retry-after": "0.3"}),
        Reply({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, 529),
        Reply(b"<html>bad gateway</html>", 502),
        Reply(b'{"id": "x", "choices": [{"mess'),
        Reply({"unexpected": True}),
        Reply(good.body, reset=True),
        Reply({"error": {"message": "upstream", "code": 503}}),
    ]
    _, completion, server = ask(make, [*troubles, good])
    assert completion.text == text
    assert completion.usage["attempts"] == len(server.asked) == 8
    assert all(asked == server.asked[0] for asked in server.asked)
    assert server.times[1] - server.times[0] >= 0.3, "not before the server wants to be asked again"
    assert isinstance(make("http://127.0.0.1:1"), Policy)


@pytest.mark.parametrize(("make", "good", "text"), ALL)
def test_what_does_not_pass_ends_the_run_and_keeps_the_key(make: Make, good: Reply, text: str) -> None:
    refused = Reply(
        {"error": {"message": f"Incorrect API key: {KEY}", "type": "invalid_request_error", "code": "invalid_api_key"}}, 401
    )
    assert fails(make, [refused], PolicyFailure, "401 invalid_api_key: Incorrect API key: ") < 20
    poor = Reply({"error": {"message": "You exceeded your quota", "type": "insufficient_quota", "code": "insufficient_quota"}}, 429)
    fails(make, [poor], PolicyFailure, "insufficient_quota")
    limits = replace(QUICK, deadline=0.6)
    seconds = fails(make, [Reply({"detail": "down"}, 500)], PolicyFailure, r"within 0.6 s: 500: down \(\d+ attempts", limits=limits)
    assert seconds < 20
    fails(make, [Reply(good.body, wait=1.0)], PolicyFailure, "not answered within 0.6 s", limits=limits)
    late = Reply({"error": {"message": "later"}}, 429, {"retry-after": "3600"})
    assert fails(make, [late], PolicyFailure, r"the next one would be in 3600 s") < 20


def test_a_server_that_is_not_there() -> None:
    policy = openai("http://127.0.0.1:1", limits=replace(QUICK, first_contact=0.2))
    with pytest.raises(PolicyFailure, match=r"openai:http://127.0.0.1:1 at http://127.0.0.1:1 cannot be reached: ConnectError"):
        asyncio.run(policy.generate(MESSAGES, GREEDY))
    for url, match in (("127.0.0.1:8000", "must begin with http"), ("http://me:secret@127.0.0.1", "holds a password")):
        with pytest.raises(ValueError, match=match):
            openai(url)
    with pytest.raises(ValueError, match="no key has"):
        openai("http://127.0.0.1", key="a\nb")


@pytest.mark.parametrize(
    ("make", "status", "error"),
    [
        (openai, 400, {"message": "This model's maximum context length is 512 tokens. However, you requested 600", "code": 400}),
        (openai, 400, {"message": "too long", "code": "context_length_exceeded"}),
        (openai, 400, {"message": "The input (700 tokens) is longer than the model's context length (512 tokens)."}),
        (anthropic, 400, {"type": "invalid_request_error", "message": "prompt is too long: 200251 tokens > 200000 maximum"}),
        (anthropic, 413, {"type": "request_too_large", "message": "Request exceeds the maximum size"}),
        (responses, 400, {"message": "Your input exceeds the context window of this model.", "type": "invalid_request_error"}),
    ],
)
def test_a_prompt_that_is_too_long(make: Make, status: int, error: dict[str, Any]) -> None:
    with pytest.raises(ContextFull):
        ask(make, [Reply({"error": error}, status)])
    other = {**error, "message": "max_tokens must be positive", "code": None, "type": "invalid_request_error"}
    with pytest.raises(PolicyFailure, match="max_tokens must be positive"):
        ask(make, [Reply({"error": other}, 400)])


def test_no_more_calls_at_once_than_allowed() -> None:
    for limit in (1, 3):
        server = Replaying([Reply(chat(), wait=0.05)])
        with serving(server) as url:

            async def main(url: str = url, limit: int = limit) -> None:
                policy = openai(url, limits=replace(QUICK, concurrency=limit))
                await asyncio.gather(*(policy.generate(MESSAGES, GREEDY) for _ in range(8)))
                await policy.close()

            asyncio.run(main())
        assert (server.most, len(server.asked)) == (limit, 8)


def test_a_policy_works_in_one_event_loop_after_another() -> None:
    with serving(Replaying([Reply(chat())])) as url:
        policy = openai(url)
        for _ in range(2):
            assert asyncio.run(policy.generate(MESSAGES, GREEDY))[1].text == "Hi"


@pytest.mark.parametrize(("make", "good", "text"), ALL)
def test_usage_and_cost_are_recorded(make: Make, good: Reply, text: str) -> None:
    meter = Meter(prices=PRICES)
    _, completion, _ = ask(make, [good], meter=meter)
    usage = dict(completion.usage)
    read, cached, kept = usage["input_tokens"], usage["cached_tokens"], usage.get("cache_write_tokens", 0)
    assert (read + cached + kept) == 100
    assert usage["dollars"] == pytest.approx((3 * read + 0.3 * cached + 3.75 * kept + 15 * usage["output_tokens"]) / 1e6)
    assert meter.used["calls"] == 1
    assert meter.tokens == 100 + usage["output_tokens"]
    assert from_json(Completion, to_json(completion)).usage == usage
    assert "usage" not in to_json(Completion("text"))


def test_a_budget_stops_calls() -> None:
    for budget, calls in ((Budget(calls=3), 3), (Budget(tokens=300), 3), (Budget(dollars=0.001), 3)):
        server = Replaying([Reply(chat())])
        meter = Meter(budget, {"input_tokens": 3.0, "output_tokens": 15.0})
        with serving(server) as url:

            async def main(url: str = url, meter: Meter = meter) -> None:
                policy = openai(url, meter=meter)
                for _ in range(9):
                    await policy.generate(MESSAGES, GREEDY)

            with pytest.raises(BudgetSpent, match=r"the budget of .* is spent"):
                asyncio.run(main())
        assert len(server.asked) == calls
    silent = {name: value for name, value in chat().items() if name != "usage"}
    fails(openai, [Reply(silent)], PolicyFailure, "does not tell what a call has used", meter=Meter(Budget(tokens=5)))


def test_budgets_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="a budget of dollars needs prices"):
        Meter(Budget(dollars=1.0))
    with pytest.raises(ValueError, match="no price of 'output'; there are those of input_tokens"):
        Meter(prices={"output": 1.0})
    with pytest.raises(ValueError, match="prices need at least those of input_tokens and output_tokens"):
        Meter(prices={"output_tokens": 1.0})
    with pytest.raises(ValueError, match="a budget of -1 calls cannot be"):
        Budget(calls=-1)
    with pytest.raises(ValueError, match="concurrency is 0; it must be above 0"):
        CallLimits(concurrency=0)


def test_without_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    with pytest.raises(PolicyFailure, match="set the environment variable ANTHROPIC_API_KEY"):
        anthropic("http://127.0.0.1", key=None)
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    _, _, server = ask(anthropic, [Reply(message(SAID))], key=None)
    assert server.headers[0]["x-api-key"] == KEY
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    _, _, server = ask(openai, [Reply(chat())], key=None)
    assert "authorization" not in server.headers[0]


# ------------------------------------------------------------------------------------------------------------------ OpenAI chat


def test_what_a_chat_server_is_asked() -> None:
    messages = (*MESSAGES, Message("assistant", ("Hm.",), np.array([5, 6], dtype=np.int32)), Message("user", ("Go on.",)))
    _, _, server = ask(openai, [Reply(chat())], messages, owner="someone", extra={"top_p": None, "top_k": 20})
    (body,) = server.asked
    url = body["messages"][1]["content"][0]["image_url"]["url"]
    assert url.startswith("data:image/png;base64,")
    assert base64.b64decode(url.partition(",")[2]) == IMAGES.get(PICTURE), "the very bytes"
    assert body["messages"][1]["content"][1] == {"type": "text", "text": "Click OK."}
    assert body["messages"][2:] == [{"role": "assistant", "content": "Hm."}, {"role": "user", "content": "Go on."}]
    del body["messages"]
    assert body == {"model": "m", "max_tokens": 50, "temperature": 0.0, "seed": 7, "stop": ["</tool_call>"], "top_k": 20}
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    for owner, field in (("vllm", "include_stop_str_in_output"), ("sglang", "no_stop_trim")):
        assert ask(openai, [Reply(chat())], owner=owner)[2].asked[0][field] is True
    mine = ask(openai, [Reply(chat())], messages, owner="stepladder")[2].asked[0]
    assert mine["messages"][2] == {"role": "assistant", "content": "Hm.", "token_ids": [5, 6]}


def test_token_ids_for_training() -> None:
    logprobs = {"content": [{"token": "a", "logprob": -0.5}, {"token": "b", "logprob": -1.5}]}
    body = {**chat("ab", token_ids=[3, 4], logprobs=logprobs), "prompt_token_ids": [1, 9, 9, 9, 2]}
    prompt, completion, _ = ask(openai, [Reply(body)], image_token=9)
    assert prompt.tokens is not None
    assert completion.tokens is not None
    assert completion.logprobs is not None
    assert (prompt.tokens.tolist(), prompt.tokens.dtype, prompt.image_spans) == ([1, 9, 9, 9, 2], np.int32, ((1, 3),))
    assert (completion.tokens.tolist(), completion.logprobs.tolist()) == ([3, 4], [-0.5, -1.5])
    assert completion.logprobs.dtype == np.float32
    assert ask(openai, [Reply(body)])[0].tokens is None, "the places of the pictures are not known"
    with pytest.raises(PolicyFailure, match="1 pictures and 0 runs of placeholders"):
        ask(openai, [Reply(body)], image_token=8)
    with pytest.raises(PolicyFailure, match="gives 1 token ids and 2 log-probabilities"):
        ask(openai, [Reply({**body, "choices": [{**body["choices"][0], "token_ids": [3]}]})], image_token=9)
    assert runs([7, 7, 1, 7], 7) == ((0, 2), (3, 1))


@pytest.mark.parametrize(
    ("choice", "text", "finish"),
    [
        ({"stop_reason": "</tool_call>"}, "<tool_call>{}</tool_call>", "stop"),
        ({"matched_stop": "</tool_call>"}, "<tool_call>{}", "stop"),  # vLLM's field is there, and says: no stop string
        ({"stop_reason": 151645}, "<tool_call>{}", "stop"),
        ({"finish_reason": "length", "stop_reason": "</tool_call>"}, "<tool_call>{}", "length"),
        ({"finish_reason": "content_filter"}, "<tool_call>{}", "abort"),
    ],
)
def test_how_a_reply_ends(choice: dict[str, Any], text: str, finish: str) -> None:
    _, completion, _ = ask(openai, [Reply(chat("<tool_call>{}", **choice))])
    assert (completion.text, completion.finish) == (text, finish)


def test_a_stop_string_is_there_once_and_reasoning_stands_in_front() -> None:
    kept = chat("<tool_call>{}</tool_call>", stop_reason="</tool_call>")
    assert ask(openai, [Reply(kept)])[1].text == "<tool_call>{}</tool_call>"
    sglang = chat("<tool_call>{}", matched_stop="</tool_call>")
    del sglang["choices"][0]["stop_reason"]
    assert ask(openai, [Reply(sglang)], owner="sglang")[1].text == "<tool_call>{}</tool_call>"
    thinking = chat("x")
    thinking["choices"][0]["message"] = {"role": "assistant", "content": "\n\nClick", "reasoning_content": "Hm.\n"}
    assert ask(openai, [Reply(thinking)])[1].text == "<think>\nHm.\n</think>\n\nClick"


def chunks(*deltas: dict[str, Any], usage: bool = True) -> list[tuple[str, Any]]:
    head = {"id": "c", "object": "chat.completion.chunk", "model": "m"}
    events: list[tuple[str, Any]] = [("", {**head, "choices": [{"index": 0, "finish_reason": None, **one}]}) for one in deltas]
    events[0][1]["prompt_token_ids"] = [1, 9, 2]
    if usage:
        events.append(("", {**head, "choices": [], "usage": chat()["usage"]}))
    return [*events, ("", "[DONE]")]


DELTAS = (
    {"delta": {"role": "assistant", "content": ""}},
    {"delta": {"content": "Sí\u2028"}, "token_ids": [3], "logprobs": {"content": [{"token": "x", "logprob": -0.5}]}},
    {"delta": {"content": "<a>"}, "token_ids": [4, 5], "logprobs": {"content": [{"logprob": -1.5}, {"logprob": -2.5}]}},
    {"delta": {}, "finish_reason": "stop", "stop_reason": "</tool_call>"},
)


def test_a_streamed_reply() -> None:
    prompt, completion, server = ask(openai, [Reply(events=chunks(*DELTAS))], stream=True, image_token=9)
    assert (server.asked[0]["stream"], server.asked[0]["stream_options"]) == (True, {"include_usage": True})
    assert completion.text == "Sí\u2028<a></tool_call>"
    assert completion.tokens is not None
    assert completion.logprobs is not None
    assert (completion.tokens.tolist(), completion.logprobs.tolist()) == ([3, 4, 5], [-0.5, -1.5, -2.5])
    assert prompt.image_spans == ((1, 1),)
    assert completion.usage["output_tokens"] == 10
    cut, broken = chunks(*DELTAS[:3], usage=False)[:-1], [("", "{")]
    error = [*cut, ("", {"error": {"message": "the engine died", "type": "server_error", "code": 500}})]
    replies = [Reply(events=cut), Reply(events=broken), Reply(events=error), Reply(events=chunks(*DELTAS), reset=True)]
    _, completion, server = ask(openai, [*replies, Reply(events=chunks(*DELTAS))], stream=True, image_token=9)
    assert (completion.text, len(server.asked)) == ("Sí\u2028<a></tool_call>", 5)
    assert ask(openai, [Reply(chat("whole"))], stream=True)[1].text == "whole", "a server that does not stream"


# -------------------------------------------------------------------------------------------------------------------- Anthropic

SECOND = {**CLICK, "id": "toolu_2"}
SEEN = Message("user", (PICTURE, "The page has changed."))


def test_what_anthropic_is_asked() -> None:
    thinking = {"type": "thinking", "thinking": "Hm.", "signature": "abc"}
    said = Message("assistant", (json.dumps([thinking, {"type": "text", "text": " "}, CLICK, SECOND]),))
    _, completion, server = ask(anthropic, [Reply(message(SAID, CLICK))], (*MESSAGES, said, SEEN))
    assert json.loads(completion.text) == [SAID, CLICK]
    (body,), (headers,) = server.asked, server.headers
    assert server.paths == ["/v1/messages"]
    assert (headers["anthropic-beta"], headers["anthropic-version"]) == ("computer-use-2025-11-24", "2023-06-01")
    assert (body["model"], body["system"], body["max_tokens"], body["temperature"]) == ("claude", "You act.", 50, 0.0)
    assert body["tools"] == [ToolAgent().tool()]
    first, reply, results = body["messages"]
    image = first["content"][0]["source"]
    assert (image["type"], image["media_type"], decoded(image["data"]).size) == ("base64", "image/png", (32, 20))
    assert first["content"][1] == {"type": "text", "text": "Click OK.", "cache_control": {"type": "ephemeral"}}
    assert reply == {"role": "assistant", "content": [thinking, CLICK, SECOND]}, "thinking as it came, nothing empty"
    one, two = results["content"]
    assert (one["type"], one["tool_use_id"], "is_error" in one) == ("tool_result", "toolu_1", False)
    assert [part["type"] for part in one["content"]] == ["text"]
    assert (two["tool_use_id"], [part["type"] for part in two["content"]]) == ("toolu_2", ["image", "text"])
    assert two["cache_control"] == {"type": "ephemeral"}
    assert completion.usage["cache_write_tokens"] == 30


def test_a_zoom_is_answered_with_the_region() -> None:
    pixels = np.zeros((40, 64, 3), dtype=np.uint8)
    pixels[20:, 32:] = 255
    screen = IMAGES.put_pixels(pixels)
    for region, white in (([16, 10, 32, 20], 255), ([0, 0, 8, 5], 0), ([99, 99, 99, 99], None), ("all", None)):
        zoom = {**CLICK, "input": {"action": "zoom", "region": region}}
        messages = (*MESSAGES, Message("assistant", (json.dumps([zoom]),)), Message("user", (screen,)))
        _, _, server = ask(anthropic, [Reply(message(SAID))], messages)
        (result,) = server.asked[0]["messages"][-1]["content"]
        shown = np.asarray(decoded(result["content"][0]["source"]["data"]))
        assert shown.shape == (20, 32, 3)
        assert (shown == white).all() if white is not None else 0 < shown.mean() < 255


def test_the_last_two_user_messages_are_cached() -> None:
    said = Message("assistant", (json.dumps([CLICK]),))
    _, _, server = ask(anthropic, [Reply(message(SAID))], (*MESSAGES, said, SEEN, said, SEEN))
    marked = ["cache_control" in turn["content"][-1] for turn in server.asked[0]["messages"]]
    assert marked == [False, False, True, False, True]


def test_an_unreadable_reply_is_an_error_of_every_tool() -> None:
    complaint = "Your last reply could not be read: unknown action 'leap'"
    said = Message("assistant", (json.dumps([CLICK, SECOND]),))
    _, _, server = ask(anthropic, [Reply(message(SAID))], (*MESSAGES, said, Message("user", (PICTURE, complaint))))
    one, two, picture = server.asked[0]["messages"][-1]["content"]
    for result, call in ((one, "toolu_1"), (two, "toolu_2")):
        assert (result["tool_use_id"], result["is_error"]) == (call, True)
        assert result["content"] == [{"type": "text", "text": complaint}], "an error holds text alone"
    assert picture["type"] == "image"


@pytest.mark.parametrize("text", ["no JSON", "[]", '{"type": "text"}', "[1]", ""])
def test_a_reply_that_is_no_list_of_blocks_is_said_as_text(text: str) -> None:
    _, _, server = ask(anthropic, [Reply(message(SAID))], (*MESSAGES, Message("assistant", (text,)), SEEN))
    reply, seen = server.asked[0]["messages"][1:]
    assert [block["type"] for block in reply["content"]] == ["text"]
    assert reply["content"][0]["text"].strip()
    assert [block["type"] for block in seen["content"]] == ["image", "text"]


def test_thinking_takes_no_temperature() -> None:
    extra = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
    _, completion, server = ask(anthropic, [Reply(message(SAID, stop_reason="max_tokens"))], extra=extra)
    assert server.asked[0]["thinking"] == extra["thinking"]
    assert not {"temperature", "top_p"} & server.asked[0].keys()
    assert completion.finish == "length"


def anthropic_events() -> list[tuple[str, Any]]:
    pieces = [{"type": "input_json_delta", "partial_json": part} for part in ('{"action": "left_click", ', '"coordinate": [3, 4]}')]
    events: list[dict[str, Any]] = [
        {
            "type": "message_start",
            "message": {**message(), "stop_reason": None, "usage": {**message()["usage"], "output_tokens": 1}},
        },
        {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}},
        {"type": "ping"},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Hm."}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "abc"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": SAID["text"]}},
        {"type": "content_block_stop", "index": 1},
        {"type": "content_block_start", "index": 2, "content_block": {**CLICK, "input": {}}},
        *({"type": "content_block_delta", "index": 2, "delta": piece} for piece in pieces),
        {"type": "content_block_stop", "index": 2},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": None}, "usage": {"output_tokens": 12}},
        {"type": "message_stop"},
    ]
    return [(event["type"], event) for event in events]


def test_a_streamed_message() -> None:
    whole = anthropic_events()
    overloaded = [*whole[:5], ("error", {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})]
    _, completion, server = ask(anthropic, [Reply(events=whole[:9]), Reply(events=overloaded), Reply(events=whole)], stream=True)
    assert len(server.asked) == 3
    assert json.loads(completion.text) == [{"type": "thinking", "thinking": "Hm.", "signature": "abc"}, SAID, CLICK]
    assert (completion.usage["output_tokens"], completion.usage["cached_tokens"]) == (12, 50)
    refused = [*whole[:5], ("error", {"type": "error", "error": {"type": "invalid_request_error", "message": "no"}})]
    fails(anthropic, [Reply(events=refused)], PolicyFailure, "400 invalid_request_error: no", stream=True)


# ------------------------------------------------------------------------------------------------------------- OpenAI Responses


def test_what_responses_is_asked(caplog: pytest.LogCaptureFixture) -> None:
    reasoning = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "xyz"}
    said = Message("assistant", (json.dumps([reasoning, CALL]),))
    _, completion, server = ask(responses, [Reply(response(reasoning, CALL))], (*MESSAGES, said, SEEN))
    assert json.loads(completion.text) == [reasoning, CALL]
    assert "Look out." in caplog.text
    (body,) = server.asked
    assert server.paths == ["/v1/responses"]
    assert (body["instructions"], body["store"], body["truncation"]) == ("You act.", False, "auto")
    assert body["include"] == ["reasoning.encrypted_content"]
    assert body["max_output_tokens"] == 50
    first, thought, call, output, told = body["input"]
    assert [part["type"] for part in first["content"]] == ["input_image", "input_text"]
    assert decoded(first["content"][0]["image_url"].partition(",")[2]).size == (32, 20)
    assert (thought, call) == (reasoning, CALL)
    assert (output["type"], output["call_id"]) == ("computer_call_output", "call_1")
    assert output["output"]["type"] == "computer_screenshot"
    assert decoded(output["output"]["image_url"].partition(",")[2]).size == (32, 20)
    assert output["acknowledged_safety_checks"] == CALL["pending_safety_checks"]
    assert told == {"role": "user", "content": [{"type": "input_text", "text": "The page has changed."}]}


def test_functions_are_answered_with_text() -> None:
    call = {"type": "function_call", "id": "fc_1", "call_id": "call_7", "name": "lookup", "arguments": "{}"}
    _, _, server = ask(responses, [Reply(response(CALL))], (*MESSAGES, Message("assistant", (json.dumps([call]),)), SEEN))
    _, _, output, seen = server.asked[0]["input"]
    assert output == {"type": "function_call_output", "call_id": "call_7", "output": "The page has changed."}
    assert [part["type"] for part in seen["content"]] == ["input_image"]


def test_how_a_response_ends() -> None:
    cut = response(CALL, status="incomplete", incomplete_details={"reason": "max_output_tokens"})
    assert ask(responses, [Reply(cut)])[1].finish == "length"
    failed = response(status="failed", error={"code": "server_error", "message": "sorry"})
    _, completion, server = ask(responses, [Reply(failed), Reply(response(CALL))])
    assert (json.loads(completion.text), len(server.asked)) == ([CALL], 2)


def test_a_streamed_response() -> None:
    begun = ("response.created", {"type": "response.created", "response": response(status="in_progress")})
    ended = ("response.completed", {"type": "response.completed", "response": response(CALL)})
    limited = ("error", {"type": "error", "code": "rate_limit_exceeded", "message": "slow down", "param": None})
    replies = [Reply(events=[begun]), Reply(events=[begun, limited]), Reply(events=[begun, ended])]
    _, completion, server = ask(responses, replies, stream=True)
    assert (json.loads(completion.text), len(server.asked)) == ([CALL], 3)
    full = ("error", {"type": "error", "code": "context_length_exceeded", "message": "too long"})
    with pytest.raises(ContextFull):
        ask(responses, [Reply(events=[begun, full])], stream=True)
