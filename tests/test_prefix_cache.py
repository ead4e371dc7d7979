"""What was read before is not read again, and nothing else changes: replies are those of an engine that keeps nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import model_for, picture, renderer
from torch import Tensor
from transformers import DynamicCache

from stepladder.images import ImageStore
from stepladder.models.forward import banned_ids, hidden_states
from stepladder.models.vision import encode_images
from stepladder.policies.decoder import Decoder, new_reply
from stepladder.policies.engine import Engine
from stepladder.policies.prefix_cache import ContentIds, PrefixCache, content_ids, outside_pictures
from stepladder.types import Completion, ImageRef, Message, Prompt, Sampling

SYSTEM = Message("system", ("use the computer",))


class World:
    """A model with random weights, and pictures of two sizes."""

    def __init__(self) -> None:
        self.images = ImageStore()
        self.renderer = renderer(self.images)
        self.model = model_for(self.renderer)
        self.pictures = [picture(self.images, seed, *((64, 96) if seed % 3 else (96, 64))) for seed in range(12)]
        with torch.no_grad():  # random weights of the usual size make nearly the same prediction everywhere
            for parameter in self.model.model.parameters():
                if parameter.ndim > 1:
                    parameter.mul_(4.0)

    def user(self, number: int) -> Message:
        return Message("user", (self.pictures[number % 12], f"click the button {number}"))

    def prompt(self, number: int) -> Prompt:
        return self.renderer.render([SYSTEM, self.user(number)])

    def next_turn(self, prompt: Prompt, reply: Completion, number: int) -> Prompt:
        said = Message("assistant", (reply.text,), reply.tokens)
        return self.renderer.render([*prompt.messages, said, self.user(number)])


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def ask(engine: Engine, prompts: Sequence[Prompt], seeds: Sequence[int | None], count: int = 8) -> list[Completion]:
    """A seed of None is greedy."""

    async def main() -> list[Completion]:
        settings = [Sampling(temperature=0.0 if seed is None else 1.0, max_tokens=count, seed=seed) for seed in seeds]
        return await asyncio.gather(*(engine.generate(p, s) for p, s in zip(prompts, settings, strict=True)))

    return asyncio.run(main())


def ids(tokens: np.ndarray | None) -> list[int]:
    assert tokens is not None
    return [int(token) for token in tokens]


def assert_equal(replies: Sequence[Completion], expected: Sequence[Completion]) -> None:
    for reply, other in zip(replies, expected, strict=True):
        assert ids(reply.tokens) == ids(other.tokens)
        np.testing.assert_allclose(reply.logprobs, other.logprobs, atol=1e-4)  # type: ignore[arg-type]


def count_read_tokens(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of tokens (padding included) of every pass over prompts from now on."""
    counts: list[int] = []

    def counted(model: object, tokens: Tensor, *rest: object, **named: object) -> Tensor:
        if "cache" not in named:  # the steps of decoding name it
            counts.append(tokens.numel())
        return hidden_states(model, tokens, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr("stepladder.policies.decoder.hidden_states", counted)
    return counts


# ---------------------------------------------------------------------- the cache alone


def reader(sequence: ContentIds) -> Callable[[int, int], Tensor]:
    """Keys and values [2, 1, n, 1] that tell each token's place and all that stands before it."""
    values = [float(hash(tuple(sequence[: end + 1].tolist())) % 10_007) for end in range(len(sequence))]
    return lambda start, stop: torch.tensor(values[start:stop])[None, None, :, None].expand(2, 1, -1, 1)


def array(tokens: Sequence[int]) -> ContentIds:
    return np.asarray(tokens, dtype=np.int64)


def found(cache: PrefixCache, tokens: Sequence[int]) -> int:
    """How many tokens are known. Their keys and values must be those of this very beginning."""
    sequence = array(tokens)
    block = cache.find(sequence)
    if block is None:
        return 0
    assert torch.equal(block, reader(sequence)(0, block.shape[2]))
    return block.shape[2]


def common(first: Sequence[int], second: Sequence[int]) -> int:
    return next((n for n, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second)))


SEQUENCES = st.lists(st.lists(st.integers(0, 2), max_size=8), max_size=20)


@settings(deadline=None)
@given(SEQUENCES, SEQUENCES)
def test_the_longest_known_beginning_is_found(known: list[list[int]], asked: list[list[int]]) -> None:
    cache = PrefixCache(10_000)
    for sequence in known:
        cache.add(array(sequence), reader(array(sequence)))
    for sequence in (*asked, *known):
        assert found(cache, sequence) == max((common(sequence, each) for each in known), default=0)
    assert cache.held == len({tuple(each[: end + 1]) for each in known for end in range(len(each))}), "beginnings are kept once"


@settings(deadline=None)
@given(SEQUENCES, st.integers(0, 20))
def test_the_cache_never_holds_more_than_it_may(known: list[list[int]], capacity: int) -> None:
    cache = PrefixCache(capacity)
    for number, sequence in enumerate(known):
        found(cache, known[number // 2])
        cache.add(array(sequence), reader(array(sequence)))
        assert cache.held <= capacity
        assert found(cache, sequence) == len(sequence) or len(sequence) > capacity
        assert all(found(cache, each) <= max(common(each, other) for other in known[: number + 1]) for each in known)


def test_what_was_used_longest_ago_makes_room() -> None:
    cache = PrefixCache(10)
    for first in (1, 2):
        cache.add(array([0, 0, first, first, first]), reader(array([0, 0, first, first, first])))
    assert cache.held == 8
    assert found(cache, [0, 0, 1, 1, 1]) == 5
    cache.add(array([0, 3, 3, 3]), reader(array([0, 3, 3, 3])))
    assert [found(cache, [0, 0, 1, 1, 1]), found(cache, [0, 0, 2, 2, 2]), found(cache, [0, 3, 3, 3])] == [5, 2, 4]
    cache.clear()
    assert (cache.held, cache.find(array([0]))) == (0, None)


def test_pictures_are_told_apart_by_content() -> None:
    tokens = np.array([5, 9, 9, 6, 9, 9], dtype=np.int32)
    first, second = ImageRef("a", 4, 8), ImageRef("b", 4, 8)
    one = content_ids(tokens, [(1, 2), (4, 2)], [first, second])
    other = content_ids(tokens, [(1, 2), (4, 2)], [first, first])
    assert (one == other).tolist() == [True] * 4 + [False] * 2
    assert (one < 0).tolist() == [False, True, True, False, True, True]
    assert [outside_pictures(cut, [(1, 2), (4, 2)]) for cut in range(7)] == [0, 1, 1, 3, 4, 4, 6]


# ---------------------------------------------------------------------- with a model


def test_turns_and_members_read_only_what_is_new(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = count_read_tokens(monkeypatch)
    engine, plain = Engine(world.model, world.renderer), Engine(world.model, world.renderer, prefix_tokens=0)
    prompt = world.prompt(0)
    first = ask(engine, [prompt], [0])
    assert counts == [len(ids(prompt.tokens))]
    assert_equal(first, ask(plain, [prompt], [0]))

    counts.clear()
    late = ask(engine, [prompt] * 3, [1, 2, None])
    assert counts == [1], "later members read the last token alone, once for all of them"
    assert_equal(late, ask(plain, [prompt] * 3, [1, 2, None]))

    members = [(prompt, reply) for reply in (*first, *late)]
    for turn in (1, 2):
        prompts = [world.next_turn(before, reply, 4 * turn + number) for number, (before, reply) in enumerate(members)]
        new = [
            len(ids(after.tokens)) - len(ids(before.tokens)) - len(ids(reply.tokens)) + 1
            for after, (before, reply) in zip(prompts, members, strict=True)
        ]
        counts.clear()
        replies = ask(engine, prompts, [4 * turn, 4 * turn + 1, 4 * turn + 2, None])
        assert counts == [4 * max(new)], "the last token of the reply, and what stands behind it"
        assert_equal(replies, ask(plain, prompts, [4 * turn, 4 * turn + 1, 4 * turn + 2, None]))
        members = list(zip(prompts, replies, strict=True))
    engine.close()
    plain.close()


def test_what_prompts_that_arrive_together_have_in_common_is_read_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    system = Message("system", ("use the computer to click the button " * 10,))
    prompts = [world.renderer.render([system, world.user(number)]) for number in range(4)]
    counts = count_read_tokens(monkeypatch)
    engine, plain = Engine(world.model, world.renderer), Engine(world.model, world.renderer, prefix_tokens=0)
    replies = ask(engine, prompts, [0, 1, 2, None])
    known = prompts[0].image_spans[0][0]
    assert counts == [len(ids(prompts[0].tokens)), 3 * max(len(ids(prompt.tokens)) - known for prompt in prompts)]
    assert_equal(replies, ask(plain, prompts, [0, 1, 2, None]))
    counts.clear()
    other = world.renderer.render([Message("system", ("hello world " * 40,)), world.user(1)])
    ask(engine, [prompts[0], other], [0, 0])
    assert (len(counts), counts[1]) == (2, 1), "prompts of unlike length are not padded to one length"
    engine.close()
    plain.close()


def test_pictures_of_a_known_beginning_are_not_encoded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, plain = Engine(world.model, world.renderer, picture_tokens=1), Engine(world.model, world.renderer, prefix_tokens=0)
    prompt = world.prompt(0)
    (reply,) = ask(engine, [prompt], [0])
    ask(engine, [world.prompt(1)], [0])
    following = world.next_turn(prompt, reply, 1)
    loaded: list[ImageRef] = []
    load = world.images.load
    monkeypatch.setattr(world.images, "load", lambda ref: loaded.append(ref) or load(ref))
    replies = ask(engine, [following], [0])
    assert world.pictures[0] not in loaded
    assert_equal(replies, ask(plain, [following], [0]))
    engine.close()
    plain.close()


def test_other_pictures_at_the_same_place_are_not_taken_for_known(world: World) -> None:
    engine, plain = Engine(world.model, world.renderer), Engine(world.model, world.renderer, prefix_tokens=0)
    prompts = [world.renderer.render([Message("user", (world.pictures[number], "click"))]) for number in (1, 2, 0)]
    # the third has another shape, and so other positions, with the same number of tokens
    assert ids(prompts[0].tokens) == ids(prompts[1].tokens) == ids(prompts[2].tokens)
    assert len({world.renderer.grid(prompt.images[0]) for prompt in prompts}) == 2
    replies = [reply for prompt in prompts for reply in ask(engine, [prompt], [None])]
    assert_equal(replies, ask(plain, prompts, [None] * 3))
    assert len({tuple(ids(reply.tokens)) for reply in replies}) == 3
    engine.close()
    plain.close()


def test_a_picture_is_read_as_a_whole(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    prompt = world.prompt(0)
    ((start, size),) = prompt.image_spans
    cut = Prompt(prompt.messages, np.asarray(prompt.tokens)[: start + size], prompt.image_spans)
    counts = count_read_tokens(monkeypatch)
    engine, plain = Engine(world.model, world.renderer), Engine(world.model, world.renderer, prefix_tokens=0)
    replies = [reply for _ in range(2) for reply in ask(engine, [cut], [None])]
    assert counts == [start + size, size]
    assert_equal(replies, ask(plain, [cut] * 2, [None] * 2))
    engine.close()
    plain.close()


@pytest.mark.parametrize("options", [{}, {"prefix_tokens": 150}, {"max_batch": 3, "prefill_tokens": 60, "picture_tokens": 1}])
def test_many_episodes_at_once(world: World, options: dict[str, int]) -> None:
    """Episodes of different length that start when they like; known beginnings come and go."""
    engine, plain = Engine(world.model, world.renderer, **options), Engine(world.model, world.renderer, prefix_tokens=0)  # type: ignore[arg-type]
    played: list[tuple[Prompt, int | None, Completion]] = []

    async def episode(number: int) -> None:
        prompt = world.prompt(number % 4)
        await asyncio.sleep(0.003 * (number % 5))
        for turn in range(1 + number % 3):
            seed = None if number % 4 == 3 else 10 * number + turn
            sampling = Sampling(temperature=0.0 if seed is None else 1.0, max_tokens=8, seed=seed)
            reply = await engine.generate(prompt, sampling)
            played.append((prompt, seed, reply))
            prompt = world.next_turn(prompt, reply, number + turn)

    async def main() -> None:
        await asyncio.gather(*(episode(number) for number in range(16)))

    asyncio.run(main())
    assert len(played) == 31
    assert_equal([reply for _, _, reply in played], ask(plain, [p for p, _, _ in played], [s for _, s, _ in played]))
    engine.close()
    plain.close()


@pytest.mark.parametrize("in_progress", ["finish", "continue"])
def test_new_weights_share_nothing_with_the_old(world: World, in_progress: str) -> None:
    changed = model_for(world.renderer, seed=3)
    model = model_for(world.renderer)
    engine, plain = Engine(model, world.renderer), Engine(changed, world.renderer, prefix_tokens=0)
    prompt = world.prompt(0)
    (reply,) = ask(engine, [prompt], [0])
    asyncio.run(engine.update_weights(changed.state_dict(), 1, in_progress))  # type: ignore[arg-type]
    prompts = [prompt, world.next_turn(prompt, reply, 1)]
    assert_equal(ask(engine, prompts, [0, 1]), ask(plain, prompts, [0, 1]))
    engine.close()
    plain.close()


def test_weights_can_change_between_two_tokens(world: World) -> None:
    """Every token is sampled by the weights of its moment, over the keys and values that were there."""
    before, after = model_for(world.renderer), model_for(world.renderer, seed=3)
    model = model_for(world.renderer)
    decoder = Decoder(model, world.renderer)
    prompt = world.prompt(0)
    reply = new_reply(prompt, Sampling(max_tokens=10, seed=4), 10)
    decoder.start([reply])
    for _ in range(3):
        decoder.step()
    model.load_state_dict(after.state_dict())
    decoder.weights_changed()
    while reply.finish is None:
        decoder.step()
    decoder.pop_finished()

    tokens = torch.tensor([[*ids(prompt.tokens), *reply.tokens]])
    (span,) = prompt.image_spans
    image_mask = torch.zeros(tokens.shape, dtype=torch.bool)
    image_mask[0, span[0] : sum(span)] = True
    grids = [world.renderer.grid(image) for image in prompt.images]
    positions = torch.from_numpy(world.renderer.positions(tokens.shape[1], prompt.image_spans, grids))[:, None]
    cache, switch = DynamicCache(), len(ids(prompt.tokens)) + 3  # the keys and values of the first three tokens are old
    with torch.no_grad():
        pictures = encode_images(before, *world.renderer.pixels(prompt.images))
        old = hidden_states(before, tokens[:, :switch], positions[..., :switch], None, pictures, image_mask[:, :switch], cache)
        new = hidden_states(after, tokens[:, switch:], positions[..., switch:], None, cache=cache)
        logits = torch.cat([before.lm_head(old[0]), after.lm_head(new[0])])[len(ids(prompt.tokens)) - 1 : -1]
    logits = logits.index_fill(-1, banned_ids(model, world.renderer), -torch.inf)
    expected = logits.log_softmax(-1).gather(-1, torch.tensor(reply.tokens)[:, None])[:, 0]
    np.testing.assert_allclose(reply.logprobs, expected, atol=1e-4)

    following = world.next_turn(prompt, reply.completion(world.renderer), 1)
    again = new_reply(following, Sampling(temperature=0.0, max_tokens=5), 5)
    decoder.start([again])
    plain = Engine(after, world.renderer, prefix_tokens=0)
    (fresh,) = ask(plain, [following], [None], 1)
    plain.close()
    assert_equal([again.completion(world.renderer)], [fresh])
