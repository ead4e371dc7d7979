"""The arithmetic of policy-gradient methods against numbers worked out by hand, plain loops, and what must hold for any input."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from stepladder.algos import ops

NAN, INF = math.nan, math.inf
RATIO_KINDS = tuple(kind for kind in ops.POLICY_KINDS if kind != "reinforce")
seeds = st.integers(0, 2**31 - 1)
few = settings(max_examples=40, deadline=None)


def f64(values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def learned(values: object) -> Tensor:
    return f64(values).requires_grad_()


def log(ratios: object) -> Tensor:
    return f64(ratios).log()


def close(found: Tensor, expected: object, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(
        found, torch.as_tensor(expected, dtype=found.dtype).expand_as(found), rtol=tolerance, atol=tolerance, equal_nan=False
    )


def gradient(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    at = at.detach().clone().requires_grad_()
    return torch.autograd.grad(function(at), at)[0]


class Draw:
    """Reproducible random inputs float64[B, T] with a mask that has holes and may have empty rows."""

    def __init__(self, seed: int, rows: int = 4, width: int = 6) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.shape = (rows, width)
        self.mask = torch.rand(self.shape, generator=self.generator) < 0.6

    def normal(self, scale: float = 1.0) -> Tensor:
        return torch.randn(self.shape, generator=self.generator, dtype=torch.float64) * scale

    def permutation(self, length: int) -> Tensor:
        return torch.randperm(length, generator=self.generator)


# ---------------------------------------------------------------- masked statistics and aggregation


def test_masked_mean_by_hand() -> None:
    values, mask = f64([[1.0, 2.0, NAN], [4.0, INF, 9.0]]), torch.tensor([[1, 1, 0], [1, 0, 0]])
    close(ops.masked_mean(values, mask), 7 / 3)
    close(ops.masked_mean(values, mask, dim=1), [1.5, 4.0])
    close(ops.masked_mean(values, mask.bool(), dim=0), [2.5, 2.0, 0.0])
    empty = learned([[1.0, 2.0]])
    mean = ops.masked_mean(empty, torch.zeros(1, 2))
    mean.backward()
    assert float(mean.detach()) == 0.0
    close(empty.grad, 0.0)


def test_masked_whiten_by_hand() -> None:
    # 1, 2, 3: mean 2, variance (1 + 0 + 1) / 2 = 1
    values, mask = f64([[1.0, NAN, 2.0], [3.0, INF, 8.0]]), torch.tensor([[1, 0, 1], [1, 0, 0]])
    close(ops.masked_whiten(values, mask, eps=0.0), [[-1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    close(ops.masked_whiten(values, mask, eps=3.0), [[-0.5, 0.0, 0.0], [0.5, 0.0, 0.0]])


@pytest.mark.parametrize("count", [0, 1, 3])
def test_masked_whiten_of_nothing_to_compare_is_0(count: int) -> None:
    mask = torch.arange(4)[None] < count
    assert ops.masked_whiten(torch.full((1, 4), 0.1, dtype=torch.float64), mask, eps=0.0).tolist() == [[0.0] * 4]


def test_a_nan_that_counts_is_not_hidden() -> None:
    values, mask = f64([[1.0, NAN]]), torch.ones(1, 2)
    assert ops.masked_mean(values, mask).isnan()
    assert ops.masked_whiten(values, mask).isnan().all()
    assert ops.aggregate(values, mask).isnan()


LOSS, MASK = [[1.0, 2.0, 3.0, NAN], [5.0, NAN, INF, NAN], [NAN, NAN, NAN, NAN]], [[1, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize(
    ("mode", "scale", "expected"),
    [
        ("token-mean", None, 11 / 4),
        ("token-sum", None, 11.0),
        ("seq-mean-token-sum", None, (6 + 5) / 2),  # the third row has no token and is no sequence
        ("seq-mean-token-sum-norm", None, (6 + 5) / (2 * 4)),  # the padded width is 4
        ("seq-mean-token-sum-norm", 10.0, (6 + 5) / (2 * 10)),
        ("seq-mean-token-mean", None, (2 + 5) / 2),
    ],
)
def test_aggregate_by_hand(mode: str, scale: float | None, expected: float) -> None:
    loss = learned(LOSS)
    found = ops.aggregate(loss, torch.tensor(MASK), mode, scale=scale)
    close(found, expected)
    found.backward()
    assert loss.grad is not None
    assert bool((loss.grad[torch.tensor(MASK) == 0] == 0).all())


def test_aggregate_divides_by_the_counts_it_is_given() -> None:
    loss, mask = f64(LOSS), torch.tensor(MASK)
    close(ops.aggregate(loss, mask, "token-mean", token_count=22), 0.5)
    close(ops.aggregate(loss, mask, "seq-mean-token-sum", sequence_count=11), 1.0)
    close(ops.aggregate(loss, mask, "seq-mean-token-mean", sequence_count=14), 0.5)
    close(ops.aggregate(loss, mask, "seq-mean-token-sum-norm", sequence_count=11, scale=2.0), 0.5)


@pytest.mark.parametrize("mode", ops.AGGREGATIONS)
@pytest.mark.parametrize("count", [None, 0, 7])
@pytest.mark.parametrize("shape", [(2, 3), (0, 3), (2, 0)])
def test_nothing_that_counts_is_a_loss_of_0(mode: str, count: int | None, shape: tuple[int, int]) -> None:
    loss = torch.full(shape, NAN, dtype=torch.float64, requires_grad=True)
    found = ops.aggregate(loss, torch.zeros(shape), mode, token_count=count, sequence_count=count)
    found.backward()
    assert float(found.detach()) == 0.0
    close(loss.grad, 0.0)


@few
@given(seeds, st.sampled_from(ops.AGGREGATIONS), st.integers(1, 3))
def test_micro_batches_with_global_counts_add_up(seed: int, mode: str, first: int) -> None:
    draw = Draw(seed)
    loss, mask = draw.normal(), draw.mask
    counts = {"token_count": float(mask.sum()), "sequence_count": float(mask.any(1).sum()), "scale": 8.0}

    def parts(x: Tensor) -> Tensor:
        return ops.aggregate(x[:first], mask[:first], mode, **counts) + ops.aggregate(x[first:], mask[first:], mode, **counts)

    def whole(x: Tensor) -> Tensor:
        return ops.aggregate(x, mask, mode, scale=8.0)

    close(parts(loss), whole(loss))
    close(gradient(parts, loss), gradient(whole, loss))


def test_local_counts_do_not_add_up() -> None:
    """The known defect that the global counts are for: the mean of means of micro-batches weighs tokens unequally."""
    loss, mask = f64(LOSS), torch.tensor(MASK)
    local = (ops.aggregate(loss[:1], mask[:1]) + ops.aggregate(loss[1:], mask[1:])) / 2  # (2 + 5) / 2
    assert float(local) == 3.5
    assert float(ops.aggregate(loss, mask)) == 2.75


# ---------------------------------------------------------------- advantages of groups


def test_grpo_by_hand() -> None:
    # Group 7: 1, 2, 3: mean 2, deviation 1. Group -4: 0, 4: mean 2, deviation sqrt(8). Their members are mixed.
    rewards, groups = f64([1.0, 0.0, 2.0, 4.0, 3.0]), torch.tensor([7, -4, 7, -4, 7])
    root = math.sqrt(8)
    close(ops.grpo_advantages(rewards, groups, eps=0.0), [-1.0, -2 / root, 0.0, 2 / root, 1.0])
    close(ops.grpo_advantages(rewards, groups, eps=1.0), [-0.5, -2 / (root + 1), 0.0, 2 / (root + 1), 0.5])
    close(ops.grpo_advantages(rewards, groups, std=False), [-1.0, -2.0, 0.0, 2.0, 1.0])


def test_rloo_by_hand() -> None:
    # 1 - (2 + 6) / 2, 2 - (1 + 6) / 2, 6 - (1 + 2) / 2; 0 - 4, 4 - 0
    rewards, groups = f64([1.0, 0.0, 2.0, 4.0, 6.0]), torch.tensor([0, 1, 0, 1, 0], dtype=torch.int32)
    close(ops.rloo_advantages(rewards, groups), [-3.0, -4.0, -1.5, 4.0, 4.5])


Estimator = Callable[[Tensor, Tensor], Tensor]
ESTIMATORS: dict[str, Estimator] = {
    "grpo": lambda rewards, groups: ops.grpo_advantages(rewards, groups, std=True, eps=1e-6),
    "dr_grpo": lambda rewards, groups: ops.grpo_advantages(rewards, groups, std=False, eps=1e-6),
    "rloo": ops.rloo_advantages,
}
each_estimator = pytest.mark.parametrize("estimate", ESTIMATORS.values(), ids=ESTIMATORS)


@each_estimator
def test_groups_of_one_and_flat_groups_give_exactly_0(estimate: Estimator) -> None:
    """The known defect: the only member of a group gets its raw reward. And 0.1 three times has a mean that is not 0.1."""
    rewards, groups = f64([5.0, 0.1, 0.1, 0.1, NAN, 3.0, NAN]), torch.tensor([0, 1, 1, 1, 2, 3, 3])
    assert estimate(rewards, groups).tolist() == [0.0] * 7


@each_estimator
def test_failed_environments_take_no_part(estimate: Estimator) -> None:
    rewards, groups = f64([1.0, NAN, 2.0, 6.0]), torch.tensor([0, 0, 0, 0])
    kept = torch.tensor([True, False, True, True])
    found = estimate(rewards, groups)
    close(found[kept], estimate(rewards[kept], groups[kept]))
    assert float(found[1]) == 0.0


@few
@given(st.data())
def test_groups_are_their_own_whatever_the_order(data: st.DataObject) -> None:
    reward = st.one_of(st.sampled_from([0.0, 0.5, 1.0, NAN]), st.floats(-10, 10))
    entries = data.draw(st.lists(st.tuples(reward, st.integers(-2, 2)), max_size=12))
    rewards, groups = f64([r for r, _ in entries]), torch.tensor([g for _, g in entries], dtype=torch.int64)
    order = torch.tensor(data.draw(st.permutations(range(len(entries)))), dtype=torch.int64)
    for estimate in ESTIMATORS.values():
        found = estimate(rewards, groups)
        close(estimate(rewards[order], groups[order]), found[order], 1e-6)
        for group in groups.unique():
            here = groups == group
            close(found[here], estimate(rewards[here], groups[here]), 1e-6)
            close(found[here].sum(), 0.0, 1e-6)
    close(ops.rloo_advantages(rewards + 3, groups), ops.rloo_advantages(rewards, groups), 1e-9)


@few
@given(st.lists(st.floats(-10, 10), min_size=2, max_size=8))
def test_rloo_is_the_reward_against_the_mean_of_the_others(rewards: list[float]) -> None:
    expected = [r - (sum(rewards) - r) / (len(rewards) - 1) for r in rewards]
    close(ops.rloo_advantages(f64(rewards), torch.zeros(len(rewards), dtype=torch.int64)), expected, 1e-9)


# ---------------------------------------------------------------- returns and GAE


def plain_gae(rewards: list[float], values: list[float], gamma: float, lam: float) -> tuple[list[float], list[float]]:
    advantages = [0.0] * len(rewards)
    for t in reversed(range(len(rewards))):
        last = t + 1 == len(rewards)
        delta = rewards[t] + (0.0 if last else gamma * values[t + 1]) - values[t]
        advantages[t] = delta + (0.0 if last else gamma * lam * advantages[t + 1])
    return advantages, [a + v for a, v in zip(advantages, values, strict=True)]


def test_gae_by_hand() -> None:
    # delta_2 = 4 - 2 = 2; delta_1 = 1 + 0.5 * 2 - 3 = -1. A_2 = 2; A_1 = -1 + 0.5 * 0.5 * 2 = -0.5. Between them an observation.
    advantages, returns = ops.gae(f64([[1.0, NAN, 4.0, 9.0]]), f64([[3.0, INF, 2.0, 9.0]]), torch.tensor([[1, 0, 1, 0]]), 0.5, 0.5)
    close(advantages, [[-0.5, 0.0, 2.0, 0.0]])
    close(returns, [[2.5, 0.0, 4.0, 0.0]])


@few
@given(seeds, st.floats(0, 1), st.floats(0, 1))
def test_gae_is_that_of_the_tokens_that_count(seed: int, gamma: float, lam: float) -> None:
    draw = Draw(seed)
    rewards, values, mask = draw.normal(), draw.normal(), draw.mask
    found = ops.gae(torch.where(mask, rewards, NAN), torch.where(mask, values, INF), mask, gamma, lam)
    for row in range(len(mask)):
        here = mask[row]
        expected = plain_gae(rewards[row, here].tolist(), values[row, here].tolist(), gamma, lam)
        for tensor, numbers in zip(found, expected, strict=True):
            close(tensor[row, here], f64(numbers))
            close(tensor[row, ~here], 0.0)
    close(ops.gae(rewards, torch.zeros_like(rewards), mask, gamma, 1.0)[1], ops.reinforce_pp_returns(rewards, mask, gamma))


def test_returns_are_carried_through_masked_tokens() -> None:
    """The known defect: a running return multiplied by the mask loses the reward at the end at every observation before it."""
    rewards, mask = f64([[1.0, NAN, INF, 2.0, 8.0, NAN]]), torch.tensor([[1, 0, 0, 1, 1, 0]])
    close(ops.reinforce_pp_returns(rewards, mask, 0.5), [[1 + 0.5 * (2 + 0.5 * 8), 0.0, 0.0, 2 + 0.5 * 8, 8.0, 0.0]])
    close(ops.reinforce_pp_returns(rewards, mask, 1.0), [[11.0, 0.0, 0.0, 10.0, 8.0, 0.0]])


@few
@given(seeds, st.floats(0, 1))
def test_padding_changes_no_advantage(seed: int, gamma: float) -> None:
    draw = Draw(seed)
    rewards, values, mask = draw.normal(), draw.normal(), draw.mask

    def padded(tensor: Tensor, value: float) -> Tensor:
        return torch.nn.functional.pad(tensor, (2, 3), value=value)

    wide = torch.nn.functional.pad(mask, (2, 3))
    for found, expected in (
        (ops.reinforce_pp_returns(padded(rewards, NAN), wide, gamma), ops.reinforce_pp_returns(rewards, mask, gamma)),
        (ops.gae(padded(rewards, NAN), padded(values, 7.0), wide, gamma, 0.9)[0], ops.gae(rewards, values, mask, gamma, 0.9)[0]),
        (ops.masked_whiten(padded(rewards, INF), wide), ops.masked_whiten(rewards, mask)),
    ):
        close(found[:, 2:-3], expected)


def test_what_is_estimated_carries_no_gradient() -> None:
    values = learned([[1.0, 2.0]])
    mask = torch.ones(1, 2)
    estimates = [
        *ops.gae(values, values, mask),
        ops.reinforce_pp_returns(values, mask),
        ops.masked_whiten(values, mask),
        ops.importance_weights(values, values, mask, "token_mask"),
        ops.grpo_advantages(values[0], torch.zeros(2, dtype=torch.int64)),
        ops.rloo_advantages(values[0], torch.zeros(2, dtype=torch.int64)),
    ]
    assert not any(estimate.requires_grad for estimate in estimates)


def test_overlong_penalty_by_hand() -> None:
    expected = [0.0, 0.0, -0.25 * 3, -3.0, -3.0]
    close(ops.overlong_penalty(f64([0.0, 60.0, 70.0, 100.0, 130.0]), limit=100, buffer=40, factor=3.0), expected)
    found = ops.overlong_penalty(torch.tensor([0, 60, 70, 100, 130]), 100, 40, 3.0)
    assert found.dtype == torch.float64
    close(found, expected)


# ---------------------------------------------------------------- policy losses

#: Two tokens of one sequence: ratios 2 and 0.5, advantages 1 and -1, log-probabilities of the old policy -3 and -1.
OLD = f64([[-3.0, -1.0]])
NEW = OLD + log([[2.0, 0.5]])


def token_losses(kind: str, new: Tensor, old: Tensor | None, advantages: Tensor, **options: float | None) -> Tensor:
    """The loss of each token, read off one at a time from the sum."""
    ones = torch.ones_like(new)
    found = []
    for index in range(new.numel()):
        weights = torch.zeros(new.numel(), dtype=new.dtype)
        weights[index] = 1.0
        loss, _ = ops.policy_loss(
            new, old, advantages, ones, kind, aggregation="token-sum", weights=weights.view_as(new), **options
        )
        found.append(loss)
    return torch.stack(found).view_as(new)


def test_ppo_by_hand() -> None:
    # A = 1: ratio 2 is clipped to 1.3. A = -1: ratio 0.5 is clipped to 0.8, loss 0.8.
    close(token_losses("ppo", NEW, OLD, f64([[1.0, -1.0]]), clip_low=0.2, clip_high=0.3), [[-1.3, 0.8]])
    # The other signs are not clipped: -(-1) * 2 and -0.5.
    close(token_losses("ppo", NEW, OLD, f64([[-1.0, 1.0]]), clip_low=0.2, clip_high=0.3), [[2.0, -0.5]])
    # A dual clip of 1.5 bounds the loss of the first; positive advantages know no dual clip.
    close(token_losses("ppo", NEW, OLD, f64([[-1.0, 1.0]]), clip_low=0.2, clip_high=0.3, dual_clip=1.5), [[1.5, -0.5]])


def test_ppo_gradient_by_hand() -> None:
    def loss(advantages: list[list[float]], dual_clip: float | None = None) -> Callable[[Tensor], Tensor]:
        return lambda new: ops.policy_loss(
            new, OLD, f64(advantages), torch.ones(1, 2), dual_clip=dual_clip, aggregation="token-sum"
        )[0]

    close(gradient(loss([[1.0, -1.0]]), NEW), 0.0)  # both clipped
    close(gradient(loss([[-1.0, 1.0]]), NEW), [[2.0, -0.5]])  # d(-A r) / d logprob = -A r
    close(gradient(loss([[-1.0, 1.0]], 1.5), NEW), [[0.0, -0.5]])


def test_metrics_by_hand() -> None:
    mask = torch.tensor([[1, 1, 1, 1, 0]])
    ratios = f64([[2.0, 0.5, 4.0, 1.0, 50.0]])
    advantages = f64([[1.0, -1.0, -1.0, 1.0, 1.0]])
    _, metrics = ops.policy_loss(ratios.log(), torch.zeros(1, 5), advantages, mask, dual_clip=3.0)
    expected = {
        "clip_fraction_low": 1 / 4,
        "clip_fraction_high": 1 / 4,
        "dual_clip_fraction": 1 / 4,
        "approx_kl_k1": -math.log(4) / 4,
        "approx_kl_k3": (1 - math.log(2) - 0.5 + math.log(2) + 3 - math.log(4)) / 4,
        "ratio_mean": 7.5 / 4,
        "ratio_max": 4.0,
    }
    assert {name: float(value) for name, value in metrics.items()} == pytest.approx(expected, abs=1e-12)
    assert not any(value.requires_grad or value.dim() for value in metrics.values())
    _, metrics = ops.policy_loss(ratios.log(), torch.zeros(1, 5), advantages, mask, dual_clip=3.0, token_count=8)
    assert float(metrics["ratio_mean"]) == pytest.approx(7.5 / 8)
    assert float(metrics["ratio_max"]) == 4.0
    _, metrics = ops.policy_loss(ratios.log(), torch.zeros(1, 5), advantages, mask, "cispo")
    assert float(metrics["clip_fraction_high"]) == 2 / 4  # 2 and 4, whatever the advantage


def test_gspo_by_hand() -> None:
    # Ratios 2 and 0.5 of one sequence: the mean log ratio is 0, so r = 1 and the loss is -A with gradient -A.
    advantages = f64([[1.5, 1.5]])
    close(token_losses("gspo", NEW, OLD, advantages, clip_low=1e-3, clip_high=1e-3), [[-1.5, -1.5]])
    # Ratios 4 and 1, r = 2 on both tokens; a third token does not count.
    new = f64([[math.log(4), 0.0, NAN]])
    mask = torch.tensor([[1, 1, 0]])

    def loss(advantage: float, clip: float, mode: str = "seq-mean-token-mean") -> Callable[[Tensor], Tensor]:
        return lambda x: ops.policy_loss(
            x, torch.zeros(1, 3), torch.full((1, 3), advantage), mask, "gspo", clip, clip, 1.5, aggregation=mode
        )[0]

    close(loss(1.0, 0.5)(new), -1.5)
    close(gradient(loss(1.0, 0.5), new), 0.0)
    close(loss(1.0, 1.5)(new), -2.0)
    close(gradient(loss(1.0, 1.5), new), [[-1.0, -1.0, 0.0]])  # r / 2 tokens
    close(loss(-1.0, 0.5)(new), 2.0)  # a dual clip is for "ppo" alone
    close(gradient(loss(-1.0, 0.5, "token-sum"), new), [[2.0, 2.0, 0.0]])


def test_gspo_ratio_is_bounded() -> None:
    loss, _ = ops.policy_loss(f64([[50.0]]), f64([[0.0]]), f64([[-1.0]]), torch.ones(1, 1), "gspo")
    close(loss, math.exp(10))


def test_cispo_by_hand() -> None:
    # Bounds are distances from 1: 2 becomes 1 + 0.5, 0.5 becomes 1 - 0.25. Losses -w A logprob, gradients -w A.
    advantages = f64([[2.0, -1.0]])
    close(token_losses("cispo", NEW, OLD, advantages, clip_low=0.25, clip_high=0.5), -f64([[1.5, 0.75]]) * advantages * NEW)
    found = gradient(
        lambda new: ops.policy_loss(new, OLD, advantages, torch.ones(1, 2), "cispo", 0.25, 0.5, aggregation="token-sum")[0], NEW
    )
    close(found, [[-3.0, 0.75]])


def test_gmpo_by_hand() -> None:
    # A > 0: log 2 is cut to 0.4, -log 2 stays: mean (0.4 - log 2) / 2. A < 0: log 2 stays, -log 2 is cut to -0.3.
    up, down = math.exp((0.4 - math.log(2)) / 2), math.exp((math.log(2) - 0.3) / 2)

    def loss(advantage: float) -> Callable[[Tensor], Tensor]:
        return lambda new: ops.policy_loss(
            new, OLD, torch.full((1, 2), advantage), torch.ones(1, 2), "gmpo", 0.3, 0.4, aggregation="seq-mean-token-mean"
        )[0]

    close(loss(2.0)(NEW), -2 * up)
    close(gradient(loss(2.0), NEW), [[0.0, -up]])  # -A r / 2 tokens, 0 where the bound holds
    close(loss(-2.0)(NEW), 2 * down)
    close(gradient(loss(-2.0), NEW), [[down, 0.0]])
    close(loss(0.0)(NEW), 0.0)
    for advantage, held in ((2.0, (0.0, 0.5)), (-2.0, (0.5, 0.0)), (0.0, (0.0, 0.0))):
        _, metrics = ops.policy_loss(NEW, OLD, torch.full((1, 2), advantage), torch.ones(1, 2), "gmpo", 0.3, 0.4)
        assert (float(metrics["clip_fraction_low"]), float(metrics["clip_fraction_high"])) == held


def test_sapo_by_hand() -> None:
    def gate(ratio: float, tau: float) -> float:
        return 4 / tau / (1 + math.exp(-tau * (ratio - 1)))

    close(token_losses("sapo", NEW, OLD, f64([[3.0, -2.0]])), [[-3 * gate(2.0, 1.0), 2 * gate(0.5, 1.05)]])
    close(token_losses("sapo", NEW, OLD, f64([[3.0, -2.0]]), tau_pos=0.5, tau_neg=2.0), [[-3 * gate(2.0, 0.5), 2 * gate(0.5, 2.0)]])


def test_reinforce_by_hand() -> None:
    advantages = f64([[3.0, -2.0]])
    close(token_losses("reinforce", NEW, None, advantages), -advantages * NEW)
    assert ops.policy_loss(NEW, None, advantages, torch.ones(1, 2), "reinforce")[1] == {}


@few
@given(seeds, st.sampled_from(ops.POLICY_KINDS))
def test_on_policy_all_kinds_are_the_plain_policy_gradient(seed: int, kind: str) -> None:
    draw = Draw(seed)
    logprobs, mask = draw.normal(), draw.mask
    advantages = draw.normal()[:, :1].expand_as(logprobs)  # one for the sequence, where "gmpo" is defined
    found = gradient(
        lambda x: ops.policy_loss(x, logprobs, advantages, mask, kind, dual_clip=3.0, aggregation="seq-mean-token-mean")[0],
        logprobs,
    )
    expected = gradient(lambda x: ops.aggregate(-advantages * x, mask, "seq-mean-token-mean"), logprobs)
    close(found, expected)


@few
@given(seeds, st.sampled_from(["cispo", "ppo", "sapo", "gmpo"]))
def test_the_log_ratio_is_bounded(seed: int, kind: str) -> None:
    draw = Draw(seed)
    far, advantages = draw.normal(500.0), draw.normal()
    loss, metrics = ops.policy_loss(far, torch.zeros_like(far), advantages, draw.mask, kind)
    assert loss.isfinite()
    assert all(value.isfinite() for value in metrics.values())
    assert gradient(lambda x: ops.policy_loss(x, torch.zeros_like(x), advantages, draw.mask, kind)[0], far).isfinite().all()


@few
@given(seeds, st.sampled_from(ops.POLICY_KINDS), st.sampled_from(ops.AGGREGATIONS), st.sampled_from([NAN, INF, -INF, 1e300]))
def test_masked_places_have_no_influence(seed: int, kind: str, mode: str, poison: float) -> None:
    draw = Draw(seed)
    mask = draw.mask
    tensors = {name: draw.normal(0.5) for name in ("logprobs", "old_logprobs", "advantages", "weights")}
    clean = {name: torch.where(mask, tensor, 0.3) for name, tensor in tensors.items()}
    dirty = {name: torch.where(mask, tensor, poison) for name, tensor in tensors.items()}
    results = []
    for inputs in (clean, dirty):
        logprobs = inputs["logprobs"].clone().requires_grad_()
        loss, metrics = ops.policy_loss(**{**inputs, "logprobs": logprobs}, mask=mask, kind=kind, dual_clip=2.0, aggregation=mode)
        loss.backward()
        assert logprobs.grad is not None
        assert bool((logprobs.grad[~mask] == 0).all())
        results.append([loss.detach(), logprobs.grad, *metrics.values()])
    for found, expected in zip(*results, strict=True):
        assert torch.equal(found, expected)


@few
@given(seeds, st.sampled_from(ops.POLICY_KINDS), st.sampled_from(ops.AGGREGATIONS), st.integers(1, 3))
def test_a_policy_loss_is_that_of_its_micro_batches(seed: int, kind: str, mode: str, first: int) -> None:
    """And its rows may be in any order and padded to any width."""
    draw = Draw(seed)
    new, old, advantages, weights, mask = draw.normal(0.5), draw.normal(0.5), draw.normal(), draw.normal().abs(), draw.mask
    counts = {"token_count": float(mask.sum()), "sequence_count": float(mask.any(1).sum()), "scale": 9.0}

    def loss(x: Tensor, rows: Tensor, width: int = 0) -> tuple[Tensor, dict[str, Tensor]]:
        inputs = [torch.nn.functional.pad(tensor[rows], (0, width), value=NAN) for tensor in (x, old, advantages)]
        padded, weight = (torch.nn.functional.pad(tensor[rows], (0, width)) for tensor in (mask, weights))
        return ops.policy_loss(*inputs, padded, kind, dual_clip=2.0, aggregation=mode, weights=weight, **counts)

    everything, order = torch.arange(4), draw.permutation(4)
    expected, metrics = loss(new, everything)
    expected_gradient = gradient(lambda x: loss(x, everything)[0], new)
    close(gradient(lambda x: loss(x, order[:first], 3)[0] + loss(x, order[first:])[0], new), expected_gradient)
    (one, metrics_one), (two, metrics_two) = loss(new, order[:first], 3), loss(new, order[first:])
    close(one + two, expected)
    for name, value in metrics.items():
        found = (metrics_one[name], metrics_two[name])
        close(torch.stack(found).amax() if name in ops.MAXIMA else sum(found), value)


@few
@given(seeds, st.sampled_from(["reinforce", "gmpo", "sapo", "ppo"]), st.sampled_from(ops.AGGREGATIONS))
def test_gradients_are_those_of_finite_differences(seed: int, kind: str, mode: str) -> None:
    draw = Draw(seed, rows=2, width=3)
    new, old, advantages = draw.normal(0.05).requires_grad_(), draw.normal(0.05), draw.normal()
    # Bounds far from every ratio: at a bound there is no derivative.
    assert torch.autograd.gradcheck(
        lambda x: ops.policy_loss(x, old, advantages, draw.mask, kind, 0.9, 0.9, aggregation=mode)[0], (new,)
    )


@pytest.mark.parametrize("kind", ops.POLICY_KINDS)
@pytest.mark.parametrize("shape", [(2, 3), (0, 3), (2, 0)])
def test_a_policy_loss_of_nothing_is_0(kind: str, shape: tuple[int, int]) -> None:
    new = torch.full(shape, NAN, dtype=torch.float64, requires_grad=True)
    loss, metrics = ops.policy_loss(new, new.detach(), new.detach(), torch.zeros(shape), kind)
    loss.backward()
    assert float(loss.detach()) == 0.0
    close(new.grad, 0.0)
    assert all(float(value) == 0.0 for value in metrics.values())


@pytest.mark.parametrize("kind", RATIO_KINDS)
def test_constants_get_no_gradient(kind: str) -> None:
    tensors = [f64([[0.1, 0.2]]).requires_grad_() for _ in range(4)]
    new, old, advantages, weights = tensors
    ops.policy_loss(new, old, advantages, torch.ones(1, 2), kind, weights=weights)[0].backward()
    assert [tensor.grad is None for tensor in tensors] == [False, True, True, True]


# ---------------------------------------------------------------- value loss, KL, weights, entropy


def test_value_loss_by_hand() -> None:
    # Errors 3 and 1, squares 9 and 1. Clipped to old +- 0.5 the answers are 0.5 and 1.5 with squared errors 0.25 and 2.25: the
    # worse of each pair are 9 and 2.25.
    values, old, returns = f64([[4.0, 2.0, NAN]]), f64([[0.0, 1.0, INF]]), f64([[1.0, 3.0, NAN]])
    mask = torch.tensor([[1, 1, 0]])
    close(ops.value_loss(values, None, returns, mask), 0.5 * (9 + 1) / 2)
    close(ops.value_loss(values, old * NAN, returns, mask), 0.5 * (9 + 1) / 2)
    close(ops.value_loss(values, old, returns, mask, 0.5), 0.5 * (9 + 2.25) / 2)
    close(ops.value_loss(values, old, returns, mask, 0.5, token_count=4), 0.5 * (9 + 2.25) / 4)
    close(gradient(lambda x: ops.value_loss(x, old, returns, mask, 0.5, "token-sum"), values), [[3.0, 0.0, 0.0]])


D = 0.5


@pytest.mark.parametrize(
    ("kind", "value", "slope"),
    [
        ("k1", D, 1.0),
        ("k2", D**2 / 2, D),
        ("k3", math.exp(-D) - 1 + D, 1 - math.exp(-D)),
        ("abs", D, 1.0),
        ("k1+", D, D),
        ("k2+", D**2 / 2, D),
        ("k3+", math.exp(-D) - 1 + D, D),
        ("abs+", D, D),
    ],
)
def test_kl_by_hand(kind: str, value: float, slope: float) -> None:
    logprobs, reference = f64([-1.0]), f64([-1.0 - D])
    close(ops.kl(logprobs, reference, kind), [value])
    close(gradient(lambda x: ops.kl(x, reference, kind).sum(), logprobs), [slope])


def test_k3_is_bounded() -> None:
    far = f64([-1000.0, -5.0, 1000.0])  # exp(1000), exp(5) - 6 = 142, and 1000 bounded to 20: exp(-20) - 1 + 20 = 19
    close(ops.kl(far, torch.zeros(3), "k3"), 10.0)
    close(gradient(lambda x: ops.kl(x, torch.zeros(3), "k3").sum(), far), 0.0)
    close(gradient(lambda x: ops.kl(x, torch.zeros(3), "k3+").sum(), far), far)


@few
@given(seeds)
def test_kl_estimates_have_the_expectation_they_claim(seed: int) -> None:
    draw = Draw(seed, rows=2, width=5)
    logits, reference = draw.normal(0.3)[0], draw.normal(0.3)[1].log_softmax(0)  # near enough for k3 to be unbounded
    logprobs = logits.log_softmax(0)
    exact = torch.nn.functional.kl_div(reference, logprobs, reduction="sum", log_target=True)
    for kind in ("k1", "k3", "k1+", "k3+"):
        close((logprobs.exp() * ops.kl(logprobs, reference, kind)).sum(), exact)

    def exact_kl(x: Tensor) -> Tensor:
        return torch.nn.functional.kl_div(reference, x.log_softmax(0), reduction="sum", log_target=True)

    for kind in ("k2", "k1+", "k3+", "abs+"):  # the gradient of the estimate, averaged over what is sampled
        close(
            gradient(lambda x, kind=kind: (logprobs.exp() * ops.kl(x.log_softmax(0), reference, kind)).sum(), logits),
            gradient(exact_kl, logits),
        )


@pytest.mark.parametrize(
    ("mode", "cap", "expected"),
    [
        # Ratios 4, 0.5, 1 (nothing recorded) and 8, 0.25; a masked token at the end of each row.
        ("token_truncate", 2.0, [[2.0, 0.5, 1.0, 0.0], [2.0, 0.25, 0.0, 0.0]]),
        ("token_truncate", 0.4, [[0.4, 0.4, 0.4, 0.0], [0.4, 0.25, 0.0, 0.0]]),
        ("token_mask", 4.0, [[4.0, 0.5, 1.0, 0.0], [0.0, 0.25, 0.0, 0.0]]),
        ("token_mask", (0.3, 8.0), [[4.0, 0.5, 1.0, 0.0], [8.0, 0.0, 0.0, 0.0]]),
        # Products 2 and 2.
        ("sequence_truncate", 1.5, [[1.5, 1.5, 1.5, 0.0], [1.5, 1.5, 0.0, 0.0]]),
        ("sequence_truncate", 3.0, [[2.0, 2.0, 2.0, 0.0], [2.0, 2.0, 0.0, 0.0]]),
        ("sequence_mask", 1.5, [[0.0] * 4, [0.0] * 4]),
        ("sequence_mask", (0.1, 3.0), [[2.0, 2.0, 2.0, 0.0], [2.0, 2.0, 0.0, 0.0]]),
    ],
)
def test_importance_weights_by_hand(mode: str, cap: float | tuple[float, float], expected: list[list[float]]) -> None:
    train = f64([[-1.0, -1.0, -1.0, NAN], [-1.0, -1.0, INF, -1.0]])
    ratios = f64([[4.0, 0.5, NAN, 1.0], [8.0, 0.25, 1.0, NAN]])
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]])
    # Powers of 2 and bounds that are powers of 2 meet exactly only without rounding, so bounds are moved outwards by a hair.
    moved = cap * (1 + 1e-12) if isinstance(cap, float) else (cap[0] * (1 - 1e-12), cap[1] * (1 + 1e-12))
    close(ops.importance_weights(train, train - ratios.log(), mask, mode, moved), expected, 1e-9)


def test_importance_weights_do_not_overflow() -> None:
    far, mask = f64([[1000.0, -1000.0]]), torch.ones(1, 2)
    found = ops.importance_weights(far, torch.zeros(1, 2), mask, "token_truncate", INF)
    close(found, [[math.exp(20), math.exp(-20)]])
    close(ops.importance_weights(far, f64([[-INF, 0.0]]), mask, "token_mask", 2.0), 0.0)


def test_entropy_by_hand() -> None:
    logits = f64([[0.0, 0.0, 0.0, 0.0], [math.log(3), 0.0, -INF, -INF], [1e4, 0.0, -1e4, -INF]])
    expected = [math.log(4), math.log(4) - 0.75 * math.log(3), 0.0]
    close(ops.entropy(logits), expected)
    close(ops.entropy(logits[:, None] + 100.0), f64(expected)[:, None], 1e-9)
    banned = logits.float().masked_fill(logits.isneginf(), torch.finfo(torch.float32).min)
    close(ops.entropy(banned), expected, 1e-6)
    for each in (logits, banned):
        assert gradient(lambda x: ops.entropy(x).sum(), each).isfinite().all()
    close(gradient(lambda x: ops.entropy(x).sum(), logits)[:, 2:].abs().amax(0)[1], 0.0)


@few
@given(seeds)
def test_entropy_agrees_with_torch_and_its_gradient_with_finite_differences(seed: int) -> None:
    logits = Draw(seed).normal(3.0).requires_grad_()
    close(ops.entropy(logits), torch.distributions.Categorical(logits=logits).entropy())
    assert torch.autograd.gradcheck(ops.entropy, (logits,))


# ---------------------------------------------------------------- precision and errors


def test_float64_stays_float64() -> None:
    """A float32 anywhere in between would leave errors of 1e-8."""
    tiny, ones, group = 1e-12, torch.ones(1, 2), torch.tensor([0, 0])
    close(ops.grpo_advantages(f64([1.0, 1.0 + tiny]), group, std=False) / tiny, [-0.5, 0.5], 1e-3)
    close(ops.rloo_advantages(f64([1.0, 1.0 + tiny]), group) / tiny, [-1.0, 1.0], 1e-3)
    close(ops.reinforce_pp_returns(f64([[1.0, tiny]]), ones) - 1, [[tiny, tiny - 1]], 1e-15)
    close(ops.masked_mean(f64([[1.0, 1.0 + tiny]]), ones) - 1, tiny / 2, 1e-15)
    for kind in RATIO_KINDS:
        base = f64([[-1.0, -1.0]])
        _, metrics = ops.policy_loss(base + tiny, base, torch.ones(1, 2), ones, kind)
        close(metrics["ratio_mean"] - 1, tiny, 1e-15)
        assert all(value.dtype == torch.float64 for value in metrics.values())
    close(ops.importance_weights(base + tiny, base, ones, "sequence_truncate") - 1, 2 * tiny, 1e-15)


def test_float32_stays_float32() -> None:
    x, mask, group = torch.rand(2, 3), torch.ones(2, 3), torch.tensor([0, 0])
    found = [
        ops.masked_mean(x, mask),
        ops.masked_whiten(x, mask),
        *ops.gae(x, x, mask),
        ops.reinforce_pp_returns(x, mask),
        ops.grpo_advantages(x[:, 0], group),
        ops.rloo_advantages(x[:, 0], group),
        ops.value_loss(x, x, x, mask, 0.2),
        ops.importance_weights(x, x, mask, "sequence_mask"),
        ops.entropy(x),
        *(ops.aggregate(x, mask, mode) for mode in ops.AGGREGATIONS),
        *(ops.kl(x, x, kind) for kind in ops.KL_KINDS),
        *(ops.policy_loss(x, x, x, mask, kind)[0] for kind in ops.POLICY_KINDS),
    ]
    assert {tensor.dtype for tensor in found} == {torch.float32}


X, XX = torch.zeros(2), torch.zeros(1, 2)
GROUPS = torch.tensor([0, 0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ops.aggregate(XX, XX, "mean"), "mode is 'mean'; it must be one of token-mean, token-sum, seq-mean-token-sum, "),
        (
            lambda: ops.policy_loss(XX, XX, XX, XX, "trpo"),
            "kind is 'trpo'; it must be one of ppo, gspo, cispo, gmpo, sapo, reinforce",
        ),
        (lambda: ops.policy_loss(XX, XX, XX, XX, aggregation="sum"), "aggregation is 'sum'; it must be one of token-mean"),
        (lambda: ops.kl(X, X, "k4"), r"kind is 'k4'; it must be one of k1, k2, k3, abs, k1\+"),
        (lambda: ops.importance_weights(XX, XX, XX, "token"), "mode is 'token'; it must be one of token_truncate, token_mask, "),
        (lambda: ops.value_loss(XX, XX, XX, XX, aggregation="sum"), "aggregation is 'sum'; it must be one of"),
        (lambda: ops.masked_mean(XX, X), r"mask has shape \(2,\); values has \(1, 2\)"),
        (lambda: ops.masked_whiten(XX, X), r"mask has shape \(2,\); values has \(1, 2\)"),
        (lambda: ops.aggregate(X, X), r"loss has shape \(2,\); it must have 2 dimensions"),
        (lambda: ops.grpo_advantages(XX, GROUPS), r"rewards has shape \(1, 2\); it must have 1 dimension$"),
        (lambda: ops.rloo_advantages(X, GROUPS[:1]), r"groups has shape \(1,\); rewards has \(2,\)"),
        (lambda: ops.grpo_advantages(GROUPS, GROUPS), "rewards has dtype torch.int64; it must be a floating-point dtype"),
        (lambda: ops.grpo_advantages(X, X), "groups has dtype torch.float32; it must be an integer dtype"),
        (lambda: ops.grpo_advantages(X + INF, GROUPS), "rewards has infinite entries"),
        (lambda: ops.reinforce_pp_returns(XX, X), r"mask has shape \(2,\)"),
        (lambda: ops.gae(XX, X, XX), r"values has shape \(2,\); token_rewards has \(1, 2\)"),
        (lambda: ops.policy_loss(XX, X, XX, XX), r"old_logprobs has shape \(2,\); logprobs has \(1, 2\)"),
        (lambda: ops.policy_loss(XX, XX, X, XX), r"advantages has shape \(2,\)"),
        (lambda: ops.policy_loss(XX, XX, XX, XX, weights=X), r"weights has shape \(2,\)"),
        (lambda: ops.policy_loss(XX, None, XX, XX), "old_logprobs is None; kind 'ppo' needs them"),
        (lambda: ops.policy_loss(XX, XX, XX, XX, clip_low=-0.1), "clip_low is -0.1; it must not be negative"),
        (lambda: ops.policy_loss(XX, XX, XX, XX, clip_high=NAN), "clip_high is nan"),
        (lambda: ops.policy_loss(XX, XX, XX, XX, dual_clip=1.0), "dual_clip is 1.0; it must be greater than 1, or None"),
        (lambda: ops.policy_loss(XX, XX, XX, XX, "sapo", tau_neg=0.0), "tau_neg is 0.0; it must be positive"),
        (lambda: ops.policy_loss(XX, XX, XX, XX, token_count=-1), "token_count is -1; it must not be negative"),
        (lambda: ops.aggregate(XX, XX, "seq-mean-token-sum-norm", scale=0.0), "scale is 0.0; it must be positive"),
        (lambda: ops.aggregate(XX, XX, "seq-mean-token-sum", sequence_count=NAN), "sequence_count is nan"),
        (lambda: ops.value_loss(XX, XX, X, XX), r"returns has shape \(2,\)"),
        (lambda: ops.value_loss(XX, None, XX, XX, 0.2), "old_values is None; clip needs them"),
        (lambda: ops.value_loss(XX, XX, XX, XX, -0.2), "clip is -0.2"),
        (lambda: ops.kl(XX, X), r"ref_logprobs has shape \(2,\)"),
        (lambda: ops.importance_weights(XX, X, XX, "token_mask"), r"rollout_logprobs has shape \(2,\)"),
        (
            lambda: ops.importance_weights(XX, XX, XX, "token_truncate", 0.0),
            "cap is 0.0; mode 'token_truncate' needs a positive number",
        ),
        (lambda: ops.importance_weights(XX, XX, XX, "token_truncate", (0.5, 2.0)), r"cap is \(0.5, 2.0\); mode 'token_truncate'"),
        (
            lambda: ops.importance_weights(XX, XX, XX, "sequence_mask", 0.5),
            "cap is 0.5; mode 'sequence_mask' needs a number of at least",
        ),
        (lambda: ops.importance_weights(XX, XX, XX, "sequence_mask", (1.5, 2.0)), r"cap is \(1.5, 2.0\)"),
        (lambda: ops.overlong_penalty(X, 10, 0), "buffer is 0; it must be positive and at most limit, 10"),
        (lambda: ops.overlong_penalty(X, 10, 11), "buffer is 11"),
        (lambda: ops.overlong_penalty(X, 10, 5, -1.0), "factor is -1.0; it must not be negative"),
    ],
)
def test_errors_say_what_is_wrong(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
