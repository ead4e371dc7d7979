"""Rotary positions for a longer context: position interpolation, NTK-aware, YaRN.

A model turns the pair i of a head's dimensions by position * frequency_i. Beyond the length that it was trained with, slow pairs
meet angles that they have never seen. Each remapping changes the frequencies so that `factor` times that length stays among
known angles; a short training at the new length then adapts the rest. The three axes of M-RoPE (time, height, width) share the
frequencies, so which axis a pair belongs to stays as it was.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import Qwen3VLForConditionalGeneration

RopeKind = Literal["linear", "ntk", "yarn"]
#: Entries that a remapping leaves as they are.
KEPT = ("rope_theta", "mrope_section", "mrope_interleaved")
#: How far transformers' frequencies may be from ours, as a share.
ROUNDING = 1e-5


@dataclass(frozen=True)
class Rope:
    """Rotary positions before any remapping: the base theta, the size of a head, the context in tokens that the model was trained
    with, and the entries of its configuration that stay (`parameters`)."""

    theta: float
    head: int
    context: int
    parameters: Mapping[str, Any]


def rope_of(model: Qwen3VLForConditionalGeneration, context: int | None = None) -> Rope:
    """What a model's rotary positions were before they were remapped. `context` is the length that it was trained with (None: what
    its configuration says). An NTK-aware remapping leaves no trace but a larger base, and is taken for the model's own.

    Raises ValueError for a kind of remapping that is none of these.
    """
    config = model.config.text_config
    parameters, kind = dict(config.rope_parameters), config.rope_parameters["rope_type"]
    if kind == "yarn":
        known = int(parameters["original_max_position_embeddings"])
    elif kind == "linear":
        known = round(config.max_position_embeddings / parameters["factor"])
    elif kind == "default":
        known = int(config.max_position_embeddings)
    else:
        raise ValueError(f"the model's rotary positions are of the type {kind!r}; default, linear and yarn can be remapped")
    kept = {name: parameters[name] for name in KEPT if name in parameters}
    return Rope(float(parameters["rope_theta"]), int(config.head_dim), context or known, kept)


def remapped(rope: Rope, kind: RopeKind, context: int) -> dict[str, Any]:
    """`rope_parameters` of a model's configuration, in transformers' terms, for a context of that many tokens.

    NTK-aware is written as another base, so that whatever reads a configuration reads it; transformers' "dynamic" type is another
    thing, which depends on the length of each sequence. A context that is not longer leaves everything as it was.
    """
    factor = context / rope.context
    if factor <= 1:
        return {**rope.parameters, "rope_type": "default"}
    if kind == "ntk":
        return {**rope.parameters, "rope_type": "default", "rope_theta": ntk_theta(rope.theta, rope.head, factor)}
    if kind == "linear":
        return {**rope.parameters, "rope_type": "linear", "factor": factor}
    return {
        **rope.parameters,
        "rope_type": "yarn",
        "factor": factor,
        "original_max_position_embeddings": rope.context,
        "attention_factor": yarn_temperature(factor),
    }


def remap(model: Qwen3VLForConditionalGeneration, rope: Rope, kind: RopeKind, context: int) -> None:
    """Give the model the rotary positions of a longer context, in its configuration (a saved checkpoint loads with them) and at
    once. Its largest position becomes `context` where that is more than it was.

    Raises RuntimeError when the installed transformers makes other frequencies of the configuration than are meant here.
    """
    text = model.model.language_model
    config = text.config
    config.rope_parameters = remapped(rope, kind, context)
    config.max_position_embeddings = max(int(config.max_position_embeddings), context)
    model.config.text_config = config
    device = text.rotary_emb.inv_freq.device
    text.rotary_emb = type(text.rotary_emb)(config).to(device)
    meant, scale = frequencies(config.rope_parameters, rope.head)
    made = text.rotary_emb.inv_freq.cpu()
    if not torch.allclose(made, meant, rtol=ROUNDING, atol=0) or not math.isclose(text.rotary_emb.attention_scaling, scale):
        raise RuntimeError(f"this version of transformers makes other frequencies of {config.rope_parameters} than are meant")


def frequencies(parameters: Mapping[str, Any], head: int) -> tuple[Tensor, float]:
    """(float32[head / 2] radians a position, the factor of the rotated queries and keys) of `rope_parameters`.

    default: f_i = theta^(-2i / head). linear: f_i / s (position interpolation, S. Chen et al., arXiv 2306.15595, equation 4).
    yarn: see `yarn_frequencies`.
    """
    plain = plain_frequencies(parameters["rope_theta"], head)
    if parameters["rope_type"] == "default":
        return plain, 1.0
    factor = float(parameters["factor"])
    if parameters["rope_type"] == "linear":
        return plain / factor, 1.0
    scale = parameters.get("attention_factor") or yarn_temperature(factor)
    ends = (parameters.get("beta_fast") or 32.0, parameters.get("beta_slow") or 1.0)
    context = int(parameters["original_max_position_embeddings"])
    return yarn_frequencies(plain, parameters["rope_theta"], factor, context, *ends), float(scale)


def plain_frequencies(theta: float, head: int) -> Tensor:
    """float32[head / 2]: theta^(-2i / head) (RoFormer, J. Su et al., arXiv 2104.09864, section 3.2.2)."""
    return 1.0 / theta ** (torch.arange(0, head, 2, dtype=torch.float32) / head)


def ntk_theta(theta: float, head: int, factor: float) -> float:
    """The base theta * s^(d / (d - 2)), with which the slowest pair turns s times slower and the fastest as before (bloc97, 2023;
    as in YaRN, B. Peng et al., arXiv 2309.00071, section 3.1)."""
    return float(theta * factor ** (head / (head - 2)))


def yarn_frequencies(plain: Tensor, theta: float, factor: float, context: int, fast: float = 32.0, slow: float = 1.0) -> Tensor:
    """float32[head / 2]: pairs that turn more than `fast` times within the trained context stay, those that turn less than `slow`
    times are interpolated, and between them there is a ramp over the pair's number ("NTK-by-parts", arXiv 2309.00071, section 3.2,
    with the ramp's ends at whole numbers as its authors' code has them)."""
    head = 2 * len(plain)

    def pair_that_turns(times: float) -> float:
        return head * math.log(context / (times * 2 * math.pi)) / (2 * math.log(theta))

    low, high = max(math.floor(pair_that_turns(fast)), 0), min(math.ceil(pair_that_turns(slow)), head - 1)
    width = high - low or 0.001
    ramp = ((torch.arange(len(plain), dtype=torch.float32) - low) / width).clamp(0, 1)
    return plain / factor * ramp + plain * (1 - ramp)


def yarn_temperature(factor: float) -> float:
    """sqrt(1 / t) = 0.1 ln(s) + 1, by which queries and keys are both multiplied (arXiv 2309.00071, equation 15)."""
    return 0.1 * math.log(factor) + 1.0 if factor > 1 else 1.0
