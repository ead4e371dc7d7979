"""Means over the tokens that count, and how token losses become one number."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

AGGREGATIONS = ("token-mean", "token-sum", "seq-mean-token-sum", "seq-mean-token-sum-norm", "seq-mean-token-mean")


def check_choice(name: str, value: str, allowed: Sequence[str]) -> None:
    """Raise ValueError unless `value` is one of `allowed`."""
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(allowed)}")


def check_shapes(name: str, tensor: Tensor, dims: int | None = None, **others: Tensor | None) -> None:
    """Raise ValueError unless `tensor` has `dims` dimensions and all `others` its shape. Those that are None are not looked at."""
    if dims is not None and tensor.dim() != dims:
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}; it must have {dims} dimension{'s' * (dims > 1)}")
    for other, given in others.items():
        if given is not None and given.shape != tensor.shape:
            raise ValueError(f"{other} has shape {tuple(given.shape)}; {name} has {tuple(tensor.shape)}")


def masked_mean(values: Tensor, mask: Tensor, dim: int | None = None) -> Tensor:
    """Mean of `values` where `mask` is not 0: over everything, or along `dim`. Where nothing counts it and its gradient are 0.

    values  float[...]
    mask    bool or 0/1 numbers, of the shape of `values`

    Raises ValueError for another shape. The division is exact; verl adds 1e-8 to the count.
    """
    check_shapes("values", values, mask=mask)
    valid = mask != 0
    kept = torch.where(valid, values, 0.0)
    if dim is None:
        return kept.sum() / valid.sum().clamp(min=1)
    return kept.sum(dim) / valid.sum(dim).clamp(min=1)


@torch.no_grad()
def masked_whiten(values: Tensor, mask: Tensor, eps: float = 1e-8) -> Tensor:
    """(values - mean) / sqrt(variance + eps) over all tokens that count, 0 elsewhere; without gradient.

    values  float[...]
    mask    bool or 0/1 numbers, of the shape of `values`

    The variance is the unbiased one (n - 1). Fewer than two tokens, or tokens that are all equal, give exactly 0: they hold no
    comparison. Raises ValueError for another shape. Source: verl's `masked_whiten`, which fails for one token and leaves numbers in
    the masked places.
    """
    check_shapes("values", values, mask=mask)
    valid = mask != 0
    count = valid.sum()
    centred = torch.where(valid, values - masked_mean(values, valid), 0.0)
    variance = centred.square().sum() / (count - 1).clamp(min=1)
    # Rounding alone would leave 1e-17 / 1e-4 of equal values.
    highest = torch.where(valid, values, -torch.inf).amax() if values.numel() else values.sum()
    lowest = torch.where(valid, values, torch.inf).amin() if values.numel() else values.sum()
    return torch.where(valid & ~(highest <= lowest), centred * (variance + eps).rsqrt(), 0.0)


def aggregate(
    loss: Tensor,
    mask: Tensor,
    mode: str = "token-mean",
    *,
    token_count: float | None = None,
    sequence_count: float | None = None,
    scale: float | None = None,
) -> Tensor:
    """One number, float[], from the losses of tokens.

    loss            float[B, T]; a row is a sequence
    mask            bool[B, T] or 0/1 numbers: the tokens that count. A sequence counts if one of its tokens does.
    mode            with S the sum over the tokens of a sequence:
                    "token-mean"               sum of S / token_count
                    "token-sum"                sum of S
                    "seq-mean-token-sum"       sum of S / sequence_count
                    "seq-mean-token-sum-norm"  sum of S / (sequence_count * scale)
                    "seq-mean-token-mean"      sum of (S / tokens of this sequence) / sequence_count
    token_count     tokens that count in the whole update: in all micro-batches, on all ranks. None: those of this batch.
    sequence_count  sequences that count in the whole update, likewise.
    scale           the constant of "seq-mean-token-sum-norm", for example the most tokens that a sequence may have. None: T, the
                    padded width; then the result depends on padding, so whoever splits or packs batches must give it.

    With the counts of the whole update the results of its micro-batches add up to the result of the whole, and so do the gradients.
    Where nothing counts the result is 0 with gradient 0. The gradient for a token that does not count is 0; a caller whose own
    computation of it divides by 0 must mask its inputs too, since 0 times infinity is NaN.

    Raises ValueError for an unknown mode, another shape, a negative count, a scale that is not positive.

    Source: modes and names are verl's `agg_loss`. "token-mean" is DAPO (arXiv 2503.14476, section 3.3), "seq-mean-token-mean" GRPO
    (arXiv 2402.03300), "seq-mean-token-sum-norm" Dr. GRPO (arXiv 2503.20783).
    """
    check_choice("mode", mode, AGGREGATIONS)
    check_shapes("loss", loss, 2, mask=mask)
    valid = mask != 0
    sums = torch.where(valid, loss, 0.0).sum(1)
    if mode == "token-sum":
        return sums.sum()
    if mode == "token-mean":
        return sums.sum() / divisor("token_count", token_count, valid.sum())
    if mode == "seq-mean-token-sum-norm":
        scale = max(loss.shape[1], 1) if scale is None else scale
        if not scale > 0:
            raise ValueError(f"scale is {scale}; it must be positive")
        sums = sums / scale
    elif mode == "seq-mean-token-mean":
        sums = sums / valid.sum(1).clamp(min=1)
    return sums.sum() / divisor("sequence_count", sequence_count, valid.any(1).sum())


def divisor(name: str, given: float | None, own: Tensor) -> float | Tensor:
    """`given`, or without it `own`, and 1 in place of 0: the sum that is divided is then 0."""
    if given is None:
        return own.clamp(min=1)
    if not given >= 0:
        raise ValueError(f"{name} is {given}; it must not be negative")
    return given or 1.0
