"""Advantages and returns from rewards. None of them carries a gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from stepladder.algos.masked import check_shapes


@torch.no_grad()
def grpo_advantages(rewards: Tensor, groups: Tensor, std: bool = True, eps: float = 1e-6) -> Tensor:
    """Reward against the group's mean, in units of the group's standard deviation: (R - mean) / (std + eps), float[B].

    rewards  float[B], one for each trajectory, however many steps or tokens it has. NaN: the environment failed and there is no
             reward; the entry is left out of the statistics and its advantage is 0.
    groups   int[B]: equal numbers mark one group. Groups may have any sizes and their members any order.
    std      False: R - mean, the advantage of Dr. GRPO

    The deviation is the unbiased one (n - 1). A group of one, and a group whose rewards are all equal, get exactly 0; verl gives
    the only member of a group its raw reward.

    Raises ValueError for shapes that differ, rewards that are no floating-point numbers or infinite, groups that are no integers.

    Source: DeepSeekMath, arXiv 2402.03300, section 4.1; Dr. GRPO, arXiv 2503.20783.
    """
    number, count, centred, flat = _centred(rewards, groups)
    if std:
        squares = torch.zeros_like(count).index_add_(0, number, centred.square())
        deviation = (squares / (count - 1).clamp(min=1)).sqrt()
        centred = centred / (deviation + eps)[number]
    return torch.where(flat, 0.0, centred)


@torch.no_grad()
def rloo_advantages(rewards: Tensor, groups: Tensor) -> Tensor:
    """Reward against the mean of the other members of the group (leave-one-out), float[B].

    Arguments and errors are those of `grpo_advantages`, and likewise NaN rewards, groups of one and flat groups get exactly 0.

    R_i - mean of the others = (R_i - mean) * n / (n - 1).

    Source: W. Kool et al., "Buy 4 REINFORCE samples, get a baseline for free!", 2019; A. Ahmadian et al., arXiv 2402.14740.
    """
    number, count, centred, flat = _centred(rewards, groups)
    return torch.where(flat, 0.0, centred * (count / (count - 1).clamp(min=1))[number])


def _centred(rewards: Tensor, groups: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(group number int64[B], graded members of each group float[G], reward - group mean float[B], and where there is nothing to
    compare, bool[B])."""
    check_shapes("rewards", rewards, 1, groups=groups)
    if not rewards.is_floating_point():
        raise ValueError(f"rewards has dtype {rewards.dtype}; it must be a floating-point dtype")
    if groups.is_floating_point() or groups.is_complex() or groups.dtype == torch.bool:
        raise ValueError(f"groups has dtype {groups.dtype}; it must be an integer dtype")
    if bool(rewards.isinf().any()):
        raise ValueError("rewards has infinite entries")
    graded = ~rewards.isnan()
    known = torch.where(graded, rewards, 0.0)
    names, number = groups.unique(return_inverse=True)
    nothing = rewards.new_zeros(len(names))
    count = nothing.index_add(0, number, graded.to(rewards.dtype))
    mean = nothing.index_add(0, number, known) / count.clamp(min=1)
    # Equal rewards minus their rounded mean are not exactly 0, and eps would make advantages of that.
    highest = torch.full_like(nothing, -torch.inf).scatter_reduce(0, number[graded], rewards[graded], "amax")
    lowest = torch.full_like(nothing, torch.inf).scatter_reduce(0, number[graded], rewards[graded], "amin")
    flat = ~graded | (highest <= lowest)[number]
    return number, count, torch.where(graded, known - mean[number], 0.0), flat


@torch.no_grad()
def reinforce_pp_returns(token_rewards: Tensor, mask: Tensor, gamma: float = 1.0) -> Tensor:
    """Discounted return from each token to the end, G = r + gamma * G of the next token that counts, float[B, T].

    token_rewards  float[B, T]
    mask           bool[B, T] or 0/1 numbers. Tokens that do not count (observations between turns, padding) are passed over: the
                   return is carried through them undiscounted and unchanged, what stands there has no influence, the result there
                   is 0.

    Raises ValueError for shapes that differ.

    Source: REINFORCE++, arXiv 2501.03262, which whitens these over the batch (`masked_whiten`). Public code that multiplies the
    running return by the mask loses it at every observation.
    """
    check_shapes("token_rewards", token_rewards, 2, mask=mask)
    valid = mask != 0
    returns = torch.zeros_like(token_rewards)
    running = token_rewards.new_zeros(len(token_rewards))
    for t in reversed(range(token_rewards.shape[1])):
        running = torch.where(valid[:, t], token_rewards[:, t] + gamma * running, running)
        returns[:, t] = running
    return torch.where(valid, returns, 0.0)


@torch.no_grad()
def gae(
    token_rewards: Tensor, values: Tensor, mask: Tensor, gamma: float = 1.0, lam: float | Tensor = 1.0
) -> tuple[Tensor, Tensor]:
    """(advantages, returns) by generalised advantage estimation, float[B, T] each.

        delta_t = r_t + gamma * V_next - V_t        A_t = delta_t + gamma * lam * A_next        return_t = A_t + V_t

    where "next" is the next token that counts, and both are 0 after the last: a sequence ends where its tokens end.

    token_rewards  float[B, T]
    values         float[B, T], the critic's answer before each token
    mask           bool[B, T] or 0/1 numbers. Tokens that do not count (observations between turns, padding) take no part: rewards
                   and values there have no influence, no discount is applied for them, both results are 0 there.
    lam            a number, or float[B], one for each sequence (`length_adaptive_lambda`)

    Advantages are not whitened; see `masked_whiten`. For other targets of the critic than the policy's (decoupled GAE, VC-PPO,
    arXiv 2503.01491) call it twice. Raises ValueError for shapes that differ and a lam of another shape.

    Source: J. Schulman et al., arXiv 1506.02438, as verl computes it over several turns.
    """
    check_shapes("token_rewards", token_rewards, 2, values=values, mask=mask)
    if isinstance(lam, Tensor) and lam.shape not in ((), token_rewards.shape[:1]):
        raise ValueError(f"lam has shape {tuple(lam.shape)}; it must be a number or have one for each of {len(token_rewards)} rows")
    valid = mask != 0
    advantages = torch.zeros_like(token_rewards + values)
    following_value = advantages.new_zeros(len(advantages))
    following = advantages.new_zeros(len(advantages))
    for t in reversed(range(advantages.shape[1])):
        counts, value = valid[:, t], values[:, t]
        delta = token_rewards[:, t] + gamma * following_value - value
        following = torch.where(counts, delta + gamma * lam * following, following)
        following_value = torch.where(counts, value.to(following_value.dtype), following_value)
        advantages[:, t] = following
    return torch.where(valid, advantages, 0.0), torch.where(valid, advantages + values, 0.0)


@torch.no_grad()
def overlong_penalty(lengths: Tensor, limit: float, buffer: float, factor: float = 1.0) -> Tensor:
    """What a reply loses for coming near the length limit: 0 up to `limit - buffer` tokens, then falling linearly to -`factor` at
    `limit`, and -`factor` beyond. Floating-point, of the shape and dtype of `lengths` (float64 for integers).

    lengths  int or float[...], tokens

    Raises ValueError unless 0 < buffer <= limit and factor >= 0.

    Source: DAPO, arXiv 2503.14476, section 3.4. verl's min(-exceeded / buffer * factor, 0) is the same up to the limit, which no
    reply exceeds there.
    """
    if not 0 < buffer <= limit:
        raise ValueError(f"buffer is {buffer}; it must be positive and at most limit, {limit}")
    if not factor >= 0:
        raise ValueError(f"factor is {factor}; it must not be negative")
    lengths = lengths if lengths.is_floating_point() else lengths.double()
    return -factor * ((lengths - (limit - buffer)) / buffer).clamp(0.0, 1.0)
