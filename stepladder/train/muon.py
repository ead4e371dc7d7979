"""Muon (K. Jordan 2024, https://kellerjordan.github.io/posts/muon/), its matrix products divided among the ranks.

PyTorch's own computes them in bfloat16, which a processor without instructions for it emulates: on one with AVX2 alone they took
most of the time of an update of the small model.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from stepladder.train.precision import bfloat16_is_fast
from stepladder.train.shard import is_sharded, part_like, whole_tensor


class SharedMuon(torch.optim.Muon):
    """PyTorch's Muon with the step of Moonlight's rate (J. Liu et al., arXiv 2502.16982, section 2.2: 0.2 sqrt(max(m, n)), so that
    updates have AdamW's size). Each rank steps its share of the matrices and sends them to the others. Needs the same gradients on
    all ranks; the momentum of every matrix is kept on all, so states are alike everywhere. Of a matrix that is divided among the
    ranks (`train.shard`) each gathers all and steps its own part.

    Products are computed in `dtype`: bfloat16, as PyTorch does, where the machine has instructions for it, else float32."""

    def __init__(
        self, parameters: Iterable[Tensor], lr: float = 1e-3, weight_decay: float = 0.1, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__(parameters, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
        self.dtype = dtype or (torch.bfloat16 if bfloat16_is_fast() else torch.float32)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One update. Raises ValueError for a closure, which every rank would call."""
        if closure is not None:
            raise ValueError("the ranks share the step, and each would call the closure; compute the gradients before it")
        world, own = (dist.get_world_size(), dist.get_rank()) if dist.is_initialized() else (1, 0)
        learning = [(p, p.grad, group) for group in self.param_groups for p in group["params"] if p.grad is not None]
        owners = owner_of_each([p.shape for p, _, _ in learning], world)
        for (parameter, gradient, group), owner in zip(learning, owners, strict=True):
            state = self.state[parameter]
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(parameter)
            momentum = state["momentum_buffer"].lerp_(gradient, 1 - group["momentum"])
            if owner != own and not is_sharded(parameter):
                continue
            update = whole_tensor(gradient.lerp(momentum, group["momentum"]) if group["nesterov"] else momentum)
            update = orthogonalized(update.to(self.dtype), group["ns_coefficients"], group["ns_steps"], group["eps"])
            update = part_like(update.to(parameter.dtype), parameter)
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
            parameter.add_(update, alpha=-group["lr"] * 0.2 * max(parameter.shape) ** 0.5)
        for rank in range(world if world > 1 else 0):
            theirs = [p for (p, _, _), owner in zip(learning, owners, strict=True) if owner == rank and not is_sharded(p)]
            if theirs:
                _broadcast(theirs, rank)
        return None


def orthogonalized(matrix: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """About the nearest matrix [m, n] with orthonormal rows or columns, by `steps` of Newton and Schulz's iteration, whose singular
    values end between 0.7 and 1.2 with the usual coefficients. Computed and returned in the dtype of `matrix`."""
    a, b, c = coefficients
    wide = matrix.size(0) <= matrix.size(1)
    result = matrix if wide else matrix.T
    result = result / result.norm().clamp(min=eps)
    for _ in range(steps):
        gram = result @ result.T
        result = torch.addmm(result, torch.addmm(gram, gram, gram, beta=b, alpha=c), result, beta=a)
    return result if wide else result.T


def owner_of_each(shapes: Sequence[Sequence[int]], world: int) -> list[int]:
    """A rank for every matrix, so that all have about as much to compute.

    A Newton-Schulz step multiplies the matrix [m, n], m <= n, with its transpose, their product with itself, and that with the
    matrix: m^2 (2 n + m) multiplications."""
    work = [min(shape) ** 2 * (2 * max(shape) + min(shape)) for shape in shapes]
    owners, load = [0] * len(shapes), [0] * world
    for i in sorted(range(len(shapes)), key=lambda i: (-work[i], i)):
        owners[i] = load.index(min(load))
        load[owners[i]] += work[i]
    return owners


def _broadcast(tensors: Sequence[Tensor], source: int) -> None:
    """All of them in one message."""
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    dist.broadcast(flat, source)
    for tensor, piece in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(piece.view_as(tensor))
