"""Choosing the next token of many replies at once, each with its own temperature, top-p and random number."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from stepladder.types import Sampling

#: No log-probability in an entropy counts as less: its probability is 0 in any precision.
LEAST = -1e4


def sample_tokens(
    logits: Tensor, settings: Sequence[Sampling], uniforms: Sequence[float], banned: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """(token int64[B], its log-probability float32[B], entropy float32[B]) from logits float[B, V].

    `banned` int64[K] ids get probability 0 before anything else. Row b is divided by its temperature, cut to its top-p nucleus
    (A. Holtzman et al., arXiv 1904.09751: the smallest set of most probable tokens that reaches top_p), and the token is the
    place in the cumulative distribution where `uniforms[b]`, in [0, 1), falls: one number for each token, so that a reply does
    not depend on what else is in the batch. Log-probability and entropy, in nats, are those of the distribution which was sampled.
    A row of temperature 0 takes the most probable token; both numbers are then those of temperature 1.
    """
    device = logits.device
    temperature = torch.tensor([each.temperature for each in settings], device=device)[:, None]
    greedy = temperature == 0
    top_p = torch.tensor([1.0 if each.temperature == 0 else each.top_p for each in settings], device=device)[:, None]
    scaled = logits.float().index_fill(-1, banned, -torch.inf) / torch.where(greedy, 1.0, temperature)
    logprobs = scaled.log_softmax(-1)
    if bool((top_p < 1).any()):
        logprobs = _nucleus(logprobs, top_p)
    probabilities = logprobs.exp()
    cumulative = probabilities.cumsum(-1, dtype=torch.float64)
    threshold = torch.tensor(list(uniforms), dtype=torch.float64, device=device)[:, None] * cumulative[:, -1:]
    drawn = torch.searchsorted(cumulative, threshold, right=True)
    tokens = torch.where(greedy, logprobs.argmax(-1, keepdim=True), drawn)
    # What cannot be sampled adds 0 and not 0 times infinity.
    entropies = -logprobs.clamp(min=LEAST).mul_(probabilities).sum(-1)
    return tokens[:, 0], logprobs.gather(-1, tokens)[:, 0], entropies


def _nucleus(logprobs: Tensor, top_p: Tensor) -> Tensor:
    ordered, order = logprobs.sort(dim=-1, descending=True, stable=True)
    probabilities = ordered.exp()
    before = probabilities.cumsum(-1) - probabilities
    outside = (before >= top_p) & (top_p < 1)
    outside[:, 0] = False
    kept = logprobs.scatter(-1, order, ordered.masked_fill(outside, -torch.inf))
    return kept.log_softmax(-1)
