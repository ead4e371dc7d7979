"""One-token rollout: its expectation in closed form, its draws, the trainer that uses it, and what it keeps that SFT loses."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_models import model_for, renderer, with_fields
from torch import Tensor
from transformers import Qwen3VLForConditionalGeneration

from stepladder.config import ConfigError, override
from stepladder.models.processor import ImageTextProcessor, image_processor
from stepladder.models.renderer import Renderer
from stepladder.models.small import SmallModel, build_model
from stepladder.models.tokenizer import build_tokenizer
from stepladder.stages.sft import SftConfig, main
from stepladder.train.batch import collate
from stepladder.train.micro_batch import MicroBatch
from stepladder.train.one_token import OneTokenRollout, drawn_shares, one_token_losses, reply_uniforms
from stepladder.train.optimizer import OptimizerConfig, Schedule
from stepladder.train.sample import Sample, from_reply, share_prefix
from stepladder.train.trainer import Trainer
from stepladder.types import Message

SETTINGS = st.builds(
    OneTokenRollout, samples=st.just(0), temperature=st.floats(0.3, 3.0), beta=st.floats(-1.0, 0.9, allow_subnormal=False)
)


def gradient(logits: Tensor, targets: Tensor, settings: OneTokenRollout, uniforms: Tensor | None = None) -> Tensor:
    logits = logits.clone().requires_grad_()
    one_token_losses(logits, targets, settings, uniforms).sum().backward()
    assert logits.grad is not None
    return logits.grad


@given(st.integers(0, 10_000), st.integers(2, 9), SETTINGS)
def test_the_gradient_is_that_of_the_expected_policy_gradient(seed: int, size: int, settings: OneTokenRollout) -> None:
    """Written out token by token: the sum over a of q(a) R(a) times the gradient of -log p(a)."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, size, dtype=torch.float64, generator=generator) * 2
    targets = torch.randint(size, (3,), generator=generator)
    expected = torch.zeros_like(logits)
    for n in range(3):
        p, q = logits[n].softmax(-1), (logits[n] / settings.temperature).softmax(-1)
        for token in range(size):
            reward = 1.0 if token == targets[n] else settings.beta
            expected[n] -= q[token] * reward * (torch.eye(size, dtype=torch.float64)[token] - p)
    torch.testing.assert_close(gradient(logits, targets, settings), expected, rtol=1e-9, atol=1e-12)


@given(st.integers(0, 10_000), st.floats(-1.0, 0.9, allow_subnormal=False))
def test_at_temperature_one_it_is_cross_entropy_weighed_by_how_probable_the_truth_is(seed: int, beta: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(4, 6, dtype=torch.float64, generator=generator, requires_grad=True)
    targets = torch.randint(6, (4,), generator=generator)
    chosen = logits.log_softmax(-1).gather(-1, targets[:, None])[:, 0]
    (-(1 - beta) * chosen.exp().detach() * chosen).sum().backward()
    found = gradient(logits.detach(), targets, OneTokenRollout(beta=beta))
    torch.testing.assert_close(found, logits.grad, rtol=1e-9, atol=1e-12)


def test_draws_by_hand() -> None:
    """Probabilities 1/2, 1/4, 1/4; draws at 0.1, 0.6, 0.45 and 0.99 say tokens 0, 1, 0, 2."""
    logits = torch.tensor([[0.5, 0.25, 0.25]], dtype=torch.float64).log()
    uniforms = torch.tensor([[0.1, 0.6, 0.45, 0.99]], dtype=torch.float64)
    assert drawn_shares(logits, 1.0, uniforms).tolist() == [[0.5, 0.25, 0.25]]
    assert drawn_shares(logits, 1.0, uniforms[:, :2]).tolist() == [[0.5, 0.5, 0.0]]
    found = one_token_losses(logits, torch.tensor([1]), OneTokenRollout(samples=2, beta=-0.5), uniforms[:, :2])
    assert found.tolist() == pytest.approx([-(0.5 * np.log(0.25) - 0.5 * 0.5 * np.log(0.5))])


def test_many_draws_come_to_the_expectation() -> None:
    logits = torch.randn(2, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    targets, settings = torch.tensor([1, 3]), OneTokenRollout(samples=200_000, temperature=1.3, beta=-0.2)
    uniforms = torch.from_numpy(np.random.default_rng(0).random((2, settings.samples)))
    drawn, expected = gradient(logits, targets, settings, uniforms), gradient(logits, targets, settings)
    torch.testing.assert_close(drawn, expected, rtol=0.0, atol=5e-3)
    assert not torch.equal(drawn, expected)


def test_tokens_that_cannot_be_said_spoil_nothing() -> None:
    logits = torch.tensor([[0.3, -torch.inf, 0.1, -0.4]])
    for uniforms in (None, torch.rand(1, 7, dtype=torch.float64)):
        assert gradient(logits, torch.tensor([2]), OneTokenRollout(beta=-0.3), uniforms).isfinite().all()
    whole = torch.tensor([[0.3, 0.1, -0.4]])
    torch.testing.assert_close(
        gradient(logits, torch.tensor([2]), OneTokenRollout(beta=-0.3))[:, [0, 2, 3]],
        gradient(whole, torch.tensor([1]), OneTokenRollout(beta=-0.3)),
    )


# ---------------------------------------------------------------- the trainer

RENDERER = renderer()


def samples() -> list[Sample]:
    asked = [(Message("user", (text,)),) for text in ("click hello", "click the button", "hello world", "click the step")]
    said = ["hello", "button world", "click", "step step hello"]
    made = [from_reply(RENDERER, one, RENDERER.reply(text)) for one, text in zip(asked, said, strict=True)]
    made[2] = with_fields(made[2], w_ce=made[2].field("w_ce") * 0.5)
    return made


def gradients_of(micro_batches: list[list[Sample]], one_token: OneTokenRollout | None, row_length: int = 0) -> dict[str, Tensor]:
    """One update of fresh weights; 0 as learning rate leaves them there."""
    optimizer = OptimizerConfig(kind="adamw", lr=0.0, max_grad_norm=1e9)
    model = model_for(RENDERER).double()
    trainer = Trainer(model, None, Schedule(10), optimizer, autocast=False, one_token=one_token, seed=3)
    trainer.step([MicroBatch(collate(each, RENDERER, row_length)) for each in micro_batches])
    return {name: parameter.grad.clone() for name, parameter in trainer.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("settings", [OneTokenRollout(), OneTokenRollout(samples=5, temperature=1.5, beta=-0.3)], ids=str)
def test_neither_packing_nor_micro_batches_change_the_gradient(settings: OneTokenRollout) -> None:
    """Law 5, draws included: two replies to prompts that begin alike, shared or not, too."""
    one, two, three, four = samples()
    whole = gradients_of([[one, two, three, four]], settings)
    for split, row_length in (([[four, one], [three], [two]], 200), ([[three, share_prefix([two, four])], [one]], 0)):
        found = gradients_of(split, settings, row_length)
        for name, value in whole.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-7, err_msg=name)
    other = gradients_of([samples()], None)
    assert any(not value.equal(other[name]) for name, value in whole.items())


def test_draws_differ_by_seed_update_and_reply_and_come_again() -> None:
    batch = collate(samples(), RENDERER)
    first = reply_uniforms(batch, 4, seed=0, step=0)
    assert first.shape == (len(batch.targets), 4)
    assert first.equal(reply_uniforms(batch, 4, seed=0, step=0))
    assert len(first.flatten().unique()) == first.numel()
    assert not first.equal(reply_uniforms(batch, 4, seed=1, step=0))
    assert not first.equal(reply_uniforms(batch, 4, seed=0, step=1))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("samples=-1", "cloning.one_token.samples is -1"),
        ("temperature=0", r"cloning.one_token.temperature is 0.0; it must be positive"),
        ("beta=1", r"cloning.one_token.beta is 1.0"),
    ],
)
def test_settings_that_cannot_be_are_named(setting: str, message: str, tmp_path: Path) -> None:
    config = replace(SftConfig(), demonstrations=tmp_path, output=tmp_path / "out")
    with pytest.raises(ConfigError, match=message):
        main(override(config, [f"cloning.one_token.{setting}"]), show=False)


# ---------------------------------------------------------------- the claim

SIZES = SmallModel(hidden=64, layers=2, heads=4, key_value_heads=2, vision_hidden=32, vision_layers=1, vision_heads=2)
PLACES = [a + b + "o" for a in "bdfgk" for b in "aeiou"]
ANSWERS = [a + b + "x" for a in "prst" for b in "aeiou"]
#: Each place has one capital, which the model knows, and four colours that are right, of which it says the first too often.
CAPITALS = {place: Random(f"capital {place}").choice(ANSWERS) for place in PLACES}
COLOURS = {place: Random(f"colour {place}").sample(ANSWERS, 4) for place in PLACES}


class Places:
    """Questions about places, asked of a small model."""

    def __init__(self, seed: int) -> None:
        tokenizer = build_tokenizer(["capital colour"] * 4, 400, words=(*PLACES, *ANSWERS, "capital", "colour"))
        self.renderer = Renderer(ImageTextProcessor(image_processor(), tokenizer, tokenizer.chat_template))
        self.seed = seed
        self.model = build_model(SIZES, tokenizer, seed)
        self.train(self.model, 220, 2e-3, self._known)

    def item(self, what: str, place: str, answer: str) -> Sample:
        return from_reply(self.renderer, (Message("user", (f"{what} {place}",)),), self.renderer.reply(answer))

    def _known(self, random: Random) -> Sample:
        place = random.choice(PLACES)
        if random.random() < 0.5:
            return self.item("capital", place, CAPITALS[place])
        return self.item("colour", place, COLOURS[place][0] if random.random() < 0.5 else random.choice(ANSWERS))

    def taught(self, random: Random) -> Sample:
        """A demonstration says any right colour."""
        place = random.choice(PLACES)
        return self.item("colour", place, random.choice(COLOURS[place]))

    def train(
        self,
        model: Qwen3VLForConditionalGeneration,
        steps: int,
        rate: float,
        draw: object,
        one_token: OneTokenRollout | None = None,
        goal: float = 2.0,
    ) -> int:
        """Until `goal` is the probability of a right colour; the number of updates."""
        optimizer = OptimizerConfig(kind="adamw", lr=rate, adam_lr=rate)
        trainer = Trainer(
            model,
            None,
            Schedule(steps, 10, 0.0),
            optimizer,
            trainable=("model.language_model",),
            autocast=False,
            one_token=one_token,
            seed=self.seed,
        )
        random = Random(self.seed)
        for step in range(1, steps + 1):
            trainer.step([MicroBatch(collate([draw(random) for _ in range(48)], self.renderer, 512))])  # type: ignore[operator]
            if step % 3 == 0 and goal <= 1 and self.right_colours(model) >= goal:
                return step
        return steps

    def right_colours(self, model: Qwen3VLForConditionalGeneration) -> float:
        """The probability of a reply that is right, on average over places: what sampling would succeed in."""
        every = [self._probability(model, "colour", {place: COLOURS[place][number] for place in PLACES}) for number in range(4)]
        return float(np.sum(every, axis=0).mean())

    def capitals(self, model: Qwen3VLForConditionalGeneration) -> float:
        return float(self._probability(model, "capital", CAPITALS).mean())

    def _probability(self, model: Qwen3VLForConditionalGeneration, what: str, answers: dict[str, str]) -> np.ndarray:
        trainer = Trainer(model, None, Schedule(1), trainable=("model.language_model",), autocast=False)
        batch = collate([self.item(what, place, answer) for place, answer in answers.items()], self.renderer, 512)
        replies = trainer.logprobs(batch).split(batch.reply_lengths.tolist())
        found = {number: float(reply.sum().exp()) for number, reply in zip(batch.order, replies, strict=True)}
        return np.array([found[number] for number in range(len(answers))])


@pytest.mark.learning
@pytest.mark.parametrize("seed", range(3))
def test_at_equal_success_it_keeps_more_of_what_was_known(seed: int) -> None:
    """Both are trained until 15 points more of the sampled colours are right. Cross entropy has to say all four of them equally
    often for that; here those are strengthened that the model says already."""
    places = Places(seed)
    known, before = places.capitals(places.model), places.right_colours(places.model)
    kept, needed = {}, {}
    for name, one_token in (("cross entropy", None), ("one-token rollout", OneTokenRollout())):
        model = copy.deepcopy(places.model)
        needed[name] = places.train(model, 120, 1e-3, places.taught, one_token, goal=before + 0.15)
        kept[name] = places.capitals(model)
        assert places.right_colours(model) >= before + 0.15, name
    print(f"\nseed {seed}: colours {before:.2f}; capitals {known:.2f}, kept {kept}, updates {needed}")
    assert kept["one-token rollout"] > kept["cross entropy"] + 0.15
    assert needed["one-token rollout"] < needed["cross entropy"]
