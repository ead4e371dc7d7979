"""Returns and advantages of single actions of an episode, and how far ahead an estimate looks. None carries a gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from stepladder.algos.advantages import grpo_advantages
from stepladder.algos.masked import check_shapes


@torch.no_grad()
def length_adaptive_lambda(length: Tensor | float, alpha: float = 0.05) -> Tensor:
    """lambda of `gae` that suits a sequence of `length` tokens: 1 - 1 / (alpha * length), at least 0, float[...] (float64 for
    integers).

    The weights of all coming errors sum to 1 / (1 - lambda) = alpha * length, so that long sequences look as far ahead, in
    proportion, as short ones. Below 1 / alpha tokens it is 0.

    length  int or float[...], above 0
    alpha   tokens ahead per token of length

    Raises ValueError for a length or an alpha that is not above 0.

    Source: VAPO, arXiv 2504.05118, section 4.2 (alpha 0.05), as in UI-TARS-2, arXiv 2509.02544. The bound at 0 is ours.
    """
    lengths = torch.as_tensor(length)
    lengths = lengths if lengths.is_floating_point() else lengths.double()
    if not alpha > 0:
        raise ValueError(f"alpha is {alpha}; it must be positive")
    if not bool((lengths > 0).all()):
        raise ValueError(f"length has {float(lengths.min())} in it; all lengths must be positive")
    return (1 - 1 / (alpha * lengths)).clamp(min=0.0)


@torch.no_grad()
def step_returns(rewards: Tensor, trajectory_ids: Tensor, gamma: float = 1.0) -> Tensor:
    """Discounted return from each step to the end of its trajectory, G = r + gamma * G of the next step, float[S].

    rewards         float[S], one row for each step; a trajectory's rows stand in their order, whatever stands between them
    trajectory_ids  int[S]: equal numbers mark one trajectory

    Raises ValueError for shapes that differ, rewards that are no floating-point numbers, ids that are no integers.

    Source: GiGPO, arXiv 2505.10978, section 4.2.
    """
    check_shapes("rewards", rewards, 1, trajectory_ids=trajectory_ids)
    _check_kinds(rewards=rewards)
    _check_numbers(trajectory_ids=trajectory_ids)
    names, number = trajectory_ids.unique(return_inverse=True)
    running = rewards.new_zeros(len(names))
    returns = torch.zeros_like(rewards)
    for row in reversed(range(len(rewards))):
        which = number[row]
        running[which] = rewards[row] + gamma * running[which]
        returns[row] = running[which]
    return returns


@torch.no_grad()
def gigpo_advantages(
    episode_returns: Tensor,
    step_returns: Tensor,
    groups: Tensor,
    anchors: Tensor,
    weight: float = 1.0,
    std: bool = False,
    eps: float = 1e-6,
    *,
    trajectory_ids: Tensor | None = None,
) -> Tensor:
    """Advantage of each step: its episode against the group, and `weight` times what came after it against what came after the
    same state in the group's other steps, float[S].

        A = (R - mean of group) [/ (deviation + eps)] + weight * (G - mean of anchor group) [/ (deviation + eps)]

    episode_returns  float[S]: R, the return of the episode that the step belongs to. NaN: the environment failed; the step is left
                     out of all statistics and its advantage is 0.
    step_returns     float[S]: G, as `step_returns` gives it
    groups           int[S]: equal numbers mark episodes from one start
    anchors          int[S]: equal numbers, within a group, mark steps taken in the same state. Negative: the state is not known.
    std              False: no deviation ("mean_norm"); True: divide both by theirs ("mean_std_norm")
    trajectory_ids   int[S]: with them every trajectory counts once in the statistics of its group, which is the paper's equation 3;
                     None: every row counts, so that long episodes weigh more, which is its code's default

    A step whose state was met once in the group gets no second part. Raises ValueError as `grpo_advantages`.

    Source: GiGPO, arXiv 2505.10978, section 4.
    """
    check_shapes("episode_returns", episode_returns, 1, step_returns=step_returns, groups=groups, anchors=anchors)
    _check_numbers(groups=groups, anchors=anchors)
    failed = episode_returns.isnan()
    if trajectory_ids is None:
        episodes = grpo_advantages(episode_returns, groups, std, eps)
    else:
        check_shapes("episode_returns", episode_returns, 1, trajectory_ids=trajectory_ids)
        names, number = trajectory_ids.unique(return_inverse=True)
        rows = torch.zeros_like(names)
        rows[number] = torch.arange(len(number), device=number.device)
        episodes = grpo_advantages(episode_returns[rows], groups[rows], std, eps)[number]
    # A state that is not known is nobody else's.
    alone = anchors.amax().clamp(min=0) + 1 + torch.arange(len(anchors), device=anchors.device) if len(anchors) else anchors
    states = torch.stack([groups.long(), torch.where(anchors < 0, alone, anchors.long())])
    _, state = states.unique(dim=1, return_inverse=True)
    steps = grpo_advantages(torch.where(failed, torch.nan, step_returns), state, std, eps)
    return torch.where(failed, 0.0, episodes + weight * steps)


def _check_kinds(**tensors: Tensor) -> None:
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise ValueError(f"{name} has dtype {tensor.dtype}; it must be a floating-point dtype")


def _check_numbers(**tensors: Tensor) -> None:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
            raise ValueError(f"{name} has dtype {tensor.dtype}; it must be an integer dtype")
