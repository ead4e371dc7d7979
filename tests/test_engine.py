"""The engine against transformers' own generate and a full forward pass (law 2 at the level of the engine)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.images import ImageStore
from stepladder.interfaces import ContextFull, Policy
from stepladder.models.forward import banned_ids
from stepladder.models.half_linear import halve_linear_weights
from stepladder.models.lora import LoraSettings, add_adapters, learned_state
from stepladder.models.processor import ImageTextProcessor, image_processor
from stepladder.models.renderer import Renderer
from stepladder.models.small import SmallModel, build_model
from stepladder.models.tokenizer import build_tokenizer
from stepladder.models.vision import encode_images
from stepladder.policies.decoder import Decoder, Reply
from stepladder.policies.engine import Engine
from stepladder.policies.local import LocalPolicy
from stepladder.policies.sampling import sample_tokens
from stepladder.types import Completion, ImageRef, Message, Prompt, Sampling

CORPUS = ["Click the button. Previous actions: Step 1: left_click [512, 230]"] * 5
SIZES = SmallModel(hidden=96, layers=2, heads=4, key_value_heads=2, vision_hidden=64, vision_layers=2, vision_heads=2, context=512)
GREEDY = Sampling(temperature=0.0, max_tokens=16)


class World:
    """A model with random weights, its renderer, and pictures of two sizes."""

    def __init__(self, sizes: SmallModel = SIZES) -> None:
        torch.manual_seed(0)
        self.images = ImageStore()
        tokenizer = build_tokenizer(CORPUS, 600)
        processor = ImageTextProcessor(image_processor(), tokenizer, tokenizer.chat_template)
        self.model = build_model(sizes, tokenizer).eval()
        with torch.no_grad():  # random weights of the usual size make nearly the same prediction everywhere
            for parameter in self.model.model.parameters():
                if parameter.ndim > 1:
                    parameter.mul_(4.0)
        self.renderer = Renderer(processor, self.images)
        generator = np.random.default_rng(0)
        self.pictures = [
            self.images.put_pixels(generator.integers(0, 255, (height, width, 3), dtype=np.uint8))
            for height, width in [(64, 96), (64, 96), (96, 64), (64, 64)]
        ]

    def prompt(self, number: int) -> Prompt:
        """Prompts that differ in length, number of pictures, and pictures."""
        parts: list[str | ImageRef] = [f"Click {number}. " * (1 + number % 3)]
        for extra in range(number % 3):
            parts.insert(0, self.pictures[(number + extra) % 4])
        return self.renderer.render([Message("user", tuple(parts))])

    def generate(self, prompt: Prompt, count: int, ban: bool = True) -> list[int]:
        """Greedy ids by transformers' own generate."""
        assert prompt.tokens is not None
        pictures = {}
        if prompt.images:
            pixels, grid = self.renderer.pixels(prompt.images)
            pictures = {"pixel_values": pixels, "image_grid_thw": grid}
        ids = torch.from_numpy(prompt.tokens.astype(np.int64))[None]
        output = self.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            mm_token_type_ids=(ids == self.renderer.image_id).int(),
            max_new_tokens=count,
            do_sample=False,
            eos_token_id=list(self.renderer.stop_ids),
            suppress_tokens=list(self.renderer.banned_ids),
            **pictures,
        )
        return [int(token) for token in output[0, ids.shape[1] :]]

    def logprobs(self, prompt: Prompt, completion: Completion, temperature: float = 1.0) -> torch.Tensor:
        """Log-probabilities of the completion at `temperature` by one full forward pass of transformers' model."""
        assert completion.tokens is not None
        chosen = torch.from_numpy(completion.tokens.astype(np.int64))
        return self.distributions(prompt, completion, temperature).gather(-1, chosen[:, None])[:, 0]

    def distributions(self, prompt: Prompt, completion: Completion, temperature: float = 1.0) -> torch.Tensor:
        """Log-probabilities float[C, V] of everything that could have stood at each place of the completion."""
        assert prompt.tokens is not None
        assert completion.tokens is not None
        ids = torch.from_numpy(np.concatenate([prompt.tokens, completion.tokens]).astype(np.int64))[None]
        pictures = {}
        if prompt.images:
            pixels, grid = self.renderer.pixels(prompt.images)
            pictures = {"pixel_values": pixels, "image_grid_thw": grid}
        grids = [self.renderer.grid(image) for image in prompt.images]
        positions = torch.from_numpy(self.renderer.positions(ids.shape[1], prompt.image_spans, grids))[:, None]
        with torch.no_grad():
            states = self.model.model(input_ids=ids, position_ids=positions, **pictures).last_hidden_state[0]
            start = len(prompt.tokens) - 1
            banned = banned_ids(self.model, self.renderer)
            logits = self.model.lm_head(states[start:-1]).index_fill(-1, banned, -torch.inf)
            return (logits / temperature).log_softmax(-1)


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.fixture
def engine(world: World) -> Iterator[Engine]:
    engine = Engine(world.model, world.renderer)
    yield engine
    engine.close()


def ask(engine: Engine, prompts: Sequence[Prompt], samplings: Sequence[Sampling]) -> list[Completion]:
    async def main() -> list[Completion]:
        return await asyncio.gather(*(engine.generate(p, s) for p, s in zip(prompts, samplings, strict=True)))

    return asyncio.run(main())


def tokens(completion: Completion) -> list[int]:
    assert completion.tokens is not None
    return [int(token) for token in completion.tokens]


def test_greedy_replies_are_those_of_transformers(world: World, engine: Engine) -> None:
    prompts = [world.prompt(number) for number in range(9)]
    replies = ask(engine, prompts, [replace(GREEDY, max_tokens=8 + number) for number in range(9)])
    expected = [world.generate(prompt, 8 + number) for number, prompt in enumerate(prompts)]
    assert [tokens(reply) for reply in replies] == expected
    assert len({tuple(ids) for ids in expected}) > 5
    assert len({token for ids in expected for token in ids}) > 10


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_recorded_logprobs_are_those_of_a_full_forward_pass(world: World, engine: Engine, temperature: float) -> None:
    prompts = [world.prompt(number) for number in range(12)]
    sampling = Sampling(temperature=temperature, max_tokens=20, seed=5)
    for prompt, reply in zip(prompts, ask(engine, prompts, [sampling] * 12), strict=True):
        assert reply.logprobs is not None
        np.testing.assert_allclose(reply.logprobs, world.logprobs(prompt, reply), atol=1e-3)


@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_recorded_entropies_are_those_of_what_was_sampled_from(world: World, engine: Engine, temperature: float) -> None:
    """At the temperature of sampling, without banned ids; one number for each token."""
    prompts = [world.prompt(number) for number in range(6)]
    sampling = Sampling(temperature=temperature, max_tokens=20, seed=5)
    for prompt, reply in zip(prompts, ask(engine, prompts, [sampling] * 6), strict=True):
        assert reply.entropies is not None
        assert (reply.entropies.dtype, len(reply.entropies)) == (np.float32, len(tokens(reply)))
        logprobs = world.distributions(prompt, reply, temperature)
        expected = -(logprobs.exp() * logprobs.clamp(min=-1e4)).sum(-1)
        np.testing.assert_allclose(reply.entropies, expected, atol=2e-3)
        assert np.ptp(reply.entropies) > 0.01


def test_a_reply_does_not_depend_on_its_batch(world: World, engine: Engine) -> None:
    prompts = [world.prompt(number) for number in range(8)]
    samplings = [Sampling(max_tokens=5 + number, seed=number) for number in range(8)]
    together = ask(engine, prompts, samplings)
    alone = [ask(engine, [prompt], [sampling])[0] for prompt, sampling in zip(prompts, samplings, strict=True)]
    assert [tokens(reply) for reply in together] == [tokens(reply) for reply in alone]
    for first, second in zip(together, alone, strict=True):
        np.testing.assert_allclose(first.logprobs, second.logprobs, atol=1e-4)  # type: ignore[arg-type]


def test_more_requests_than_slots_and_small_prefills(world: World) -> None:
    prompts = [world.prompt(number % 5) for number in range(20)]
    samplings = [Sampling(max_tokens=3 + number % 7, seed=number) for number in range(20)]
    results = []
    for options in ({"max_batch": 3, "prefill_tokens": 60, "picture_tokens": 1}, {}):
        engine = Engine(world.model, world.renderer, **options)  # type: ignore[arg-type]
        results.append([tokens(reply) for reply in ask(engine, prompts, samplings)])
        engine.close()
    assert results[0] == results[1]
    assert [len(ids) <= 3 + number % 7 for number, ids in enumerate(results[0])] == [True] * 20


class Narrow(Decoder):
    """There is memory for two replies."""

    def start(self, replies: Sequence[Reply]) -> None:
        if len(self.replies) + len(replies) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
        super().start(replies)


def test_a_reply_for_which_there_is_no_memory_waits(world: World, caplog: pytest.LogCaptureFixture) -> None:
    prompts = [world.prompt(number % 5) for number in range(9)]
    samplings = [Sampling(max_tokens=3 + number % 7, seed=number) for number in range(9)]
    results = []
    for decode in (Narrow, Decoder):
        engine = Engine(world.model, world.renderer, decode=decode)
        results.append([tokens(reply) for reply in ask(engine, prompts, samplings)])
        engine.close()
    assert results[0] == results[1]
    assert "memory suffices for 2 replies; 7 wait for others to be done" in caplog.text


def test_a_reply_that_never_finds_memory_fails(world: World) -> None:
    class Full(Decoder):
        def start(self, replies: Sequence[Reply]) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory")

    engine = Engine(world.model, world.renderer, decode=Full)
    with pytest.raises(torch.OutOfMemoryError):
        ask(engine, [world.prompt(0)] * 2, [GREEDY] * 2)
    engine.close()


def test_one_prompt_that_is_too_large_leaves_the_others_their_places(world: World) -> None:
    large, widest = world.prompt(2), 0

    class Picky(Decoder):
        def start(self, replies: Sequence[Reply]) -> None:
            nonlocal widest
            if any(reply.prompt is large.tokens for reply in replies):
                raise torch.OutOfMemoryError("CUDA out of memory")
            super().start(replies)
            widest = max(widest, len(self.replies))

    engine = Engine(world.model, world.renderer, decode=Picky)

    async def asked() -> list[Completion | BaseException]:
        prompts = [world.prompt(0), world.prompt(1), large, world.prompt(3)]
        return await asyncio.gather(*(engine.generate(prompt, GREEDY) for prompt in prompts), return_exceptions=True)

    answers = asyncio.run(asked())
    assert [isinstance(answer, torch.OutOfMemoryError) for answer in answers] == [False, False, True, False]
    widest = 0
    ask(engine, [world.prompt(number % 2) for number in range(6)], [GREEDY] * 6)
    engine.close()
    assert widest == 6, "fewer replies at a time than before"


def test_equal_prompts_share_their_reading_but_not_their_numbers(world: World, engine: Engine) -> None:
    prompt = world.prompt(2)
    replies = ask(engine, [prompt] * 16, [Sampling(max_tokens=6, seed=number) for number in range(16)])
    assert len({tuple(tokens(reply)) for reply in replies}) > 12
    same = ask(engine, [prompt] * 2, [Sampling(max_tokens=6, seed=3)] * 2)
    assert tokens(same[0]) == tokens(same[1]) == tokens(replies[3])


def test_a_picture_is_encoded_once_for_each_version_of_the_weights(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[int] = []

    def count(model: object, pixels: torch.Tensor, grid: torch.Tensor) -> object:
        encoded.append(len(grid))
        return encode_images(model, pixels, grid)  # type: ignore[arg-type]

    monkeypatch.setattr("stepladder.policies.decoder.encode_images", count)
    engine = Engine(world.model, world.renderer)
    prompts = [world.renderer.render([Message("user", (world.pictures[k % 2], f"Click {k}."))]) for k in range(6)]
    ask(engine, prompts, [GREEDY] * 6)
    ask(engine, prompts, [GREEDY] * 6)
    assert sum(encoded) == 2
    asyncio.run(engine.update_weights(None, 1))
    ask(engine, prompts, [GREEDY] * 6)
    assert sum(encoded) == 4
    engine.close()


@pytest.mark.parametrize("autocast", [False, True])
def test_bfloat16(world: World, autocast: bool) -> None:
    model = world.model if autocast else build_model(SIZES, world.renderer.processor.tokenizer).to(torch.bfloat16)
    engine = Engine(model, world.renderer, autocast=autocast)
    sampling = [Sampling(max_tokens=8, seed=number) for number in range(4)]
    replies = ask(engine, [world.prompt(number) for number in range(4)], sampling)
    engine.close()
    assert [len(tokens(reply)) for reply in replies] == [8] * 4
    assert all(np.isfinite(reply.logprobs).all() for reply in replies if reply.logprobs is not None)


@pytest.mark.parametrize("adapters", [False, True])
def test_linear_weights_that_are_kept_in_half_give_what_autocast_gives(adapters: bool) -> None:
    replies, sizes = [], []
    for half in (False, True):
        world = World()
        if adapters:
            add_adapters(world.model, LoraSettings(rank=2), seed=0)
            for name, parameter in world.model.named_parameters():
                if "lora_B" in name:
                    torch.nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(1))
        later = {name: value * 1.1 for name, value in learned_state(world.model).items()}
        if half:
            halve_linear_weights(world.model)
        sizes.append(sum(parameter.nbytes for parameter in world.model.parameters()))
        engine = Engine(world.model, world.renderer, autocast=True)
        sampling = [Sampling(max_tokens=8, seed=number) for number in range(4)]
        answers = ask(engine, [world.prompt(number) for number in range(4)], sampling)
        asyncio.run(engine.update_weights(later, 1))
        replies.append([*answers, *ask(engine, [world.prompt(number) for number in range(4)], sampling)])
        engine.close()
    assert sizes[1] < 0.8 * sizes[0]
    assert not np.array_equal(replies[0][0].logprobs, replies[0][4].logprobs), "the weights that came later changed nothing"
    for one, two in zip(*replies, strict=True):
        assert tokens(one) == tokens(two)
        np.testing.assert_array_equal(one.logprobs, two.logprobs)


def test_banned_ids_are_never_sampled(world: World) -> None:
    engine = Engine(world.model, world.renderer)
    banned = set(banned_ids(world.model, world.renderer).tolist())
    assert world.renderer.image_id in banned
    with torch.no_grad():
        before = world.model.lm_head.weight[list(banned)].clone()
        # tied to the input embeddings; the picture's own rows are overwritten by visual tokens
        world.model.lm_head.weight[list(banned)] = 50.0
    try:
        replies = ask(engine, [world.prompt(0)] * 30, [Sampling(temperature=3.0, max_tokens=20, seed=n) for n in range(30)])
    finally:
        with torch.no_grad():
            world.model.lm_head.weight[list(banned)] = before
        engine.close()
    sampled = {token for reply in replies for token in tokens(reply)}
    assert len(sampled) > 100
    assert not sampled & banned


def test_stop_strings_end_a_reply_and_stay_in_it(world: World, engine: Engine) -> None:
    prompt = world.prompt(1)
    free = ask(engine, [prompt], [Sampling(max_tokens=30, seed=1)])[0]
    assert free.finish in ("length", "stop")
    stop = free.text[6:9]
    reply = ask(engine, [prompt], [Sampling(max_tokens=30, seed=1, stop=("never", stop))])[0]
    assert reply.finish == "stop"
    assert stop in reply.text
    assert tokens(reply) == tokens(free)[: len(tokens(reply))]
    assert stop not in world.renderer.decode(tokens(reply)[:-1])


def test_the_end_token_ends_a_reply(world: World, engine: Engine) -> None:
    replies = ask(engine, [world.prompt(0)] * 64, [Sampling(temperature=5.0, max_tokens=100, seed=n) for n in range(64)])
    ended = [reply for reply in replies if reply.finish == "stop"]
    assert ended
    for reply in ended:
        assert tokens(reply)[-1] in world.renderer.stop_ids
        assert not set(tokens(reply)[:-1]) & set(world.renderer.stop_ids)
        assert "<|" not in reply.text
    assert all(len(tokens(reply)) == 100 for reply in replies if reply.finish == "length")


def test_the_context_is_a_limit(world: World) -> None:
    prompt = world.prompt(1)
    assert prompt.tokens is not None
    engine = Engine(world.model, world.renderer, context=len(prompt.tokens) + 4)
    reply = ask(engine, [prompt], [GREEDY])[0]
    assert (len(tokens(reply)), reply.finish) == (4, "length")
    engine.context = len(prompt.tokens)
    with pytest.raises(ContextFull, match="tokens"):
        ask(engine, [prompt], [GREEDY])
    engine.close()


def test_new_weights_come_between_batches_and_are_recorded(world: World) -> None:
    tokenizer = world.renderer.processor.tokenizer
    model = build_model(SIZES, tokenizer, seed=1)
    engine = Engine(model, world.renderer, version=3)
    prompt = world.prompt(2)

    async def main() -> tuple[Completion, Completion]:
        first = asyncio.create_task(engine.generate(prompt, Sampling(max_tokens=200, seed=0)))
        await engine.generate(world.prompt(1), replace(GREEDY, max_tokens=1))
        await engine.update_weights(world.model.state_dict(), 4)
        return await first, await engine.generate(prompt, GREEDY)

    before, after = asyncio.run(main())
    assert (before.version, after.version, engine.version) == (3, 4, 4)
    assert tokens(after) == world.generate(prompt, 16)
    assert tokens(before) != tokens(after)
    with pytest.raises(RuntimeError, match="size mismatch"):
        asyncio.run(engine.update_weights({"lm_head.weight": torch.zeros(1)}, 5))
    assert engine.version == 4
    engine.close()


def test_new_weights_between_two_tokens(world: World) -> None:
    model = build_model(SIZES, world.renderer.processor.tokenizer, seed=1)
    engine = Engine(model, world.renderer, version=3)
    prompt, long = world.prompt(2), replace(GREEDY, max_tokens=400)

    async def main() -> tuple[bool, Completion, Completion]:
        first = asyncio.create_task(engine.generate(prompt, long))
        await engine.generate(world.prompt(1), replace(GREEDY, max_tokens=1))
        await engine.update_weights(world.model.state_dict(), 4, in_progress="continue")
        waited = first.done()
        return waited, await first, await engine.generate(prompt, GREEDY)

    waited, reply, after = asyncio.run(main())
    assert not waited
    assert (reply.version, after.version, reply.finish) == (3, 4, "length")
    assert tokens(after) == world.generate(prompt, 16)
    engine.close()


def test_abort_answers_with_what_there_is(world: World) -> None:
    engine = Engine(world.model, world.renderer, max_batch=2)
    prompts = [world.prompt(number) for number in range(4)]

    async def main() -> tuple[list[Completion], Completion]:
        pending = [asyncio.create_task(engine.generate(prompt, replace(GREEDY, max_tokens=400))) for prompt in prompts]
        await asyncio.sleep(0.1)
        await engine.abort()
        replies = [await asyncio.wait_for(each, 0.5) for each in pending]
        await engine.abort()
        return replies, await engine.generate(prompts[0], GREEDY)

    replies, after = asyncio.run(main())
    assert [reply.finish for reply in replies] == ["abort"] * 4
    assert all(0 < len(tokens(reply)) < 400 for reply in replies[:2])
    for prompt, reply in zip(prompts[:2], replies, strict=False):
        np.testing.assert_allclose(reply.logprobs, world.logprobs(prompt, reply), atol=1e-3)  # type: ignore[arg-type]
    assert [(tokens(reply), reply.text) for reply in replies[2:]] == [([], "")] * 2
    assert (tokens(after), after.finish) == (world.generate(prompts[0], 16), "length")
    engine.close()


def test_cancelled_requests_leave_the_batch(world: World, engine: Engine) -> None:
    long, short = Sampling(max_tokens=400, temperature=0.0), replace(GREEDY, seed=1)

    async def main() -> Completion:
        slow = asyncio.create_task(engine.generate(world.prompt(0), long))
        await engine.generate(world.prompt(1), replace(GREEDY, max_tokens=1))
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
        return await engine.generate(world.prompt(3), short)

    assert tokens(asyncio.run(main())) == world.generate(world.prompt(3), 16)


def test_one_bad_request_fails_alone(world: World, engine: Engine) -> None:
    missing = ImageRef("f" * 64, 64, 64)
    bad = world.renderer.render([Message("user", (missing, "Click."))])

    async def main() -> list[Completion | BaseException]:
        good = [engine.generate(world.prompt(number), GREEDY) for number in range(3)]
        return await asyncio.gather(*good, engine.generate(bad, GREEDY), return_exceptions=True)

    results = asyncio.run(main())
    assert [type(result).__name__ for result in results] == ["Completion"] * 3 + ["KeyError"]
    with pytest.raises(ValueError, match="render"):
        ask(engine, [Prompt(())], [GREEDY])
    with pytest.raises(ValueError, match="max_tokens"):
        ask(engine, [world.prompt(0)], [Sampling(max_tokens=0)])


def test_closing(world: World) -> None:
    engine = Engine(world.model, world.renderer)

    async def main() -> None:
        pending = asyncio.create_task(engine.generate(world.prompt(0), Sampling(max_tokens=500)))
        await asyncio.sleep(0)
        await asyncio.to_thread(engine.close)
        await pending

    with pytest.raises(RuntimeError, match="closed"):
        asyncio.run(main())
    engine.close()
    with pytest.raises(RuntimeError, match="closed"):
        ask(engine, [world.prompt(0)], [GREEDY])
    with pytest.raises(ValueError, match="max_batch"):
        Engine(world.model, world.renderer, max_batch=0)
    with pytest.raises(TypeError, match="prefil"):
        Engine(world.model, world.renderer, prefil=1)


def test_the_policy_renders_and_records(world: World, engine: Engine) -> None:
    policy = LocalPolicy(engine)
    assert isinstance(policy, Policy)
    messages = (Message("user", (world.pictures[0], "Click.")),)
    prompt, completion = asyncio.run(policy.generate(messages, Sampling(max_tokens=4, seed=0)))
    assert prompt.messages == messages
    assert prompt.tokens is not None
    assert world.renderer.decode(tokens(completion)) == completion.text
    assert (completion.version, policy.version) == (0, 0)
    assert completion.logprobs is not None
    assert completion.logprobs.dtype == np.float32


@settings(deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.5, 1.0, 2.0]), st.sampled_from([0.01, 0.5, 0.9, 1.0]))
def test_sampling_settings(seed: int, temperature: float, top_p: float) -> None:
    logits = torch.randn(1, 12, generator=torch.Generator().manual_seed(seed)) * 3
    banned = torch.tensor([3, 7])
    setting = [Sampling(temperature=temperature, top_p=top_p)] * 400
    uniforms = [(number + 0.5) / 400 for number in range(400)]
    drawn, logprobs, entropies = sample_tokens(logits.expand(400, -1), setting, uniforms, banned)
    probabilities = logits[0].clone()
    probabilities[banned] = -torch.inf
    if temperature == 0:
        assert (drawn == probabilities.argmax()).all()
        torch.testing.assert_close(logprobs[0], probabilities.log_softmax(-1).max())
        torch.testing.assert_close(entropies[0], torch.distributions.Categorical(logits=probabilities.clamp(min=-1e9)).entropy())
        return
    probabilities = (probabilities / temperature).softmax(-1)
    ordered = probabilities.sort(descending=True)
    size = int((ordered.values.cumsum(-1) < top_p - 1e-6).sum()) + 1 if top_p < 1 else 12
    nucleus = torch.zeros(12)
    nucleus[ordered.indices[:size]] = probabilities[ordered.indices[:size]]
    nucleus /= nucleus.sum()
    torch.testing.assert_close(logprobs.exp(), nucleus[drawn])
    expected = -(nucleus[nucleus > 0] * nucleus[nucleus > 0].log()).sum()
    torch.testing.assert_close(entropies, expected.expand(400), atol=1e-5, rtol=1e-4)
    counts = torch.bincount(drawn, minlength=12) / 400
    assert (counts - nucleus).abs().max() <= 1 / 400 + 1e-6


def test_the_largest_random_number_picks_a_possible_token() -> None:
    logits = torch.tensor([[0.0, 1.0, -torch.inf, -torch.inf]])
    drawn, _, entropies = sample_tokens(logits, [Sampling()], [1 - 2**-53], torch.tensor([1]))
    assert drawn.tolist() == [0]
    assert entropies.tolist() == [0.0], "there is no choice"
