"""Losses on pairs of replies of which one is preferred, as functions of what a policy says about whole replies.

A loss has one number for each pair, so that its gradient on the tokens of the two replies can be told reply by reply: see
`reply_advantages`, by which the trainer learns from any of them as from a policy gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

Curve = Literal["sigmoid", "hinge"]
#: (loss float[B], metrics float[]) of the summed log-probabilities of the preferred replies float[B] and of the others float[B].
PairLoss = Callable[[Tensor, Tensor], tuple[Tensor, dict[str, Tensor]]]


def dpo_loss(
    chosen_logprobs: Tensor,
    rejected_logprobs: Tensor,
    ref_chosen: Tensor,
    ref_rejected: Tensor,
    beta: float = 0.1,
    label_smoothing: float = 0.0,
    curve: Curve = "sigmoid",
) -> tuple[Tensor, dict[str, Tensor]]:
    """(loss float[B], metrics) of direct preference optimisation. Source: R. Rafailov et al., arXiv 2305.18290, equation 7; label
    smoothing: E. Mitchell 2023, "A note on DPO with noisy preferences"; hinge: SLiC-HF, Y. Zhao et al., arXiv 2305.10425, with
    DPO's margin in its place (T. Liu et al., arXiv 2309.06657, section 3).

        margin = beta ((chosen - ref_chosen) - (rejected - ref_rejected))
        loss   = (1 - label_smoothing) f(margin) + label_smoothing f(-margin)
        f(m)   = -log sigmoid(m)  for the curve "sigmoid",  max(0, 1 - m)  for "hinge"

    chosen_logprobs    float[B] with gradient: log-probability of the whole preferred reply, the sum over its tokens
    rejected_logprobs  float[B] with gradient: that of the other one
    ref_chosen, ref_rejected  float[B], constants: the same under the reference policy
    beta               how strongly the policy is held at the reference, above 0
    label_smoothing    the share of pairs that are taken to be labelled the wrong way round, 0 to below 0.5

    Metrics are means over pairs without gradient: "margin", "accuracy" (share of pairs with a margin above 0), "chosen" and
    "rejected" (how far each reply's log-probability has moved from the reference).

    Raises ValueError for shapes that differ and for settings out of range.
    """
    check_pairs(chosen_logprobs, rejected_logprobs=rejected_logprobs, ref_chosen=ref_chosen, ref_rejected=ref_rejected)
    check_settings(beta, label_smoothing)
    if curve not in get_args(Curve):
        raise ValueError(f"curve is {curve!r}; it must be one of {', '.join(get_args(Curve))}")
    chosen, rejected = chosen_logprobs - ref_chosen.detach(), rejected_logprobs - ref_rejected.detach()
    margin = beta * (chosen - rejected)
    if curve == "hinge":
        loss = (1 - label_smoothing) * F.relu(1 - margin) + label_smoothing * F.relu(1 + margin)
    else:
        loss = smoothed(margin, label_smoothing)
    return loss, pair_metrics(margin, chosen, rejected)


def smoothed(margin: Tensor, label_smoothing: float) -> Tensor:
    """float[B]: -log sigmoid(margin) of margins float[B], of which a share is taken to be labelled the wrong way round."""
    return -(1 - label_smoothing) * F.logsigmoid(margin) - label_smoothing * F.logsigmoid(-margin)


def reply_advantages(loss: PairLoss, chosen: Tensor, rejected: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """(advantages of the chosen replies float[B], of the rejected ones float[B], metrics with the mean "loss") at the present
    log-probabilities `chosen` and `rejected`, float[B] each.

    An advantage is minus the derivative of a pair's loss by the log-probability of the reply. With it on every token of the
    reply, the gradient of -advantage * logprob, summed over tokens, is that of the loss: one step of a policy gradient of kind
    "reinforce" is one step on the loss. For `dpo_loss` without smoothing it is beta sigmoid(-margin), and the negative of that.
    """
    with torch.enable_grad():
        leaves = chosen.detach().requires_grad_(), rejected.detach().requires_grad_()
        losses, metrics = loss(*leaves)
        slopes = torch.autograd.grad(losses.sum(), leaves)
    return -slopes[0], -slopes[1], {"loss": losses.detach().mean(), **metrics}


def check_settings(beta: float, label_smoothing: float = 0.0) -> None:
    """Raises ValueError for what is out of range."""
    if not (math.isfinite(beta) and beta > 0):
        raise ValueError(f"beta is {beta}; it must be above 0")
    if not 0 <= label_smoothing < 0.5:
        raise ValueError(f"label_smoothing is {label_smoothing}; it must be at least 0 and below 0.5")


def check_pairs(first: Tensor, **others: Tensor) -> None:
    """Raises ValueError for `first`, the chosen log-probabilities, that are not float[B], and for others of another shape."""
    if first.ndim != 1 or not len(first):
        raise ValueError(
            f"chosen_logprobs has shape {tuple(first.shape)}; it must be [B], one number for each of B pairs, B above 0"
        )
    for name, value in others.items():
        if value.shape != first.shape:
            raise ValueError(f"{name} has shape {tuple(value.shape)}; it must be {tuple(first.shape)} as chosen_logprobs")


@torch.no_grad()
def pair_metrics(margin: Tensor, chosen: Tensor, rejected: Tensor) -> dict[str, Tensor]:
    """Means over pairs: "margin", "accuracy", "chosen" and "rejected" as in `dpo_loss`."""
    right = (margin > 0).to(margin.dtype)
    return {"margin": margin.mean(), "accuracy": right.mean(), "chosen": chosen.mean(), "rejected": rejected.mean()}
