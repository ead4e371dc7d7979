"""Weights of linear layers kept in bfloat16, for a model that is only asked."""

from __future__ import annotations

import torch
from torch import nn


def halve_linear_weights(model: nn.Module) -> None:
    """Keep the weights of all linear layers in bfloat16, in place: what autocast makes of them anew in every pass, so that results
    under autocast stay what they were, to the bit, in half the memory. Weights that other layers share, such as tied word
    embeddings, stay as they are; and so does everything else, norms among them."""
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    others = [module for module in model.modules() if not isinstance(module, nn.Linear)]
    shared = {id(parameter) for module in others for parameter in module.parameters(recurse=False)}
    for module in linear:
        for parameter in module.parameters(recurse=False):
            if id(parameter) not in shared:
                parameter.data = parameter.data.to(torch.bfloat16)
