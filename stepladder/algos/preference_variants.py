"""Other losses on pairs of replies of which one is preferred: IPO, which has a target for the margin, SimPO, which has no
reference, and any of them with imitation of the preferred reply beside it.

They take sums over the tokens of a reply and its length, as `stepladder.algos.preference` does, so that `reply_advantages` learns
from them as from DPO."""

from __future__ import annotations

import math

from torch import Tensor

from stepladder.algos.preference import PairLoss, check_pairs, check_settings, pair_metrics, smoothed


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


def with_imitation(loss: PairLoss, chosen_lengths: Tensor, weight: float = 1.0) -> PairLoss:
    """`loss` with the preferred reply's negative log-likelihood, a mean over its tokens, on top: a margin alone also grows where
    both replies become less probable, and the preferred one then is no longer said. Source: R. Y. Pang et al., "Iterative
    reasoning preference optimization", arXiv 2404.19733, equation 1, whose weight is on the other term.

        loss' = loss - weight * chosen / n_chosen

    chosen_lengths  number[B], above 0: the preferred replies' tokens, n above
    weight          at least 0

    Its metrics are those of `loss`, and "imitation", the mean of what is weighted. Raises ValueError for a weight out of range and
    for a reply without tokens.
    """
    if not (math.isfinite(weight) and weight >= 0):
        raise ValueError(f"weight is {weight}; it must be at least 0")
    _check_lengths(chosen_lengths=chosen_lengths)

    def with_both(chosen_logprobs: Tensor, rejected_logprobs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        losses, metrics = loss(chosen_logprobs, rejected_logprobs)
        check_pairs(chosen_logprobs, chosen_lengths=chosen_lengths)
        surprise = -chosen_logprobs / chosen_lengths
        return losses + weight * surprise, {**metrics, "imitation": surprise.detach().mean()}

    return with_both


def _check_lengths(**lengths: Tensor) -> None:
    for name, values in lengths.items():
        if not bool((values > 0).all()):
            raise ValueError(f"{name} has {float(values.min()):g} in it; every reply has at least one token")
