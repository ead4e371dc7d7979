"""How far a student's next-token distribution is from a teacher's, over all tokens or over those that the student finds likely."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from stepladder.algos.masked import aggregate, check_shapes

#: A set of tokens that holds all probability but for rounding leaves a tail of this much.
_LEAST_TAIL = 1e-7


def distillation_divergence(student_logprobs: Tensor, teacher_logprobs: Tensor, alpha: float = 0.5) -> Tensor:
    """Divergence of two distributions over the last dimension, float[...] from float[..., K]; only the student has a gradient.

        alpha = 0   KL(teacher || student), "forward": cover whatever the teacher finds likely
        alpha = 1   KL(student || teacher), "reverse": keep to what the teacher finds likely
        else        (1 - alpha) KL(student || M) + alpha KL(teacher || M),  M = (1 - alpha) student + alpha teacher,
                    the generalised Jensen-Shannon divergence

    Log-probabilities of -infinity are tokens that a distribution excludes; where the divergence would be infinite for it, it is
    very large instead. Raises ValueError for shapes that differ and an alpha outside [0, 1].

    Source: SDPO, arXiv 2601.20802; GKD, arXiv 2306.13649. As alpha goes to 0 or 1 the third line goes to 0, not to the others.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is {alpha}; it must be in [0, 1]")
    check_shapes("student_logprobs", student_logprobs, teacher_logprobs=teacher_logprobs)
    lowest = torch.finfo(student_logprobs.dtype).min / 4
    student = student_logprobs.clamp(min=lowest)
    teacher = teacher_logprobs.detach().to(student.dtype).clamp(min=lowest)
    if alpha == 0:
        return _divergence(teacher, student)
    if alpha == 1:
        return _divergence(student, teacher)
    middle = torch.logaddexp(student + math.log1p(-alpha), teacher + math.log(alpha))
    return (1 - alpha) * _divergence(student, middle) + alpha * _divergence(teacher, middle)


def _divergence(first: Tensor, second: Tensor) -> Tensor:
    """KL(first || second) over the last dimension. A token of probability 0 adds nothing, to the gradient either."""
    probability = first.exp()
    return (probability * torch.where(probability > 0, first - second, 0.0)).sum(-1)


def chosen_logprobs(logits: Tensor, chosen: Tensor | None, tail: bool = True) -> Tensor:
    """Log-probabilities float[..., K] of the tokens `chosen` int64[..., K] in the softmax of `logits` float[..., V].

    tail    True: one more entry, [..., K + 1], holds the probability of all others together. False: those of the chosen are made to
            sum to 1.
    chosen  None: all tokens, and no tail
    """
    logprobs = logits.log_softmax(-1)
    return logprobs if chosen is None else closed(logprobs.gather(-1, chosen), tail)


def closed(logprobs: Tensor, tail: bool) -> Tensor:
    """Log-probabilities float[..., K] of some tokens as a whole distribution: with the rest as one more entry, float[..., K + 1],
    or as if these were all."""
    total = logprobs.logsumexp(-1, keepdim=True)
    if not tail:
        return logprobs - total
    rest = torch.log(-torch.expm1(total.clamp(max=-_LEAST_TAIL)))
    return torch.cat([logprobs, rest], dim=-1)


def self_distillation_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    mask: Tensor,
    alpha: float = 0.5,
    top_k: int | None = 100,
    tail: bool = True,
    *,
    token_count: float | None = None,
) -> Tensor:
    """Mean divergence of the student from the teacher over the tokens that count, float[].

    student_logits  float[B, T, V] with gradient
    teacher_logits  float[B, T, V], constants: the same policy, or another, that was told more, on the student's own tokens
    mask            bool[B, T] or 0/1 numbers: the tokens that count. What stands elsewhere has no influence.
    alpha           as in `distillation_divergence`
    top_k           compare the probabilities of the student's `top_k` likeliest tokens alone (None, or V and more: of all)
    tail            and of all others together; False: of the chosen as if there were no others
    token_count     the tokens to divide by, where this is a part of a batch; None: those of the mask

    Raises ValueError for shapes that differ, a top_k below 1, an alpha outside [0, 1].

    Source: SDPO, arXiv 2601.20802, section 3 and its code's `compute_self_distillation_loss` (alpha 0.5, top_k 100, tail).
    """
    check_shapes("student_logits", student_logits, 3, teacher_logits=teacher_logits)
    if mask.shape != student_logits.shape[:2]:
        raise ValueError(f"mask has shape {tuple(mask.shape)}; student_logits has {tuple(student_logits.shape)}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k is {top_k}; it must be at least 1, or None for all tokens")
    valid = mask != 0
    # Masked before any arithmetic: where only the result is masked, the gradient of a NaN is NaN.
    student = torch.where(valid[..., None], student_logits, 0.0)
    teacher = torch.where(valid[..., None], teacher_logits.detach(), 0.0)
    chosen = None
    if top_k is not None and top_k < student.shape[-1]:
        chosen = student.detach().topk(top_k, dim=-1).indices
    divergence = distillation_divergence(chosen_logprobs(student, chosen, tail), chosen_logprobs(teacher, chosen, tail), alpha)
    return aggregate(divergence, valid, "token-mean", token_count=token_count)
