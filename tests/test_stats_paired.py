"""Paired comparisons against statsmodels and scipy, and against what they promise."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, bootstrap, permutation_test
from statsmodels.stats.contingency_tables import mcnemar as reference

from stepladder.stats import compare_paired, exchange_test, mcnemar, paired_bootstrap, paired_interval
from stepladder.stats.intervals import expanded_tails

SPLITS = st.tuples(st.integers(0, 200), st.integers(0, 200))


@given(SPLITS)
def test_mcnemar_agrees_with_statsmodels(split: tuple[int, int]) -> None:
    gained, lost = split
    table = [[7, lost], [gained, 5]]
    assert mcnemar(gained, lost) == pytest.approx(reference(table, exact=True).pvalue, abs=1e-9)
    if gained + lost:
        assert mcnemar(gained, lost, "chi2") == pytest.approx(reference(table, exact=False, correction=False).pvalue, abs=1e-9)
    if gained != lost:
        assert mcnemar(gained, lost, "chi2 corrected") == pytest.approx(reference(table, exact=False).pvalue, abs=1e-9)


@given(SPLITS)
def test_the_mid_p_counts_equally_uneven_splits_by_half(split: tuple[int, int]) -> None:
    gained, lost = split
    n = gained + lost
    uneven = abs(2 * np.arange(n + 1) - n)
    weights = binom.pmf(np.arange(n + 1), n, 0.5)
    expected = weights[uneven > abs(gained - lost)].sum() + weights[uneven == abs(gained - lost)].sum() / 2
    assert mcnemar(gained, lost, "mid-p") == pytest.approx(expected if n else 1.0, abs=1e-9)
    assert mcnemar(gained, lost, "mid-p") <= mcnemar(gained, lost)


def test_impossible_splits_and_methods_are_named() -> None:
    with pytest.raises(ValueError, match="-1 gained and 2 lost"):
        mcnemar(-1, 2)
    with pytest.raises(ValueError, match="no method 'midp'; there are exact, mid-p"):
        mcnemar(1, 2, "midp")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="3 gained and 2 lost of 4 pairs"):
        paired_interval(3, 2, 4)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_a_paired_comparison_agrees_with_statsmodels(pairs: list[tuple[bool, bool]]) -> None:
    first = {number: before for number, (before, _) in enumerate(pairs)}
    second = {number: after for number, (_, after) in enumerate(pairs)}
    found = compare_paired(first, second)
    table = [[sum(pair == (a, b) for pair in pairs) for b in (True, False)] for a in (True, False)]
    assert found.p == pytest.approx(reference(table, exact=True).pvalue, abs=1e-9)
    assert found.difference == pytest.approx((sum(second.values()) - sum(first.values())) / len(pairs))
    assert -1 <= found.low <= found.difference <= found.high <= 1
    turned = compare_paired(second, first)
    assert turned.p == pytest.approx(found.p)
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low))


def test_a_paired_comparison_looks_only_at_what_both_have_played() -> None:
    first = {"a": False, "b": False, "only first": True}
    found = compare_paired(first, {"a": True, "b": False, "only second": True})
    assert (found.n, found.gained, found.lost) == (2, 1, 0)
    with pytest.raises(ValueError, match="no start in common"):
        compare_paired({"a": True}, {"b": True})


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.data())
def test_the_interval_leaves_out_0_just_where_the_asymptotic_test_rejects(counts: tuple[int, int], data: st.DataObject) -> None:
    gained, n = counts
    lost = data.draw(st.integers(0, n - gained))
    low, high = paired_interval(gained, lost, n)
    if abs(mcnemar(gained, lost, "chi2") - 0.05) > 1e-6:
        assert (low > 0 or high < 0) == (mcnemar(gained, lost, "chi2") < 0.05)


def test_the_interval_where_it_can_be_written_down() -> None:
    z = 1.959963984540054
    assert paired_interval(0, 0, 30) == pytest.approx((-(z**2) / (30 + z**2), z**2 / (30 + z**2)))
    assert paired_interval(30, 0, 30) == pytest.approx(((30 - z**2) / (30 + z**2), 1.0))
    assert paired_interval(0, 30, 30) == pytest.approx((-1.0, (z**2 - 30) / (30 + z**2)))


@pytest.mark.parametrize("n", [20, 60, 200, 500])
@pytest.mark.parametrize(("gains", "losses"), [(0.25, 0.1), (0.15, 0.15), (0.4, 0.2)])
def test_the_paired_interval_covers_as_often_as_it_says(n: int, gains: float, losses: float) -> None:
    interval = functools.cache(paired_interval)
    counts = np.random.default_rng(n).multinomial(n, [gains, losses, 1 - gains - losses], size=4000)
    hits = 0
    for gained, lost, _ in counts.tolist():
        low, high = interval(gained, lost, n)
        hits += low <= gains - losses <= high
    assert 0.93 <= hits / 4000 <= 0.97


# ---------------------------------------------------------------------------------------------------- several trials each


@pytest.mark.parametrize("size", [2, 4, 9, 11])
def test_the_exchange_test_agrees_with_scipy(size: int) -> None:
    generator = np.random.default_rng(size)
    first, second = generator.integers(0, 5, size=(2, size)) / 4
    expected = permutation_test((first, second), lambda a, b: np.mean(b - a), permutation_type="samples").pvalue
    assert exchange_test(list(second - first)) == pytest.approx(expected, abs=1e-9)


def test_the_exchange_test_of_single_trials_is_mcnemars() -> None:
    assert exchange_test([1.0] * 9 + [-1.0] * 3 + [0.0] * 50) == mcnemar(9, 3)
    assert exchange_test([0.0] * 5) == exchange_test([]) == 1.0


def test_many_exchanges_are_drawn_at_random_and_come_to_the_same() -> None:
    generator = np.random.default_rng(8)
    differences = list(generator.normal(0.4, 1, size=12))
    exact = exchange_test(differences)
    drawn = exchange_test([*differences, 1e-7], resamples=40_000)
    assert drawn == pytest.approx(exact, abs=0.01)
    assert exchange_test([*differences, 1e-7]) == exchange_test([*differences, 1e-7])


def test_the_exchange_test_never_rejects_more_often_than_it_says() -> None:
    """Sums of few different sizes come in steps, which keeps an exact test below its level."""
    generator = np.random.default_rng(9)
    rejected = 0
    for trial in range(1000):
        chances = generator.beta(1, 1, size=25)
        scores = generator.binomial(4, np.stack([chances, chances])) / 4
        rejected += exchange_test(list(scores[1] - scores[0]), resamples=400, seed=trial) < 0.05
    assert 0.02 <= rejected / 1000 <= 0.06


def as_tasks(scores: np.ndarray) -> dict[str, list[float]]:
    return {f"task{i}": list(of_task) for i, of_task in enumerate(scores)}


def test_the_paired_bootstrap_agrees_with_scipy() -> None:
    generator = np.random.default_rng(10)
    first, second = generator.random((2, 30, 3))
    tail, _ = expanded_tails(0.95, 30)
    expected = bootstrap(
        (first.mean(1), second.mean(1)),
        lambda a, b, axis: np.mean(b, axis) - np.mean(a, axis),
        paired=True,
        n_resamples=3000,
        confidence_level=1 - 2 * tail,
        method="percentile",
        rng=np.random.default_rng(5),
    ).confidence_interval
    found = paired_bootstrap(as_tasks(first), as_tasks(second), resamples=3000, seed=5)
    assert found[1:3] == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert found.difference == pytest.approx(second.mean() - first.mean())


def test_the_paired_bootstrap_agrees_with_a_plain_one() -> None:
    generator = np.random.default_rng(12)
    first = {f"task{i}": list(generator.random(generator.integers(1, 5))) for i in range(14)}
    second = {f"task{i}": list(generator.random(generator.integers(1, 5))) for i in range(14)}
    differences = []
    for row in np.random.default_rng(2).integers(0, 14, size=(400, 14)):
        pooled = [[score for task in row for score in scores[f"task{task}"]] for scores in (first, second)]
        differences.append(float(np.mean(pooled[1]) - np.mean(pooled[0])))
    found = paired_bootstrap({**first, "only first": [1.0]}, {**second, "only second": [0.0], "empty": []}, 0.9, 400, 2)
    assert found[1:3] == pytest.approx(tuple(np.quantile(differences, expanded_tails(0.9, 14))), abs=1e-9)


@pytest.mark.parametrize(("n", "times"), [(20, 1500), (60, 1000), (200, 600)])
def test_the_paired_bootstrap_covers_as_often_as_it_says(n: int, times: int) -> None:
    """Tasks that differ in difficulty and in how much the second agent is better."""
    generator = np.random.default_rng(n)
    first = generator.beta(2, 3, size=(times, n))
    second = (first + generator.beta(2, 2, size=(times, n))) / 2  # on average 0.45
    scores = generator.binomial(4, np.stack([first, second])) / 4
    hits = 0
    for trial in range(times):
        sides = [{str(i): [score] for i, score in enumerate(side[trial])} for side in scores]
        found = paired_bootstrap(sides[0], sides[1], resamples=300, seed=trial)
        hits += found.low <= 0.05 <= found.high
    assert 0.93 <= hits / times <= 0.97


def test_the_paired_bootstrap_of_little() -> None:
    difference, low, high, p = paired_bootstrap({"a": [0.0, 0.0]}, {"a": [1.0, 0.0]})
    assert (difference, low, high, p) == (0.5, -1.0, 1.0, 1.0)
    alike = {str(i): [1.0, 1.0] for i in range(10)}
    assert paired_bootstrap(alike, alike) == (0.0, *paired_interval(0, 0, 10), 1.0)
    never = {name: [0.0] for name in alike}
    assert paired_bootstrap(never, alike)[:3] == (1.0, *paired_interval(10, 0, 10))
    assert paired_bootstrap(never, alike).p == pytest.approx(2 / 2**10)
    with pytest.raises(ValueError, match="no task in common"):
        paired_bootstrap({"a": [1.0]}, {"a": [], "b": [1.0]})
    with pytest.raises(ValueError, match="confidence is 2"):
        paired_bootstrap(never, alike, 2)
