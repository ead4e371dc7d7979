"""How much memory training takes, estimated from the shape of the model and of the largest micro-batch before anything is computed.

    weights, gradients, optimizer   of every parameter as it is stored, divided where `train.shard` divides
    activations                     what the layers keep for the backward pass, counted operation by operation, and the memory that
                                    one layer works with
    logits                          of so many tokens as exist at a time (`models.forward.in_pieces`)
    copies                          other models: reference, teacher, average
    reduction                       the copy of the gradients that is sent to the other ranks, when the activations are gone

What a layer keeps was counted with `torch.autograd.graph.saved_tensors_hooks`; tests compare the sums with what an update takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers import Qwen3VLConfig

from stepladder.models import forward
from stepladder.models.heads import LETTER_SLOTS, LETTERS
from stepladder.models.lora import is_adapter
from stepladder.pressure import room_left
from stepladder.train.batch import Batch
from stepladder.train.optimizer import is_for_muon

GIB = float(2**30)
#: Parameters that `train.shard` divides, by the beginnings of their names.
_DIVIDED = ("model.language_model.layers.", "model.language_model.embed_tokens.", "lm_head.")
#: Matrices of the vocabulary's size that exist for each token with logits: the logits and their log-softmax, and the gradient;
#: with a policy's losses also those of the entropy.
_IMITATION_LOGITS, _POLICY_LOGITS = 3, 4


@dataclass(frozen=True)
class Held:
    """Bytes of parameters, or of what belongs to them: of those that sharding divides, and of the others."""

    divided: float = 0.0
    whole: float = 0.0

    def on_each(self, ranks: int) -> float:
        """Bytes on each of so many ranks among which it is divided."""
        return self.divided / ranks + self.whole


@dataclass(frozen=True)
class Parameters:
    """What the parameters of a training take: `weights` of all of them, `gradients` and `optimizer` of those that learn. `rank` is
    that of adapters, of which nothing but them learns (0: there are none); `vision` says whether the vision tower learns."""

    weights: Held
    gradients: Held
    optimizer: Held
    vision: bool
    rank: int = 0

    @classmethod
    def of(cls, named: Iterable[tuple[str, Tensor]], optimizer: str) -> Parameters:
        """Of named parameters, those with `requires_grad` learning; they may be on the device "meta"."""
        sums = {what: [0.0, 0.0] for what in ("weights", "gradients", "optimizer")}
        vision, rank = False, 0
        for name, parameter in named:
            divided = name.startswith(_DIVIDED) and not (parameter.ndim == 1 and "norm" in name)
            place, size = int(not divided), parameter.numel() * parameter.element_size()
            sums["weights"][place] += size
            if not parameter.requires_grad:
                continue
            sums["gradients"][place] += size
            sums["optimizer"][place] += size * (1 if optimizer == "muon" and is_for_muon(name, parameter) else 2)
            vision = vision or name.startswith("model.visual")
            if is_adapter(name):
                rank = max(rank, min(parameter.shape))
        return cls(**{what: Held(*pair) for what, pair in sums.items()}, vision=vision, rank=rank)

    def adapted(self, config: Qwen3VLConfig, rank: int) -> Parameters:
        """With adapters of this rank in all layers of the language model, which alone learn, by AdamW."""
        added = 4.0 * rank * sum(rows + columns for rows, columns in _matrices(config)) * config.text_config.num_hidden_layers
        weights = Held(self.weights.divided + added, self.weights.whole)
        return Parameters(weights, Held(added), Held(2 * added), vision=False, rank=rank)


@dataclass(frozen=True)
class Shape:
    """A micro-batch: `rows` of `length` tokens, of which `trained` have logits; `patches` of all its pictures, `picture` of the
    largest; `policy`: with the losses of a policy; `whole_logits`: not in pieces; `classes` of a perception head that learns."""

    rows: int
    length: int
    trained: int
    patches: int = 0
    picture: int = 0
    policy: bool = False
    whole_logits: bool = False
    classes: int = 0

    @classmethod
    def of(cls, batch: Batch, text: bool = True) -> Shape:
        """Without `text` the language model is left out."""
        rows, length = batch.tokens.shape if text and batch.tokens.ndim == 2 else (0, 0)
        grid = torch.zeros(0, 3) if batch.grid is None else batch.grid
        patches = grid.prod(-1).tolist()
        return cls(
            rows=rows,
            length=length,
            trained=len(batch.targets) if text else 0,
            patches=int(sum(patches)),
            picture=int(max(patches, default=0)),
            policy=bool(batch.field("w_pg").any() or batch.field("w_kl").any() or batch.field("returns").isfinite().any()),
            whole_logits=batch.teacher is not None,
        )

    def halved(self) -> Shape:
        """Half of the rows and of the pictures."""
        half = {name: -(-getattr(self, name) // 2) for name in ("rows", "trained", "patches")}
        return replace(self, **half, picture=min(self.picture, half["patches"]))


@dataclass(frozen=True)
class Setting:
    """What memory depends on beside the parameters and the shape. `fused`: attention keeps no scores, as on a GPU and, without
    `autocast`, on a CPU. `copies` are bytes of other models."""

    autocast: bool = False
    checkpointing: bool = False
    world: int = 1
    sharded: bool = False
    fused: bool = False
    copies: float = 0.0


@dataclass(frozen=True)
class Estimate:
    """Bytes on one rank; see the module."""

    weights: float
    gradients: float
    optimizer: float
    activations: float = 0.0
    working: float = 0.0
    logits: float = 0.0
    copies: float = 0.0
    reduction: float = 0.0

    @property
    def total(self) -> float:
        """The most that is needed at a time."""
        always = self.weights + self.gradients + self.optimizer + self.copies
        return always + max(self.activations + max(self.working, self.logits), self.reduction)

    def __str__(self) -> str:
        passing = self.activations + max(0.0, self.working - self.logits)
        parts = {"weights": self.weights, "gradients": self.gradients, "optimizer": self.optimizer, "activations": passing}
        parts |= {"logits": self.logits, "other models": self.copies}
        return f"{size(self.total)} ({', '.join(f'{name} {size(value)}' for name, value in parts.items() if value)})"


def size(count: float) -> str:
    """Bytes as a person reads them."""
    return f"{count / GIB:.1f} GiB" if count >= GIB / 10 else f"{count / 2**20:.0f} MiB"


def estimate(config: Qwen3VLConfig, parameters: Parameters, setting: Setting, shape: Shape | None = None) -> Estimate:
    """Of a training. Without a `shape` that of weights, gradients, optimizer and copies alone."""
    ranks = setting.world if setting.sharded else 1
    kept = working = logits = 0.0
    if shape is not None:
        text, vision = _text(config, parameters, setting, shape), _vision(config, parameters, setting, shape)
        kept, working, logits = text[0] + vision[0], max(text[1], vision[1]), _logits(config, setting, shape)
    return Estimate(
        weights=parameters.weights.on_each(ranks) + (_gathered(config) if ranks > 1 else 0.0),
        gradients=parameters.gradients.on_each(ranks),
        optimizer=parameters.optimizer.on_each(ranks),
        activations=kept,
        working=working,
        logits=logits,
        copies=setting.copies,
        reduction=0.0 if setting.world == 1 else parameters.gradients.whole + (parameters.gradients.divided if ranks == 1 else 0.0),
    )


def free_memory(device: torch.device, ranks: int = 1) -> float | None:
    """Bytes that one of `ranks` processes on this machine can still have; None where the system does not tell. On a GPU, which each
    rank has for itself, what PyTorch holds and does not use counts as free."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return float(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    room = room_left().memory if device.type == "cpu" else None
    return None if room is None else room / ranks


def _matrices(config: Qwen3VLConfig) -> Sequence[tuple[int, int]]:
    """(outputs, inputs) of the linear layers of one layer of the language model."""
    text = config.text_config
    hidden, inner, query, key = text.hidden_size, text.intermediate_size, *_widths(text)
    return [(query, hidden), (key, hidden), (key, hidden), (hidden, query), (inner, hidden), (inner, hidden), (hidden, inner)]


def _widths(text: Any) -> tuple[int, int]:
    return text.num_attention_heads * text.head_dim, text.num_key_value_heads * text.head_dim


def _gathered(config: Qwen3VLConfig) -> float:
    """What a rank has whole of a divided model at a time: two layers, the embeddings and the output layer."""
    text = config.text_config
    layer = sum(rows * columns for rows, columns in _matrices(config))
    return 4.0 * (2 * layer + text.vocab_size * text.hidden_size * (1 if config.tie_word_embeddings else 2))


def _text(config: Qwen3VLConfig, parameters: Parameters, setting: Setting, shape: Shape) -> tuple[float, float]:
    """(what the language model keeps for the backward pass, what one of its layers works with there)."""
    text, tokens = config.text_config, shape.rows * shape.length
    if not tokens:
        return 0.0, 0.0
    hidden, inner, (query, key) = text.hidden_size, text.intermediate_size, _widths(text)
    heads, frozen, scores = text.num_attention_heads, parameters.rank > 0, setting.autocast and not setting.fused
    number = 2 if setting.autocast else 4
    each = (8 if frozen else 16) * hidden + 8 + 4 * (heads + text.num_key_value_heads)  # the norms, in float32
    each += (4 if frozen else number + 4) * (query + key)  # the norms of queries and keys
    each += number * 4 * inner + 7 * number * parameters.rank
    each += 10 * hidden + 2 * query if setting.autocast else 8 * hidden  # inputs of linear layers; autocast copies each
    if scores:
        each += 6 * query + 2 * heads * shape.length  # queries, keys and values of every head; softmax
    else:
        each += number * 3 * query + (0 if setting.autocast else 4 * query) + 4 * heads
        each += 0 if setting.autocast else 4 * shape.length  # the mask as numbers
    layer, cast = float(each * tokens), 0.0
    if setting.autocast:
        cast = 2.0 * sum(rows * columns for rows, columns in _matrices(config))
    ends = tokens * (8 * hidden + 8 * text.head_dim + (3 if setting.autocast else 1) * shape.length)
    ends += 4.0 * hidden * (tokens + shape.trained)
    working = tokens * (3 * number * inner + 8 * hidden + 6 * heads * shape.length * scores)
    layers = text.num_hidden_layers
    if not setting.checkpointing:
        return layers * (layer + cast) + ends, float(working)
    # Autocast keeps its copies of weights that learn until the forward pass is over.
    return layers * (4.0 * hidden * tokens + (0 if frozen else cast)) + ends, layer + cast + working


def _vision(config: Qwen3VLConfig, parameters: Parameters, setting: Setting, shape: Shape) -> tuple[float, float]:
    """(pixels, visual tokens and what the vision tower keeps for the backward pass, what one of its blocks works with)."""
    vision, patches = config.vision_config, shape.patches
    if not patches:
        return 0.0, 0.0
    hidden, inner, heads = vision.hidden_size, vision.intermediate_size, vision.num_heads
    number, mergers = (2 if setting.autocast else 4), 1 + len(vision.deepstack_visual_indexes)
    pixels = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
    scores = 2 * heads * shape.picture if setting.autocast and not setting.fused else 4 * heads
    tokens = patches / vision.spatial_merge_size**2
    ends = 4.0 * pixels * patches + 4.0 * mergers * vision.out_hidden_size * tokens
    working = patches * (number * (2 * inner + 4 * hidden) + 2.0 * scores)
    if not parameters.vision:
        return ends, working
    # Products take queries, keys and values apart; fused kernels what they were computed as.
    wide = 8 if setting.autocast and not setting.fused else 10
    block = float(patches * (number * (wide * hidden + 2 * inner) + 16 + scores))
    cast = 2.0 * (4 * hidden**2 + 2 * hidden * inner) if setting.autocast else 0.0
    ends += patches * (number * pixels + 4 * number * hidden * mergers + 48)
    if setting.autocast:
        merged = hidden * vision.spatial_merge_size**2
        ends += 2.0 * mergers * merged * (merged + vision.out_hidden_size)
    ends += tokens * shape.classes and tokens * (12.0 * shape.classes + 8.0 * LETTER_SLOTS * (len(LETTERS) + 1))
    if not setting.checkpointing:
        return vision.depth * (block + cast) + ends, working
    return vision.depth * (float(number * hidden * patches) + cast) + ends, block + cast + working


def _logits(config: Qwen3VLConfig, setting: Setting, shape: Shape) -> float:
    """What has the vocabulary's size for each trained token."""
    entries, count = config.text_config.vocab_size, shape.trained
    if not shape.whole_logits and not setting.sharded:
        count = min(count, max(1, forward.MOST_LOGITS // entries))
    kinds = _POLICY_LOGITS if shape.policy or shape.whole_logits else _IMITATION_LOGITS
    return 4.0 * kinds * entries * count
