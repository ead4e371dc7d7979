"""Emulated fine-tuning: what is sampled has exactly the product's distribution, whatever is decoded beside it; and its claim."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_models import SIZES, model_for, renderer
from transformers import Qwen3VLForConditionalGeneration

from stepladder.config import ConfigError
from stepladder.images import ImageStore
from stepladder.models.checkpoint import save_checkpoint
from stepladder.models.forward import banned_ids
from stepladder.models.processor import ImageTextProcessor, image_processor
from stepladder.models.renderer import Renderer
from stepladder.models.small import SmallModel, build_model
from stepladder.models.tokenizer import build_tokenizer
from stepladder.policies.emulated import EmulatedDecoder, emulated_logprobs
from stepladder.policies.engine import Engine
from stepladder.stages.agent_options import AgentOptions
from stepladder.stages.policies import check_policy, open_policy, read_policy, weights_digest
from stepladder.train.batch import collate
from stepladder.train.micro_batch import MicroBatch
from stepladder.train.optimizer import OptimizerConfig, Schedule
from stepladder.train.sample import from_reply
from stepladder.train.scoring import Scorer
from stepladder.train.trainer import Trainer
from stepladder.types import Completion, Message, Prompt, Sampling

# ---------------------------------------------------------------- the distribution


def test_three_distributions_by_hand() -> None:
    """large (1/2, 1/4, 1/4), tuned (1/4, 1/2, 1/4), small (1/2, 1/4, 1/4): the products are 1/4, 1/2, 1/4, already 1 together."""
    large, tuned, small = (torch.tensor([row]).log() + 7 for row in ([0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.5, 0.25, 0.25]))
    torch.testing.assert_close(emulated_logprobs(large, tuned, small).exp(), torch.tensor([[0.25, 0.5, 0.25]]))
    twice = torch.tensor([[0.5 / 4, 0.25 * 4, 0.25]])
    torch.testing.assert_close(emulated_logprobs(large, tuned, small, 2.0).exp(), twice / twice.sum())


@given(st.integers(0, 10_000), st.floats(0.0, 3.0), st.integers(2, 9))
def test_it_is_the_normalised_product(seed: int, scale: float, size: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    large, tuned, small = (torch.randn(2, size, generator=generator) * 3 for _ in range(3))
    product = large.double().softmax(-1) * (tuned.double().softmax(-1) / small.double().softmax(-1)) ** scale
    found = emulated_logprobs(large, tuned, small, scale).double().exp()
    torch.testing.assert_close(found, product / product.sum(-1, keepdim=True), rtol=1e-3, atol=1e-6)


def test_rows_of_padding_are_the_large_models_alone() -> None:
    large, tuned, small = torch.zeros(1, 5), torch.tensor([[1.0, 0.0, 0.0]]), torch.zeros(1, 4)
    found = emulated_logprobs(large, tuned, small)
    shift = torch.log_softmax(torch.tensor([1.0, 0.0, 0.0]), -1) - torch.log_softmax(torch.zeros(3), -1)
    torch.testing.assert_close(found, torch.cat([shift, torch.zeros(2)])[None].log_softmax(-1))


# ---------------------------------------------------------------- decoding

RENDERER = renderer()


def loud(seed: int) -> Qwen3VLForConditionalGeneration:
    """Random weights of the usual size predict nearly the same everywhere."""
    model = model_for(RENDERER, seed)
    with torch.no_grad():
        for parameter in model.model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(3.0)
    return model


LARGE, TUNED, SMALL = (loud(seed) for seed in range(3))
WORDS = ("click", "the", "button", "hello", "world", "previous", "actions", "step")


def prompt(number: int) -> Prompt:
    random = Random(number // 2)  # each stands twice
    return RENDERER.render([Message("user", (" ".join(random.choices(WORDS, k=3 + number % 5)),))])


def ask(engine: Engine, prompts: Sequence[Prompt], samplings: Sequence[Sampling]) -> list[Completion]:
    async def main() -> list[Completion]:
        return await asyncio.gather(*(engine.generate(p, s) for p, s in zip(prompts, samplings, strict=True)))

    return asyncio.run(main())


def opened(scale: float = 1.0, tuned: Any = TUNED, small: Any = SMALL, **options: Any) -> Engine:
    return Engine(LARGE, RENDERER, decode=EmulatedDecoder, tuned=tuned, small=small, scale=scale, **options)


def told(engine: Engine, number: int, temperature: float = 1.0) -> list[Completion]:
    samplings = [Sampling(temperature, max_tokens=2 + one % 6, seed=one) for one in range(number)]
    try:
        return ask(engine, [prompt(one) for one in range(number)], samplings)
    finally:
        engine.close()


@pytest.mark.parametrize(("scale", "temperature"), [(1.0, 1.0), (1.7, 0.8)])
def test_recorded_logprobs_are_those_of_the_product(scale: float, temperature: float) -> None:
    """Law 2, against three whole forward passes; replies of many lengths, prompts in pairs, and fewer slots than replies."""
    found = told(opened(scale, max_batch=5, prefill_tokens=60), 12, temperature)
    for number, completion in enumerate(found):
        assert completion.tokens is not None
        asked = prompt(number)
        sample = from_reply(RENDERER, asked.messages, completion.tokens, prompt=asked.tokens, spans=())
        every = [np.tile(np.arange(RENDERER.vocabulary, dtype=np.int32), (len(completion.tokens), 1))]
        large, tuned, small = (
            torch.from_numpy(Scorer(one, RENDERER).logprobs_of([sample], every)[0]) for one in (LARGE, TUNED, SMALL)
        )
        mixed = emulated_logprobs(large, tuned, small, scale).index_fill(-1, banned_ids(LARGE, RENDERER), -torch.inf)
        chosen = torch.from_numpy(completion.tokens).long()[:, None]
        expected = (mixed / temperature).log_softmax(-1).gather(-1, chosen)[:, 0]
        assert completion.logprobs is not None
        np.testing.assert_allclose(completion.logprobs, expected, atol=1e-3)
    assert len({len(one.tokens) for one in found if one.tokens is not None}) > 3


def test_at_scale_nought_it_is_the_large_model_and_beside_itself_the_tuned_one() -> None:
    plain = [one.tokens.tolist() for one in told(Engine(LARGE, RENDERER), 6) if one.tokens is not None]
    tuned = [one.tokens.tolist() for one in told(Engine(TUNED, RENDERER), 6) if one.tokens is not None]
    assert [one.tokens.tolist() for one in told(opened(0.0), 6) if one.tokens is not None] == plain
    assert [one.tokens.tolist() for one in told(opened(1.0, TUNED, LARGE), 6) if one.tokens is not None] == tuned
    assert plain != tuned


def test_a_reply_does_not_depend_on_its_batch_nor_on_what_was_asked_before() -> None:
    together = told(opened(), 8)
    engine = opened(prefix_tokens=64)
    for number in (*range(8), 3, 3):
        alone = ask(engine, [prompt(number)], [Sampling(max_tokens=2 + number % 6, seed=number)])[0]
        assert alone.tokens is not None
        np.testing.assert_array_equal(alone.tokens, together[number].tokens)
    engine.close()


def test_a_failing_companion_fails_its_requests_and_the_engine_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = opened()
    before = ask(engine, [prompt(0)], [Sampling(max_tokens=4, seed=0)])[0]
    with monkeypatch.context() as patched:
        patched.setattr(TUNED.lm_head, "forward", lambda states: 1 / 0)
        for tokens in (1, 4):
            with pytest.raises(ZeroDivisionError):
                ask(engine, [prompt(0)], [Sampling(max_tokens=tokens, seed=0)])
    after = ask(engine, [prompt(0)], [Sampling(max_tokens=4, seed=0)])[0]
    engine.close()
    np.testing.assert_array_equal(before.tokens, after.tokens)


# ---------------------------------------------------------------- as a policy


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    directory = tmp_path_factory.mktemp("emulated")
    for name, model in zip(("large", "tuned", "small"), (LARGE, TUNED, SMALL), strict=True):
        save_checkpoint(directory / name, model, RENDERER.processor)
        AgentOptions().save(directory / name)
    return [directory / name for name in ("large", "tuned", "small")]


def test_three_directories_are_a_policy(checkpoints: list[Path]) -> None:
    written = "eft:" + ",".join(map(str, checkpoints)) + "#1.7"
    spec = check_policy(written)
    assert (spec.kind, spec.model, spec.name) == ("emulated", "1.7", "eft-large-tuned-small-1.7")
    digests = {weights_digest(written), weights_digest("eft:" + ",".join(map(str, checkpoints[::-1])))}
    assert len(digests) == 2
    assert None not in digests
    with open_policy(written, ImageStore()) as (policy, _):
        _, found = asyncio.run(policy.generate(prompt(3).messages, Sampling(max_tokens=5, seed=3)))
    expected = told(opened(1.7), 4)[3]
    np.testing.assert_array_equal(found.tokens, expected.tokens)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("eft:a,b", "write eft:LARGE,TUNED,SMALL with three checkpoint directories, not eft:'a,b'"),
        ("eft:a,,c", "three checkpoint directories"),
        ("eft:a,b,c#much", "'much' after # is no number"),
        ("eft:nowhere,b,c", "'nowhere' of 'eft:nowhere,b,c' is no checkpoint directory"),
        ("eftt:a,b,c", "'eftt' is no kind of policy; did you mean 'eft'"),
    ],
)
def test_what_is_no_emulation_is_named(written: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_policy(written)


@given(st.text(alphabet="abc,#:/.1- ", max_size=20))
def test_whatever_is_written_is_read_or_named(text: str) -> None:
    try:
        spec = read_policy(f"eft:{text}")
    except ConfigError:
        return
    assert len(spec.target.split(",")) == 3
    float(spec.model or 1)


def test_checkpoints_that_cannot_be_mixed_are_named(checkpoints: list[Path], tmp_path: Path) -> None:
    tokenizer = build_tokenizer(["another vocabulary"] * 5, 400, words=("another",))
    other = ImageTextProcessor(image_processor(), tokenizer, tokenizer.chat_template)
    save_checkpoint(tmp_path / "other", build_model(SIZES, tokenizer), other)
    AgentOptions().save(tmp_path / "other")
    mixed = f"eft:{checkpoints[0]},{checkpoints[1]},{tmp_path / 'other'}"
    with pytest.raises(ConfigError, match="has another vocabulary"), open_policy(mixed, ImageStore()):
        pass
    scaled = "eft:" + ",".join(map(str, checkpoints)) + "#-1"
    with pytest.raises(ConfigError, match=r"scale is -1.0; it must be a number from 0 on"), open_policy(scaled, ImageStore()):
        pass


# ---------------------------------------------------------------- the claim

PLACES = [a + b + "o" for a in "bdfgk" for b in "aeiou"]
ANSWERS = [a + b + "x" for a in "prst" for b in "aeiou"]
CAPITALS = {place: Random(f"capital {place}").choice(ANSWERS) for place in PLACES}
#: The small models are narrow, and have seen the facts rarely.
WIDE = SmallModel(hidden=64, layers=2, heads=4, key_value_heads=2, vision_hidden=32, vision_layers=1, vision_heads=2)
NARROW = SmallModel(hidden=32, layers=1, heads=2, key_value_heads=1, vision_hidden=32, vision_layers=1, vision_heads=2)


class Facts:
    """Pre-training text hesitates before the answer four times of five; fine-tuning on five of the places teaches not to."""

    def __init__(self) -> None:
        tokenizer = build_tokenizer(["capital well"] * 4, 400, words=(*PLACES, *ANSWERS, "capital", "well"))
        self.renderer = Renderer(ImageTextProcessor(image_processor(), tokenizer, tokenizer.chat_template))
        self.tokenizer = tokenizer

    def model(self, sizes: SmallModel, updates: int, seed: int) -> Qwen3VLForConditionalGeneration:
        model = build_model(sizes, self.tokenizer, seed)
        self.train(model, updates, 2e-3, seed, PLACES, hesitating=0.8)
        return model

    def train(
        self, model: Qwen3VLForConditionalGeneration, updates: int, rate: float, seed: int, places: list[str], hesitating: float
    ) -> None:
        optimizer = OptimizerConfig(kind="adamw", lr=rate, adam_lr=rate)
        trainer = Trainer(model, None, Schedule(updates, 10, 0.3), optimizer, trainable=("model.language_model",), autocast=False)
        random = Random(seed)
        for _ in range(updates):
            drawn = [(random.choice(places), random.random() < hesitating) for _ in range(48)]
            said = [(place, f"well {CAPITALS[place]}" if waits else CAPITALS[place]) for place, waits in drawn]
            samples = [from_reply(self.renderer, asked(place), self.renderer.reply(text)) for place, text in said]
            trainer.step([MicroBatch(collate(samples, self.renderer, 512))])

    def answered(self, engine: Engine) -> tuple[float, float]:
        """(share of greedy replies that are the right answer and nothing else, share that do not hesitate)."""
        prompts = [self.renderer.render(asked(place)) for place in PLACES]
        found = [one.text.removesuffix("<|im_end|>") for one in ask(engine, prompts, [Sampling(0.0, max_tokens=4)] * len(PLACES))]
        engine.close()
        right = np.mean([text == CAPITALS[place] for text, place in zip(found, PLACES, strict=True)])
        return float(right), float(np.mean([not text.startswith("well") for text in found]))


def asked(place: str) -> tuple[Message, ...]:
    return (Message("user", (f"capital {place}",)),)


@pytest.mark.learning
@pytest.mark.parametrize("seed", range(2))
def test_the_large_models_knowledge_with_the_small_models_manners(seed: int) -> None:
    facts = Facts()
    large, small = facts.model(WIDE, 260, seed), facts.model(NARROW, 60, seed + 100)
    tuned = build_model(NARROW, facts.tokenizer, 0)
    tuned.load_state_dict(small.state_dict())
    facts.train(tuned, 60, 2e-3, seed, PLACES[:5], hesitating=0.0)
    alone = {name: facts.answered(Engine(one, facts.renderer)) for name, one in (("large", large), ("tuned", tuned))}
    mixed = Engine(large, facts.renderer, decode=EmulatedDecoder, tuned=tuned, small=small)
    right, direct = facts.answered(mixed)
    print(f"\nseed {seed}: (right, direct) {alone}, emulated {right:.2f}, {direct:.2f}")
    assert alone["large"][1] < 0.2, "the large model hesitates"
    assert direct > 0.6, "the emulated one mostly does not"
    assert right > alone["tuned"][0] + 0.2, "and knows more than the small one"
    assert right > alone["large"][0] + 0.2
