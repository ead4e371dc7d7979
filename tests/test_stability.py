"""What keeps a training stable: entropy at a target, a reference that moves along, replies that are left out."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_rl import SIDES, checkpoint, episodes, learner, mixed, parameters
from test_rl import clicks as clicks  # a fixture: any reply is a click
from torch import Tensor

from stepladder.algos import ops
from stepladder.algos.credit import NOTHING, Credit
from stepladder.algos.entropy_control import EntropyControl
from stepladder.algos.grpo import Grpo
from stepladder.algos.objective import COUNTS, PolicyObjective, SampledTokens, policy_terms
from stepladder.algos.off_policy import off_policy_replies
from stepladder.algos.overlong import without_cut_off
from stepladder.algos.ppo import Ppo
from stepladder.images import ImageStore
from stepladder.stages.agent_options import AgentOptions
from stepladder.stages.rl import main
from stepladder.stages.rl_learner import Learner
from stepladder.types import Completion, Group, Observation, Step, Task, Trajectory

# ---------------------------------------------------------------- off-policy replies


def test_what_did_badly_and_is_hardly_said_any_more_is_left_out() -> None:
    nan = torch.nan
    mask = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 1, 0], [1, 1, 1], [1, 0, 0], [0, 0, 0]])
    advantages = torch.tensor([[-1.0] * 3, [1.0, 1.0, nan], [-1.0, -1.0, nan], [-2.0, 0.5, 0.5], [-1.0, nan, nan], [nan] * 3])
    sampled = torch.zeros(6, 3)
    # means of sampled - present: 0.5, 0.5, 0.1, 0.3, 0.2 exactly at the bound, nothing
    present = -torch.tensor([[0.0, 1.5, 0.0], [0.5, 0.5, nan], [0.2, 0.0, nan], [0.3, 0.3, 0.3], [0.2, nan, nan], [nan] * 3])
    found = off_policy_replies(advantages, sampled, torch.full_like(sampled, nan), present, mask, 0.2)
    assert found.tolist() == [True, False, False, True, False, False]


def test_the_recorded_probability_counts_where_there_is_one() -> None:
    """Older weights and another engine are off-policy too; the weights before the update know nothing of them."""
    one = torch.ones(2, 1)
    recorded = torch.tensor([[-0.1], [torch.nan]])
    found = off_policy_replies(-one, -one, recorded, -one, one, 0.5)
    assert found.tolist() == [True, False]


def test_a_delta_or_shapes_that_cannot_be_are_named() -> None:
    one = torch.ones(2, 3)
    with pytest.raises(ValueError, match=r"delta is -1\.0; it must not be negative"):
        off_policy_replies(one, one, one, one, one, -1.0)
    with pytest.raises(ValueError, match=r"logprobs has shape \(2, 2\); advantages has \(2, 3\)"):
        off_policy_replies(one, one, one, one[:, :2], one, 0.1)


def sampled_tokens(rows: slice | list[int] = slice(None)) -> tuple[SampledTokens, Tensor]:
    """Four replies of three tokens, of which the second is a failure that the policy has moved away from."""
    torch.manual_seed(0)
    logprobs = (-torch.rand(4, 3, dtype=torch.float64) - 0.5).requires_grad_()
    old = logprobs.detach() + torch.tensor([[0.0], [0.4], [0.4], [0.1]], dtype=torch.float64)
    advantages = torch.tensor([[1.0], [-1.0], [1.0], [-1.0]], dtype=torch.float64).expand(4, 3)
    nothing = torch.full((4, 3), torch.nan, dtype=torch.float64)
    ones = torch.ones(4, 3, dtype=torch.float64)
    fields: dict[str, Any] = {
        "old_logprobs": old,
        "rollout_logprobs": nothing,
        "advantages": advantages,
        "ref_logprobs": nothing,
        "old_values": nothing,
        "returns": nothing,
        "w_pg": ones,
        "w_kl": torch.zeros_like(ones),
        "w_distill": torch.zeros_like(ones),
    }
    return SampledTokens(logprobs=logprobs[rows], **{name: value[rows] for name, value in fields.items()}), logprobs


@pytest.mark.parametrize("aggregation", ["token-mean", "seq-mean-token-mean", "seq-mean-token-sum-norm"])
def test_a_reply_that_is_left_out_has_no_gradient_and_changes_no_other(aggregation: str) -> None:
    counts = dict.fromkeys(COUNTS, 0.0) | {"pg_tokens": 12.0, "pg_replies": 4.0}
    gradients = []
    for delta in (None, 0.25):
        tokens, logprobs = sampled_tokens()
        objective = PolicyObjective(kind="reinforce", aggregation=aggregation, correction=None, off_policy_delta=delta)
        losses, metrics = policy_terms(objective, tokens, counts)
        losses["pg"].backward()
        assert logprobs.grad is not None
        gradients.append(logprobs.grad)
        assert metrics.get("off_policy_replies") == (None if delta is None else 0.25)
    assert (gradients[1][1] == 0).all()
    assert (gradients[0][1] != 0).all()
    others = [0, 2, 3]
    torch.testing.assert_close(gradients[1][others], gradients[0][others])


def test_micro_batches_add_up_to_the_whole_update() -> None:
    counts = dict.fromkeys(COUNTS, 0.0) | {"pg_tokens": 12.0, "pg_replies": 4.0}
    objective = PolicyObjective(off_policy_delta=0.25)
    whole = policy_terms(objective, sampled_tokens()[0], counts)
    parts = [policy_terms(objective, sampled_tokens([row])[0], counts) for row in range(4)]
    torch.testing.assert_close(sum(losses["pg"] for losses, _ in parts), whole[0]["pg"])
    assert sum(float(metrics["off_policy_replies"]) for _, metrics in parts) == float(whole[1]["off_policy_replies"]) == 0.25


# ---------------------------------------------------------------- replies that were cut off


def test_what_was_cut_off_is_credited_nothing_and_the_rest_as_before() -> None:
    steps = tuple(
        Step(Observation(), completion=None if finish is None else Completion("x", np.zeros(1, dtype=np.int32), finish=finish))  # type: ignore[arg-type]
        for finish in ("stop", "length", None, "abort")
    )
    group = [Trajectory("a", Task("t", "", "test"), steps, None, "done", 1.0)]
    credits = [[[Credit(pg=1.0, kl=0.5, advantage=float(place)) for place in range(4)]]]
    found = without_cut_off([group], credits)
    assert found[0][0][1] is NOTHING
    assert [found[0][0][place] is credits[0][0][place] for place in (0, 2, 3)] == [True] * 3


# ---------------------------------------------------------------- entropy


def test_the_coefficient_follows_the_target_within_its_bounds() -> None:
    control = EntropyControl(target=1.0, step=0.1, least=0.0, most=0.25, coefficient=0.05)
    assert control.weight == 0.05, "nothing is known yet"
    found = []
    for entropy in (0.9, 0.9, 0.9, 1.0, 1.5, 1.5, 1.5, 0.5):
        control.update(entropy)
        found.append((round(control.coefficient, 9), round(control.weight, 9)))
    assert found == [
        *((0.15, 0.15), (0.25, 0.25), (0.25, 0.25)),
        (0.25, 0.25),  # at the target it stays, and is applied
        *((0.15, 0.0), (0.05, 0.0), (0.0, 0.0)),  # above it is not applied
        (0.1, 0.1),
    ]


@given(st.lists(st.floats(0, 3), max_size=30), st.floats(0, 1))
def test_a_control_that_goes_on_from_its_state_is_the_same(entropies: list[float], start: float) -> None:
    def made() -> EntropyControl:
        return EntropyControl(target=1.0, step=0.07, least=0.01, most=0.5, coefficient=start)

    whole, part = made(), made()
    for entropy in entropies:
        whole.update(entropy)
        part.update(entropy)
        again = made()
        again.load_state(part.state())
        part = again
        assert part == whole
        assert 0.01 <= whole.coefficient <= 0.5


def test_the_entropy_of_a_policy_settles_at_the_target() -> None:
    """A policy of eight actions that is paid for one of them, by exact gradients: alone it collapses, with the control it stays."""

    def final(target: float | None) -> float:
        logits = torch.zeros(8, dtype=torch.float64, requires_grad=True)
        control = None if target is None else EntropyControl(target, step=0.005, least=0.0, most=1.0, coefficient=0.0)
        late = []
        for number in range(3000):
            entropy = ops.entropy(logits)
            bonus = 0.0 if control is None else control.weight
            loss = -logits.softmax(0)[3] - bonus * entropy
            (gradient,) = torch.autograd.grad(loss, logits)
            with torch.no_grad():
                logits -= 0.5 * gradient
            if control is not None:
                control.update(entropy.item())
            late += [entropy.item()] if number >= 2000 else []
        return float(np.mean(late))

    assert final(None) < 0.02
    for target in (0.3, 0.8):
        assert final(target) == pytest.approx(target, rel=0.1)


# ---------------------------------------------------------------- in the learner


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("stability") / "start")


@pytest.fixture(scope="module")
def played(start: Path, clicks: None) -> Path:
    """A run with some groups that tell something."""
    config = replace(SIDES, checkpoint=start, output=start.parent / "played", groups=4, validation=0)
    main(config, show=False)
    return config.output


@pytest.fixture(scope="module")
def groups(played: Path) -> list[Group]:
    found: dict[str, Group] = defaultdict(list)
    for trajectory in episodes(played):
        found[trajectory.group].append(trajectory)
    return [group for group in found.values() if mixed(group)][:2]


def test_a_bonus_is_given_while_the_entropy_is_below_the_target(played: Path, start: Path, groups: list[Group]) -> None:
    low = Grpo(entropy=0.1, entropy_target=100.0, entropy_step=0.05)
    taught = learner(played, start, algo=low)
    weights = [taught.learn(groups)["entropy_weight"] for _ in range(3)]
    assert weights == pytest.approx([0.1, 0.15, 0.2])
    assert taught.trainer.weights.entropy == pytest.approx(0.2)
    high = learner(played, start, algo=replace(low, entropy_target=0.01))
    assert [high.learn(groups)["entropy_weight"] for _ in range(3)] == [0.1, 0.0, 0.0]
    assert "entropy_weight" not in learner(played, start, algo=Grpo(entropy=0.1)).learn(groups)


def test_while_the_critic_warms_up_there_is_no_bonus(played: Path, start: Path, groups: list[Group]) -> None:
    taught = learner(played, start, algo=Ppo(critic_warmup=1, entropy=0.1, entropy_target=100.0))
    for bonus in (0.0, 0.1, 0.105):
        taught.learn(groups)
        assert taught.trainer.weights.entropy == pytest.approx(bonus)


def test_the_reference_moves_every_so_many_updates(played: Path, start: Path, groups: list[Group]) -> None:
    taught = learner(played, start, algo=Grpo(kl=0.1, reference_refresh=2))
    reference = taught.stability._reference
    assert reference is not None
    before = {name: value.clone() for name, value in reference.state_dict().items()}
    kl = [taught.learn(groups)["kl"]]
    assert all(torch.equal(value, before[name]) for name, value in reference.state_dict().items())
    kl.append(taught.learn(groups)["kl"])
    present = taught.model.state_dict()
    assert all(torch.equal(value, present[name]) for name, value in reference.state_dict().items())
    assert any(not torch.equal(value, before[name]) for name, value in reference.state_dict().items())
    kl.append(taught.learn(groups)["kl"])
    assert kl[0] == pytest.approx(0.0, abs=1e-6)
    assert kl[1] > 1e-5
    assert kl[2] == pytest.approx(0.0, abs=1e-6), "the policy has just become its own reference"


def test_a_learner_goes_on_from_its_state(played: Path, start: Path, groups: list[Group]) -> None:
    algorithm = Grpo(kl=0.1, reference_refresh=2, entropy_target=100.0)
    whole, first, second = (learner(played, start, algo=algorithm) for _ in range(3))
    for _ in range(3):
        whole.learn(groups)
        first.learn(groups)
    second.load_state(first.state())
    assert second.learn(groups) == whole.learn(groups)
    one, other = parameters(second), parameters(whole)
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_what_was_cut_off_is_not_learned_from(played: Path, start: Path, groups: list[Group]) -> None:
    """Replies of one token, which is all they might have: with the filter nothing is left."""
    assert all(step.completion and step.completion.finish == "length" for one in groups[0] for step in one.steps)
    taught = Learner(
        replace(SIDES, checkpoint=start, algo=Grpo(overlong_filter=True)),
        AgentOptions().build(),
        ImageStore(played / "images"),
    )
    assert taught.learn(groups) == {}
    ended = [[_ended(one) if place else one for place, one in enumerate(group)] for group in groups]
    count = sum(map(len, groups)) - len(groups)
    credits = [credit for group in taught._credits(ended) for steps in group for credit in steps]
    assert sum(credit.pg for credit in credits) == count
    assert taught.learn(ended)["grad_norm"] > 0


def _ended(one: Trajectory) -> Trajectory:
    steps = tuple(replace(step, completion=replace(step.completion, finish="stop")) for step in one.steps if step.completion)
    return replace(one, steps=steps)
