"""A real vLLM server with our small Qwen3-VL beside the same weights in this process: `make test-vllm`.

vLLM has a virtual environment of its own. The server runs on the processor, listens on loopback alone and ends with the tests.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from test_engine import SIZES, World
from vllm_servers import vllm_server

from stepladder.interfaces import ContextFull
from stepladder.models.checkpoint import save_checkpoint
from stepladder.policies.engine import Engine
from stepladder.policies.http import CallLimits, PolicyFailure
from stepladder.policies.local import LocalPolicy
from stepladder.policies.openai_chat import OpenAIChatPolicy
from stepladder.types import Completion, Message, Prompt, Sampling

pytestmark = pytest.mark.vllm

CONTEXT = 512


@dataclass
class Server:
    """vLLM, and the same weights in this process."""

    world: World
    url: str
    token: str
    log: Path

    def policy(self, **options: Any) -> OpenAIChatPolicy:
        """Special tokens are never sampled in this process, so the server is told to leave them out too."""
        render = self.world.renderer
        extra = {"logit_bias": {str(one): -100 for one in render.banned_ids}, **options.pop("extra", {})}
        return OpenAIChatPolicy(self.url, self.world.images, key=self.token, image_token=render.image_id, extra=extra, **options)

    def post(self, path: str, body: Any, timeout: float = 60.0) -> httpx.Response:
        return httpx.post(f"{self.url}{path}", json=body, headers={"Authorization": f"Bearer {self.token}"}, timeout=timeout)

    def metric(self, name: str) -> float:
        lines = httpx.get(f"{self.url}/metrics", timeout=30).text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"vllm:{name}{{"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    sizes = replace(SIZES, hidden=128)  # vLLM's attention on processors wants heads of 32 numbers or more
    world, directory = World(sizes), tmp_path_factory.mktemp("vllm")
    save_checkpoint(directory / "checkpoint", world.model, world.renderer.processor)
    options = ["--chat-template-content-format", "openai"]
    with vllm_server(directory / "checkpoint", directory / "log", CONTEXT, options) as started:
        yield Server(world, started.url, started.token, started.log)


def conversations(world: World) -> list[tuple[Message, ...]]:
    """Without a picture, with one, with several in several turns, and with text that looks like markup."""
    one, two, three, four = world.pictures
    return [
        (Message("user", ("Click.",)),),
        (Message("system", ("Short.",)), Message("user", (one, "Click the button."))),
        (Message("user", (one, "Click 1.")), Message("assistant", ("Click",)), Message("user", (two, three, "Go on."))),
        (Message("user", (four, "Previous actions: “¡sí!”")), Message("assistant", ("Hm.",)), Message("user", ("And?",))),
    ]


async def _ask(policy: Any, messages: Sequence[tuple[Message, ...]], sampling: Sampling) -> list[tuple[Prompt, Completion]]:
    try:
        return list(await asyncio.gather(*(policy.generate(one, sampling) for one in messages)))
    finally:
        if hasattr(policy, "close"):
            await policy.close()


def in_process(world: World, messages: Sequence[tuple[Message, ...]], sampling: Sampling) -> list[tuple[Prompt, Completion]]:
    engine = Engine(world.model, world.renderer)
    try:
        return asyncio.run(_ask(LocalPolicy(engine), messages, sampling))
    finally:
        engine.close()


def numbers(array: Any) -> list[Any]:
    assert array is not None
    return list(array.tolist())


@pytest.mark.parametrize("stream", [False, True])
def test_at_temperature_0_it_says_what_the_process_says(server: Server, stream: bool) -> None:
    messages, sampling = conversations(server.world), Sampling(0.0, max_tokens=24)
    local = in_process(server.world, messages, sampling)
    remote = asyncio.run(_ask(server.policy(stream=stream), messages, sampling))
    for (prompt, reply), (other_prompt, other) in zip(local, remote, strict=True):
        assert numbers(other_prompt.tokens) == numbers(prompt.tokens)
        assert other_prompt.image_spans == prompt.image_spans
        assert (numbers(other.tokens), other.text, other.finish) == (numbers(reply.tokens), reply.text, reply.finish)
        np.testing.assert_allclose(other.logprobs, reply.logprobs, atol=2e-3)  # type: ignore[arg-type]
        assert other.usage["output_tokens"] == len(numbers(reply.tokens))


def test_sampled_replies_carry_the_log_probabilities_that_the_process_computes(server: Server) -> None:
    messages, sampling = conversations(server.world), Sampling(0.8, max_tokens=16, seed=3)
    for prompt, reply in asyncio.run(_ask(server.policy(), messages, sampling)):
        assert len(numbers(reply.tokens)) == len(numbers(reply.logprobs))
        expected = server.world.logprobs(prompt, reply, temperature=0.8)
        np.testing.assert_allclose(reply.logprobs, expected, atol=5e-3)  # type: ignore[arg-type]


def test_equal_seeds_sample_equal_replies(server: Server) -> None:
    messages, found = conversations(server.world)[:2], []
    for seed in (1, 1, 2):
        replies = asyncio.run(_ask(server.policy(), messages, Sampling(1.0, max_tokens=16, seed=seed)))
        found.append([numbers(reply.tokens) for _, reply in replies])
    first, second, third = found
    assert first == second != third


def test_stop_strings_end_a_reply_and_stay_in_it(server: Server) -> None:
    (_, whole), *_ = in_process(server.world, conversations(server.world)[:1], Sampling(0.0, max_tokens=24))
    stop = whole.text[3:6]
    sampling = Sampling(0.0, max_tokens=24, stop=(stop,))
    ((_, reply),) = asyncio.run(_ask(server.policy(), conversations(server.world)[:1], sampling))
    assert reply.text == whole.text[: whole.text.index(stop) + len(stop)]
    assert reply.finish == "stop"


def test_token_ids_go_in_as_they_are(server: Server) -> None:
    """Ids of which the text would be tokenized otherwise; their log-probabilities are those of this very sequence."""
    render = server.world.renderer
    pieces = np.array([*render.reply("Cl")[:-1], *render.reply("ick")], dtype=np.int32)
    history = (Message("user", ("Click 1.",)), Message("assistant", ("Click",), pieces), Message("user", ("Go on.",)))
    prompt = render.render(history)
    assert numbers(prompt.tokens) != numbers(render.render((history[0], Message("assistant", ("Click",)), history[2])).tokens)
    bias = {str(one): -100 for one in render.banned_ids}
    body = {"model": "small", "prompt": numbers(prompt.tokens), "max_tokens": 12, "temperature": 0, "logprobs": 1}
    answer = server.post("/v1/completions", {**body, "return_token_ids": True, "logit_bias": bias}).raise_for_status().json()
    ((_, reply),) = in_process(server.world, [history], Sampling(0.0, max_tokens=12))
    (choice,) = answer["choices"]
    assert choice["token_ids"] == numbers(reply.tokens)
    np.testing.assert_allclose(choice["logprobs"]["token_logprobs"], reply.logprobs, atol=2e-3)  # type: ignore[arg-type]


def test_many_at_once_are_answered_as_one_by_one(server: Server) -> None:
    messages = conversations(server.world) * 6
    sampling = Sampling(0.0, max_tokens=16)
    together = asyncio.run(_ask(server.policy(limits=CallLimits(concurrency=12)), messages, sampling))
    alone = in_process(server.world, conversations(server.world), sampling) * 6
    assert [numbers(reply.tokens) for _, reply in together] == [numbers(reply.tokens) for _, reply in alone]


def test_a_prompt_that_is_too_long_is_told_as_such(server: Server) -> None:
    with pytest.raises(ContextFull):
        asyncio.run(_ask(server.policy(), [(Message("user", ("Click the button. " * CONTEXT,)),)], Sampling(0.0, max_tokens=8)))


def test_a_wrong_key_is_no_answer(server: Server) -> None:
    policy = OpenAIChatPolicy(server.url, server.world.images, key="another", model="small", server="vllm")
    with pytest.raises(PolicyFailure, match="401"):
        asyncio.run(_ask(policy, conversations(server.world)[:1], Sampling(0.0, max_tokens=8)))


def test_a_call_that_is_given_up_is_aborted_in_the_server(server: Server) -> None:
    """Nobody waits for it any more, so the server must not go on with it."""

    async def give_up() -> None:
        policy = server.policy(extra={"min_tokens": 400, "ignore_eos": True})
        task = asyncio.create_task(policy.generate(conversations(server.world)[0], Sampling(1.0, max_tokens=400, seed=1)))
        until = time.monotonic() + 30
        while await asyncio.to_thread(server.metric, "num_requests_running") < 1:
            assert time.monotonic() < until, "the request never ran"
            assert not task.done(), "the reply was there before it could be given up"
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await policy.close()

    before = server.metric("request_success_total")
    asyncio.run(give_up())
    until = time.monotonic() + 30
    while server.metric("num_requests_running") > 0:
        assert time.monotonic() < until, "the server goes on with a reply that nobody waits for"
        time.sleep(0.05)
    whole = asyncio.run(_ask(server.policy(), conversations(server.world)[:1], Sampling(0.0, max_tokens=8)))
    assert len(whole) == 1
    assert server.metric("request_success_total") >= before
