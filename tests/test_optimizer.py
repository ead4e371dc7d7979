"""Muon whose work is divided among ranks is PyTorch's Muon."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from stepladder.train.optimizer import SharedMuon, owner_of_each
from stepladder.train.parallel import run_ranks

SHAPES = ((8, 8), (8, 24), (24, 8), (40, 40), (16, 4), (8, 8))
STEPS = 4


def _learned(optimizer_class: type[torch.optim.Muon]) -> tuple[list[Tensor], list[Tensor]]:
    """Weights and momentum after some steps with the same gradients in every process; the second matrix has none in one step."""
    draw = torch.Generator().manual_seed(0)
    parameters = [torch.nn.Parameter(torch.randn(shape, generator=draw)) for shape in SHAPES]
    optimizer = optimizer_class(parameters, lr=0.1, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
    for step in range(STEPS):
        for number, parameter in enumerate(parameters):
            parameter.grad = torch.randn(parameter.shape, generator=draw)
            if (step, number) == (1, 1):
                parameter.grad = None
        gradients = [parameter.grad for parameter in parameters]
        optimizer.step()
        assert all(parameter.grad is gradient for parameter, gradient in zip(parameters, gradients, strict=True))
    return [parameter.detach() for parameter in parameters], [optimizer.state[p]["momentum_buffer"] for p in parameters]


def _write(rank: int, world: int, directory: Path) -> None:
    torch.save(_learned(SharedMuon), directory / f"{rank}.pt")


@pytest.mark.parametrize("world", [1, 2, 3])
def test_ranks_that_share_the_work_end_with_the_weights_of_one(world: int, tmp_path: Path) -> None:
    expected = _learned(torch.optim.Muon)
    run_ranks(_write, world, tmp_path)
    for rank in range(world):
        found = torch.load(tmp_path / f"{rank}.pt")
        for ours, theirs in zip(found, expected, strict=True):
            assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


def test_a_closure_is_refused_where_every_rank_would_call_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    with pytest.raises(ValueError, match="each would call the closure"):
        SharedMuon([torch.nn.Parameter(torch.zeros(2, 2))]).step(lambda: 0.0)


@given(st.lists(st.tuples(st.integers(1, 600), st.integers(1, 600)), max_size=30), st.integers(1, 5))
def test_no_rank_has_much_more_to_compute_than_another(shapes: list[tuple[int, int]], world: int) -> None:
    owners = owner_of_each(shapes, world)
    assert len(owners) == len(shapes)
    assert set(owners) <= set(range(world))
    work = [min(shape) ** 2 * (2 * max(shape) + min(shape)) for shape in shapes]
    loads = [sum(one for one, owner in zip(work, owners, strict=True) if owner == rank) for rank in range(world)]
    assert max(loads) - min(loads) <= max(work, default=0)
