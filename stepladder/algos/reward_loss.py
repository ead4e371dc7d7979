"""The loss of a reward model: of two answers the one that is preferred is to have the higher score."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from stepladder.algos.preference import smoothed


def bradley_terry_loss(
    chosen: Tensor, rejected: Tensor, margin: Tensor | float = 0.0, label_smoothing: float = 0.0, centre: float = 0.0
) -> tuple[Tensor, dict[str, Tensor]]:
    """(loss float[B], metrics) of a Bradley-Terry model of preferences. Source: R. A. Bradley and M. E. Terry, Biometrika 39
    (1952); on language models L. Ouyang et al., arXiv 2203.02155, equation 1; margin: Llama 2, arXiv 2307.09288, equation 2;
    centring: J. Eisenstein et al., arXiv 2312.09244, section 2.

        d    = chosen - rejected - margin
        loss = -(1 - label_smoothing) log sigmoid(d) - label_smoothing log sigmoid(-d) + centre (chosen + rejected)^2

    chosen, rejected  float[B] with gradient: scores of the answer that is preferred and of the other
    margin            by how much the score is to be ahead, float[B] or one number for all
    label_smoothing   the share of pairs that are taken to be labelled the wrong way round, 0 to below 0.5
    centre            at least 0: draws the scores, of which the pairs tell differences alone, to 0

    Metrics are means without gradient: "accuracy" (share of pairs in which the preferred answer scores higher), "margin" (by how
    much), "score" (of all answers).

    Raises ValueError for shapes that differ and for settings out of range.
    """
    if chosen.ndim != 1 or not len(chosen) or rejected.shape != chosen.shape:
        raise ValueError(
            f"chosen has shape {tuple(chosen.shape)} and rejected {tuple(rejected.shape)}; both must be [B], one number for "
            "each of B pairs, B above 0"
        )
    if isinstance(margin, Tensor) and margin.shape != chosen.shape:
        raise ValueError(f"margin has shape {tuple(margin.shape)}; it must be {tuple(chosen.shape)} as chosen, or one number")
    if not 0 <= label_smoothing < 0.5:
        raise ValueError(f"label_smoothing is {label_smoothing}; it must be at least 0 and below 0.5")
    if not (math.isfinite(centre) and centre >= 0):
        raise ValueError(f"centre is {centre}; it must be at least 0")
    loss = smoothed(chosen - rejected - margin, label_smoothing) + centre * (chosen + rejected).square()
    with torch.no_grad():
        ahead = chosen - rejected
        metrics = {
            "accuracy": (ahead > 0).to(loss.dtype).mean(),
            "margin": ahead.mean(),
            "score": (chosen + rejected).mean() / 2,
        }
    return loss, metrics
