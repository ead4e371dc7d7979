"""Contrastive training beside next-token prediction: pictures and their texts find each other among all pairs of an update.

The loss is over the whole update, however it is cut into micro-batches and spread over ranks (law 5). As in GradCache (L. Gao et
al., arXiv 2101.06983) the features of all pairs are computed first, without gradient; from them come the loss and its gradient with
respect to each feature; then every micro-batch computes its features once more and passes its part of that gradient on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from stepladder.models.forward import Visual
from stepladder.models.heads import ContrastiveHead
from stepladder.train.batch import Batch
from stepladder.train.micro_batch import MicroBatch
from stepladder.train.parallel import gather
from stepladder.train.scoring import predicting_states
from stepladder.train.trainer import Trainer


@dataclass
class PairedBatch(MicroBatch):
    """A micro-batch some of whose pictures have a text of their own: `texts` holds these without their pictures, one predicting
    state each (`documents.caption_sample`). Text n, in that batch's order, belongs to picture `pictures`[n] of `batch.images`."""

    texts: Batch | None = None
    pictures: tuple[int, ...] = ()


@dataclass
class ContrastiveTrainer(Trainer):
    """A trainer with `contrast`, whose parameters are named "heads.contrast"; without it, and where an update has fewer than two
    pairs, just a trainer."""

    contrast: ContrastiveHead | None = None
    _visual: Visual | None = field(default=None, init=False, repr=False)
    _gradients: list[tuple[Tensor, Tensor]] = field(default_factory=list, init=False, repr=False)
    _of_scale: float = field(default=0.0, init=False, repr=False)

    def named_parameters(self) -> Iterable[tuple[str, nn.Parameter]]:
        yield from super().named_parameters()
        if self.contrast is not None:
            yield from ((f"heads.contrast.{name}", parameter) for name, parameter in self.contrast.named_parameters())

    def step(self, micro_batches: Sequence[MicroBatch]) -> dict[str, float]:
        """See `Trainer.step`; with the contrastive loss and the share of pictures whose nearest text is their own."""
        if self.contrast is None or not self.weights.contrastive:
            return super().step(micro_batches)
        measured = self._compare(micro_batches)
        found = super().step(micro_batches)
        self.contrast.clamp()
        found.pop("contrastive", None)  # what the gradients were passed on with is no loss
        return found | measured

    def encode(self, batch: Batch) -> Visual | None:
        self._visual = super().encode(batch)
        return self._visual

    def _compare(self, micro_batches: Sequence[MicroBatch]) -> dict[str, float]:
        """Loss and accuracy over the pairs of the whole update; what each micro-batch's features have to do with it is kept."""
        assert self.contrast is not None
        with torch.no_grad():
            mine = [self._features(micro_batch, None) for micro_batch in micro_batches]
        everyone = gather([(pictures.cpu(), texts.cpu()) for pictures, texts in mine])
        pairs = [pair for part in everyone for pair in part]
        count = sum(len(pictures) for pictures, _ in pairs)
        self._gradients, self._of_scale = [], 0.0
        if count < 2:
            return {}
        pictures, texts = (torch.cat([pair[i] for pair in pairs]).to(self.device).requires_grad_() for i in (0, 1))
        loss = self.contrast.loss(pictures, texts)
        of_pictures, of_texts, of_scale = torch.autograd.grad(loss, (pictures, texts, self.contrast.log_scale))
        rank = torch.distributed.get_rank() if self.world > 1 else 0
        start = sum(len(pair[0]) for part in everyone[:rank] for pair in part)
        for own, _ in mine:
            self._gradients.append((of_pictures[start : start + len(own)], of_texts[start : start + len(own)]))
            start += len(own)
        self._of_scale = float(of_scale) / self.world  # every rank has all of it, and the gradients of the ranks are added up
        nearest = (pictures @ texts.T).argmax(-1) == torch.arange(count, device=self.device)
        return {"contrastive": float(loss.detach()), "matched": float(nearest.float().mean()), "pairs": float(count)}

    def _forward(self, micro_batch: MicroBatch, counts: dict[str, float]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        losses, metrics = super()._forward(micro_batch, counts)
        if self._gradients and self.contrast is not None:
            of_pictures, of_texts = self._gradients.pop(0)
            surrogate = self.contrast.log_scale * self._of_scale
            self._of_scale = 0.0
            if len(of_pictures):
                pictures, texts = self._features(micro_batch, self._visual)
                surrogate = surrogate + (pictures * of_pictures).sum() + (texts * of_texts).sum()
            losses["contrastive"] = surrogate
        return losses, metrics

    def _features(self, micro_batch: MicroBatch, visual: Visual | None) -> tuple[Tensor, Tensor]:
        """(float32[n, width] of the pictures, float32[n, width] of the texts) of the n pairs of a micro-batch; `visual` of its
        pictures where it is known."""
        assert self.contrast is not None
        if not isinstance(micro_batch, PairedBatch) or micro_batch.texts is None:
            nothing = torch.zeros(0, self.contrast.text.out_features, device=self.device)
            return nothing, nothing
        batch, texts = micro_batch.batch.to(self.device), micro_batch.texts.to(self.device)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.autocast):
            visual = self.encode(batch) if visual is None else visual
            states = predicting_states(self.model, texts, None)
        assert visual is not None, "pairs have pictures"
        assert batch.grid is not None
        merge = self.model.config.vision_config.spatial_merge_size
        lengths = (batch.grid.prod(-1) // merge**2).tolist()
        return self.contrast.pictures(visual[0], lengths)[list(micro_batch.pictures)], self.contrast.texts(states)

    def state(self) -> dict[str, Any]:
        return {**super().state(), "contrast": None if self.contrast is None else self.contrast.state_dict()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        super().load_state(state)
        if self.contrast is not None:
            self.contrast.load_state_dict(state["contrast"])
