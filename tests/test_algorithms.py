"""The credit that each algorithm gives, on groups small enough to work it out by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stepladder.algos import ALGORITHMS, algorithm_class
from stepladder.algos.algorithm import Algorithm, GroupCredit, ReplyScores, Scores, membership, reply_lengths
from stepladder.algos.arpo import Arpo
from stepladder.algos.cispo import Cispo
from stepladder.algos.credit import IMITATION, NOTHING, Credit
from stepladder.algos.dapo import Dapo
from stepladder.algos.dart import Dart
from stepladder.algos.grpo import Grpo
from stepladder.algos.gspo import Gspo
from stepladder.algos.opd import Opd
from stepladder.algos.ppo import Ppo
from stepladder.algos.reinforce import Reinforce
from stepladder.algos.rloo import Rloo
from stepladder.algos.whitening import whitened
from stepladder.plugins import PluginError
from stepladder.types import STATUSES, Action, Completion, FloatArray, Group, Observation, Status, Step, Task, Trajectory

TASK = Task("t", "", "test")


def row(*values: float) -> FloatArray:
    return np.asarray(values, dtype=np.float32)


def step(length: int = 1) -> Step:
    """A turn whose reply has `length` tokens, sampled with log-probabilities -0.1, -0.2, ... and entropies 0.1, 0.2, ..."""
    logprobs = -0.1 * np.arange(1, length + 1, dtype=np.float32)
    said = Completion("x" * length, np.arange(length, dtype=np.int32), logprobs, entropies=-logprobs)
    return Step(Observation(), completion=said)


def episode(
    reward: float | None,
    *lengths: int,
    name: str = "",
    status: Status = "done",
    parts: dict[str, float] | None = None,
) -> Trajectory:
    """An episode of replies of these lengths; without a reward its environment broke."""
    steps = tuple(step(length) for length in lengths or (1,))
    status = "env_error" if reward is None and status == "done" else status
    return Trajectory(name or f"{reward}-{lengths}", TASK, steps, None, status, reward, parts=parts or {}, group="g")


def advantages(credits: Sequence[GroupCredit]) -> list[list[float]]:
    """The advantage of every trajectory, whose replies must all have the same; NaN for one that is not learned from."""

    def of(credit: list[Credit]) -> float:
        values = {float(each.advantage) if each.pg else math.nan for each in credit}  # type: ignore[arg-type]
        assert len(values) == 1 or all(math.isnan(value) for value in values)
        return values.pop()

    return [[of(trajectory) for trajectory in group] for group in credits]


def close(found: Sequence[Sequence[float]], *expected: Sequence[float]) -> None:
    assert [len(group) for group in found] == [len(group) for group in expected]
    for group, wanted in zip(found, expected, strict=True):
        assert list(group) == pytest.approx(list(wanted), abs=1e-6, nan_ok=True)


# ---------------------------------------------------------------- every algorithm


def scores_for(groups: Sequence[Group]) -> Scores:
    """Somebody has something to say about every reply."""
    return {
        member.id: [ReplyScores(row(*[-0.3] * n), row(*[-0.2] * n), row(*[0.5] * n)) for n in reply_lengths(member)]
        for group in groups
        for member in group
    }


def everyone(**settings: float) -> list[Algorithm]:
    """All of them; self-distillation with a policy gradient beside it, which the others are about."""
    own = {"sdpo": {"policy_gradient": 1.0}}
    return [algorithm_class(name)(**own.get(name, {}), **settings) for name in ALGORITHMS]


def test_the_table_finds_every_algorithm_by_its_own_name() -> None:
    assert [algorithm.name for algorithm in everyone()] == list(ALGORITHMS)
    assert algorithm_class("stepladder.algos.grpo:Grpo") is Grpo
    with pytest.raises(PluginError, match="did you mean 'grpo'"):
        algorithm_class("grp0")


@pytest.mark.parametrize("algorithm", everyone(), ids=lambda algorithm: algorithm.name)
def test_whose_environment_failed_is_credited_nothing_and_changes_no_other(algorithm: Algorithm) -> None:
    """Law 4, and ungraded episodes are not failures: the others have the advantages that they have without them."""
    whole = [[episode(1.0, 2, 1), episode(0.0, 3), episode(0.0, 1)], [episode(0.0, 2), episode(1.0, 2, 2)]]
    broken = [episode(None, 2, 3), episode(None, 1, status="timeout")]
    mixed = [[broken[0], *whole[0][:2], broken[1], whole[0][2]], [*whole[1], broken[0]]]
    scores = scores_for([*whole, broken])
    expected, found = algorithm.credit(whole, scores), algorithm.credit(mixed, scores)
    assert [[len(steps) for steps in group] for group in found] == [[2, 2, 1, 1, 1], [1, 2, 2]]
    assert found[0][0] == [NOTHING, NOTHING]
    assert found[0][3] == [NOTHING]
    assert found[1][2] == [NOTHING, NOTHING]
    for one, other in (
        *zip(expected[0], [found[0][1], found[0][2], found[0][4]], strict=True),
        *zip(expected[1], found[1][:2], strict=True),
    ):
        for credit, same in zip(one, other, strict=True):
            assert credit.pg == same.pg == 1.0
            np.testing.assert_allclose(credit.advantage, same.advantage, atol=1e-6)
    assert any(np.any(credit.advantage) for group in found for steps in group for credit in steps)


@pytest.mark.parametrize("algorithm", everyone(), ids=lambda algorithm: algorithm.name)
def test_the_order_of_members_and_groups_does_not_matter(algorithm: Algorithm) -> None:
    groups = [[episode(1.0, 2, 1, name="a"), episode(0.0, 3, name="b"), episode(0.5, 1, name="c")]]
    groups.append([episode(0.0, 2, name="d"), episode(1.0, 2, 2, name="e")])
    turned = [group[::-1] for group in groups[::-1]]
    scores = scores_for(groups)

    def by_name(groups: list[Group]) -> dict[str, list[Credit]]:
        return {
            member.id: credits
            for group, given in zip(groups, algorithm.credit(groups, scores), strict=True)
            for member, credits in zip(group, given, strict=True)
        }

    one, other = by_name(groups), by_name(turned)
    assert one.keys() == other.keys()
    for name, credits in one.items():
        for credit, same in zip(credits, other[name], strict=True):
            np.testing.assert_allclose(credit.advantage, same.advantage, atol=1e-6)


@pytest.mark.parametrize("algorithm", everyone(kl=0.25), ids=lambda algorithm: algorithm.name)
def test_with_a_weight_every_reply_is_drawn_to_the_reference(algorithm: Algorithm) -> None:
    assert "reference" in algorithm.needs
    groups = [[episode(1.0, 2, 1), episode(0.0, 3), episode(None, 1)]]
    scores = {
        member.id: [
            ReplyScores(row(*[10.0 * i + j for j in range(n)]), row(*[0.0] * n), row(*[0.0] * n))
            for i, n in enumerate(reply_lengths(member))
        ]
        for member in groups[0]
    }
    first, second, third = algorithm.credit(groups, scores)[0]
    assert [credit.kl for credit in (*first, *second)] == [0.25] * 3
    assert [credit.ref_logprobs.tolist() for credit in (*first, *second) if credit.ref_logprobs is not None] == [
        [0.0, 1.0],
        [10.0],
        [0.0, 1.0, 2.0],
    ]
    assert third == [NOTHING]


@pytest.mark.parametrize("algorithm", everyone(), ids=lambda algorithm: algorithm.name)
def test_without_a_weight_there_is_no_reference(algorithm: Algorithm) -> None:
    assert "reference" not in algorithm.needs
    groups = [[episode(1.0), episode(0.0)]]
    credits = algorithm.credit(groups, scores_for(groups))
    assert all(credit.kl == 0.0 and credit.ref_logprobs is None for steps in credits[0] for credit in steps)


def test_what_each_algorithm_wants_to_know_and_to_minimise() -> None:
    assert {algorithm.name: set(algorithm.needs) for algorithm in everyone() if algorithm.needs} == {
        "ppo": {"values"},
        "opd": {"teacher"},
        "sdpo": {"self_teacher"},
    }
    kinds = {algorithm.name: algorithm.objective().kind for algorithm in everyone()}
    assert kinds == {
        **{name: name for name in ("reinforce", "gspo", "cispo", "ppo")},
        **dict.fromkeys(("grpo", "dapo", "arpo", "dart", "gigpo", "polychromic", "sdpo"), "ppo"),
        **dict.fromkeys(("rloo", "opd"), "reinforce"),
    }
    settings = {"clip_low": 0.11, "clip_high": 0.12, "dual_clip": 5.0, "scale": 7.0, "kl_kind": "k1", "correction_cap": 3.0}
    for name in ALGORITHMS:
        algorithm = algorithm_class(name)(**settings, aggregation="token-sum", correction="sequence_truncate")
        found = algorithm.objective()
        assert (found.clip_low, found.clip_high, found.dual_clip, found.scale) == (0.11, 0.12, 5.0, 7.0)
        assert (found.kl, found.aggregation) == ("k1", "token-sum")
        assert (found.correction, found.correction_cap) == ("sequence_truncate", 3.0)
    assert Ppo(value_clip=0.4).objective().value_clip == 0.4
    assert Ppo().objective().value_clip is None


# ---------------------------------------------------------------- rewards by name


def test_rewards_are_the_task_or_a_named_term_and_missing_where_the_environment_failed() -> None:
    group = [episode(1.0, parts={"format": -0.5}), episode(None), episode(0.0, parts={"format": 0.25})]
    assert Grpo().rewards(group).tolist() == pytest.approx([1.0, math.nan, 0.0], nan_ok=True)
    assert Grpo(reward="format").rewards(group).tolist() == pytest.approx([-0.5, math.nan, 0.25], nan_ok=True)
    close(advantages(Grpo(reward="format", dr=True).credit([group], {})), [-0.375, math.nan, 0.375])


def test_an_unknown_reward_term_is_named_with_those_that_are_there() -> None:
    group = [episode(1.0, name="first", parts={"format": 0.0, "length": 0.0})]
    with pytest.raises(ValueError, match=r"'first' has no reward term 'formt'; there are task, format, length"):
        Grpo(reward="formt").rewards(group)
    assert Grpo(reward="formt").rewards([episode(None)]).isnan().all()


def test_a_reward_of_a_failed_environment_is_no_reward() -> None:
    """Whatever stands in the record: the status decides."""
    for status in STATUSES:
        group = [episode(0.0, status=status), episode(1.0)]
        assert bool(Grpo().rewards(group)[0].isnan()) == (status in ("env_error", "timeout"))


# ---------------------------------------------------------------- which groups are worth it


@pytest.mark.parametrize(
    ("rewards", "compared", "graded"),
    [
        ((0.0, 1.0), True, True),
        ((0.0, 0.0, 0.0), False, True),
        ((1.0, 1.0), False, True),
        ((1.0,), False, True),
        ((1.0, None), False, True),
        ((0.0, None, None), False, True),
        ((None, None), False, False),
        ((0.5, None, 0.75), True, True),
        ((0.3, 0.1 + 0.2), False, True),
    ],
)
def test_groups_are_kept_when_they_have_a_signal(rewards: tuple[float | None, ...], compared: bool, graded: bool) -> None:
    """An environment that failed is no failure of the agent: beside successes alone it leaves a group without signal."""
    group = [episode(reward) for reward in rewards]
    for algorithm in everyone():
        assert algorithm.keep(group) == (graded if algorithm.name in ("reinforce", "ppo", "opd") else compared), algorithm.name


# ---------------------------------------------------------------- one advantage for a trajectory


def test_grpo_by_hand_with_groups_of_different_sizes() -> None:
    # 1, 0, 0: mean 1/3, unbiased deviation sqrt((4 + 1 + 1) / 9 / 2) = 1 / sqrt(3)
    groups = [
        [episode(1.0, 2), episode(0.0, 1, 1), episode(0.0, 3)],
        [episode(0.0), episode(1.0)],
        [episode(1.0)],
        [episode(0.25)] * 4,
    ]
    root = math.sqrt(3)
    expected = [2 / root, -1 / root, -1 / root], [-1 / math.sqrt(2), 1 / math.sqrt(2)], [0.0], [0.0] * 4
    credits = Grpo().credit(groups, {})
    close([[round(value, 5) for value in group] for group in advantages(credits)], *[[round(v, 5) for v in g] for g in expected])
    assert [len(steps) for steps in credits[0]] == [1, 2, 1]
    dr = Grpo(dr=True, aggregation="token-mean")
    close(advantages(dr.credit(groups, {})), [2 / 3, -1 / 3, -1 / 3], [-0.5, 0.5], [0.0], [0.0] * 4)
    assert dr.objective().aggregation == "seq-mean-token-sum-norm"
    assert Grpo().objective().aggregation == "seq-mean-token-mean"


def test_a_group_of_one_and_a_flat_group_get_exactly_nothing() -> None:
    """Elsewhere a group of one gets its raw reward."""
    for algorithm in (Grpo(), Grpo(dr=True), Dapo(), Arpo(), Dart(), Gspo(), Cispo(), Rloo()):
        groups = [[episode(1.0)], [episode(1.0), episode(None)], [episode(0.1), episode(0.1), episode(0.1)]]
        values = advantages(algorithm.credit(groups, {}))
        assert values[0] == [0.0]
        assert values[1][0] == 0.0
        assert values[2] == [0.0] * 3


def test_rloo_by_hand() -> None:
    groups = [[episode(1.0), episode(0.0), episode(0.5)], [episode(1.0), episode(None), episode(0.0)]]
    close(advantages(Rloo().credit(groups, {})), [0.75, -0.75, 0.0], [1.0, math.nan, -1.0])


@pytest.mark.parametrize(
    "algorithm", [Gspo(), Cispo(), Dapo(), Arpo(), Dart(entropy_share=1.0)], ids=lambda algorithm: algorithm.name
)
def test_children_of_grpo_credit_as_it_does(algorithm: Grpo) -> None:
    groups = [[episode(1.0, 2), episode(0.0, 1, 1), episode(0.0, 3)], [episode(0.5), episode(None), episode(1.0)]]
    assert repr(algorithm.credit(groups, {})) == repr(Grpo().credit(groups, {}))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"aggregation": "token-maen"}, "algo.aggregation is 'token-maen'; did you mean 'token-mean'"),
        ({"correction": "none"}, "algo.correction is 'none'; did you mean 'None'"),
        ({"kl_kind": "k9"}, "algo.kl_kind is 'k9'; it must be one of"),
        ({"updates": 0}, "algo.updates is 0; it must be at least 1"),
        ({"clip_low": -0.2}, r"algo.clip_low is -0\.2; it must not be negative"),
        ({"dual_clip": 0.5}, r"algo.dual_clip is 0\.5; it must be greater than 1"),
        ({"scale": 0.0}, r"algo.scale is 0\.0; it must be positive"),
        ({"correction": "token_mask", "correction_cap": 1.0}, r"algo.correction_cap is 1\.0; with token_mask it must be above 1"),
        ({"reference_refresh": 5}, "algo.reference_refresh is 5; without algo.kl there is no reference"),
        ({"reference_refresh": -1, "kl": 0.1}, "algo.reference_refresh is -1; it must not be negative"),
        ({"off_policy_delta": -0.1}, r"algo.off_policy_delta is -0\.1; it must not be negative"),
        ({"entropy_target": 0.0}, r"algo.entropy_target is 0\.0; it must be positive"),
        ({"entropy_target": 0.2, "entropy_step": 0.0}, r"algo.entropy_step is 0\.0; it must be positive"),
        ({"entropy_target": 0.2, "entropy": 2.0}, r"algo.entropy is 2\.0; with a target it must lie between"),
    ],
)
def test_settings_that_cannot_be_are_named(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(Grpo(), **setting).check()


def test_published_clips_are_the_defaults() -> None:
    assert (Gspo().clip_low, Gspo().clip_high) == (3e-4, 4e-4)
    assert (Dapo().clip_low, Dapo().clip_high, Dapo().dual_clip) == (0.2, 0.28, 10.0)
    assert (Cispo().clip_low, Cispo().clip_high) == (1.0, 4.0)
    assert (Arpo().clip_low, Arpo().clip_high, Arpo().dual_clip, Arpo().kl) == (0.2, 0.3, 3.0, 0.0)
    assert (Dart().clip_low, Dart().clip_high, Dart().correction, Dart().correction_cap) == (0.2, 0.28, "token_truncate", 1.0)


def test_dapo_takes_from_overlong_replies_and_keeps_by_success() -> None:
    # the limit is 10, its last 4 tokens cost: 6 tokens nothing, 8 half, 10 all; the longest reply of an episode counts
    dapo = Dapo(overlong_limit=10, overlong_buffer=4, overlong_factor=0.5)
    group = [episode(1.0, 6), episode(1.0, 2, 8, 1), episode(0.0, 10), episode(None, 10), episode(1.0, 12)]
    assert dapo.rewards(group).tolist() == pytest.approx([1.0, 0.75, -0.5, math.nan, 0.5], nan_ok=True)
    assert not dapo.keep(group[:2]), "both succeeded; that one was longer is no signal"
    assert dapo.keep(group[:3])
    assert Dapo().rewards(group).tolist() == pytest.approx([1.0, 1.0, 0.0, math.nan, 1.0], nan_ok=True)
    close(advantages(Dapo(dr=True, overlong_limit=10, overlong_buffer=4).credit([group[:3]], {})), [5 / 6, 1 / 3, -7 / 6])


# ---------------------------------------------------------------- reinforce: returns of turns, whitened over tokens


def test_reinforce_whitens_over_all_tokens_of_the_batch() -> None:
    # one reply of 3 tokens with return 1, one of 1 token with return 0: mean 3/4, unbiased deviation 1/2
    groups = [[episode(1.0, 3)], [episode(0.0, 1), episode(None, 7)]]
    white = whitened(groups, Reinforce().credit(groups, {}))
    close(advantages(white), [1 / 2], [-3 / 2, math.nan])


def test_reinforce_discounts_from_turn_to_turn_whatever_their_length() -> None:
    # returns 1/4, 1/2, 1 over 1, 1, 2 tokens, and 0 over 2 tokens: mean 2.75 / 6
    groups = [[episode(1.0, 1, 1, 2), episode(0.0, 2)]]
    mean = 2.75 / 6
    deviation = math.sqrt(sum(n * (g - mean) ** 2 for n, g in ((1, 0.25), (1, 0.5), (2, 1.0), (2, 0.0))) / 5)
    credits = Reinforce(gamma=0.5).credit(groups, {})
    assert [credit.advantage for steps in credits[0] for credit in steps] == pytest.approx([0.25, 0.5, 1.0, 0.0])
    found = [credit.advantage for steps in whitened(groups, credits)[0] for credit in steps]
    assert found == pytest.approx([(g - mean) / deviation for g in (0.25, 0.5, 1.0, 0.0)])


def test_whitening_does_not_depend_on_who_holds_which_group() -> None:
    groups = [[episode(1.0, 3), episode(0.0, 1)], [episode(0.25, 2)], [episode(None, 4)]]
    credits = Reinforce().credit(groups, {})
    together = [credit.advantage for group in whitened(groups, credits) for steps in group for credit in steps]
    told: list[dict[str, float]] = []

    def ask(part: slice, answers: list[dict[str, float]]) -> list[object]:
        """What the holder of `part` comes to when `answers` are the totals, in turn; it tells what it adds to each."""
        told.clear()
        given = iter(answers)

        def total(values: Mapping[str, float]) -> Mapping[str, float]:
            told.append(dict(values))
            return next(given, values)

        white = whitened(groups[part], credits[part], total)
        return [credit.advantage for group in white for steps in group for credit in steps]

    totals: list[dict[str, float]] = []
    for _ in range(2):  # first the mean, then the deviation around it
        parts = []
        for part in (slice(0, 1), slice(1, 3)):
            ask(part, totals)
            parts.append(told[len(totals)])
        totals.append({name: parts[0][name] + parts[1][name] for name in parts[0]})
    assert [*ask(slice(0, 1), totals), *ask(slice(1, 3), totals)] == pytest.approx(together)


def test_reinforce_without_differences_learns_nothing() -> None:
    groups = [[episode(0.1, 3), episode(0.1, 1)], [episode(0.1, 2)]]
    close(advantages(whitened(groups, Reinforce().credit(groups, {}))), [0.0, 0.0], [0.0])
    assert Reinforce().credit([[episode(None, 2)]], {}) == [[[NOTHING]]]
    assert Reinforce().credit([], {}) == []


# ---------------------------------------------------------------- ppo: estimates over the tokens of an episode


def test_ppo_passes_from_one_turn_to_the_next() -> None:
    """Two replies, of 2 tokens and 1: the estimate runs over all three as if nothing stood between them."""
    member = episode(1.0, 2, 1, name="m")
    scores = {"m": [ReplyScores(values=row(0.1, 0.2)), ReplyScores(values=row(0.4))]}
    ppo = Ppo(gamma=1.0, lam=0.5, critic_lam=1.0)
    ((first, second),) = ppo.credit([[member]], scores)[0]
    # deltas 0.2 - 0.1, 0.4 - 0.2, 1 - 0.4; with lambda 1/2 from behind: 0.6, 0.2 + 0.3, 0.1 + 0.25
    np.testing.assert_allclose(first.advantage, [0.35, 0.5], atol=1e-6)
    np.testing.assert_allclose(second.advantage, [0.6], atol=1e-6)
    assert first.values is not None
    assert second.values is not None
    assert first.returns is not None
    assert second.returns is not None
    np.testing.assert_allclose(np.concatenate([first.values, second.values]), [0.1, 0.2, 0.4], atol=1e-6)
    np.testing.assert_allclose(np.concatenate([first.returns, second.returns]), [1.0] * 3, atol=1e-6)
    assert (first.pg, second.pg) == (1.0, 1.0)


def test_ppo_lets_the_critic_aim_with_another_lambda_and_discounts() -> None:
    member = episode(1.0, 1, 1, name="m")
    scores = {"m": [ReplyScores(values=row(0.5)), ReplyScores(values=row(0.5))]}
    ((first, second),) = Ppo(gamma=0.5, lam=1.0, critic_lam=0.0).credit([[member]], scores)[0]
    # from behind: 1 - 0.5, then 0.5 * 0.5 - 0.5 + 0.5 * 0.5; the critic's targets look one token ahead
    assert [float(credit.advantage[0]) for credit in (first, second)] == pytest.approx([0.0, 0.5])  # type: ignore[index]
    assert [float(credit.returns[0]) for credit in (first, second) if credit.returns is not None] == pytest.approx([0.25, 1.0])


def test_ppo_whitens_over_the_tokens_of_graded_episodes() -> None:
    # advantages 1 - 0 on one token, 0 - 0 on two: mean 1/3, unbiased deviation 1 / sqrt(3)
    groups = [[episode(1.0, 1, name="a"), episode(0.0, 2, name="b")], [episode(None, 3, name="c")]]
    scores = {
        member.id: [ReplyScores(values=row(*[0.0] * n)) for n in reply_lengths(member)] for group in groups for member in group
    }
    found = whitened(groups, Ppo(lam=1.0).credit(groups, scores))
    np.testing.assert_allclose(found[0][0][0].advantage, [2 / math.sqrt(3)], atol=1e-6)
    np.testing.assert_allclose(found[0][1][0].advantage, [-1 / math.sqrt(3)] * 2, atol=1e-6)
    assert found[1] == [[NOTHING]]


def test_ppo_names_the_step_whose_values_are_missing() -> None:
    with pytest.raises(ValueError, match="step 1 of trajectory 'm' has no critic's values"):
        Ppo().credit([[episode(1.0, 1, 1, name="m")]], {"m": [ReplyScores(values=row(0.1)), ReplyScores()]})


# ---------------------------------------------------------------- opd: the teacher's word on every token


def test_opd_compares_teacher_and_student_token_by_token() -> None:
    member = episode(0.0, 3, 1, name="m")  # the student's log-probabilities are -0.1, -0.2, -0.3 and -0.1
    scores = {"m": [ReplyScores(teacher=row(-0.2, -0.2, -9.0)), ReplyScores(teacher=row(-0.05))]}
    ((first, second),) = Opd(strength=2.0, bound=5.0).credit([[member]], scores)[0]
    np.testing.assert_allclose(first.advantage, [-0.2, 0.0, -5.0], atol=1e-6)
    np.testing.assert_allclose(second.advantage, [0.1], atol=1e-6)
    assert first.advantage.dtype == np.float32  # type: ignore[union-attr]


def test_opd_needs_no_grade_but_both_log_probabilities() -> None:
    ungraded = episode(None, 1, name="m", status="max_steps")
    assert Opd().keep([ungraded])
    assert Opd().credit([[ungraded]], {"m": [ReplyScores(teacher=row(-0.3))]})[0][0][0].pg == 1.0
    with pytest.raises(ValueError, match="step 0 of 'm' lacks log-probabilities"):
        Opd().credit([[ungraded]], {"m": [ReplyScores()]})
    acted = Trajectory("m", TASK, (Step(Observation(), Action("click")),), None, "done", 1.0)
    with pytest.raises(ValueError, match="step 0 of 'm' lacks log-probabilities"):
        Opd().credit([[acted]], {"m": [ReplyScores(teacher=row(-0.3))]})


# ---------------------------------------------------------------- credit as fields of a sample


def test_a_number_is_spread_and_an_array_must_fit() -> None:
    fields = Credit(pg=1.0, kl=0.5, advantage=-2.0, ref_logprobs=row(-1, -2, -3)).fields(3)
    assert {name: value.tolist() for name, value in fields.items()} == {
        "w_ce": [0.0] * 3,
        "w_pg": [1.0] * 3,
        "w_kl": [0.5] * 3,
        "w_distill": [0.0] * 3,
        "advantages": [-2.0] * 3,
        "ref_logprobs": [-1.0, -2.0, -3.0],
    }
    assert IMITATION.fields(2)["w_ce"].tolist() == [1.0, 1.0]
    with pytest.raises(ValueError, match=r"advantages of e/0 has shape \(2,\); the reply has 3 tokens"):
        Credit(pg=1.0, advantage=row(1, 2)).fields(3, "e/0")
    with pytest.raises(ValueError, match="returns of a reply is not finite everywhere"):
        Credit(returns=row(math.nan, 1)).fields(2)
    with pytest.raises(ValueError, match="values of a reply is not finite everywhere"):
        Credit(values=row(1, math.inf)).fields(2)
    assert math.isnan(Credit(returns=row(1, math.nan)).fields(2)["returns"][1]), "the critic learns at the first token alone"
    with pytest.raises(ValueError, match=r"e/0 has a KL weight of 0\.5 but no ref_logprobs"):
        Credit(kl=0.5).fields(2, "e/0")


def test_membership_and_reply_lengths() -> None:
    groups = [[episode(1.0), episode(0.0)], [], [episode(None)]]
    assert membership(groups).tolist() == [0, 0, 2]
    acted = Trajectory("m", TASK, (step(3), Step(Observation(), Action("click")), step(1)), None, "done", 1.0)
    assert reply_lengths(acted) == [3, 0, 1]


def test_an_algorithm_must_say_how_it_credits() -> None:
    with pytest.raises(NotImplementedError, match="Algorithm does not say how it credits"):
        Algorithm().credit([], {})
