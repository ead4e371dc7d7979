"""Which steps of a group were decisions: those where the policy was least certain what to say."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from stepladder.algos.masked import check_shapes, masked_mean

#: Shares are compared up to this: 0.8 of 10 steps are 8, whatever a product of floating-point numbers says.
ROUNDING = 1e-9


@torch.no_grad()
def highest_entropy_steps(entropies: Tensor, mask: Tensor, groups: Tensor, share: float = 0.8) -> Tensor:
    """Which steps belong to the share of their group with the highest mean token entropy, bool[B].

    entropies  float[B, T], of the tokens of each step's reply
    mask       bool[B, T] or 0/1 numbers: the tokens that count. A step without any is never chosen and is not counted.
    groups     int[B]: equal numbers mark the steps of one group, those of all of its members
    share      0 < share <= 1. Of n steps the ceil(share * n) highest are chosen, so at least one; of equal ones the earlier.

    Raises ValueError for shapes that differ, another share, an entropy that counts and is not finite.

    Source: DART-GUI, arXiv 2509.23866, section 3. Its released code has the selection commented out; what stands there takes the
    highest of the whole batch by a mean that padding takes part in.
    """
    check_shapes("entropies", entropies, 2, mask=mask)
    check_shapes("groups", groups, 1)
    if len(groups) != len(entropies):
        raise ValueError(f"groups has {len(groups)} entries; entropies has {len(entropies)} rows")
    if not 0 < share <= 1:
        raise ValueError(f"share is {share}; it must be above 0 and at most 1")
    valid = mask != 0
    if not bool(entropies[valid].isfinite().all()):
        raise ValueError("entropies has entries that count and are not finite")
    means, counted = masked_mean(entropies, valid, dim=1), valid.any(1)
    chosen = torch.zeros_like(counted)
    for group in groups.unique():
        rows = ((groups == group) & counted).nonzero()[:, 0]
        ordered = rows[means[rows].argsort(descending=True, stable=True)]
        chosen[ordered[: math.ceil(share * len(rows) - ROUNDING)]] = True
    return chosen
