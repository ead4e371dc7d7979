"""The language model divided among the ranks, weights, gradients and optimizer states: FSDP2 (`fully_shard` of PyTorch).

Each decoder layer is gathered when it is needed and let go afterwards; so are the word embeddings with the output layer, which may
be the same weights. Everything else (vision tower, norms, heads) stands whole on every rank and its gradients are summed as
without sharding. Gradients are sums over ranks and not means: losses are divided by counts over all ranks already (law 5).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import Qwen3VLForConditionalGeneration

from stepladder.train.devices import use

T = TypeVar("T")


class Pass(nn.Module):
    """What is computed in one forward pass, whichever submodules of the model it calls: FSDP2 sees its beginning and its end."""

    def __init__(self, model: Qwen3VLForConditionalGeneration) -> None:
        super().__init__()
        self.model = model

    def forward(self, compute: Callable[[], T]) -> T:
        return compute()


def shard(
    model: Qwen3VLForConditionalGeneration, device: torch.device | None = None, compute_dtype: torch.dtype | None = None
) -> Pass:
    """Divide the model's weights among the ranks, in place, and give what every forward pass has to go through.

    Each part is put on `device` (None: where the model is), one layer after the other, so that a model in main memory need not fit
    on it whole. Weights of decoder layers are gathered in `compute_dtype` (None: as they are): in half of the time and the memory,
    where autocast would round them to it anyway. Gradients are summed as the weights are kept. Raises RuntimeError without a
    process group.
    """
    if not dist.is_initialized():
        raise RuntimeError("weights are divided among ranks, and there is no process group")
    device = device or model.device
    use(device)  # where the parts are put
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    options: dict[str, Any] = {"mesh": mesh}
    kept = model.dtype if compute_dtype is not None else None
    norms = {parameter for name, parameter in model.model.language_model.named_parameters() if "norm" in name}
    rounded = MixedPrecisionPolicy(param_dtype=compute_dtype, reduce_dtype=kept, cast_forward_inputs=False)
    text, whole = model.model.language_model, Pass(model)
    for layer in text.layers:
        # Norms are small, and no pass in bfloat16 rounds their weights: they stand whole.
        fully_shard(layer, reshard_after_forward=True, mp_policy=rounded, ignored_params=norms, **options)
    fully_shard([text.embed_tokens, model.lm_head], reshard_after_forward=False, **options)
    own = {id(parameter) for parameter in model.parameters() if isinstance(parameter, DTensor)}
    fully_shard(whole, ignored_params={p for p in whole.parameters() if id(p) not in own}, **options)
    model.to(device)  # what is not divided
    for module in whole.modules():
        if isinstance(module, FSDPModule):
            module.set_force_sum_reduction_for_comms(True)  # gloo knows no other
            module.set_gradient_divide_factor(1.0)
    return whole


def is_sharded(parameter: Tensor) -> bool:
    """Whether this rank has a part of it alone."""
    return isinstance(parameter, DTensor)


def whole_tensor(tensor: Tensor) -> Tensor:
    """All of it, on every rank; all must call it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gathered(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict whose tensors are whole and on the processor, for rank 0; empty for the others. Names of the same weights, such
    as tied embeddings, stay names of one tensor. All ranks must call it."""
    first = not dist.is_initialized() or dist.get_rank() == 0
    found, places = dict[str, Tensor](), dict[int, Tensor]()
    for name, value in state.items():
        whole = whole_tensor(value.detach())
        if first:
            local = value.to_local() if isinstance(value, DTensor) else value
            place = local.data_ptr() if local.numel() else id(name)
            found[name] = places.setdefault(place, whole.cpu())
    return found


def part_like(tensor: Tensor, parameter: Tensor) -> Tensor:
    """The part of a whole `tensor` that this rank has of `parameter`; itself where that is not divided."""
    if not isinstance(parameter, DTensor):
        return tensor
    return distribute_tensor(tensor, parameter.device_mesh, parameter.placements, src_data_rank=None)


def squared_norm(gradients: Iterable[Tensor]) -> Tensor:
    """Sum of all squares, float[]; parts of other ranks count. All ranks must call it with their parts of the same gradients."""
    divided, whole = torch.zeros(()), torch.zeros(())
    for gradient in gradients:
        if isinstance(gradient, DTensor):
            divided = divided + gradient.to_local().float().square().sum().cpu()
        else:
            whole = whole + gradient.float().square().sum().cpu()
    if dist.is_initialized():
        dist.all_reduce(divided)
    return divided + whole


@torch.no_grad()
def clip_norm(parameters: Iterable[Tensor], largest: float) -> Tensor:
    """Scale the gradients down to a norm of `largest` where it is above, and give the norm before, float[]."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = squared_norm(gradients).sqrt()
    if bool(norm.isfinite()) and norm > largest:
        for gradient in gradients:
            gradient.mul_(float(largest / (norm + 1e-6)))
    return norm
