"""Pointing: attention of the digits of a place to the visual token that shows the place.

A reply that clicks is learned from digits alone, and they say nothing of which label was meant. A small model then needs thousands
of pictures until its attention finds the label that the instruction names; told where to look, it needs hundreds. One head of the
last layer is told. The model stays as it is: in use nothing is added. After GUI-Actor (Wu et al. 2025, arXiv 2506.03143), whose
action token is aligned with the patches of what is to be clicked.
"""

from __future__ import annotations

import torch
from torch import Tensor

from stepladder.models.attention import Watched
from stepladder.train.batch import Batch

#: The head of the watched layer that is told where to look.
HEAD = 0


def pointing_loss(watched: Watched, batch: Batch) -> Tensor:
    """Sum (not mean) in nats, over the trained tokens that look at some visual token, of the negative log attention of HEAD to it.

    A scalar, float32, or float64 for a float64 model. `watched` is of a forward pass over this very batch.
    """
    assert watched.query is not None, "no forward pass was watched"
    assert watched.key is not None, "no forward pass was watched"
    looks_at = batch.field("looks_at")
    told = looks_at.isfinite()
    source, column = batch.source[told], looks_at[told].long()
    with torch.autocast(watched.query.device.type, enabled=False):
        query, key = _precise(watched.query[:, HEAD]), _precise(watched.key[:, HEAD])
        scores = (watched.scale * query @ key.transpose(-1, -2)).masked_fill(~batch.attention[:, 0], -torch.inf)
        rows = scores.reshape(-1, scores.shape[-1])[source]
        return -rows.log_softmax(-1).gather(-1, column[:, None]).sum()


def _precise(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()
