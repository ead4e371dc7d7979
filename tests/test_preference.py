"""Preference losses: their closed forms, and that the trainer takes the very step of the loss."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from small_models import model_for, picture, renderer
from torch import Tensor

from stepladder.algos.credit import IMITATION, Credit
from stepladder.algos.objective import PolicyObjective
from stepladder.algos.preference import dpo_loss, reply_advantages
from stepladder.images import ImageStore
from stepladder.models.forward import banned_ids
from stepladder.train.batch import collate
from stepladder.train.micro_batch import MicroBatch
from stepladder.train.optimizer import OptimizerConfig, Schedule
from stepladder.train.sample import Sample, from_reply, share_prompts
from stepladder.train.scoring import predicting_states
from stepladder.train.trainer import LossWeights, Trainer
from stepladder.types import IntArray, Message

IMAGES = ImageStore()
RENDERER = renderer(IMAGES)
BETA = 0.7


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_the_loss_is_what_the_paper_says() -> None:
    loss, metrics = dpo_loss(numbers(-2.0, -5.0), numbers(-3.0, -1.0), numbers(-2.5, -4.0), numbers(-2.0, -3.0), beta=0.5)
    margins = [0.5 * ((-2.0 + 2.5) - (-3.0 + 2.0)), 0.5 * ((-5.0 + 4.0) - (-1.0 + 3.0))]
    assert margins == [0.75, -1.5]
    assert loss.tolist() == pytest.approx([math.log1p(math.exp(-margin)) for margin in margins], rel=1e-12)
    assert {name: float(value) for name, value in metrics.items()} == pytest.approx(
        {"margin": -0.375, "accuracy": 0.5, "chosen": (0.5 - 1.0) / 2, "rejected": (-1.0 + 2.0) / 2}
    )


def test_at_the_reference_nothing_is_known_yet() -> None:
    here = numbers(-1.0, -30.0)
    loss, metrics = dpo_loss(here, here - 2, here, here - 2)
    assert loss.tolist() == pytest.approx([math.log(2)] * 2)
    assert (float(metrics["margin"]), float(metrics["accuracy"])) == (0.0, 0.0)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_advantages_are_those_of_the_closed_form(smoothing: float) -> None:
    chosen, rejected = numbers(-1.0, -4.0, -200.0), numbers(-2.0, -1.0, -1.0)
    loss = partial(dpo_loss, ref_chosen=numbers(-1, -2, -3), ref_rejected=numbers(-2, -3, -4), beta=BETA, label_smoothing=smoothing)
    good, bad, metrics = reply_advantages(loss, chosen, rejected)
    margin = BETA * ((chosen - numbers(-1, -2, -3)) - (rejected - numbers(-2, -3, -4)))
    expected = BETA * ((1 - smoothing) * torch.sigmoid(-margin) - smoothing * torch.sigmoid(margin))
    assert torch.allclose(good, expected, rtol=1e-12, atol=0)
    assert torch.equal(bad, -good)
    assert float(metrics["loss"]) == pytest.approx(float(loss(chosen, rejected)[0].mean()))
    assert not good.requires_grad
    assert not metrics["loss"].requires_grad


def test_smoothing_stops_where_the_margin_says_as_much() -> None:
    """Pairs of which a share is labelled the wrong way round are worth a finite margin: log of the odds."""
    smoothing = 0.1
    loss = partial(dpo_loss, ref_chosen=numbers(0), ref_rejected=numbers(0), beta=1.0, label_smoothing=smoothing)
    margin = math.log((1 - smoothing) / smoothing)
    assert reply_advantages(loss, numbers(margin), numbers(0))[0].item() == pytest.approx(0.0, abs=1e-12)
    assert reply_advantages(loss, numbers(margin + 1), numbers(0))[0].item() < -0.01
    assert reply_advantages(loss, numbers(margin - 1), numbers(0))[0].item() > 0.01


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"beta": 0.0}, "beta is 0.0; it must be above 0"),
        ({"beta": math.nan}, "beta is nan"),
        ({"label_smoothing": 0.5}, "label_smoothing is 0.5; it must be at least 0 and below 0.5"),
        ({"ref_rejected": numbers(0, 0)}, r"ref_rejected has shape \(2,\); it must be \(1,\)"),
        ({"chosen_logprobs": torch.zeros(1, 1)}, r"chosen_logprobs has shape \(1, 1\); it must be \[B\]"),
    ],
)
def test_what_cannot_be_is_named(change: dict[str, object], message: str) -> None:
    given = {name: numbers(0) for name in ("chosen_logprobs", "rejected_logprobs", "ref_chosen", "ref_rejected")}
    with pytest.raises(ValueError, match=message):
        dpo_loss(**{**given, **change})  # type: ignore[arg-type]


# ---------------------------------------------------------------- the trainer


def pairs() -> list[tuple[tuple[Message, ...], IntArray, IntArray]]:
    """Three prompts with two replies each, of different lengths."""
    random = np.random.default_rng(0)
    banned = {*RENDERER.banned_ids, *RENDERER.stop_ids}
    ordinary = np.asarray([i for i in range(RENDERER.vocabulary) if i not in banned])

    def said(length: int) -> IntArray:
        return np.append(random.choice(ordinary, length - 1), RENDERER.stop_ids[0]).astype(np.int32)

    asked = [(Message("user", (picture(IMAGES, seed), f"click {text}")),) for seed, text in enumerate(("hello", "the", "button"))]
    return [(messages, said(first), said(second)) for messages, first, second in zip(asked, (3, 6, 2), (5, 1, 4), strict=True)]


def sample(messages: tuple[Message, ...], reply: IntArray, credit: Credit) -> Sample:
    return from_reply(RENDERER, messages, reply, credit=credit)


def trainer() -> Trainer:
    """Computes gradients and changes no weight."""
    trained = Trainer(
        model_for(RENDERER).double(),
        None,
        Schedule(10, warmup=1),
        OptimizerConfig(max_grad_norm=1e9),
        LossWeights(),
        trainable=("model", "lm_head"),
        autocast=False,
        objective=PolicyObjective(kind="reinforce", aggregation="token-sum", correction=None),
        banned=banned_ids(model_for(RENDERER), RENDERER),
    )
    for optimizer in trained.optimizers:
        optimizer.step = lambda: None  # type: ignore[method-assign, assignment]
    return trained


def batch_of(samples: list[Sample], row_length: int = 0) -> MicroBatch:
    batch = collate(samples, RENDERER, row_length)
    assert batch.pixel_values is not None
    batch.pixel_values = batch.pixel_values.double()
    return MicroBatch(batch)


def whole_replies(trained: Trainer) -> tuple[Tensor, Tensor]:
    """float64[3] each, with gradient: log-probabilities of the first replies and of the second ones, one sample after another."""
    found = []
    for messages, *replies in pairs():
        for reply in replies:
            batch = batch_of([sample(messages, reply, IMITATION)]).batch
            logits = trained.model.lm_head(predicting_states(trained.model, batch, trained.encode(batch)))
            logits[:, trained.banned] = -torch.inf
            found.append(logits.log_softmax(-1).gather(-1, batch.targets[:, None]).sum())
    everything = torch.stack(found).reshape(3, 2)
    return everything[:, 0], everything[:, 1]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("pieces", [1, 3])
def test_the_trainer_takes_the_gradient_of_the_loss(smoothing: float, pieces: int) -> None:
    trained = trainer()
    chosen, rejected = whole_replies(trained)
    moved = numbers(0.4, -0.3, 1.1)
    loss = partial(
        dpo_loss,
        ref_chosen=chosen.detach() - moved,
        ref_rejected=rejected.detach() + moved,
        beta=BETA,
        label_smoothing=smoothing,
    )
    named = {name: parameter for name, parameter in trained.named_parameters() if parameter.requires_grad}
    wanted = torch.autograd.grad(loss(chosen, rejected)[0].mean(), list(named.values()), allow_unused=True)
    good, bad, _ = reply_advantages(loss, chosen, rejected)
    samples = [
        sample(messages, reply, Credit(pg=1.0, advantage=float(advantage) / 3))
        for (messages, *replies), *advantages in zip(pairs(), good, bad, strict=True)
        for reply, advantage in zip(replies, advantages, strict=True)
    ]
    together = share_prompts(samples)
    assert len(together) == 3
    trained.step([batch_of(together[start::pieces], 400) for start in range(pieces)])
    largest = max(float(gradient.abs().max()) for gradient in wanted if gradient is not None)
    assert largest > 1e-3
    for (name, parameter), gradient in zip(named.items(), wanted, strict=True):
        expected = torch.zeros(()) if gradient is None else gradient
        assert parameter.grad is not None
        assert float((parameter.grad - expected).abs().max()) < 1e-6 * max(1.0, largest), name
