"""Losses of a policy and of a critic on sampled tokens, and what log-probabilities say about distributions."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from stepladder.algos.masked import AGGREGATIONS, aggregate, check_choice, check_shapes, divisor

#: What `policy_loss` makes of a token, with A its advantage, k = logprobs - old_logprobs, kept within 20 of 0, and r = exp(k):
#:
#: "ppo"        max(-A r, -A clamp(r, 1 - clip_low, 1 + clip_high))
#: "gspo"       the same with r = exp(mean of k over the sequence), at most e^10, k not bounded; the gradient for a token is that of
#:              its own k
#: "cispo"      -A clamp(r, 1 - clip_low, 1 + clip_high) logprobs with the clamped ratio as a constant: no token loses its gradient.
#:              Bounds are distances from 1, as in verl and slime; in TRL the upper bound is the ratio itself.
#: "gmpo"       -A exp(mean over the sequence of k bounded in log space: by clip_high above where A > 0, by -clip_low below where
#:              A < 0); the gradient goes through the mean
#: "sapo"       -A sigmoid(tau (r - 1)) 4 / tau, with tau_pos where A > 0 and tau_neg elsewhere; no clips
#: "reinforce"  -A logprobs; no ratio, no clips
POLICY_KINDS = ("ppo", "gspo", "cispo", "gmpo", "sapo", "reinforce")
KL_KINDS = ("k1", "k2", "k3", "abs", "k1+", "k2+", "k3+", "abs+")
WEIGHT_MODES = ("token_truncate", "token_mask", "sequence_truncate", "sequence_mask")
#: Those metrics of `policy_loss` of which micro-batches are combined by their maximum; the others add up.
MAXIMA = ("ratio_max",)
#: Log ratios are kept within this distance from 0 before they are exponentiated (verl).
LOG_RATIO_BOUND = 20.0
#: Upper bound of the log of a sequence's ratio in "gspo" (verl).
GSPO_LOG_RATIO_BOUND = 10.0
#: The estimate k3 is kept within this distance from 0 (verl).
K3_BOUND = 10.0


def policy_loss(
    logprobs: Tensor,
    old_logprobs: Tensor | None,
    advantages: Tensor,
    mask: Tensor,
    kind: str = "ppo",
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    dual_clip: float | None = None,
    aggregation: str = "token-mean",
    weights: Tensor | None = None,
    *,
    token_count: float | None = None,
    sequence_count: float | None = None,
    scale: float | None = None,
    tau_pos: float = 1.0,
    tau_neg: float = 1.05,
) -> tuple[Tensor, dict[str, Tensor]]:
    """(loss float[], metrics) of a policy on sampled tokens; a row is a sequence.

    logprobs      float[B, T] with gradient
    old_logprobs  float[B, T] of the policy that ratios refer to; ignored by "reinforce", which takes None too
    advantages    float[B, T], constants
    mask          bool[B, T] or 0/1 numbers: the tokens that count
    kind          one of POLICY_KINDS; what the clips mean to each stands there
    dual_clip     "ppo": where A < 0 a token's loss is at most -A * dual_clip. None: off. Other kinds ignore it.
    aggregation   as `mode` in `aggregate`, with the same token_count, sequence_count and scale. The sources of "gspo", "gmpo" and
                  "sapo" use "seq-mean-token-mean", but nothing is chosen by itself here.
    weights       float[B, T], constants that multiply the losses of tokens, for example `importance_weights`. None: 1.
    tau_pos, tau_neg  temperatures of "sapo" where A > 0 and elsewhere

    Metrics are float[] without gradient; "reinforce" has none. They are sums over tokens divided by token_count, so micro-batches
    add up as the loss does: clip_fraction_low, clip_fraction_high (tokens that the bound holds; "cispo": that are outside it),
    dual_clip_fraction, approx_kl_k1 and approx_kl_k3 of KL(old || new), ratio_mean of the ratio that the kind uses. Only those in
    MAXIMA combine by their maximum: ratio_max, 0 where nothing counts.

    Raises ValueError for an unknown kind or aggregation, shapes that differ, missing old_logprobs, a negative clip, a dual_clip not
    above 1, a tau not above 0. The source of each kind stands at its function.
    """
    check_choice("kind", kind, POLICY_KINDS)
    check_choice("aggregation", aggregation, AGGREGATIONS)
    check_shapes("logprobs", logprobs, 2, old_logprobs=old_logprobs, advantages=advantages, mask=mask, weights=weights)
    settings = _Settings(kind, clip_low, clip_high, dual_clip, tau_pos, tau_neg)
    valid = mask != 0
    # Masked before any arithmetic: where only the result is masked, the gradient of a NaN is NaN.
    logprobs = torch.where(valid, logprobs, 0.0)
    advantages = torch.where(valid, advantages.detach(), 0.0)
    metrics: dict[str, Tensor] = {}
    if kind == "reinforce":
        losses = -advantages * logprobs
    elif old_logprobs is None:
        raise ValueError(f"old_logprobs is None; kind {kind!r} needs them")
    else:
        log_ratio = logprobs - torch.where(valid, old_logprobs.detach(), 0.0)
        found = _surrogate(logprobs, log_ratio, advantages, valid, settings)
        losses, metrics = found.losses, _metrics(found, log_ratio.detach(), valid, token_count)
    if weights is not None:
        losses = losses * torch.where(valid, weights.detach(), 0.0)
    loss = aggregate(losses, valid, aggregation, token_count=token_count, sequence_count=sequence_count, scale=scale)
    return loss, metrics


@dataclass(frozen=True)
class _Settings:
    """The settings of `policy_loss` that shape the loss of a token."""

    kind: str
    clip_low: float
    clip_high: float
    dual_clip: float | None
    tau_pos: float
    tau_neg: float

    def __post_init__(self) -> None:
        for name in ("clip_low", "clip_high"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must not be negative")
        for name in ("tau_pos", "tau_neg"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be positive")
        if self.dual_clip is not None and not self.dual_clip > 1:
            raise ValueError(f"dual_clip is {self.dual_clip}; it must be greater than 1, or None")

    def clip(self, ratio: Tensor) -> Tensor:
        return ratio.clamp(1 - self.clip_low, 1 + self.clip_high)


class _Surrogate(NamedTuple):
    """Token losses float[B, T], the ratio they use float[B, T], and which tokens are held at the lower bound, at the upper bound,
    by the dual clip (bool[B, T], or None where a kind has no such thing)."""

    losses: Tensor
    ratio: Tensor
    low: Tensor | None = None
    high: Tensor | None = None
    dual: Tensor | None = None


def _surrogate(logprobs: Tensor, log_ratio: Tensor, advantages: Tensor, valid: Tensor, settings: _Settings) -> _Surrogate:
    if settings.kind == "gspo":
        return _gspo(log_ratio, advantages, valid, settings)
    log_ratio = log_ratio.clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND)
    if settings.kind == "gmpo":
        return _gmpo(log_ratio, advantages, valid, settings)
    if settings.kind == "cispo":
        return _cispo(logprobs, log_ratio.detach().exp(), advantages, settings)
    if settings.kind == "sapo":
        return _sapo(log_ratio.exp(), advantages, settings)
    return _ppo(log_ratio.exp(), advantages, settings)


def _ppo(ratio: Tensor, advantages: Tensor, settings: _Settings) -> _Surrogate:
    """Sources: PPO, arXiv 1707.06347, section 3; two bounds: DAPO, arXiv 2503.14476, section 3.1; dual clip: D. Ye et al., arXiv
    1912.09729."""
    free, clipped = -advantages * ratio, -advantages * settings.clip(ratio)
    losses, held, dual = torch.maximum(free, clipped), clipped > free, None
    if settings.dual_clip is not None:
        most = -advantages * settings.dual_clip
        dual = (advantages < 0) & (losses > most)
        losses = torch.where(dual, most, losses)
    return _Surrogate(losses, ratio, held & (advantages < 0), held & (advantages > 0), dual)


def _gspo(log_ratio: Tensor, advantages: Tensor, valid: Tensor, settings: _Settings) -> _Surrogate:
    """Source: arXiv 2507.18071, its variant GSPO-token, whose gradient is that of GSPO where a sequence has one advantage; the
    bound of the log ratio is verl's."""
    sequence = log_ratio.detach().sum(1, keepdim=True) / valid.sum(1, keepdim=True).clamp(min=1)
    ratio = (log_ratio - log_ratio.detach() + sequence).clamp(max=GSPO_LOG_RATIO_BOUND).exp()
    return _ppo(ratio, advantages, replace(settings, dual_clip=None))


def _cispo(logprobs: Tensor, ratio: Tensor, advantages: Tensor, settings: _Settings) -> _Surrogate:
    """Source: MiniMax-M1, arXiv 2506.13585, section 3.1."""
    losses = -settings.clip(ratio) * advantages * logprobs
    return _Surrogate(losses, ratio, ratio < 1 - settings.clip_low, ratio > 1 + settings.clip_high)


def _gmpo(log_ratio: Tensor, advantages: Tensor, valid: Tensor, settings: _Settings) -> _Surrogate:
    """Source: arXiv 2507.20673; a token without advantage counts as a ratio of 1, as in verl. Weights multiply token losses as in
    every kind; verl takes their geometric mean, where a single weight of 0 would silence the sequence."""
    low, high, positive, negative = -settings.clip_low, settings.clip_high, advantages > 0, advantages < 0
    kept = torch.where(positive, log_ratio.clamp(max=high), torch.where(negative, log_ratio.clamp(min=low), 0.0))
    ratio = (kept.sum(1, keepdim=True) / valid.sum(1, keepdim=True).clamp(min=1)).exp().expand_as(kept)
    return _Surrogate(-advantages * ratio, ratio, negative & (log_ratio < low), positive & (log_ratio > high))


def _sapo(ratio: Tensor, advantages: Tensor, settings: _Settings) -> _Surrogate:
    """Source: arXiv 2511.20347. With 4 / tau the gradient at a ratio of 1 is that of the plain policy gradient."""
    tau = torch.full_like(ratio, settings.tau_neg).masked_fill(advantages > 0, settings.tau_pos)
    return _Surrogate(-advantages * torch.sigmoid(tau * (ratio - 1)) * 4 / tau, ratio)


@torch.no_grad()
def _metrics(found: _Surrogate, log_ratio: Tensor, valid: Tensor, token_count: float | None) -> dict[str, Tensor]:
    count = divisor("token_count", token_count, valid.sum())
    log_ratio = log_ratio.clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND)
    ratio = torch.where(valid, found.ratio.detach(), 0.0)

    def share(held: Tensor | None) -> Tensor:
        return ratio.new_zeros(()) if held is None else (held & valid).sum().to(ratio.dtype) / count

    return {
        "clip_fraction_low": share(found.low),
        "clip_fraction_high": share(found.high),
        "dual_clip_fraction": share(found.dual),
        "approx_kl_k1": torch.where(valid, -log_ratio, 0.0).sum() / count,
        "approx_kl_k3": torch.where(valid, log_ratio.expm1() - log_ratio, 0.0).sum() / count,
        "ratio_mean": ratio.sum() / count,
        "ratio_max": ratio.amax() if ratio.numel() else ratio.new_zeros(()),
    }


def value_loss(
    values: Tensor,
    old_values: Tensor | None,
    returns: Tensor,
    mask: Tensor,
    clip: float | None = None,
    aggregation: str = "token-mean",
    *,
    token_count: float | None = None,
    sequence_count: float | None = None,
    scale: float | None = None,
) -> Tensor:
    """Loss of a critic, float[]: half the squared error, for each token the worse of the answer's and of the answer's clipped to
    `old_values` +- `clip`.

    values      float[B, T] with gradient
    old_values  float[B, T] before the update; not looked at, and may be None, when clip is None: half the squared error
    returns     float[B, T]
    mask        bool[B, T] or 0/1 numbers: the tokens that count
    token_count, sequence_count, scale  as in `aggregate`

    Raises ValueError for shapes that differ, an unknown aggregation, a negative clip, a clip without old values.

    Source: PPO's reference implementation (OpenAI baselines, ppo2), as in verl's `compute_value_loss` with its factor 0.5.
    """
    check_choice("aggregation", aggregation, AGGREGATIONS)
    check_shapes("values", values, 2, old_values=old_values, returns=returns, mask=mask)
    valid = mask != 0
    values, returns = torch.where(valid, values, 0.0), torch.where(valid, returns.detach(), 0.0)
    losses = (values - returns).square()
    if clip is not None:
        if not clip >= 0:
            raise ValueError(f"clip is {clip}; it must not be negative, or None")
        if old_values is None:
            raise ValueError("old_values is None; clip needs them")
        old = torch.where(valid, old_values.detach(), 0.0)
        losses = torch.maximum(losses, (values.clamp(old - clip, old + clip) - returns).square())
    return 0.5 * aggregate(losses, valid, aggregation, token_count=token_count, sequence_count=sequence_count, scale=scale)


def kl(logprobs: Tensor, ref_logprobs: Tensor, kind: str = "k3") -> Tensor:
    """Estimate of KL(policy || reference) from each token that the policy sampled, float[...], with d = logprobs - ref_logprobs:

        "k1"   d: unbiased, of either sign; its expected gradient is 0
        "k2"   d^2 / 2: biased, with the expected gradient of the KL divergence
        "k3"   exp(-d) - 1 + d: never negative, unbiased but for the bounds: d is kept within 20 of 0 and the result below 10, and
               beyond them the gradient is 0
        "abs"  |d|
        "k1+", "k2+", "k3+", "abs+"  straight-through: that value with the gradient of "k2"

    logprobs      float[...] with gradient
    ref_logprobs  float[...], a constant

    There is no mask: see `aggregate`. Raises ValueError for an unknown kind and for shapes that differ.

    Source: J. Schulman, "Approximating KL divergence", 2020 (joschu.net/blog/kl-approx.html); bounds and "+" as in verl's
    `kl_penalty`.
    """
    check_choice("kind", kind, KL_KINDS)
    check_shapes("logprobs", logprobs, ref_logprobs=ref_logprobs)
    difference = logprobs - ref_logprobs.detach()
    half_square = 0.5 * difference.square()
    name = kind.removesuffix("+")
    if name == "k1":
        estimate = difference
    elif name == "k2":
        estimate = half_square
    elif name == "k3":
        bounded = (-difference).clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND)
        estimate = (bounded.expm1() - bounded).clamp(max=K3_BOUND)
    else:
        estimate = difference.abs()
    return estimate.detach() + (half_square - half_square.detach()) if kind.endswith("+") else estimate


@torch.no_grad()
def importance_weights(
    train_logprobs: Tensor, rollout_logprobs: Tensor, mask: Tensor, mode: str, cap: float | tuple[float, float] = 2.0
) -> Tensor:
    """Weights float[B, T] that correct for tokens having been sampled by other probabilities than the trainer computes: rounding,
    another engine, older weights.

    train_logprobs    float[B, T]
    rollout_logprobs  float[B, T] as recorded. NaN: nothing was recorded, and the token's ratio is taken to be 1.
    mask              bool[B, T] or 0/1 numbers. The weight of a token that does not count is 0.
    mode              "token_..." takes each token's ratio w = exp(train - rollout), "sequence_..." the product over the tokens of
                      the row that count, which all of them get. "..._truncate" gives min(w, cap) (TIS), "..._mask" gives w within
                      the bounds and 0 outside (IcePop).
    cap               a positive number for truncation; for masking a pair (low, high) with 0 <= low <= 1 <= high, or a number of at
                      least 1 that stands for (1 / cap, cap). Bounds belong to what is kept.

    The log of w is kept within 20 of 0. Raises ValueError for an unknown mode, shapes that differ, any other cap.

    Sources: TIS: F. Yao et al., "Your efficient RL framework secretly brings you off-policy RL training", 2025; IcePop: Ring-1T,
    arXiv 2510.18855; the sum of logs over a sequence and the bound of the log as in verl's rollout correction.
    """
    check_choice("mode", mode, WEIGHT_MODES)
    check_shapes("train_logprobs", train_logprobs, 2, rollout_logprobs=rollout_logprobs, mask=mask)
    low, high = _bounds(mode, cap)
    valid = mask != 0
    log_ratio = torch.where(valid & ~rollout_logprobs.isnan(), train_logprobs - rollout_logprobs, 0.0)
    if mode.startswith("sequence"):
        log_ratio = log_ratio.sum(1, keepdim=True).expand_as(log_ratio)
    ratio = log_ratio.clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND).exp()
    weights = ratio.clamp(max=high) if mode.endswith("truncate") else torch.where((ratio >= low) & (ratio <= high), ratio, 0.0)
    return torch.where(valid, weights, 0.0)


def _bounds(mode: str, cap: float | tuple[float, float]) -> tuple[float, float]:
    if isinstance(cap, tuple):
        if mode.endswith("mask") and len(cap) == 2 and 0 <= cap[0] <= 1 <= cap[1]:
            return cap
    elif mode.endswith("truncate"):
        if cap > 0:
            return 0.0, cap
    elif 1 <= cap < math.inf:
        return 1 / cap, cap
    wanted = (
        "a positive number" if mode.endswith("truncate") else "a number of at least 1, or (low, high) with 0 <= low <= 1 <= high"
    )
    raise ValueError(f"cap is {cap}; mode {mode!r} needs {wanted}")


def entropy(logits: Tensor) -> Tensor:
    """Entropy in nats of the softmax over the last dimension, float[...] from float[..., V].

    Entries of -infinity have probability 0 and add nothing, neither to the value nor to the gradient. It is computed in the dtype
    of the logits: bfloat16 should be widened by the caller.
    """
    logprobs = logits.log_softmax(-1)
    # The product 0 * -inf is NaN, and so would be its gradient.
    return -(logprobs.exp() * torch.where(logprobs.isneginf(), 0.0, logprobs)).sum(-1)
