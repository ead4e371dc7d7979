"""A server in place of the engine, against both wire formats (`engine_servers`); the real vLLM has `test_vllm_engine`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from api_servers import serving
from engine_servers import FIRST, FakeServer, FakeSglang, FakeVllm
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from small_models import model_for, picture, renderer
from transformers import Qwen3VLForConditionalGeneration

from stepladder.config import ConfigError
from stepladder.images import ImageStore
from stepladder.interfaces import ContextFull, Policy
from stepladder.models.lora import LoraSettings, add_adapters, learned_state, merged_state
from stepladder.models.renderer import Renderer
from stepladder.policies.http import PolicyFailure
from stepladder.policies.local import LocalPolicy
from stepladder.policies.pictures import Pictures
from stepladder.policies.served_engine import ServedEngine
from stepladder.policies.served_protocol import ServedRequest
from stepladder.policies.served_settings import ServedEngineSettings, open_served_engine
from stepladder.policies.served_weights import WeightFiles
from stepladder.types import Completion, ImageRef, Message, Prompt, Sampling

IMAGES = ImageStore()
RENDER = renderer(IMAGES)
ONE, TWO = picture(IMAGES, 1), picture(IMAGES, 2, 96, 64)
KINDS = ("vllm", "sglang")
SAMPLING = Sampling(max_tokens=6, seed=3)
LONG = Sampling(max_tokens=60)


def prompt(*content: str | ImageRef) -> Prompt:
    return RENDER.render([Message("user", content or (ONE, "Click the ", TWO, "button."))])


@dataclass
class Setup:
    """An engine, its server, and the model that learns: `set_weights` gives both kinds of updates their number."""

    fake: FakeServer
    engine: ServedEngine
    model: Qwen3VLForConditionalGeneration
    directory: Path
    end: Callable[[], None]

    def set_weights(self, number: float) -> None:
        with torch.no_grad():
            self.model.lm_head.weight[0, 0] = number
            for name, parameter in self.model.named_parameters():
                if ".lora_B" in name:
                    parameter.fill_(number)

    @property
    def files(self) -> list[str]:
        return sorted(path.name.rsplit("-", 1)[0] for path in self.directory.iterdir())

    async def writing(self, sampling: Sampling = LONG) -> asyncio.Task[Completion]:
        """A long reply of which some is written, as of all others. It gets no longer until one is aborted."""
        self.fake.held = 10
        count = len(self.fake.jobs) + 1
        task = asyncio.create_task(self.engine.generate(prompt(), sampling))
        while sum(bool(job.tokens) for job in list(self.fake.jobs.values())) < count:
            assert not task.done()
            await asyncio.sleep(0.001)
        return task


@contextmanager
def opened(kind: str, update: str, directory: Path, **settings: Any) -> Iterator[Setup]:
    pictures, refs = Pictures(IMAGES), (ONE, TWO)
    lengths = {ref.sha256 if kind == "vllm" else pictures.data_url(ref): RENDER.visual_tokens(ref) for ref in refs}
    fake = FakeVllm(lengths) if kind == "vllm" else FakeSglang(lengths)
    fake.image_id = RENDER.image_id
    model = model_for(RENDER)
    if update == "lora":
        add_adapters(model, LoraSettings(rank=2), 0)
    with ExitStack() as stack:
        url = stack.enter_context(serving(fake.app()))
        given = {
            "kind": kind,
            "url": url,
            "update": update,
            "directory": directory,
            "lost_contact": 1.0,
            "deadline": 20.0,
            **settings,
        }
        engine = open_served_engine(ServedEngineSettings(**given), model, RENDER)
        try:
            yield Setup(fake, engine, model, directory, stack.close)
        finally:
            engine.close()


def run(kind: str, update: str, directory: Path, play: Callable[[Setup], Awaitable[None]], **settings: Any) -> None:
    with opened(kind, update, directory, **settings) as setup:
        asyncio.run(play(setup))  # type: ignore[arg-type]


def numbers(values: Any) -> list[float]:
    return [] if values is None else [round(float(one), 4) for one in values]


@pytest.mark.parametrize("kind", KINDS)
def test_ids_go_in_and_come_out(kind: str, tmp_path: Path) -> None:
    """Placeholders collapsed to one for each picture, log-probabilities of every id, the version, what was used."""

    async def play(setup: Setup) -> None:
        asked, told = prompt(), list[tuple[int, float]]()
        reply = await setup.engine.generate(asked, SAMPLING, lambda *one: told.append(one))
        assert asked.tokens is not None
        length = len(asked.tokens)
        expected = [100 + (length + i) % 40 for i in range(6)]
        assert reply.tokens is not None
        assert reply.logprobs is not None
        assert (reply.tokens.dtype, reply.logprobs.dtype) == (np.int32, np.float32)
        assert (reply.tokens.tolist(), numbers(reply.logprobs)) == (expected, [-FIRST] * 6)
        assert (reply.finish, reply.version, reply.text) == ("length", 0, RENDER.decode(expected))
        assert told == list(zip(expected, [-FIRST] * 6, strict=True))
        assert (reply.usage["input_tokens"], reply.usage["output_tokens"]) == (length, 6)
        (body,) = setup.fake.asked
        sent = body["token_ids" if kind == "vllm" else "input_ids"]
        assert sent.count(RENDER.image_id) == 2
        assert [one for one in sent if one != RENDER.image_id] == [i for i in asked.tokens.tolist() if i != RENDER.image_id]
        parameters = body["sampling_params"]
        assert parameters["seed" if kind == "vllm" else "sampling_seed"] == 3
        banned = {*RENDER.banned_ids, *range(RENDER.vocabulary, setup.model.lm_head.out_features)}
        assert {int(one) for one in parameters["logit_bias"]} == banned
        assert parameters["stop_token_ids"] == list(RENDER.stop_ids)
        assert (setup.engine.sampled_tokens, setup.engine.busy_seconds > 0) == (6, True)
        assert setup.engine.context == 300

    run(kind, "weights", tmp_path, play)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_an_engine_to_a_policy(kind: str, tmp_path: Path) -> None:
    async def play(setup: Setup) -> None:
        policy = LocalPolicy(setup.engine)
        assert isinstance(policy, Policy)
        asked, reply = await policy.generate((Message("user", (ONE, "Click.")),), SAMPLING)
        assert asked.tokens is not None
        assert (len(numbers(reply.tokens)), policy.version) == (6, 0)
        with pytest.raises(ContextFull, match="300"):
            await policy.generate((Message("user", ("Click the button. " * 300,)),), SAMPLING)
        with pytest.raises(ValueError, match="max_tokens"):
            await setup.engine.generate(prompt(), Sampling(max_tokens=0))
        with pytest.raises(ValueError, match="render"):
            await setup.engine.generate(Prompt(()), SAMPLING)
        with pytest.raises(KeyError, match="ffffffff"):
            await setup.engine.generate(prompt(ImageRef("f" * 64, 64, 64)), SAMPLING)

    run(kind, "weights", tmp_path, play)


def test_a_picture_is_sent_once_and_then_named(tmp_path: Path) -> None:
    async def play(setup: Setup) -> None:
        async def urls(*content: str | ImageRef) -> list[list[bool]]:
            before = len(setup.fake.asked)
            await setup.engine.generate(prompt(*content), SAMPLING)
            return [["url" in part for part in body.get("content_parts", [])] for body in setup.fake.asked[before:]]

        assert await urls(ONE, "Click.") == [[True]]
        assert await urls(ONE, TWO, "Click.") == [[False, True]]
        assert await urls(ONE, TWO) == [[False, False]]
        assert await urls("Click.") == [[]]
        assert isinstance(setup.fake, FakeVllm)
        setup.fake.cached.clear()
        assert await urls(TWO, ONE) == [[False, False], [True, True]]
        assert {part["uuid"] for body in setup.fake.asked for part in body.get("content_parts", [])} == {ONE.sha256, TWO.sha256}

    run("vllm", "weights", tmp_path, play)


@pytest.mark.parametrize(
    ("kind", "tells", "match"), [("vllm", True, "from place"), ("sglang", True, "from place"), ("sglang", False, "read")]
)
def test_a_server_that_reads_other_ids_is_refused(kind: str, tells: bool, match: str, tmp_path: Path) -> None:
    async def play(setup: Setup) -> None:
        setattr(setup.fake, "tells", tells)  # noqa: B010  # of SGLang alone
        await setup.engine.generate(prompt(), SAMPLING)
        setup.fake.extra = 1
        with pytest.raises(PolicyFailure, match=match):
            await setup.engine.generate(prompt(), SAMPLING)
        await setup.engine.generate(prompt("Click."), SAMPLING)

    run(kind, "weights", tmp_path, play)


@pytest.mark.parametrize("update", ["weights", "lora"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_update_lets_replies_finish(kind: str, update: str, tmp_path: Path) -> None:
    async def play(setup: Setup) -> None:
        first = await setup.writing()
        setup.set_weights(0.75)
        updating = asyncio.create_task(setup.engine.update_weights(None, 4))
        await asyncio.sleep(0)
        setup.fake.held = sys.maxsize
        second = asyncio.create_task(setup.engine.generate(prompt(), SAMPLING))
        await updating
        assert first.done()
        before, after = await first, await second
        assert (before.version, after.version, setup.engine.version) == (0, 4, 4)
        assert (numbers(before.logprobs), numbers(after.logprobs)) == ([-FIRST] * 60, [-0.75] * 6)
        assert setup.files == ["stepladder-4"]
        setup.set_weights(1.25)
        await setup.engine.update_weights(setup.model.state_dict(), 5)
        reply = await setup.engine.generate(prompt(), SAMPLING)
        assert (reply.version, numbers(reply.logprobs), setup.files) == (5, [-1.25] * 6, ["stepladder-5"])
        assert len(setup.fake.adapters) == (update == "lora")

    run(kind, update, tmp_path, play)


@pytest.mark.parametrize("update", ["weights", "lora"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_update_interrupts_replies_that_go_on(kind: str, update: str, tmp_path: Path) -> None:
    """Each token keeps the log-probability that it was sampled with; what was written is read again."""

    async def play(setup: Setup) -> None:
        tasks = [await setup.writing(replace(LONG, seed=1)) for _ in range(2)]
        setup.set_weights(0.75)
        await setup.engine.update_weights(None, 1, "continue")
        for task in tasks:
            reply = await task
            old = numbers(reply.logprobs).index(-0.75)
            assert 0 < old < 60
            assert numbers(reply.logprobs) == [-FIRST] * old + [-0.75] * (60 - old)
            length = len(numbers(prompt().tokens))
            assert numbers(reply.tokens) == [100 + (length + i) % 40 for i in range(60)]
            assert (reply.version, reply.finish) == (0, "length")
        assert (await setup.engine.generate(prompt(), SAMPLING)).version == 1
        seeds = [body["sampling_params"]["seed" if kind == "vllm" else "sampling_seed"] for body in setup.fake.asked[:4]]
        assert len(set(seeds[2:]) - {1}) >= 1, "what goes on does not draw the same numbers again"

    run(kind, update, tmp_path, play)


def test_what_vllm_is_told_in_an_update(tmp_path: Path) -> None:
    async def play(setup: Setup) -> None:
        await setup.engine.generate(prompt(), SAMPLING)
        await setup.engine.update_weights(None, 1)
        steps = [
            "/pause wait",
            "/collective_rpc",
            "/update_weight_version",
            "/reset_prefix_cache",
            "/reset_encoder_cache",
            "/resume",
        ]
        assert setup.fake.called == steps
        await setup.engine.generate(prompt(), SAMPLING)
        assert all("url" not in part for part in setup.fake.asked[-1]["content_parts"]), "the pictures are still there"
        await setup.engine.update_weights(None, 2, "continue")
        assert setup.fake.called[6:] == ["/pause abort", *steps[1:]]

    run("vllm", "weights", tmp_path, play)


@pytest.mark.parametrize("kind", KINDS)
def test_another_run_that_interrupts_changes_nothing(kind: str, tmp_path: Path) -> None:
    async def play(setup: Setup) -> None:
        task = await setup.writing()
        setup.fake.abort(list(setup.fake.jobs))
        reply = await task
        assert (len(numbers(reply.tokens)), reply.finish, reply.version) == (60, "length", 0)
        assert len(setup.fake.asked) == 2

    run(kind, "weights", tmp_path, play)


FAILING = [
    ("vllm", "weights", "/pause", False),
    ("vllm", "weights", "/collective_rpc", True),
    ("vllm", "weights", "/reset_prefix_cache", True),
    ("vllm", "lora", "/v1/load_lora_adapter", False),
    ("sglang", "weights", "/pause_generation", False),
    ("sglang", "weights", "/update_weights_from_disk", True),
    ("sglang", "lora", "/load_lora_adapter", False),
]


@pytest.mark.parametrize(("kind", "update", "path", "touched"), FAILING)
def test_an_update_that_fails(kind: str, update: str, path: str, touched: bool, tmp_path: Path) -> None:
    """The error names the server and the step; the old weights go on where they are still there, and nothing where they are not."""

    async def play(setup: Setup) -> None:
        setup.set_weights(0.75)
        await setup.engine.update_weights(None, 1)
        setup.fake.fail = path
        setup.set_weights(1.25)
        with pytest.raises(PolicyFailure, match=rf"{kind} at http://127.*{path}.*500") as failure:
            await setup.engine.update_weights(None, 2)
        assert setup.engine.version == 1
        assert setup.fake.resumed.is_set()
        assert ("not known" in str(failure.value)) == touched
        if touched:
            with pytest.raises(PolicyFailure, match="not known"):
                await setup.engine.generate(prompt(), SAMPLING)
        else:
            reply = await setup.engine.generate(prompt(), SAMPLING)
            assert (reply.version, numbers(reply.logprobs)) == (1, [-0.75] * 6)
        setup.fake.fail = ""
        await setup.engine.update_weights(None, 3)
        reply = await setup.engine.generate(prompt(), SAMPLING)
        assert (reply.version, numbers(reply.logprobs), setup.files) == (3, [-1.25] * 6, ["stepladder-3"])

    run(kind, update, tmp_path, play)


@pytest.mark.parametrize("update", ["weights", "lora"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_was_started_anew_is_noticed(kind: str, update: str, tmp_path: Path) -> None:
    async def play(setup: Setup) -> None:
        await setup.engine.update_weights(None, 1)
        setup.fake.label, setup.fake.weights = "default", FIRST
        setup.fake.adapters.clear()
        with pytest.raises(PolicyFailure, match=kind):
            await setup.engine.generate(prompt(), SAMPLING)
        await setup.engine.update_weights(None, 1)
        assert (await setup.engine.generate(prompt(), SAMPLING)).version == 1

    run(kind, update, tmp_path, play)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_of_another_run_are_noticed(kind: str, tmp_path: Path) -> None:
    async def play(setup: Setup) -> None:
        setup.fake.label = "7"
        with pytest.raises(PolicyFailure, match=r"'7'.*should be 0"):
            await setup.engine.generate(prompt(), SAMPLING)
        setup.engine.version = 7  # a run that goes on, and the server that it had
        assert (await setup.engine.generate(prompt(), SAMPLING)).version == 7
        setup.fake.label = "default"
        with pytest.raises(PolicyFailure, match=r"'default'.*should be 7"):
            await setup.engine.generate(prompt(), SAMPLING)

    run(kind, "weights", tmp_path, play)


@pytest.mark.parametrize("kind", KINDS)
def test_abort_answers_with_what_there_is(kind: str, tmp_path: Path) -> None:
    async def play(setup: Setup) -> None:
        tasks = [await setup.writing() for _ in range(2)]
        await setup.engine.abort()
        for task in tasks:
            reply = await asyncio.wait_for(task, 10)
            assert (reply.finish, 0 < len(numbers(reply.tokens)) < 60) == ("abort", True)
        await setup.engine.abort()
        assert (await setup.engine.generate(prompt(), SAMPLING)).finish == "length"

    run(kind, "weights", tmp_path, play)


def test_abort_of_what_waits_for_an_update(tmp_path: Path) -> None:
    async def play(setup: Setup) -> None:
        first = await setup.writing(Sampling(max_tokens=250))
        updating = asyncio.create_task(setup.engine.update_weights(None, 1))
        second = asyncio.create_task(setup.engine.generate(prompt(), SAMPLING))
        await asyncio.sleep(0.02)
        await setup.engine.abort()
        assert (await first).finish == (await second).finish == "abort"
        assert numbers((await second).tokens) == []
        await updating
        assert setup.engine.version == 1

    run("vllm", "weights", tmp_path, play)


def test_who_gives_up_and_who_closes(tmp_path: Path) -> None:
    async def play(setup: Setup) -> None:
        task = await setup.writing()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        pending = await setup.writing()
        await asyncio.to_thread(setup.engine.close)
        with pytest.raises(RuntimeError, match="closed"):
            await pending
        with pytest.raises(RuntimeError, match="closed"):
            await setup.engine.generate(prompt(), SAMPLING)
        with pytest.raises(RuntimeError, match="closed"):
            await setup.engine.update_weights(None, 1)

    run("vllm", "weights", tmp_path, play)


def test_a_server_that_dies_is_named(tmp_path: Path) -> None:
    async def play(setup: Setup) -> None:
        await setup.engine.generate(prompt(), SAMPLING)
        await asyncio.to_thread(setup.end)
        with pytest.raises(PolicyFailure, match=r"vllm at http://127.* any more"):
            await setup.engine.generate(prompt(), SAMPLING)
        with pytest.raises(PolicyFailure, match=r"vllm at http://127.*pause.*version 0 stays"):
            await setup.engine.update_weights(None, 1)
        await setup.engine.abort()

    run("vllm", "weights", tmp_path, play)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"kind": "tgi"}, "kind is 'tgi'"),
        ({"url": "127.0.0.1:8000"}, "url is"),
        ({"update": "diff"}, "update is 'diff'"),
        ({"directory": None}, "directory is not set"),
        ({"update": "lora", "bfloat16": True}, "bfloat16"),
        ({"concurrency": 0}, "concurrency is 0"),
        ({"deadline": 0.0}, "deadline"),
        ({"lost_contact": -1.0}, "lost_contact"),
    ],
)
def test_settings_that_cannot_be(change: dict[str, Any], match: str, tmp_path: Path) -> None:
    good = ServedEngineSettings(url="http://127.0.0.1:1", directory=tmp_path)
    good.check()
    with pytest.raises(ConfigError, match=match):
        replace(good, **change).check()
    with pytest.raises(ConfigError, match=match):
        open_served_engine(replace(good, **change), model_for(RENDER), RENDER)


def test_servers_that_are_not_what_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake, model = FakeVllm({}, key="secret-of-the-server"), model_for(RENDER)
    with serving(fake.app()) as url:
        settings = ServedEngineSettings(url=url, directory=tmp_path)

        def refused(match: str, **change: Any) -> None:
            with pytest.raises((PolicyFailure, ConfigError), match=match) as failure:
                open_served_engine(replace(settings, **change), model, RENDER)
            assert fake.key not in str(failure.value)

        refused("401")
        monkeypatch.setenv("STEPLADDER_ENGINE_KEY", fake.key)
        open_served_engine(settings, model, RENDER).close()
        refused("kind is 'sglang'", kind="sglang")
        refused("no adapters", update="lora")
        fake.listed = [*fake.listed, {"id": "other", "owned_by": "vllm"}]
        refused("base, other", model=None)
        open_served_engine(replace(settings, model="other"), model, RENDER).close()
        refused("'third'", model="third")
        fake.listed = [fake.listed[0], {"id": "adapter", "owned_by": "vllm", "parent": "base"}]
        open_served_engine(settings, model, RENDER).close()
        with pytest.raises(ValueError, match="image store"):
            open_served_engine(settings, model, Renderer(RENDER.processor))
        engine = open_served_engine(settings, model, RENDER)
        fake.fail = "/collective_rpc"
        with pytest.raises(PolicyFailure, match=r"key \*\*\*"):
            asyncio.run(engine.update_weights(None, 1))
    with pytest.raises(PolicyFailure, match=f"vllm at {url} does not answer"):
        open_served_engine(settings, model, RENDER)


@pytest.mark.parametrize(
    ("missing", "update", "match"),
    [
        ("/inference/v1/generate", "weights", "--enable-scale-out"),
        ("/is_paused", "weights", "VLLM_SERVER_DEV_MODE=1"),
        ("/v1/load_lora_adapter", "lora", "VLLM_ALLOW_RUNTIME_LORA_UPDATING"),
    ],
)
def test_it_says_how_vllm_is_to_be_started(missing: str, update: str, match: str, tmp_path: Path) -> None:
    fake, model = FakeVllm({}), model_for(RENDER)
    fake.missing = {missing}
    if update == "lora":
        add_adapters(model, LoraSettings(rank=2), 0)
    settings = ServedEngineSettings(directory=tmp_path, update=update)  # type: ignore[arg-type]
    with serving(fake.app()) as url, pytest.raises(PolicyFailure, match=match):
        open_served_engine(replace(settings, url=url), model, RENDER)


def test_sglang_does_not_tell_the_log_probabilities_of_a_nucleus(tmp_path: Path) -> None:
    async def play(setup: Setup) -> None:
        with pytest.raises(ValueError, match="top_p"):
            await setup.engine.generate(prompt(), replace(SAMPLING, top_p=0.9))
        await setup.engine.generate(prompt(), replace(SAMPLING, top_p=0.9, temperature=0.0))

    run("sglang", "weights", tmp_path, play)


def test_full_weights_of_a_model_with_adapters_are_merged(tmp_path: Path) -> None:
    """What is written is a checkpoint of what the model computes; in bfloat16 it is half as large."""
    model = model_for(RENDER)
    add_adapters(model, LoraSettings(rank=2), 0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_B" in name:
                parameter.normal_()
    expected = merged_state(model)
    adapters = {name: value.clone() for name, value in learned_state(model).items()}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_B" in name:
                parameter.zero_()
    written = WeightFiles(tmp_path, model, "weights").write(adapters, 1)
    found = load_file(written / "model.safetensors")
    assert found.keys() == expected.keys() | {"lm_head.weight"}
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)
    small = WeightFiles(tmp_path, model, "weights", bfloat16=True).write(adapters, 1)
    size = (written / "model.safetensors").stat().st_size
    assert (small / "model.safetensors").stat().st_size < 0.6 * size


@given(
    st.lists(st.one_of(st.text("abc ", max_size=5), st.sampled_from([ONE, TWO])), max_size=6),
    st.lists(st.integers(100, 400), max_size=4),
)
def test_collapsed_ids_expand_to_what_was_rendered(content: list[str | ImageRef], written: list[int]) -> None:
    asked = RENDER.render([Message("user", tuple(content))])
    request = ServedRequest(
        "id", "m", None, asked, written, [None] * len(asked.images), SAMPLING, 5, RENDER.image_id, RENDER.stop_ids, ()
    )
    left = list(asked.images)
    expanded = [
        one
        for each in request.collapsed
        for one in ([each] * (RENDER.visual_tokens(left.pop(0)) if each == RENDER.image_id else 1))
    ]
    assert left == []
    assert asked.tokens is not None
    assert expanded == [*asked.tokens.tolist(), *written]
    request.check_prompt(expanded, "it")
    with pytest.raises(PolicyFailure, match=f"from place {len(expanded) - 1} on"):
        request.check_prompt([*expanded[:-1], expanded[-1] + 1], "it")
