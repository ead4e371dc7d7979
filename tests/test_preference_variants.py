"""The losses of preference optimisation and of reward models against TRL's own, and their gradients."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from stepladder.algos.kto import kto_loss, policy_divergence
from stepladder.algos.preference import dpo_loss, reply_advantages
from stepladder.algos.preference_variants import ipo_loss, simpo_loss, with_imitation
from stepladder.algos.reward_loss import bradley_terry_loss

trl = pytest.importorskip("trl", reason="TRL is an extra of development")
from trl.experimental.cpo.cpo_trainer import CPOTrainer  # noqa: E402
from trl.trainer.dpo_trainer import DPOTrainer  # noqa: E402
from trl.trainer.kto_trainer import KTOTrainer  # noqa: E402
from trl.trainer.reward_trainer import RewardTrainer  # noqa: E402

WIDTH = 7
CLOSE = 1e-6


class Here:
    """As much of an accelerator as one process needs."""

    device = torch.device("cpu")

    def gather_for_metrics(self, value: Any) -> Any:
        return value

    gather = gather_for_metrics


class Said:
    """A model that has said its log-probabilities float[B, T] already; the first call gets the first, and so on."""

    training = True

    def __init__(self, *logprobs: Tensor) -> None:
        self.logprobs = list(logprobs)

    def __call__(self, **_: Any) -> SimpleNamespace:
        found = self.logprobs.pop(0) if len(self.logprobs) > 1 else self.logprobs[0]
        return SimpleNamespace(
            log_probs=found,
            entropy=torch.zeros_like(found),
            mean_logits=torch.zeros_like(found),
            is_top1=torch.zeros_like(found, dtype=torch.bool),
            log_sum_sq_probs=torch.zeros_like(found),
        )


def trainer(kind: type, **settings: Any) -> Any:
    """A trainer with nothing but what its loss reads."""
    made = object.__new__(kind)
    everything = {
        "accelerator": Here(),
        "_metrics": defaultdict(lambda: defaultdict(list)),
        "_total_train_tokens": 0,
        "_tp_size": 1,
    }
    made.__dict__.update({**everything, "aux_loss_enabled": False, **settings})
    return made


def dpo_trainer(losses: Mapping[str, float]) -> Any:
    """TRL's, of these losses with their weights."""
    return trainer(
        DPOTrainer,
        model=SimpleNamespace(training=True),
        beta=0.3,
        loss_types=list(losses),
        loss_weights=list(losses.values()),
        ld_alpha=None,
        f_divergence_type="reverse_kl",
        label_smoothing=0.0,
        use_weighting=False,
        precompute_ref_logps=True,
    )


def drawn(rows: int, seed: int) -> tuple[Tensor, Tensor]:
    """Log-probabilities float64[rows, WIDTH] of replies of different lengths, 0 after their end, and their mask."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, WIDTH + 1, (rows,), generator=generator)
    mask = torch.arange(WIDTH) < lengths[:, None]
    return -torch.rand(rows, WIDTH, generator=generator, dtype=torch.float64) * 2 * mask, mask


def inputs(mask: Tensor) -> dict[str, Tensor]:
    """What TRL's losses ask of a batch: the prompt is one token."""
    shifted = torch.cat([torch.zeros_like(mask[:, :1]), mask], 1).long()
    return {"input_ids": shifted, "completion_mask": shifted, "attention_mask": torch.ones_like(shifted)}


def same_gradient(ours: Tensor, theirs: Tensor, leaf: Tensor) -> None:
    assert float(ours) == pytest.approx(float(theirs), abs=CLOSE)
    one, other = (torch.autograd.grad(loss, leaf, retain_graph=True)[0] for loss in (ours, theirs))
    assert float(other.abs().max()) > 1e-4
    assert float((one - other).abs().max()) < CLOSE


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["sigmoid", "hinge", "ipo"])
def test_losses_on_pairs_are_those_of_dpo_trainer(kind: str, seed: int) -> None:
    (said, mask), (before, _) = drawn(8, seed), drawn(8, seed + 100)
    before = before * mask
    said.requires_grad_()
    theirs = dpo_trainer({kind: 1.0})
    good, bad = before.sum(1).chunk(2)
    batch = {**inputs(mask), "ref_chosen_logps": good, "ref_rejected_logps": bad}
    expected = theirs._compute_loss(Said(said), batch, False)
    chosen, rejected = said.sum(1).chunk(2)
    if kind == "ipo":
        lengths = mask.sum(1).chunk(2)
        found = ipo_loss(chosen, rejected, good, bad, *lengths, beta=0.3)[0].mean()
    else:
        found = dpo_loss(chosen, rejected, good, bad, beta=0.3, curve=kind)[0].mean()  # type: ignore[arg-type]
    same_gradient(found, expected, said)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_simpo_is_that_of_cpo_trainer(smoothing: float) -> None:
    said, mask = drawn(10, 5)
    said.requires_grad_()
    settings = {"alpha": 0.0, "loss_type": "simpo", "beta": 2.0, "simpo_gamma": 0.7, "label_smoothing": smoothing}
    means = (said.sum(1) / mask.sum(1)).chunk(2)
    expected = trainer(CPOTrainer, **settings).cpo_loss(*means)[0].mean()
    sums, lengths = said.sum(1).chunk(2), mask.sum(1).chunk(2)
    same_gradient(simpo_loss(*sums, *lengths, beta=2.0, gamma=0.7, label_smoothing=smoothing)[0].mean(), expected, said)


def test_imitation_beside_dpo_is_that_of_dpo_trainer() -> None:
    """TRL has a mean over all tokens of the preferred replies: the same where these are equally long."""
    (said, mask), (before, _) = drawn(8, 6), drawn(8, 106)
    mask[:4] = True
    said, before = said.requires_grad_(), before * mask
    theirs = dpo_trainer({"sigmoid": 1.0, "sft": 0.4})
    good, bad = before.sum(1).chunk(2)
    batch = {**inputs(mask), "ref_chosen_logps": good, "ref_rejected_logps": bad}
    expected = theirs._compute_loss(Said(said), batch, False)
    plain = partial(dpo_loss, ref_chosen=good, ref_rejected=bad, beta=0.3)
    found = with_imitation(plain, mask[:4].sum(1), 0.4)(*said.sum(1).chunk(2))[0].mean()
    same_gradient(found, expected, said)


def test_imitation_keeps_the_preferred_reply_probable() -> None:
    """A margin that is wide enough moves nothing any more; the likelihood of the preferred reply alone still does."""
    chosen, rejected = torch.tensor([-6.0]).double(), torch.tensor([-400.0]).double()
    loss = partial(dpo_loss, ref_chosen=chosen * 0, ref_rejected=rejected * 0, beta=1.0)
    good, bad, metrics = reply_advantages(with_imitation(loss, torch.tensor([3.0]), 0.6), chosen, rejected)
    assert float(good) == pytest.approx(0.6 / 3)
    assert abs(float(bad)) < 1e-12
    assert float(metrics["imitation"]) == 2.0
    assert "margin" in metrics


def test_label_smoothing_is_that_of_cpo_trainer() -> None:
    said, _ = drawn(10, 6)
    before, _ = drawn(10, 7)
    said.requires_grad_()
    moved = (said - before).sum(1).chunk(2)
    settings = {"alpha": 0.0, "loss_type": "sigmoid", "beta": 0.4, "label_smoothing": 0.1}
    expected = trainer(CPOTrainer, **settings).cpo_loss(*moved)[0].mean()
    found = dpo_loss(*said.sum(1).chunk(2), *before.sum(1).chunk(2), beta=0.4, label_smoothing=0.1)[0].mean()
    same_gradient(found, expected, said)


@pytest.mark.parametrize("labels", ["mixed", "good", "bad"])
@pytest.mark.parametrize("nearer", [False, True])
def test_kto_is_that_of_kto_trainer(labels: str, nearer: bool) -> None:
    rows = 7
    (said, mask), (before, _) = drawn(rows, 8), drawn(rows, 9)
    mismatched_before, _ = drawn(rows, 11)
    mismatched = mismatched_before + (-0.5 if nearer else 0.25)  # an estimate of the divergence below 0 counts as 0
    before, good = before * mask, {"mixed": torch.arange(rows) % 3 == 0}.get(labels, torch.full((rows,), labels == "good"))
    said.requires_grad_()
    theirs = trainer(
        KTOTrainer,
        model=SimpleNamespace(training=True),
        beta=0.3,
        loss_type="kto",
        desirable_weight=1.2,
        undesirable_weight=0.8,
        calculate_KL=True,
        precompute_ref_logps=True,
    )
    plain = inputs(mask)
    batch = {
        **plain,
        **{f"KL_{name}": value for name, value in plain.items()},
        "label": good,
        "ref_logps": before.sum(1),
        "ref_KL_logps": mismatched_before.sum(1),
    }
    expected = theirs._compute_loss(Said(mismatched, said), batch, False)
    divergence = policy_divergence(mismatched.sum(1), mismatched_before.sum(1))
    assert float(divergence) == pytest.approx(0.0 if nearer else 0.25 * WIDTH)
    found = kto_loss(said.sum(1), before.sum(1), good, divergence, 0.3, 1.2, 0.8)[0].mean()
    same_gradient(found, expected, said)


@pytest.mark.parametrize("margin", [False, True])
@pytest.mark.parametrize("centre", [None, 0.05])
def test_the_loss_of_a_reward_model_is_that_of_reward_trainer(margin: bool, centre: float | None) -> None:
    generator = torch.Generator().manual_seed(3)
    scores = torch.randn(12, generator=generator, dtype=torch.float64).requires_grad_()
    ahead = torch.rand(6, generator=generator, dtype=torch.float64)
    theirs = trainer(RewardTrainer, model=SimpleNamespace(training=True), args=SimpleNamespace(center_rewards_coefficient=centre))
    batch = {"attention_mask": torch.ones(12, 3), **({"margin": ahead} if margin else {})}
    expected = theirs.compute_loss(lambda **_: SimpleNamespace(logits=scores[:, None]), batch)
    found, metrics = bradley_terry_loss(*scores.chunk(2), ahead if margin else 0.0, centre=centre or 0.0)
    same_gradient(found.mean(), expected, scores)
    (accuracy,) = theirs._metrics["train"]["accuracy"]
    assert float(metrics["accuracy"]) == pytest.approx(accuracy)


def test_label_smoothing_of_a_reward_model_bounds_the_margin() -> None:
    for ahead, sign in ((math.log(9) - 1, -1), (math.log(9) + 1, 1)):
        scores = torch.tensor([ahead, 0.0], dtype=torch.float64).requires_grad_()
        bradley_terry_loss(scores[:1], scores[1:], label_smoothing=0.1)[0].sum().backward()
        assert scores.grad is not None
        assert math.copysign(1, float(scores.grad[0])) == sign


def test_advantages_of_a_variant_are_its_slopes() -> None:
    chosen, rejected = torch.tensor([-3.0, -1.0]).double(), torch.tensor([-2.0, -6.0]).double()
    lengths = torch.tensor([3, 1]), torch.tensor([2, 6])
    loss = partial(simpo_loss, chosen_lengths=lengths[0], rejected_lengths=lengths[1], beta=2.0, gamma=0.5)
    good, bad, metrics = reply_advantages(loss, chosen, rejected)
    expected = 2.0 * torch.sigmoid(-(2.0 * (chosen / lengths[0] - rejected / lengths[1]) - 0.5))
    assert torch.allclose(good, expected / lengths[0], rtol=1e-12)
    assert torch.allclose(bad, -expected / lengths[1], rtol=1e-12)
    assert float(metrics["accuracy"]) == 0.0, "the margin is 0 in both pairs"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: ipo_loss(x, x, x, x, x.abs(), x.abs(), beta=0.0), "beta is 0.0; it must be above 0"),
        (lambda x: ipo_loss(x, x, x, x, x.abs() * 0, x.abs()), "chosen_lengths has 0 in it; every reply has at least one token"),
        (lambda x: simpo_loss(x, x, x.abs(), x[:1]), r"rejected_lengths has shape \(1,\); it must be \(2,\)"),
        (lambda x: simpo_loss(x, x, x.abs(), x.abs(), gamma=-1.0), "gamma is -1.0; it must be at least 0"),
        (lambda x: with_imitation(dpo_loss, x.abs(), -1.0), "weight is -1.0; it must be at least 0"),
        (lambda x: with_imitation(dpo_loss, x.abs() * 0), "chosen_lengths has 0 in it"),
        (lambda x: dpo_loss(x, x, x, x, curve="flat"), "curve is 'flat'; it must be one of sigmoid, hinge"),
        (lambda x: kto_loss(x, x, x[:1] > 0, 0.0), r"good has shape \(1,\)"),
        (lambda x: kto_loss(x, x, x > 0, -1.0), "divergence is -1.0; it must be at least 0"),
        (lambda x: kto_loss(x, x, x > 0, 0.0, bad_weight=-1.0), "bad_weight is -1.0"),
        (lambda x: bradley_terry_loss(x, x[:1]), r"rejected \(1,\); both must be \[B\]"),
        (lambda x: bradley_terry_loss(x, x, label_smoothing=0.5), "label_smoothing is 0.5"),
        (lambda x: bradley_terry_loss(x, x, centre=-1.0), "centre is -1.0"),
        (lambda x: bradley_terry_loss(x, x, x[:1]), r"margin has shape \(1,\)"),
    ],
)
def test_what_cannot_be_is_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(torch.tensor([-1.0, -2.0]))
