"""What an algorithm wants minimised on the tokens that were sampled, as data: the trainer evaluates it and knows no algorithm."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from stepladder.algos import ops
from stepladder.algos.off_policy import off_policy_replies

#: Denominators over a whole update: trained tokens and replies with policy-gradient weight, with KL weight, with a teacher's
#: distributions, with returns.
COUNTS = (
    *("pg_tokens", "pg_replies", "kl_tokens", "kl_replies", "distill_tokens", "distill_replies"),
    *("value_tokens", "value_replies"),
)


@dataclass(frozen=True)
class PolicyObjective:
    """Settings of the loss on sampled tokens; names and meanings as in `ops.policy_loss`, `ops.kl`, `ops.value_loss`.

    `alpha`, `top_k` and `tail` are those of `ops.self_distillation_loss`, whose tokens are averaged over all of the update.

    `scale` is the constant of "seq-mean-token-sum-norm". `correction` weighs tokens by how much more probable the trainer holds
    them than the policy that sampled them (`ops.importance_weights`): rounding, another engine, older weights, replay.
    `off_policy_delta` leaves out replies that did badly and have become less probable by more than that (`off_policy_replies`).

    With `value_slopes` the returns are no targets but the derivatives of some loss by the critic's answers: the loss is their
    product, a mean over tokens, and one step on it is one step on that loss (a reward model learns so).
    """

    kind: str = "ppo"
    clip_low: float = 0.2
    clip_high: float = 0.2
    dual_clip: float | None = 3.0
    aggregation: str = "token-mean"
    scale: float = 1.0
    kl: str = "k3"
    correction: str | None = "token_truncate"
    correction_cap: float = 2.0
    value_clip: float | None = None
    alpha: float = 0.5
    top_k: int | None = None
    tail: bool = True
    off_policy_delta: float | None = None
    value_slopes: bool = False


@dataclass
class SampledTokens:
    """The trained tokens of one micro-batch, padded to [B replies, T tokens].

    logprobs        with gradient
    old_logprobs    of the weights before the first update from these samples; None: this is the first
    rollout_logprobs  recorded when they were sampled (NaN: nothing was recorded)
    w_pg, w_kl, w_distill  weights, 0 in padding
    divergence      of the present distribution from the teacher's, with gradient; None without a teacher
    values          the critic's present answer, with gradient; None without a critic
    entropy         of the distribution of each token; None where it was not computed
    """

    logprobs: Tensor
    old_logprobs: Tensor | None
    rollout_logprobs: Tensor
    advantages: Tensor
    ref_logprobs: Tensor
    old_values: Tensor
    returns: Tensor
    w_pg: Tensor
    w_kl: Tensor
    w_distill: Tensor
    divergence: Tensor | None = None
    values: Tensor | None = None
    entropy: Tensor | None = None


def policy_terms(
    objective: PolicyObjective, tokens: SampledTokens, counts: dict[str, float]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(losses, metrics) of one micro-batch, each divided by the counts of the whole update, so that they add up.

    Losses: "pg", "kl", "distill", "value" and "entropy" (which a trainer rewards); those without tokens are left out.
    """
    losses: dict[str, Tensor] = {}
    metrics: dict[str, Tensor] = {}

    def averaged(values: Tensor, mask: Tensor, name: str) -> Tensor:
        return ops.aggregate(
            values,
            mask,
            objective.aggregation,
            token_count=counts[f"{name}_tokens"],
            sequence_count=counts[f"{name}_replies"],
            scale=objective.scale,
        )

    mask = tokens.w_pg != 0
    if bool(mask.any()):
        old = tokens.logprobs.detach() if tokens.old_logprobs is None else tokens.old_logprobs
        weights, metrics = _weights(objective, tokens, old, mask, counts)
        losses["pg"], found = ops.policy_loss(
            tokens.logprobs,
            old,
            tokens.advantages,
            mask,
            objective.kind,
            objective.clip_low,
            objective.clip_high,
            objective.dual_clip,
            objective.aggregation,
            weights,
            token_count=counts["pg_tokens"],
            sequence_count=counts["pg_replies"],
            scale=objective.scale,
        )
        metrics |= {name: torch.as_tensor(value) for name, value in found.items()}
        if tokens.entropy is not None:
            losses["entropy"] = _mean(tokens.entropy, mask, counts["pg_tokens"])
    mask = tokens.w_kl != 0
    if bool(mask.any()):
        divergence = ops.kl(torch.where(mask, tokens.logprobs, 0.0), torch.where(mask, tokens.ref_logprobs, 0.0), objective.kl)
        losses["kl"] = averaged(divergence * tokens.w_kl, mask, "kl")
    mask = tokens.w_distill != 0
    if tokens.divergence is not None and bool(mask.any()):
        weights = tokens.w_distill
        if objective.correction is not None:
            # By the present weights: every update from these samples corrects for those before it.
            now = tokens.logprobs.detach()
            ratio = ops.importance_weights(now, tokens.rollout_logprobs, mask, objective.correction, objective.correction_cap)
            weights = weights * ratio
        losses["distill"] = _mean(tokens.divergence * weights, mask, counts["distill_tokens"])
        if tokens.entropy is not None and not counts["pg_tokens"]:
            losses["entropy"] = _mean(tokens.entropy, mask, counts["distill_tokens"])
    mask = tokens.returns.isfinite()
    if tokens.values is not None and bool(mask.any()) and objective.value_slopes:
        losses["value"] = _mean(tokens.values * tokens.returns, mask, counts["value_tokens"])
    elif tokens.values is not None and bool(mask.any()):
        losses["value"] = ops.value_loss(
            tokens.values,
            tokens.old_values,
            tokens.returns,
            mask,
            objective.value_clip,
            token_count=counts["value_tokens"],
        )
    return losses, metrics


def _weights(
    objective: PolicyObjective, tokens: SampledTokens, old: Tensor, mask: Tensor, counts: dict[str, float]
) -> tuple[Tensor, dict[str, Tensor]]:
    """(weights float[B, T] of the policy's losses, metrics): corrected for how the tokens were sampled, 0 for replies that are
    left out. These keep their place in every denominator."""
    weights, metrics = tokens.w_pg, dict[str, Tensor]()
    if objective.correction is not None:
        ratio = ops.importance_weights(old, tokens.rollout_logprobs, mask, objective.correction, objective.correction_cap)
        weights = weights * ratio
        metrics["correction"] = _mean(ratio, mask, counts["pg_tokens"])
    if objective.off_policy_delta is not None:
        logprobs, delta = tokens.logprobs.detach(), objective.off_policy_delta
        dropped = off_policy_replies(tokens.advantages, old, tokens.rollout_logprobs, logprobs, mask, delta)
        weights = torch.where(dropped[:, None], 0.0, weights)
        metrics["off_policy_replies"] = dropped.sum() / max(counts["pg_replies"], 1.0)
    return weights, metrics


def _mean(values: Tensor, mask: Tensor, count: float) -> Tensor:
    return torch.where(mask, values, 0.0).sum() / max(count, 1.0)
