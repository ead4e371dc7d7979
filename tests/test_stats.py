"""Intervals against statsmodels and against what they promise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from stepladder.stats import cluster_bootstrap, compare_paired, success_rate, wilson_interval


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_wilson_agrees_with_statsmodels(counts: tuple[int, int], confidence: float) -> None:
    successes, n = counts
    expected = proportion_confint(successes, n, alpha=1 - confidence, method="wilson")
    assert wilson_interval(successes, n, confidence) == pytest.approx(expected, abs=1e-12)


def test_wilson_at_the_edges() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)
    assert wilson_interval(0, 10)[0] == 0.0
    assert wilson_interval(10, 10)[1] == 1.0
    assert wilson_interval(10, 10)[0] == pytest.approx(10 / (10 + 1.959964**2), abs=1e-6)
    for successes, n in ((-1, 5), (6, 5)):
        with pytest.raises(ValueError, match=f"{successes} successes of 5"):
            wilson_interval(successes, n)
    with pytest.raises(ValueError, match="confidence is 95"):
        wilson_interval(1, 2, 95)


def test_success_rate_of_nothing_is_unknown() -> None:
    rate = success_rate(0, 0)
    assert rate.rate is None
    assert (rate.low, rate.high) == (0.0, 1.0)
    assert success_rate(3, 4).rate == 0.75


def test_cluster_bootstrap_is_wider_when_tasks_differ_and_alike_when_they_do_not() -> None:
    generator = np.random.default_rng(1)
    unlike = {f"task{i}": [i % 2 == 0] * 50 for i in range(10)}
    alike = {f"task{i}": list(generator.random(50) < 0.5) for i in range(10)}
    pooled = success_rate(250, 500)
    assert cluster_bootstrap(unlike).rate == 0.5
    assert cluster_bootstrap(unlike).high - cluster_bootstrap(unlike).low > 4 * (pooled.high - pooled.low)
    assert cluster_bootstrap(alike).high - cluster_bootstrap(alike).low == pytest.approx(pooled.high - pooled.low, rel=0.6)


def test_cluster_bootstrap_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(2)
    hits = 0
    for trial in range(200):
        chances = generator.beta(2, 2, size=30)
        outcomes = {str(i): list(generator.random(20) < chance) for i, chance in enumerate(chances)}
        rate = cluster_bootstrap(outcomes, resamples=500, seed=trial)
        hits += rate.low <= 0.5 <= rate.high
    assert 0.88 <= hits / 200 <= 0.99


def test_cluster_bootstrap_is_repeatable_and_says_nothing_from_one_task() -> None:
    outcomes = {"a": [True, False], "b": [True, True, True], "empty": []}
    assert cluster_bootstrap(outcomes) == cluster_bootstrap(outcomes)
    assert cluster_bootstrap(outcomes).n == 5
    only = cluster_bootstrap({"a": [True, False]})
    assert (only.rate, only.low, only.high) == (0.5, 0.0, 1.0)
    assert cluster_bootstrap({}).rate is None
    with pytest.raises(ValueError, match="confidence"):
        cluster_bootstrap(outcomes, confidence=0)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_a_paired_comparison_agrees_with_statsmodels(pairs: list[tuple[bool, bool]]) -> None:
    first = {number: before for number, (before, _) in enumerate(pairs)}
    second = {number: after for number, (_, after) in enumerate(pairs)}
    found = compare_paired(first, second)
    table = [[sum(pair == (a, b) for pair in pairs) for b in (True, False)] for a in (True, False)]
    assert found.p == pytest.approx(mcnemar(table, exact=True).pvalue)
    assert found.difference == pytest.approx((sum(second.values()) - sum(first.values())) / len(pairs))
    assert found.low <= found.difference <= found.high
    assert compare_paired(second, first).p == pytest.approx(found.p)


def test_a_paired_comparison_looks_only_at_what_both_have_played() -> None:
    first = {"a": False, "b": False, "only first": True}
    found = compare_paired(first, {"a": True, "b": False, "only second": True})
    assert (found.n, found.gained, found.lost) == (2, 1, 0)
    with pytest.raises(ValueError, match="no start in common"):
        compare_paired({"a": True}, {"b": True})
