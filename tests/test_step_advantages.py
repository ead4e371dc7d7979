"""Credit of single steps against small Markov decision processes whose true advantages are known, and self-distillation."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from stepladder.algos import ops

NAN = math.nan
few = settings(max_examples=40, deadline=None)
seeds = st.integers(0, 2**31 - 1)

#: Two choices of two actions each; what the episode is worth stands at its end. The second choice is made in the state that the
#: first one leads to, and the state after ("left", "right") is the one after ("right", "left").
WORTH = {(0, 0): 0.0, (0, 1): 1.0, (1, 0): 1.0, (1, 1): 0.5}
EPISODES = list(itertools.product((0, 1), repeat=2))


def f64(values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def close(found: Tensor, expected: object, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(found, torch.as_tensor(expected, dtype=found.dtype).expand_as(found), rtol=0, atol=tolerance)


def value(first: int | None, gamma: float = 1.0) -> float:
    """What an episode is worth before its first choice, or after `first`, to a policy that chooses evenly."""
    if first is None:
        return gamma * sum(value(action, gamma) for action in (0, 1)) / 2
    return sum(WORTH[first, second] for second in (0, 1)) / 2


# ------------------------------------------------------------------------------------------------------------- known advantages


@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_gae_with_the_true_values_gives_the_true_advantages(gamma: float) -> None:
    rewards = f64([[0.0, WORTH[episode]] for episode in EPISODES])
    values = f64([[value(None, gamma), value(first)] for first, _ in EPISODES])
    mask = torch.ones(4, 2)
    advantages, _ = ops.gae(rewards, values, mask, gamma, 0.0)
    expected = [[gamma * value(first) - value(None, gamma), WORTH[first, second] - value(first)] for first, second in EPISODES]
    close(advantages, expected)
    far, returns = ops.gae(rewards, values, mask, gamma, 1.0)
    close(returns, [[gamma * WORTH[episode], WORTH[episode]] for episode in EPISODES])
    close(far, returns - values)


@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_gigpo_over_all_episodes_gives_the_true_advantages(gamma: float) -> None:
    """Where every sequence of choices is played once, the other steps from a state are an exact estimate of its value."""
    rewards = f64([reward for episode in EPISODES for reward in (0.0, WORTH[episode])])
    ids = torch.tensor([number for number in range(4) for _ in range(2)])
    returns = ops.step_returns(rewards, ids, gamma)
    close(returns, [part for episode in EPISODES for part in (gamma * WORTH[episode], WORTH[episode])])
    episodes = f64([WORTH[episode] for episode in EPISODES for _ in range(2)])
    anchors = torch.tensor([anchor for first, _ in EPISODES for anchor in (0, 1 + first)])
    groups = torch.zeros(8, dtype=torch.int64)
    found = ops.gigpo_advantages(episodes, returns, groups, anchors, weight=1.0, trajectory_ids=ids)
    steps = found - (episodes - episodes.mean())
    expected = [
        part
        for first, second in EPISODES
        for part in (gamma * WORTH[first, second] - value(None, gamma), WORTH[first, second] - value(first))
    ]
    close(steps, expected)
    by_action = {0: [0, 2], 1: [4, 6]}  # the rows of the first choice
    for first, rows in by_action.items():
        close(steps[rows].mean(), gamma * value(first) - value(None, gamma))


def test_gigpo_by_hand() -> None:
    """Two episodes of two steps and one of one; the first two share their first state."""
    episodes, returns = f64([1, 1, 0, 0, 0.5]), f64([0.9, 1, 0, 0, 0.5])
    groups, anchors = torch.zeros(5, dtype=torch.int64), torch.tensor([7, 1, 7, 2, 3])
    ids = torch.tensor([0, 0, 1, 1, 2])
    close(
        ops.gigpo_advantages(episodes, returns, groups, anchors, 2.0, trajectory_ids=ids),
        [0.5 + 2 * 0.45, 0.5, -0.5 - 2 * 0.45, -0.5, 0.0],
    )
    # With every row counted, the mean is 0.5 all the same; the deviations are those of 3 episodes and of 5 rows.
    deviation, rows = 0.5, math.sqrt((4 * 0.25) / 4)
    of_pair = 0.45 / (0.45 * math.sqrt(2) + 1e-6)
    close(
        ops.gigpo_advantages(episodes, returns, groups, anchors, 1.0, std=True, trajectory_ids=ids),
        [
            0.5 / (deviation + 1e-6) + of_pair,
            0.5 / (deviation + 1e-6),
            -0.5 / (deviation + 1e-6) - of_pair,
            -0.5 / (deviation + 1e-6),
            0,
        ],
    )
    close(
        ops.gigpo_advantages(episodes, returns, groups, anchors, 0.0, std=True),
        [part / (rows + 1e-6) for part in (0.5, 0.5, -0.5, -0.5, 0.0)],
    )


def test_long_episodes_weigh_more_only_where_rows_count() -> None:
    episodes, ids = f64([1, 0, 0, 0]), torch.tensor([0, 1, 1, 1])
    nothing = torch.zeros(4, dtype=torch.int64)
    unknown = torch.full((4,), -1)
    close(ops.gigpo_advantages(episodes, episodes, nothing, unknown, trajectory_ids=ids), [0.5, -0.5, -0.5, -0.5])
    close(ops.gigpo_advantages(episodes, episodes, nothing, unknown), [0.75, -0.25, -0.25, -0.25])


def test_a_state_known_to_nobody_else_adds_nothing() -> None:
    episodes = f64([1.0, 0.0, 1.0, 0.0])
    groups = torch.tensor([0, 0, 1, 1])
    same_number_in_other_groups = torch.tensor([5, 6, 5, 6])
    unknown = torch.full((4,), -1)
    for anchors in (same_number_in_other_groups, unknown):
        close(ops.gigpo_advantages(episodes, episodes, groups, anchors, 3.0), [0.5, -0.5, 0.5, -0.5])


def test_failed_environments_have_no_part_in_any_statistic() -> None:
    episodes, groups = f64([1, NAN, 0]), torch.zeros(3, dtype=torch.int64)
    found = ops.gigpo_advantages(episodes, f64([1, 5, 0]), groups, torch.zeros(3, dtype=torch.int64), 1.0)
    close(found, [1.0, 0.0, -1.0])


@few
@given(seeds)
def test_the_order_of_rows_of_different_trajectories_does_not_matter(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    rewards = torch.randn(12, generator=generator, dtype=torch.float64)
    ids = torch.randint(0, 4, (12,), generator=generator)
    together = torch.argsort(ids, stable=True)
    close(ops.step_returns(rewards, ids, 0.9)[together], ops.step_returns(rewards[together], ids[together], 0.9))
    # And they are what `gae` calls returns without a critic.
    for number in ids.unique():
        rows = rewards[ids == number][None]
        _, expected = ops.gae(rows, torch.zeros_like(rows), torch.ones_like(rows), 0.9, 1.0)
        close(ops.step_returns(rewards, ids, 0.9)[ids == number], expected[0])


def test_lambda_grows_with_the_length() -> None:
    close(ops.length_adaptive_lambda(torch.tensor([1, 20, 40, 400]), 0.05), [0.0, 0.0, 0.5, 0.95])
    close(ops.length_adaptive_lambda(1000.0, 0.1).double(), 0.99, 1e-6)
    for arguments in ((0, 0.05), (10, 0.0), (torch.tensor([3, -1]), 1.0)):
        with pytest.raises(ValueError, match="positive"):
            ops.length_adaptive_lambda(*arguments)


def test_gae_takes_a_lambda_for_each_row() -> None:
    rewards, values, mask = f64([[0, 1.0], [0, 1.0]]), f64([[0.3, 0.6], [0.3, 0.6]]), torch.ones(2, 2)
    both, _ = ops.gae(rewards, values, mask, 1.0, f64([0.0, 1.0]))
    close(both[0], ops.gae(rewards, values, mask, 1.0, 0.0)[0][0])
    close(both[1], ops.gae(rewards, values, mask, 1.0, 1.0)[0][1])
    with pytest.raises(ValueError, match="lam has shape"):
        ops.gae(rewards, values, mask, 1.0, f64([0.0, 1.0, 1.0]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((f64([1.0]), torch.tensor([0, 1])), "trajectory_ids has shape"),
        ((torch.tensor([1]), torch.tensor([0])), "rewards has dtype"),
        ((f64([1.0]), f64([0.0])), "trajectory_ids has dtype"),
    ],
)
def test_wrong_rows_are_refused(arguments: tuple[Tensor, Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ops.step_returns(*arguments)


# ------------------------------------------------------------------------------------------------------------- self-distillation


def logits(seed: int, shape: tuple[int, ...] = (2, 3, 7)) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2


SETTINGS = [
    {"alpha": alpha, "top_k": top_k, "tail": tail}
    for alpha in (0.0, 0.3, 0.5, 1.0)
    for top_k, tail in ((None, True), (3, True), (3, False), (7, True))
]


@pytest.mark.parametrize("how", SETTINGS)
def test_nothing_is_learned_from_a_teacher_that_agrees(how: dict[str, Any]) -> None:
    student = logits(1).requires_grad_()
    loss = ops.self_distillation_loss(student, student.detach() + 3.0, torch.ones(2, 3), **how)  # a constant changes no softmax
    close(loss.detach(), 0.0)
    close(torch.autograd.grad(loss, student)[0], 0.0)


@pytest.mark.parametrize("how", SETTINGS)
def test_the_gradient_leads_to_the_teacher(how: dict[str, Any]) -> None:
    student, teacher, mask = logits(1).requires_grad_(), logits(2), torch.ones(2, 3)
    before = ops.self_distillation_loss(student, teacher, mask, **how)
    assert float(before.detach()) > 0
    moved = (student - 0.1 * torch.autograd.grad(before, student)[0]).detach()
    assert float(ops.self_distillation_loss(moved, teacher, mask, **how)) < float(before.detach())
    # Of two tokens that the student finds equally likely, the one that the teacher prefers rises.
    even = torch.zeros(1, 1, 2, dtype=torch.float64, requires_grad=True)
    settings = how | {"top_k": None}
    (slope,) = torch.autograd.grad(ops.self_distillation_loss(even, f64([[[1.0, -1.0]]]), torch.ones(1, 1), **settings), even)
    assert float(slope[0, 0, 0]) < 0 < float(slope[0, 0, 1])


def test_divergences_by_hand() -> None:
    student, teacher = f64([0.5, 0.5]), f64([0.9, 0.1])

    def divergence(first: Tensor, second: Tensor) -> Tensor:
        return (first * (first / second).log()).sum()

    close(ops.distillation_divergence(student.log(), teacher.log(), 0.0), divergence(teacher, student))
    close(ops.distillation_divergence(student.log(), teacher.log(), 1.0), divergence(student, teacher))
    middle = 0.75 * student + 0.25 * teacher
    expected = 0.75 * divergence(student, middle) + 0.25 * divergence(teacher, middle)
    close(ops.distillation_divergence(student.log(), teacher.log(), 0.25), expected)


def test_the_tail_holds_what_was_not_chosen() -> None:
    student, teacher = f64([[[0.6, 0.3, 0.06, 0.04]]]), f64([[[0.1, 0.2, 0.3, 0.4]]])
    loss = ops.self_distillation_loss(student.log(), teacher.log(), torch.ones(1, 1), 1.0, 2)
    pairs = [(0.6, 0.1), (0.3, 0.2), (0.1, 0.7)]
    close(loss, sum(p * math.log(p / q) for p, q in pairs))
    without = ops.self_distillation_loss(student.log(), teacher.log(), torch.ones(1, 1), 1.0, 2, False)
    pairs = [(0.6 / 0.9, 0.1 / 0.3), (0.3 / 0.9, 0.2 / 0.3)]
    close(without, sum(p * math.log(p / q) for p, q in pairs))


@few
@given(seeds, st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([None, 2, 5]))
def test_parts_of_a_batch_add_up_and_hidden_places_do_not_count(seed: int, alpha: float, top_k: int | None) -> None:
    generator = torch.Generator().manual_seed(seed)
    student, teacher = logits(seed % 1000, (4, 5, 7)), logits(seed % 1000 + 1, (4, 5, 7))
    mask = torch.rand(4, 5, generator=generator) < 0.6
    student[~mask], teacher[~mask] = NAN, math.inf
    student.requires_grad_()
    whole = ops.self_distillation_loss(student, teacher, mask, alpha, top_k)
    (slope,) = torch.autograd.grad(whole, student, retain_graph=True)
    assert slope.isfinite().all()
    assert not slope[~mask].any()
    count = float(mask.sum())
    parts = [
        ops.self_distillation_loss(student[rows], teacher[rows], mask[rows], alpha, top_k, token_count=max(count, 1.0))
        for rows in (slice(0, 1), slice(1, 4))
    ]
    close(sum(parts, f64(0.0)).detach(), float(whole.detach()), 1e-10)


def test_certain_tokens_stay_finite() -> None:
    """Ids that cannot be sampled have the lowest logit there is, in student and teacher or in one of them."""
    lowest = torch.finfo(torch.float32).min
    student = torch.tensor([[[3.0, 0.0, lowest], [40.0, 0.0, 0.0]]], requires_grad=True)
    teacher = torch.tensor([[[0.0, 3.0, lowest], [0.0, 40.0, lowest]]])
    for alpha in (0.0, 0.5, 1.0):
        for top_k in (None, 1, 2):
            loss = ops.self_distillation_loss(student, teacher, torch.ones(1, 2), alpha, top_k)
            (slope,) = torch.autograd.grad(loss, student)
            assert loss.isfinite(), (alpha, top_k)
            assert slope.isfinite().all(), (alpha, top_k)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alpha": 1.5}, "alpha is 1.5"),
        ({"top_k": 0}, "top_k is 0"),
        ({"mask": torch.ones(2, 4)}, "mask has shape"),
        ({"teacher_logits": torch.zeros(2, 3, 6)}, "teacher_logits has shape"),
    ],
)
def test_what_cannot_be_is_refused(change: dict[str, Any], message: str) -> None:
    given = {"student_logits": torch.zeros(2, 3, 7), "teacher_logits": torch.zeros(2, 3, 7), "mask": torch.ones(2, 3)} | change
    with pytest.raises(ValueError, match=message):
        ops.self_distillation_loss(**given)
