"""Muon whose work is divided among ranks is PyTorch's Muon."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from stepladder.train.muon import SharedMuon, orthogonalized, owner_of_each
from stepladder.train.parallel import run_ranks

SHAPES = ((8, 8), (8, 24), (24, 8), (40, 40), (16, 4), (8, 8))
STEPS = 4


def _published(parameters: Iterable[Tensor], lr: float, weight_decay: float) -> torch.optim.Muon:
    return torch.optim.Muon(parameters, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")


def _learned(build: Callable[..., torch.optim.Muon]) -> tuple[list[Tensor], list[Tensor]]:
    """Weights and momentum after some steps with the same gradients in every process; the second matrix has none in one step."""
    draw = torch.Generator().manual_seed(0)
    parameters = [torch.nn.Parameter(torch.randn(shape, generator=draw)) for shape in SHAPES]
    optimizer = build(parameters, lr=0.1, weight_decay=0.01)
    for step in range(STEPS):
        for number, parameter in enumerate(parameters):
            parameter.grad = torch.randn(parameter.shape, generator=draw)
            if (step, number) == (1, 1):
                parameter.grad = None
        gradients = [parameter.grad for parameter in parameters]
        optimizer.step()
        assert all(parameter.grad is gradient for parameter, gradient in zip(parameters, gradients, strict=True))
    return [parameter.detach() for parameter in parameters], [optimizer.state[p]["momentum_buffer"] for p in parameters]


def _write(rank: int, world: int, directory: Path, dtype: torch.dtype) -> None:
    torch.save(_learned(partial(SharedMuon, dtype=dtype)), directory / f"{rank}.pt")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("world", [1, 2, 3])
def test_ranks_that_share_the_work_end_with_the_weights_of_one(world: int, dtype: torch.dtype, tmp_path: Path) -> None:
    expected = _learned(_published if dtype == torch.bfloat16 else partial(SharedMuon, dtype=dtype))
    run_ranks(_write, world, tmp_path, dtype)
    for rank in range(world):
        found = torch.load(tmp_path / f"{rank}.pt")
        for ours, theirs in zip(found, expected, strict=True):
            assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


def test_products_in_float32_differ_from_pytorchs_by_rounding_alone() -> None:
    for ours, theirs in zip(*(_learned(build)[0] for build in (partial(SharedMuon, dtype=torch.float32), _published)), strict=True):
        assert (ours - theirs).norm() < 0.02 * theirs.norm()
        assert not torch.equal(ours, theirs)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 1000))
def test_singular_values_become_about_one(rows: int, columns: int, seed: int) -> None:
    matrix = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    values = torch.linalg.svdvals(matrix)
    assume(values.min() > 0.02 * matrix.norm())
    result = orthogonalized(matrix, (3.4445, -4.7750, 2.0315), 5, 1e-7)
    assert result.shape == matrix.shape
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    found = left.T @ result @ right.T
    assert found.diagonal().min() > 0.5
    assert found.diagonal().max() < 1.25
    assert (found - torch.diag(found.diagonal())).abs().max() < 1e-9


def test_the_precision_is_that_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for fast, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr("stepladder.train.muon.bfloat16_is_fast", lambda fast=fast: fast)
        assert SharedMuon([torch.nn.Parameter(torch.zeros(2, 2))]).dtype == dtype


def test_a_closure_is_refused() -> None:
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
