"""One-token rollout: supervised training as a policy gradient on tokens that the policy itself would say in the place of each.

At a trained position with true token y the policy p draws K tokens a_1 .. a_K from softmax(logits / temperature). A token earns
R(a) = 1 where it is y and `beta` elsewhere, and

    loss = -(1 / K) sum_k R(a_k) log p(a_k),    the draws being constants.

What is exact. With c(a) the share of the draws that are a, the gradient for logit j is -(R(j) c(j) - p(j) sum_a R(a) c(a)). Its
expectation replaces c by the distribution that is drawn from, which the trainer has in full, so K draws are only a noisy version of
what `samples` 0 computes. At temperature 1 that expectation is

    (1 - beta) p(y)  times  the gradient of the cross entropy -log p(y):

a token counts by how probable it is already, and beta is no more than a factor of the learning rate. (With beta 0 it is the loss of
dynamic fine-tuning, arXiv 2508.05629.) Elsewhere beta has a shape of its own: above temperature 1 the tokens that are drawn more
often than the policy says them become less probable.

A token that the policy holds for impossible teaches nothing here: this is for checkpoints that half know what they are to learn,
not for training from random weights.

Source: R. Ming et al., One-Token Rollout, arXiv 2509.26313, section 3. `samples` 0, temperature 1 and beta 0 as defaults are ours.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stepladder.config import ConfigError
from stepladder.train.batch import Batch


@dataclass(frozen=True)
class OneTokenRollout:
    """`samples` tokens are drawn in every place (0: the expectation over all), at `temperature`; a wrong one earns `beta`."""

    samples: int = 0
    temperature: float = 1.0
    beta: float = 0.0

    def check(self, name: str = "one_token") -> None:
        """Raises ConfigError for what cannot be; `name` is that of the setting."""
        if self.samples < 0:
            raise ConfigError(f"{name}.samples is {self.samples}; it must be at least 1, or 0 for the expectation")
        if not self.temperature > 0:
            raise ConfigError(f"{name}.temperature is {self.temperature}; it must be positive")
        if not -1 <= self.beta < 1:
            raise ConfigError(f"{name}.beta is {self.beta}; a wrong token must earn less than 1, the right one's, and at least -1")


def one_token_losses(logits: Tensor, targets: Tensor, settings: OneTokenRollout, uniforms: Tensor | None = None) -> Tensor:
    """Loss float[N] of each token, with gradient; its value is of no interest, being 0 wherever the policy never says the truth.

    logits    float[N, V]; entries of a token that is never sampled may be -infinity
    targets   int64[N], the true tokens
    uniforms  float64[N, K] in [0, 1): the draws by inverse transform; None: the expectation over all draws
    """
    logprobs = logits.log_softmax(-1)
    shares = drawn_shares(logits.detach(), settings.temperature, uniforms)
    right = shares.gather(-1, targets[:, None])[:, 0] * logprobs.gather(-1, targets[:, None])[:, 0]
    if not settings.beta:
        return -right
    # What is never drawn adds 0 and not 0 times infinity.
    everything = (shares * logprobs.masked_fill(shares == 0, 0.0)).sum(-1)
    return -(right + settings.beta * (everything - right))


@torch.no_grad()
def drawn_shares(logits: Tensor, temperature: float, uniforms: Tensor | None) -> Tensor:
    """float[N, V]: the share that each token has among the draws, or for None its probability to be drawn."""
    probabilities = (logits / temperature).softmax(-1)
    if uniforms is None:
        return probabilities
    cumulative = probabilities.cumsum(-1, dtype=torch.float64)
    drawn = torch.searchsorted(cumulative, uniforms * cumulative[:, -1:], right=True).clamp(max=logits.shape[-1] - 1)
    each = torch.full_like(uniforms, 1 / uniforms.shape[1], dtype=probabilities.dtype)
    return torch.zeros_like(probabilities).scatter_add_(-1, drawn, each)


def reply_uniforms(batch: Batch, samples: int, seed: int, step: int) -> Tensor:
    """float64[N, samples] in [0, 1) for the N trained tokens of a batch, where the batch is.

    They follow from the seed, the update and what stands before and in each reply, not from its place in the batch: the gradient
    does not depend on packing, micro-batches or ranks (law 5), and a run that is resumed draws the same again (law 7)."""
    width = batch.tokens.shape[1]
    tokens, owners, segments = (values.cpu().numpy() for values in (batch.tokens, batch.owners, batch.segments))
    source, targets = batch.source.cpu().numpy(), batch.targets.cpu().numpy()
    drawn, start = [], 0
    for length in batch.reply_lengths.tolist():
        row, column = divmod(int(source[start]), width)
        owner, segment = owners[row, : column + 1], segments[row, : column + 1]
        seen = (owner == owner[column]) & ((segment == 0) | (segment == segment[column]))
        content = tokens[row, : column + 1][seen].tobytes() + targets[start : start + length].tobytes()
        digest = hashlib.blake2b(f"{seed} {step} ".encode() + content, digest_size=16).digest()
        drawn.append(np.random.default_rng(int.from_bytes(digest)).random((length, samples)))
        start += length
    return torch.from_numpy(np.concatenate(drawn) if drawn else np.zeros((0, samples))).to(batch.tokens.device)
