"""Other losses on pairs of replies of which one is preferred: IPO, which has a target for the margin, and SimPO, which has no
reference.

They take sums over the tokens of a reply and its length, as `stepladder.algos.preference` does, so that `reply_advantages` learns
from them as from DPO."""

from __future__ import annotations

import math

from torch import Tensor

from stepladder.algos.preference import check_pairs, check_settings, pair_metrics, smoothed


def ipo_loss(
    chosen_logprobs: Tensor,
    rejected_logprobs: Tensor,
    ref_chosen: Tensor,
    ref_rejected: Tensor,
    chosen_lengths: Tensor,
    rejected_lengths: Tensor,
    beta: float = 0.1,
    average: bool = True,
) -> tuple[Tensor, dict[str, Tensor]]:
    """(loss float[B], metrics) of identity preference optimisation. Source: M. G. Azar et al., arXiv 2310.12036, equation 17,
    whose tau is beta here.

        h    = (chosen - ref_chosen) / n_chosen - (rejected - ref_rejected) / n_rejected
        loss = (h - 1 / (2 beta))^2

    chosen_logprobs, rejected_logprobs  float[B] with gradient: of whole replies, sums over tokens
    ref_chosen, ref_rejected            float[B], constants: the same under the reference
    chosen_lengths, rejected_lengths    number[B], above 0: the replies' tokens, n above
    beta      above 0; where preference is certain, the margin h is drawn to 1 / (2 beta) and no further
    average   a mean over the tokens, as the paper's experiments have it; without it n is 1, as the equation is written

    Metrics are those of `dpo_loss`, "margin" being h. Raises ValueError for shapes that differ and for settings out of range.
    """
    lengths = {"chosen_lengths": chosen_lengths, "rejected_lengths": rejected_lengths}
    check_pairs(chosen_logprobs, rejected_logprobs=rejected_logprobs, ref_chosen=ref_chosen, ref_rejected=ref_rejected, **lengths)
    check_settings(beta)
    _check_lengths(**lengths)
    chosen, rejected = chosen_logprobs - ref_chosen.detach(), rejected_logprobs - ref_rejected.detach()
    if average:
        chosen, rejected = chosen / chosen_lengths, rejected / rejected_lengths
    margin = chosen - rejected
    return (margin - 1 / (2 * beta)).square(), pair_metrics(margin, chosen, rejected)


def simpo_loss(
    chosen_logprobs: Tensor,
    rejected_logprobs: Tensor,
    chosen_lengths: Tensor,
    rejected_lengths: Tensor,
    beta: float = 2.0,
    gamma: float = 1.0,
    label_smoothing: float = 0.0,
) -> tuple[Tensor, dict[str, Tensor]]:
    """(loss float[B], metrics) of simple preference optimisation, which needs no reference. Source: Y. Meng et al., arXiv
    2405.14734, equation 6.

        margin = beta (chosen / n_chosen - rejected / n_rejected) - gamma
        loss   = -(1 - label_smoothing) log sigmoid(margin) - label_smoothing log sigmoid(-margin)

    chosen_logprobs, rejected_logprobs  float[B] with gradient: of whole replies, sums over tokens
    chosen_lengths, rejected_lengths    number[B], above 0: the replies' tokens, n above
    beta             above 0; of mean log-probabilities, so larger than DPO's
    gamma            at least 0: by how much the preferred reply is to be ahead (the paper sets gamma / beta to 0.1 to 1.6)
    label_smoothing  the share of pairs that are taken to be labelled the wrong way round, 0 to below 0.5

    Metrics are those of `dpo_loss`: "chosen" and "rejected" are mean log-probabilities of a token, "margin" is without gamma.
    Raises ValueError for shapes that differ and for settings out of range.
    """
    lengths = {"chosen_lengths": chosen_lengths, "rejected_lengths": rejected_lengths}
    check_pairs(chosen_logprobs, rejected_logprobs=rejected_logprobs, **lengths)
    check_settings(beta, label_smoothing)
    if not (math.isfinite(gamma) and gamma >= 0):
        raise ValueError(f"gamma is {gamma}; it must be at least 0")
    _check_lengths(**lengths)
    chosen, rejected = chosen_logprobs / chosen_lengths, rejected_logprobs / rejected_lengths
    margin = beta * (chosen - rejected)
    return smoothed(margin - gamma, label_smoothing), pair_metrics(margin, chosen, rejected)


def _check_lengths(**lengths: Tensor) -> None:
    for name, values in lengths.items():
        if not bool((values > 0).all()):
            raise ValueError(f"{name} has {float(values.min()):g} in it; every reply has at least one token")
