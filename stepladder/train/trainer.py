"""The trainer: weighted sums of per-token losses over global counts, and nothing that knows an algorithm.

    loss = sum_k weight_k * (sum of loss k over all tokens of the update) / (count of k over all tokens of the update)

The losses on sampled tokens (policy gradient, KL, value) are as a `PolicyObjective` says; it may also average over replies.

"All tokens of the update" means over every micro-batch and every rank, so the gradient depends neither on micro-batch size, packing
and accumulation nor on the number of ranks (law 5). The counts are known before the first forward pass.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from transformers import Qwen3VLForConditionalGeneration

from stepladder.algos.distillation import closed, distillation_divergence
from stepladder.algos.objective import COUNTS, PolicyObjective, SampledTokens, policy_terms
from stepladder.algos.ops import MAXIMA, entropy
from stepladder.models.attention import NAME as ATTENTION
from stepladder.models.attention import watch
from stepladder.models.forward import Visual, in_pieces, token_logits, token_logprobs
from stepladder.models.heads import PerceptionHead, ValueHead
from stepladder.models.lora import has_adapters, is_adapter, learned_state, load_learned
from stepladder.models.vision import encode_images
from stepladder.train.batch import Batch
from stepladder.train.micro_batch import MicroBatch, prepared_ahead
from stepladder.train.one_token import OneTokenRollout, one_token_losses, reply_uniforms
from stepladder.train.optimizer import OptimizerConfig, Schedule, build_optimizers, set_rate
from stepladder.train.parallel import gather
from stepladder.train.pointing import pointing_loss
from stepladder.train.scoring import critic_values, empty_pass, predicting_states
from stepladder.train.shard import Pass, clip_norm, is_sharded

T = TypeVar("T")


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms: `ce`, `pg`, `kl` and `distill` on reply tokens, each times the token's own weight; `entropy` is
    rewarded; `value` of the critic; `pointing` of attention to what is clicked (`train.pointing`); `word`, `letters` and `centre`
    of the perception head; `contrastive` of pictures and texts (`train.contrastive`)."""

    ce: float = 1.0
    pg: float = 1.0
    kl: float = 1.0
    distill: float = 1.0
    entropy: float = 0.0
    value: float = 0.5
    pointing: float = 0.0
    word: float = 0.0
    letters: float = 0.0
    centre: float = 0.0
    contrastive: float = 0.0

    def of(self, name: str) -> float:
        """The factor of a term in the loss that is minimised."""
        return -self.entropy if name == "entropy" else float(getattr(self, name))


@dataclass
class Trainer:
    """Owns the weights that learn, the optimizers and the step count.

    `trainable` lists name prefixes ("model.visual", "model.language_model", "heads"); the rest is frozen, and of a model
    with adapters everything but them. `autocast` runs the
    forward pass in bfloat16. `objective` is needed for samples with policy-gradient or KL weights, `critic` for those with returns.
    `temperature` and `banned` int64[K] are those of sampling: log-probabilities of sampled tokens are of that distribution.
    With `one_token` the imitation loss is that of `train.one_token`, whose draws follow from `seed`. `sharded` is what
    `train.shard.shard` gave for a model whose weights are divided among the ranks; then all ranks must call every method alike.
    With `activation_checkpointing` an update keeps what enters each layer, and computes the rest again in the backward pass; it
    cannot see attention then, which the pointing loss needs.
    """

    model: Qwen3VLForConditionalGeneration
    head: PerceptionHead | None
    schedule: Schedule
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    weights: LossWeights = field(default_factory=LossWeights)
    trainable: tuple[str, ...] = ("model", "lm_head", "heads")
    autocast: bool = True
    objective: PolicyObjective | None = None
    critic: ValueHead | None = None
    temperature: float = 1.0
    banned: Tensor | None = None
    step_count: int = 0
    one_token: OneTokenRollout | None = None
    seed: int = 0
    sharded: Pass | None = None
    activation_checkpointing: bool = False

    def __post_init__(self) -> None:
        self.world = dist.get_world_size() if dist.is_initialized() else 1
        self.device = self.model.device
        self.banned = None if self.banned is None else self.banned.to(self.device)
        for module in (self.head, self.critic):
            _ = None if module is None else module.to(self.device)
        learning, adapted = [], has_adapters(self.model)
        for name, parameter in self.named_parameters():
            frozen = adapted and not is_adapter(name) and not name.startswith(("heads.", "critic."))
            parameter.requires_grad_(name.startswith(self.trainable) and not frozen)
            if parameter.requires_grad:
                learning.append((name, parameter))
        if not learning:
            raise ValueError(f"nothing to train: no parameter name starts with any of {', '.join(self.trainable)}")
        if self.weights.pointing and self.model.model.language_model.config._attn_implementation != ATTENTION:
            raise ValueError("the pointing loss sees the attention of models alone that `use_attention` was called on")
        if self.activation_checkpointing:
            if self.weights.pointing:
                raise ValueError("the pointing loss needs the attention that activation checkpointing does not keep")
            for module in self._trunks():
                module.gradient_checkpointing_enable({"use_reentrant": False})
        self._learning = learning
        self.optimizers = build_optimizers(learning, self.optimizer)

    def named_parameters(self) -> Iterable[tuple[str, nn.Parameter]]:
        """Every parameter of model and heads; names of the perception head begin with "heads.", of the critic with "critic."."""
        yield from self.model.named_parameters()
        for prefix, module in (("heads", self.head), ("critic", self.critic)):
            if module is not None:
                yield from ((f"{prefix}.{name}", parameter) for name, parameter in module.named_parameters())

    def step(self, micro_batches: Sequence[MicroBatch]) -> dict[str, float]:
        """One update from all micro-batches of this rank (and of all other ranks). Returns the global mean of each loss, the
        gradient norm and the learning-rate factor. Raises FloatingPointError when the gradient is not finite; the weights stay as
        they were."""
        counts, more = self._global_counts(micro_batches), self.more_passes(len(micro_batches))
        for _, parameter in self._learning:
            parameter.grad = None
        sums: dict[str, float] = {}
        for micro_batch in prepared_ahead(micro_batches):
            with self._layers_checkpointed():
                losses, metrics = self._pass(partial(self._forward, micro_batch, counts))
                loss = sum((self.weights.of(name) * value for name, value in losses.items()), torch.zeros(()))
                if loss.requires_grad:
                    loss.backward()
            for name, value in (losses | metrics).items():
                sums[name] = _joined(name, [sums.get(name, 0.0), float(value.detach())])
        for _ in range(more):
            self._pass(lambda: empty_pass(self.model, self.autocast)).backward()
        norm = self._reduce_gradients()
        if not torch.isfinite(norm):
            raise FloatingPointError(f"the gradient of update {self.step_count} is not finite; losses {sums}")
        factor = self.schedule.factor(self.step_count)
        set_rate(self.optimizers, factor)
        for optimizer in self.optimizers:
            optimizer.step()
        self.step_count += 1
        return {**self._total(sums), "grad_norm": float(norm), "rate": factor}

    def encode(self, batch: Batch) -> Visual | None:
        """The visual tokens of the batch's distinct pictures; without gradient when the vision tower is frozen."""
        pixels = batch.pixels()
        if pixels is None or batch.grid is None:
            return None
        frozen = not any(name.startswith("model.visual") for name, _ in self._learning)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
            return encode_images(self.model, pixels, batch.grid)

    @contextmanager
    def _layers_checkpointed(self) -> Iterator[None]:
        """Transformers' layers do it in training mode, in which they ignore a cache: an engine with the same weights must not be
        in it."""
        if not self.activation_checkpointing:
            yield
            return
        before = [(module, module.training) for module in self._trunks()]
        for module, _ in before:
            module.train()
        try:
            yield
        finally:
            for module, mode in before:
                module.train(mode)

    def _trunks(self) -> list[Qwen3VLForConditionalGeneration]:
        """The policy's model, and the critic's where it has one of its own."""
        trunk = None if self.critic is None else self.critic.trunk
        return [self.model, *([cast(Qwen3VLForConditionalGeneration, trunk)] if trunk is not None else [])]

    def _pass(self, compute: Callable[[], T]) -> T:
        """What `compute` gives; all that calls the model goes through here."""
        return compute() if self.sharded is None else self.sharded(compute)

    def more_passes(self, own: int) -> int:
        """How many more passes than its `own` another rank makes, in which this one has to take part where weights are divided. All
        ranks call it before their passes."""
        return 0 if self.sharded is None else max(gather(own)) - own

    @torch.no_grad()
    def take_part(self) -> None:
        """A pass for the sake of the other ranks."""
        self._pass(lambda: empty_pass(self.model, self.autocast))

    def _forward(self, micro_batch: MicroBatch, counts: dict[str, float]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """(losses, metrics) of a micro-batch, each divided by the counts of the whole update."""
        micro_batch = micro_batch.to(self.device)
        batch = micro_batch.batch
        losses: dict[str, Tensor] = {}
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.autocast):
            visual = self.encode(batch)
            if micro_batch.visual is not None and self.head is not None and visual is not None:
                embeddings = self.model.model.language_model.embed_tokens.weight
                terms = self.head.losses(visual[0], embeddings, micro_batch.visual)
                losses |= {name: value / counts[name] for name, value in terms.items() if counts[name]}
            if not micro_batch.text:
                return losses, {}
            pointing = self.weights.pointing != 0 and counts["pointing"] > 0
            with watch(self.model) if pointing else nullcontext() as watched:
                states = predicting_states(self.model, batch, visual)
            if watched is not None:
                losses["pointing"] = pointing_loss(watched, batch) / counts["pointing"]
            if not any(counts[name] for name in COUNTS):
                return losses | {"ce": self._imitation(batch, states) / max(counts["ce"], 1e-9)}, {}
        # In full precision: rounded logits would be taken for a change of the policy.
        states = states.to(self.model.lm_head.weight.dtype)
        logprobs, entropies = in_pieces(self.model, self._logprobs_and_entropies, states, batch.targets)
        if counts["ce"]:
            imitation = -(batch.field("w_ce") * logprobs).sum()
            if self.one_token is not None:
                imitation = self._imitation(batch, states)
            losses["ce"] = imitation / counts["ce"]
        if self.objective is None:
            raise ValueError("the samples have policy-gradient weights; the trainer needs an objective for them")
        values = None if self.critic is None else critic_values(self.critic, batch, visual, states, self.autocast)
        sampled = self._sampled(micro_batch, logprobs, entropies, values)
        if batch.teacher is not None and counts["distill_tokens"]:
            logits = token_logits(self.model, states, self.banned, self.temperature)
            divergence = teacher_divergence(logits, batch.teacher, batch.field("w_distill") != 0, self.objective)
            sampled.divergence = batch.by_reply(divergence)
        terms, metrics = policy_terms(self.objective, sampled, counts)
        if self.sharded is not None and not any(value.requires_grad for value in (losses | terms).values()):
            terms["pg"] = logprobs.sum() * 0.0  # other ranks wait for this one's backward pass
        return losses | terms, metrics

    def _logprobs_and_entropies(self, states: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """(log-probabilities of targets int64[N], entropies in nats), float[N] each; entropies that are not rewarded have no
        gradient."""
        logits = token_logits(self.model, states, self.banned, self.temperature)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.weights.entropy != 0):
            entropies = entropy(logits)
        return logits.log_softmax(-1).gather(-1, targets[:, None])[:, 0], entropies

    def _imitation(self, batch: Batch, states: Tensor) -> Tensor:
        """float[]: the sum of the imitation losses of a batch, each with its token's weight."""
        if self.one_token is None:
            return -(batch.field("w_ce") * token_logprobs(self.model, states, batch.targets)).sum()
        uniforms = None
        if self.one_token.samples:
            uniforms = reply_uniforms(batch, self.one_token.samples, self.seed, self.step_count)
        losses = one_token_losses(token_logits(self.model, states), batch.targets, self.one_token, uniforms)
        return (batch.field("w_ce") * losses).sum()

    def _sampled(self, micro_batch: MicroBatch, logprobs: Tensor, entropies: Tensor, values: Tensor | None) -> SampledTokens:
        rows, field = micro_batch.batch.by_reply, micro_batch.batch.field
        return SampledTokens(
            logprobs=rows(logprobs),
            old_logprobs=None if micro_batch.old_logprobs is None else rows(micro_batch.old_logprobs),
            rollout_logprobs=rows(field("logprobs"), torch.nan),
            advantages=rows(field("advantages")),
            ref_logprobs=rows(field("ref_logprobs"), torch.nan),
            old_values=rows(field("values"), torch.nan),
            returns=rows(field("returns"), torch.nan),
            w_pg=rows(field("w_pg")),
            w_kl=rows(field("w_kl")),
            w_distill=rows(field("w_distill")),
            values=None if values is None else rows(values),
            entropy=rows(entropies),
        )

    @torch.no_grad()
    def logprobs(self, batch: Batch, banned: Tensor | None = None) -> Tensor:
        """Log-probabilities float32[N] of the trained tokens under the present weights, in the distribution that was sampled, where
        the model is."""
        batch = batch.to(self.device)
        return self._pass(lambda: self._logprobs(batch, self.banned if banned is None else banned.to(self.device)))

    def _logprobs(self, batch: Batch, banned: Tensor | None) -> Tensor:
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.autocast):
            states = predicting_states(self.model, batch, self.encode(batch))
        states = states.to(self.model.lm_head.weight.dtype)
        return token_logprobs(self.model, states, batch.targets, banned, self.temperature)

    @torch.no_grad()
    def most_probable(self, batch: Batch) -> Tensor:
        """int64[N]: the most probable id at the place of each trained token, where the model is."""
        batch = batch.to(self.device)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.autocast):
            return self._pass(lambda: self.model.lm_head(predicting_states(self.model, batch, self.encode(batch))).argmax(-1))

    @torch.no_grad()
    def look(self, batch: Batch) -> Tensor:
        """Visual tokens float[V, hidden] of the batch's distinct pictures, where the model is."""
        batch = batch.to(self.device)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.autocast):
            visual = self.encode(batch)
        assert visual is not None, "the batch has no pictures"
        return visual[0]

    # ------------------------------------------------------------------ ranks

    def _global_counts(self, micro_batches: Sequence[MicroBatch]) -> dict[str, float]:
        counts = dict.fromkeys(("ce", "pointing", "word", "letters", "centre", *COUNTS), 0.0)
        for micro_batch in micro_batches:
            for name, number in micro_batch.counts().items():
                counts[name] += number
        return self.sum_over_ranks(counts)

    def _total(self, sums: Mapping[str, float]) -> dict[str, float]:
        """`sums` added up over ranks, of which one may know terms that another does not."""
        if self.world == 1:
            return dict(sums)
        everywhere: list[Mapping[str, float]] = [{}] * self.world
        dist.all_gather_object(everywhere, dict(sums))
        names = dict.fromkeys(name for each in everywhere for name in each)
        return {name: _joined(name, [each.get(name, 0.0) for each in everywhere]) for name in names}

    def sum_over_ranks(self, values: Mapping[str, float]) -> dict[str, float]:
        """The sum of each value over all ranks, which must name the same values."""
        if self.world == 1:
            return dict(values)
        names = sorted(values)
        total = torch.tensor([values[name] for name in names], dtype=torch.float64)
        dist.all_reduce(total)
        return dict(zip(names, total.tolist(), strict=True))

    def _reduce_gradients(self) -> Tensor:
        """Sum the gradients over ranks, clip them, and return their norm before clipping. A critic's are clipped by themselves, so
        that one which is still wrong does not shrink the policy's step; theirs is the norm only where nothing else learns."""
        for _, parameter in self._learning:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for _, parameter in self._learning if parameter.grad is not None]
        whole = [gradient for gradient in gradients if not is_sharded(gradient)]
        if self.world > 1 and whole:
            flat = torch.cat([gradient.reshape(-1) for gradient in whole])
            dist.all_reduce(flat)
            for gradient, piece in zip(whole, flat.split([g.numel() for g in whole]), strict=True):
                gradient.copy_(piece.view_as(gradient))
        parts = [[p for name, p in self._learning if name.startswith("critic.") == critic] for critic in (True, False)]
        clip = nn.utils.clip_grad_norm_ if self.sharded is None else clip_norm
        norms = [clip(part, self.optimizer.max_grad_norm) for part in parts if part]
        return norms[-1] if all(bool(norm.isfinite()) for norm in norms) else norms[0] + norms[-1]

    # ------------------------------------------------------------------ resume

    def progress(self) -> dict[str, Any]:
        """How far it is: what is no tensor."""
        return {"step": self.step_count, "decay_from": self.schedule.decay_from}

    def load_progress(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.step_count, self.schedule.decay_from = state["step"], state["decay_from"]

    def state(self) -> dict[str, Any]:
        """Everything that an exact continuation needs, of a model that is not divided among ranks."""
        return {
            **self.progress(),
            "model": learned_state(self.model),
            "head": self.head.state_dict() if self.head is not None else None,
            "critic": self.critic.state_dict() if self.critic is not None else None,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue exactly where `state` was taken."""
        self.load_progress(state)
        load_learned(self.model, state["model"])
        if self.head is not None:
            self.head.load_state_dict(state["head"])
        if self.critic is not None:
            self.critic.load_state_dict(state["critic"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)


def teacher_divergence(logits: Tensor, teacher: Tensor, mask: Tensor, objective: PolicyObjective) -> Tensor:
    """Divergence float[N] of the softmax of `logits` float[N, V] from what a teacher said of some tokens, `Batch.teacher`
    float32[2, K, N], where `mask` bool[N] is set; 0 elsewhere."""
    ids, logprobs = teacher[0].T[mask].long(), teacher[1].T[mask]
    student = logits[mask].log_softmax(-1).gather(-1, ids)
    if ids.shape[-1] < logits.shape[-1]:
        student, logprobs = closed(student, objective.tail), closed(logprobs, objective.tail)
    found = distillation_divergence(student, logprobs, objective.alpha)
    return logits.new_zeros(len(mask)).masked_scatter(mask, found.to(logits.dtype))


def _joined(name: str, values: Sequence[float]) -> float:
    """Parts of a mean are added up; of a maximum the largest counts."""
    return max(values) if name in MAXIMA else sum(values)


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write atomically: a kill leaves the old file or the new one, never a half."""
    temporary = path.with_name(f"{path.name}.partial")
    with temporary.open("wb") as file:
        torch.save(dict(state), file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
