"""What a preference loss learns from, and how far each reply is to become more or less probable by it.

An example is two replies to prompts. For losses on pairs they are the preferred reply and the other one, and both learn. For KTO
they are a reply that was called good or bad, which learns, and that reply to a prompt of another example, by which the divergence
from the reference is estimated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from stepladder.algos.kto import kto_loss, policy_divergence
from stepladder.algos.preference import PairLoss, dpo_loss, reply_advantages
from stepladder.algos.preference_variants import ipo_loss, simpo_loss, with_imitation
from stepladder.compare.forks import PreferencePair
from stepladder.compare.replies import JudgedReply
from stepladder.stages.prefer_config import PreferConfig
from stepladder.types import Completion, Prompt


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """A reply to a prompt; `key` says where it comes from."""

    prompt: Prompt
    reply: Completion
    key: str


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """`good` is None for a pair. `task` and `seed` are its start."""

    first: Asked
    second: Asked
    good: bool | None
    task: str
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """Of B examples: summed log-probabilities float64[2, B] of first and second replies, under the present weights and under the
    reference, the replies' numbers of tokens float64[2, B], and which are `good` bool[B]."""

    present: Tensor
    reference: Tensor
    lengths: Tensor
    good: Tensor


def of_pairs(pairs: Sequence[PreferencePair]) -> list[Example]:
    """One example for each pair."""
    examples = []
    for pair in pairs:
        key = f"{pair.failure}/{pair.step}"
        first, second = Asked(pair.prompt, pair.chosen, key), Asked(pair.prompt, pair.rejected, key)
        examples.append(Example(first, second, None, pair.task, pair.seed))
    return examples


def of_replies(judged: Sequence[JudgedReply]) -> list[Example]:
    """One example for each reply. It is also put to the prompt of the next example that was asked something else; where all were
    asked the same, to its own."""
    examples = []
    asked = [(tuple((message.role, message.content) for message in one.prompt.messages)) for one in judged]
    for number, one in enumerate(judged):
        later = ((number + step) % len(judged) for step in range(1, len(judged)))
        other = judged[next((place for place in later if asked[place] != asked[number]), number)]
        key = f"{one.source}/{one.step}"
        mismatched = Asked(other.prompt, one.reply, f"{key} to {other.source}/{other.step}")
        examples.append(Example(Asked(one.prompt, one.reply, key), mismatched, one.good, one.task, one.seed))
    return examples


def trained(config: PreferConfig) -> int:
    """How many of the two replies of an example learn."""
    return 1 if config.loss == "kto" else 2


def divergence_parts(measured: Measured) -> tuple[float, int]:
    """(sum, count) over mismatched replies of how far their log-probability has moved from the reference."""
    moved = measured.present[1] - measured.reference[1]
    return float(moved.sum()), len(moved)


def slopes(config: PreferConfig, measured: Measured, divergence: float) -> tuple[Tensor, dict[str, Tensor]]:
    """(advantages float64[trained, B], metrics with the mean "loss"): minus the derivative of each example's loss by the
    log-probability of its replies; see `algos.preference.reply_advantages`. `divergence` is KTO's, over all ranks."""
    if config.loss == "kto":
        loss = partial(kto_loss, beta=config.beta, good_weight=config.kto.good_weight, bad_weight=config.kto.bad_weight)
        leaf = measured.present[0].detach().requires_grad_()
        with torch.enable_grad():
            losses, metrics = loss(leaf, measured.reference[0], measured.good, divergence)
            (slope,) = torch.autograd.grad(losses.sum(), leaf)
        return -slope[None], {"loss": losses.detach().mean(), **metrics}
    good, bad, metrics = reply_advantages(_pair_loss(config, measured), measured.present[0], measured.present[1])
    return torch.stack([good, bad]), metrics


def estimated_divergence(parts: Sequence[tuple[float, int]]) -> float:
    """KTO's estimate from the parts of all ranks."""
    count = sum(number for _, number in parts)
    if not count:
        return 0.0
    mean = torch.tensor([sum(moved for moved, _ in parts) / count], dtype=torch.float64)
    return float(policy_divergence(mean, torch.zeros_like(mean)))


def _pair_loss(config: PreferConfig, measured: Measured) -> PairLoss:
    loss = _loss_of_the_margin(config, measured)
    return with_imitation(loss, measured.lengths[0], config.imitation) if config.imitation else loss


def _loss_of_the_margin(config: PreferConfig, measured: Measured) -> PairLoss:
    reference = {"ref_chosen": measured.reference[0], "ref_rejected": measured.reference[1]}
    lengths = {"chosen_lengths": measured.lengths[0], "rejected_lengths": measured.lengths[1]}
    if config.loss == "ipo":
        return partial(ipo_loss, **reference, **lengths, beta=config.beta, average=config.ipo.average)
    if config.loss == "simpo":
        smoothing = config.label_smoothing
        return partial(simpo_loss, **lengths, beta=config.simpo.beta, gamma=config.simpo.gamma, label_smoothing=smoothing)
    return partial(dpo_loss, **reference, beta=config.beta, label_smoothing=config.label_smoothing, curve=config.curve)
