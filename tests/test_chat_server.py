"""`stepladder serve CHECKPOINT`: the same replies over HTTP as in the process, and errors that say what is wrong."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from api_servers import serving
from small_models import model_for
from small_models import renderer as small_renderer
from test_engine import World
from typer.testing import CliRunner

from stepladder import cli
from stepladder.config import ConfigError
from stepladder.images import ImageStore
from stepladder.interfaces import ContextFull
from stepladder.models.checkpoint import save_checkpoint
from stepladder.models.renderer import Renderer
from stepladder.policies.chat_server import ChatSettings, make_chat_app
from stepladder.policies.engine import Engine
from stepladder.policies.http import PolicyFailure
from stepladder.policies.local import LocalPolicy
from stepladder.policies.openai_chat import OpenAIChatPolicy
from stepladder.stages.agent_options import AgentOptions
from stepladder.stages.serve_model import ServeModelConfig
from stepladder.store import TrajectoryStore
from stepladder.types import Completion, Message, Prompt, Sampling, Trajectory

TOKEN = "a-token-of-the-test"
ROOT = Path(__file__).parent.parent
HEADERS = {"Authorization": f"Bearer {TOKEN}"}
USER = [{"role": "user", "content": "Click."}]


class Served:
    """A model twice: in the process, and behind the server, whose engine and pictures are its own."""

    def __init__(self, world: World, url: str, engine: Engine, images: ImageStore) -> None:
        self.world, self.url, self.engine, self.images = world, url, engine, images

    def policy(self, **options: Any) -> OpenAIChatPolicy:
        return OpenAIChatPolicy(self.url, self.world.images, **{"key": TOKEN, **options})

    def post(self, body: Any, **options: Any) -> httpx.Response:
        content = {"json": body} if not isinstance(body, bytes) else {"content": body}
        return httpx.post(f"{self.url}/v1/chat/completions", **{"headers": HEADERS, "timeout": 60, **content, **options})


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    world = World()
    images = ImageStore()
    engine = Engine(world.model, Renderer(world.renderer.processor, images), version=3)
    with serving(make_chat_app(engine, images, ChatSettings("small", TOKEN, capacity=20))) as url:
        yield Served(world, url, engine, images)
    engine.close()


def conversations(world: World) -> list[tuple[Message, ...]]:
    """With and without pictures, and with a reply of whose ids the text would be tokenized otherwise."""
    one, two, three, _ = world.pictures
    ids = np.array([*world.renderer.reply("Cl")[:-1], *world.renderer.reply("ick")], dtype=np.int32)
    return [
        (Message("user", ("Click.",)),),
        (Message("system", ("Short.",)), Message("user", (one, "Click the button."))),
        (Message("user", (one, "Click 1.")), Message("assistant", ("Click",), ids), Message("user", (two, three, "Go on."))),
        (
            Message("user", (three, "Previous actions: “¡sí!” <|im_end|>")),
            Message("assistant", ("Hm.",)),
            Message("user", ("And?",)),
        ),
    ]


async def both(
    served: Served, messages: list[tuple[Message, ...]], sampling: Sampling, **options: Any
) -> list[list[tuple[Prompt, Completion]]]:
    engine = Engine(served.world.model, served.world.renderer, version=3)
    try:
        remote = served.policy(**options)
        answers = [
            await asyncio.gather(*(policy.generate(one, sampling) for one in messages)) for policy in (LocalPolicy(engine), remote)
        ]
        await remote.close()
    finally:
        engine.close()
    return [list(one) for one in answers]


def numbers(array: Any) -> list[Any]:
    assert array is not None
    return list(array.tolist())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("sampling", [Sampling(0.0, max_tokens=24), Sampling(0.8, 0.9, max_tokens=24, seed=5)])
def test_the_same_replies_as_in_the_process(served: Served, sampling: Sampling, stream: bool) -> None:
    messages = conversations(served.world)
    local, remote = asyncio.run(both(served, messages * 2, sampling, stream=stream))
    for (prompt, reply), (other_prompt, other) in zip(local, remote, strict=True):
        assert numbers(prompt.tokens) == numbers(other_prompt.tokens)
        assert prompt.image_spans == other_prompt.image_spans
        assert (numbers(reply.tokens), reply.text, reply.finish) == (numbers(other.tokens), other.text, other.finish)
        np.testing.assert_allclose(reply.logprobs, other.logprobs, atol=1e-4)  # type: ignore[arg-type]
        assert other.version == 3
        assert other.usage["output_tokens"] == len(numbers(reply.tokens))
    assert len({reply.text for _, reply in local}) > 1


def long_reply(served: Served) -> tuple[tuple[Message, ...], str]:
    """A conversation whose greedy reply has many different characters, and the reply."""
    messages = conversations(served.world)[1]
    local, _ = asyncio.run(both(served, [messages], Sampling(0.0, max_tokens=30)))
    return messages, local[0][1].text


@pytest.mark.parametrize("stream", [False, True])
def test_stop_strings(served: Served, stream: bool) -> None:
    messages, text = long_reply(served)
    stop = next(text[place : place + 3] for place in range(len(text) // 2, len(text)) if "\ufffd" not in text[place : place + 3])
    sampling = Sampling(0.0, max_tokens=30, stop=("never said", stop))
    local, remote = asyncio.run(both(served, [messages], sampling, stream=stream))
    reply, kept = local[0][1], remote[0][1]
    assert stop in reply.text
    assert (kept.text, numbers(kept.tokens), kept.finish) == (reply.text, numbers(reply.tokens), "stop")
    _, plain = asyncio.run(both(served, [messages], sampling, stream=stream, server="other"))
    assert plain[0][1].text == text[: text.index(stop) + len(stop)], "cut off by the server, put back by the policy"


def test_pieces_come_as_they_are_sampled(served: Served) -> None:
    body = {"messages": [{"role": "user", "content": "Click."}], "max_tokens": 60, "temperature": 0, "stream": True}
    with httpx.stream("POST", f"{served.url}/v1/chat/completions", json=body, headers=HEADERS, timeout=60) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = [line.removeprefix("data: ") for line in answer.iter_lines() if line]
    assert events[-1] == "[DONE]"
    assert len(events) > 10


def test_pictures_leave_memory_with_their_requests(served: Served) -> None:
    asyncio.run(both(served, conversations(served.world) * 3, Sampling(0.0, max_tokens=3)))
    data = served.world.images.get(served.world.pictures[0])
    url = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "x"}, {"type": "sound"}]
    assert served.post({"messages": [{"role": "user", "content": parts}]}).status_code == 400
    assert not any(picture in served.images for picture in served.world.pictures)
    health = httpx.get(f"{served.url}/health").json()
    assert (health["status"], health["running"]) == ("ok", 0)


class Endless(Engine):
    """Begins a reply and never ends it; counts those that were given up."""

    given_up = 0

    async def generate(self, prompt: Prompt, sampling: Sampling, on_token: Any = None) -> Completion:
        if on_token is not None:
            on_token(5, -1.0)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        raise AssertionError("nobody has hung up")


def test_a_client_that_hangs_up_frees_the_engine(served: Served) -> None:
    engine = Endless(served.world.model, served.world.renderer)
    with serving(make_chat_app(engine, served.world.images, ChatSettings("small"))) as url:
        for number, stream in enumerate((False, True), start=1):
            with pytest.raises(httpx.ReadTimeout):
                httpx.post(f"{url}/v1/chat/completions", json={"messages": USER, "stream": stream}, timeout=0.5)
            until = time.monotonic() + 10
            while engine.given_up < number and time.monotonic() < until:
                time.sleep(0.02)
            assert engine.given_up == number
        health = httpx.get(f"{url}/health").json()
        assert (health["running"], health["counts"].get("answered", 0)) == (0, 0)
    engine.close()


def test_a_prompt_that_is_too_long(served: Served) -> None:
    for stream in (False, True):
        with pytest.raises(ContextFull, match="the model's context has 512"):
            asyncio.run(served.policy(stream=stream).generate((Message("user", ("Click " * 600,)),), Sampling()))


@pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {"Host": "evil.example"}])
def test_without_a_token_no_web_page_is_answered(served: Served, headers: dict[str, str]) -> None:
    engine = Endless(served.world.model, served.world.renderer)
    with serving(make_chat_app(engine, served.world.images, ChatSettings("small"))) as url:
        assert httpx.get(f"{url}/v1/models", headers=headers).status_code == 403
        refused = httpx.post(f"{url}/v1/chat/completions", content=json.dumps({"messages": USER}), headers=headers)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "web_page")
    engine.close()


def test_the_token(served: Served) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        answer = served.post({"messages": []}, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
        assert httpx.get(f"{served.url}/v1/models", headers=headers).status_code == 401
    with pytest.raises(PolicyFailure, match="401"):
        asyncio.run(served.policy(key="wrong").generate((Message("user", ("Click.",)),), Sampling()))
    listed = httpx.get(f"{served.url}/v1/models", headers=HEADERS).json()["data"]
    assert [(one["id"], one["owned_by"], one["max_model_len"]) for one in listed] == [("small", "stepladder", 512)]


@pytest.mark.parametrize(
    ("body", "match"),
    [
        (b"no JSON", "the body is no JSON"),
        ({}, "messages: must be a list of messages, at least one"),
        ({"messages": USER, "max_token": 3}, "there is no field 'max_token'; did you mean 'max_tokens'"),
        ({"messages": USER, "model": "gpt"}, "model: there is only 'small'"),
        ({"messages": USER, "n": 2}, "n: this server has only 1"),
        ({"messages": USER, "tools": [{}]}, r"tools: this server has only \[\]"),
        ({"messages": USER, "temperature": -1}, "temperature: must be a number from 0 to 100"),
        ({"messages": USER, "temperature": float("nan")}, "temperature: must be a number"),
        ({"messages": USER, "top_p": 0}, "top_p: must be a number from 1e-06 to 1"),
        ({"messages": USER, "max_tokens": 0}, "max_tokens: must be a whole number, at least 1"),
        ({"messages": USER, "seed": 2**80}, "seed: must be a whole number"),
        ({"messages": USER, "stop": [""]}, "stop: must be a string or a list of strings, none of them empty"),
        ({"messages": USER, "stream": "yes"}, "stream: must be true or false"),
        ({"messages": USER, "stream_options": 1}, "stream_options: must be an object"),
        ({"messages": [{"role": "robot", "content": ""}]}, r"messages\[0\].role: must be one of system, user"),
        ({"messages": [{"role": ["user"], "content": ""}]}, r"messages\[0\].role: must be one of"),
        ({"messages": [7]}, r"messages\[0\]: must be an object"),
        ({"messages": [{"role": "user", "content": 7}]}, r"messages\[0\].content: must be a string or a list of parts"),
        ({"messages": [{"role": "user", "content": [{"type": "audio"}]}]}, r"content\[0\]: must be"),
        ({"messages": [{"role": "user", "content": [], "token_ids": [1]}]}, "token_ids: must be ids of tokens"),
        ({"messages": [{"role": "assistant", "content": "", "token_ids": [10**9]}]}, "token_ids: must be ids of tokens"),
    ],
)
def test_what_cannot_be_asked_is_named(served: Served, body: Any, match: str) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = served.post(content)
    assert answer.status_code == 400
    assert re.search(match, answer.json()["error"]["message"]), answer.text


def headed(side: int) -> str:
    """A data URL of a PNG file that says `side` pixels each way in its head, and has no pixels."""
    head = b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR" + side.to_bytes(4, "big") * 2 + b"\x08\x02\x00\x00\x00\x00\x00\x00\x00"
    return f"data:image/png;base64,{base64.b64encode(head + b'IEND'.join((bytes(4), bytes.fromhex('ae426082')))).decode()}"


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("http://example.com/a.png", "a picture must be a data URL"),
        ("file:///etc/passwd", "a picture must be a data URL"),
        ("data:image/png;base64,!!!", "holds no base64"),
        ("data:image/png;base64,QUJD", "not a picture"),
        (headed(30000), "a picture of 30000 x 30000 pixels"),
        (headed(7), "decoded"),
        (7, "must be a string"),
    ],
)
def test_pictures_that_are_none(served: Served, url: Any, match: str) -> None:
    answer = served.post({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]})
    assert answer.status_code == 400
    assert re.search(rf"messages\[0\].content\[0\].*{match}", answer.json()["error"]["message"]), answer.text


def test_too_many_requests_are_told_to_come_back(served: Served) -> None:
    async def main() -> list[int]:
        body = {"messages": USER, "max_tokens": 100, "temperature": 1.0}
        async with httpx.AsyncClient(headers=HEADERS, timeout=60) as client:
            asked = [client.post(f"{served.url}/v1/chat/completions", json=body) for _ in range(30)]
            answers = await asyncio.gather(*asked)
        assert all("retry-after" in one.headers for one in answers if one.status_code == 429)
        return [one.status_code for one in answers]

    found = asyncio.run(main())
    assert set(found) == {200, 429}
    messages = [(Message("user", ("Click.",)),)] * 30
    _, remote = asyncio.run(both(served, messages, Sampling(0.0, max_tokens=3), stream=False))
    assert len({reply.text for _, reply in remote}) == 1


def test_the_documented_program(served: Served, tmp_path: Path) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/models-elsewhere.md").read_text(), flags=re.DOTALL)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENAI_API_KEY": TOKEN}
    command = [sys.executable, "-c", program.replace("http://127.0.0.1:8000", served.url)]
    told = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith(("length {'input_tokens': ", "stop {'input_tokens': "))


def test_settings_that_cannot_be(tmp_path: Path) -> None:
    good = ServeModelConfig(tmp_path)
    for change, match in (
        ({"port": 0}, "port is 0"),
        ({"max_batch": 0}, "max_batch is 0; it must be at least 1"),
        ({"device": "gpu"}, "device is 'gpu'; it must be"),
        ({"token": "none", "host": "0.0.0.0"}, "whoever comes could use the model"),
        ({"checkpoint": tmp_path / "nowhere"}, "nowhere is no directory"),
    ):
        with pytest.raises(ConfigError, match=match):
            replace(good, **change).check()
    replace(good, token="none").check()


def opened(paths: list[Path]) -> Iterator[list[Trajectory]]:
    for path in paths:
        with TrajectoryStore(path) as store:
            yield sorted(store, key=lambda item: item.id.partition("-small")[0].partition("-openai")[0])


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint is served and evaluated by command lines, and plays as it does in the process."""
    render = small_renderer()
    save_checkpoint(tmp_path / "small", model_for(render), render.processor)
    AgentOptions(system="short", grid=10).save(tmp_path / "small")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = [sys.executable, "-c", "import sys; from stepladder.cli import main; main()"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "STEPLADDER_MODEL_TOKEN": TOKEN}
    server = subprocess.Popen(
        [*program, "serve", "small", "--port", str(port)], cwd=tmp_path, env=environment, stderr=subprocess.PIPE
    )
    try:
        until = time.monotonic() + 90
        while time.monotonic() < until and server.poll() is None:
            try:
                httpx.get(f"http://127.0.0.1:{port}/health")
                break
            except httpx.ConnectError:
                time.sleep(0.1)
        options = ["--tasks", "forms:login", "--episodes", "2", "--max-steps", "2", "--history", "2"]
        plain = ["--set", "max_tokens=8", "--set", "baselines=()"]
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("OPENAI_API_KEY", TOKEN)
        found = []
        for place, policy in enumerate((f"openai:http://127.0.0.1:{port}", "local:small")):
            asked = ["eval", "--policy", policy, *options, *plain, "--output", str(place)]
            told = CliRunner().invoke(cli.app, asked, catch_exceptions=False)
            assert told.exit_code == 0, told.output
            (store,) = (tmp_path / str(place)).glob("*small*.jsonl" if policy.startswith("local") else "openai-*.jsonl")
            found.append(store)
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(60)
    assert server.stderr is not None
    assert TOKEN in server.stderr.read().decode()
    replies = [[step.completion.text for item in store for step in item.steps if step.completion] for store in opened(found)]
    assert replies[0] == replies[1]
    agents = [json.loads((tmp_path / place / "config.json").read_text())["agent"] for place in "01"]
    assert agents[0] == agents[1], "the server tells how the model was trained to be asked"
    assert (agents[0]["system"], agents[0]["screenshots"]) == ("short", 2)
    assert len(replies[0]) == 4
