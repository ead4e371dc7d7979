"""KTO: learning from replies of which each is called good or bad by itself, without pairs."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from stepladder.algos.preference import check_settings


def kto_loss(
    logprobs: Tensor,
    reference: Tensor,
    good: Tensor,
    divergence: float | Tensor,
    beta: float = 0.1,
    good_weight: float = 1.0,
    bad_weight: float = 1.0,
) -> tuple[Tensor, dict[str, Tensor]]:
    """(loss float[B], metrics) of Kahneman-Tversky optimisation. Source: K. Ethayarajh et al., arXiv 2402.01306, equation 7.

        r    = logprobs - reference
        loss = good_weight (1 - sigmoid(beta (r - z)))   for a good reply
               bad_weight  (1 - sigmoid(beta (z - r)))   for a bad one

    logprobs     float[B] with gradient: of whole replies, sums over tokens reference    float[B], constants: the same under the
    reference good         bool[B] divergence   z, a constant of at least 0: how far the policy has moved from the reference
    (`policy_divergence`) beta         above 0: how strongly the policy is held at the reference good_weight, bad_weight  at least
    0 and not both 0; the paper wants their ratio times that of the counts of good and bad replies
                 between 1 and 4/3 (equation 8)

    Metrics are means without gradient: "chosen" and "rejected" (beta-free r of good and of bad replies, where there are any),
    "margin" (beta times their difference) where there are both, "accuracy" (the share of replies on their side of z) and
    "divergence".

    Raises ValueError for shapes that differ and for settings out of range.
    """
    if logprobs.ndim != 1 or not len(logprobs):
        raise ValueError(f"logprobs has shape {tuple(logprobs.shape)}; it must be [B], one number for each of B replies, B above 0")
    for name, value in (("reference", reference), ("good", good)):
        if value.shape != logprobs.shape:
            raise ValueError(f"{name} has shape {tuple(value.shape)}; it must be {tuple(logprobs.shape)} as logprobs")
    check_settings(beta)
    for name, weight in (("good_weight", good_weight), ("bad_weight", bad_weight)):
        if not (math.isfinite(weight) and weight >= 0):
            raise ValueError(f"{name} is {weight}; it must be at least 0")
    if not float(divergence) >= 0:
        raise ValueError(f"divergence is {float(divergence)}; it must be at least 0")
    good = good.bool()
    moved = logprobs - reference.detach()
    side = torch.where(good, moved - divergence, divergence - moved)
    loss = torch.where(good, good_weight, bad_weight) * (1 - torch.sigmoid(beta * side))
    with torch.no_grad():
        metrics = {"accuracy": (side > 0).to(loss.dtype).mean(), "divergence": torch.as_tensor(divergence, dtype=loss.dtype)}
        for name, chosen in (("chosen", good), ("rejected", ~good)):
            if bool(chosen.any()):
                metrics[name] = moved[chosen].mean()
        if "chosen" in metrics and "rejected" in metrics:
            metrics["margin"] = beta * (metrics["chosen"] - metrics["rejected"])
    return loss, metrics


def policy_divergence(logprobs: Tensor, reference: Tensor) -> Tensor:
    """float[]: KTO's estimate of KL(policy, reference), the mean over replies, at least 0, without gradient.

    logprobs, reference  float[B]: of replies to other prompts than they were given to (arXiv 2402.01306, section 4.1), under the
                         policy and under the reference
    """
    return (logprobs - reference).mean().clamp(min=0).detach()
