"""Replies that the policy has moved away from, and that would only push it further."""

from __future__ import annotations

import torch
from torch import Tensor

from stepladder.algos.masked import check_shapes, masked_mean


@torch.no_grad()
def off_policy_replies(
    advantages: Tensor, old_logprobs: Tensor, rollout_logprobs: Tensor, logprobs: Tensor, mask: Tensor, delta: float
) -> Tensor:
    """Which replies are to be left out, bool[B]: those whose advantage is negative and that have become less probable by more than
    `delta` nats a token since they were sampled.

    advantages        float[B, T]; that of a reply is the mean over its tokens
    old_logprobs      float[B, T] of the weights before the update
    rollout_logprobs  float[B, T] as recorded when they were sampled, so that stale weights and another engine count too. NaN:
                      nothing was recorded, and old_logprobs stand in.
    logprobs          float[B, T] of the present weights
    mask              bool[B, T] or 0/1 numbers: the tokens that count. A reply without any is not left out.

    Raises ValueError for shapes that differ and a negative delta.

    Source: off-policy sequence masking, DeepSeek-V3.2, arXiv 2512.02556, section 3.1. There too the probabilities are those that
    the sampling engine returned.
    """
    check_shapes("advantages", advantages, 2, old_logprobs=old_logprobs, rollout_logprobs=rollout_logprobs)
    check_shapes("advantages", advantages, 2, logprobs=logprobs, mask=mask)
    if not delta >= 0:
        raise ValueError(f"delta is {delta}; it must not be negative")
    valid = mask != 0
    sampled = torch.where(rollout_logprobs.isnan(), old_logprobs, rollout_logprobs)
    fallen = masked_mean(torch.where(valid, sampled - logprobs, 0.0), valid, dim=1)
    return valid.any(1) & (masked_mean(advantages, valid, dim=1) < 0) & (fallen > delta)
