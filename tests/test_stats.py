"""Intervals, corrections and repeats against statsmodels and scipy, and against what they promise."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import bootstrap, t
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from stepladder.stats import (
    benjamini_hochberg,
    cluster_bootstrap,
    exact_interval,
    flip_rate,
    holm,
    mean_interval,
    pass_at_k,
    pass_hat_k,
    success_rate,
    summarise_repeats,
    wilson_interval,
)
from stepladder.stats.intervals import expanded_tails

COUNTS = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
CONFIDENCES = st.sampled_from([0.5, 0.9, 0.95, 0.99])
SIZES = (20, 35, 60, 200, 500)


@given(COUNTS, CONFIDENCES)
def test_wilson_agrees_with_statsmodels(counts: tuple[int, int], confidence: float) -> None:
    expected = proportion_confint(*counts, alpha=1 - confidence, method="wilson")
    assert wilson_interval(*counts, confidence) == pytest.approx(expected, abs=1e-12)


@given(COUNTS, CONFIDENCES)
def test_the_exact_interval_agrees_with_statsmodels(counts: tuple[int, int], confidence: float) -> None:
    expected = proportion_confint(*counts, alpha=1 - confidence, method="beta")
    assert exact_interval(*counts, confidence) == pytest.approx(expected, abs=1e-9)


def test_intervals_at_the_edges() -> None:
    for interval in (wilson_interval, exact_interval):
        assert interval(0, 0) == (0.0, 1.0)
        assert interval(0, 10)[0] == 0.0
        assert interval(10, 10)[1] == 1.0
        for successes, n in ((-1, 5), (6, 5)):
            with pytest.raises(ValueError, match=f"{successes} successes of 5"):
                interval(successes, n)
        with pytest.raises(ValueError, match="confidence is 95"):
            interval(1, 2, 95)
    assert wilson_interval(10, 10)[0] == pytest.approx(10 / (10 + 1.959964**2), abs=1e-6)
    assert exact_interval(10, 10)[0] == pytest.approx(0.025**0.1)


def coverage(interval: object, n: int, rates: np.ndarray, generator: np.random.Generator) -> float:
    """How often the interval of a rate holds it."""
    bounds = np.array([interval(successes, n) for successes in range(n + 1)])  # type: ignore[operator]
    found = bounds[generator.binomial(n, rates)]
    return float(((found[:, 0] <= rates) & (rates <= found[:, 1])).mean())


@pytest.mark.parametrize("n", SIZES)
def test_wilson_covers_as_often_as_it_says(n: int) -> None:
    generator = np.random.default_rng(n)
    assert 0.93 <= coverage(wilson_interval, n, generator.uniform(0.05, 0.95, 40_000), generator) <= 0.97
    for rate in (0.3, 0.5, 0.65):
        assert 0.93 <= coverage(wilson_interval, n, np.full(40_000, rate), generator) <= 0.976


@pytest.mark.parametrize("n", SIZES)
def test_the_exact_interval_never_covers_less_often_than_it_says(n: int) -> None:
    generator = np.random.default_rng(n)
    found = [coverage(exact_interval, n, np.full(40_000, rate), generator) for rate in (0.02, 0.1, 0.3, 0.5, 0.65, 0.98)]
    assert min(found) >= 0.947, "0.95 less three standard errors of the simulation"
    assert coverage(wilson_interval, n, np.full(40_000, 0.5), generator) <= found[3] + 0.003, "and is wider for it"


def test_success_rate_of_nothing_is_unknown() -> None:
    rate = success_rate(0, 0)
    assert rate.rate is None
    assert (rate.low, rate.high) == (0.0, 1.0)
    assert success_rate(3, 4).rate == 0.75


def test_repetitions_of_a_start_say_no_more_than_one_of_them() -> None:
    repeated, once = success_rate(30, 60, starts=20), success_rate(10, 20)
    assert (repeated.low, repeated.high) == (once.low, once.high)
    assert repeated.n == 60


# ------------------------------------------------------------------------------------------------------------- bootstrap


def test_cluster_bootstrap_is_wider_when_tasks_differ_and_alike_when_they_do_not() -> None:
    generator = np.random.default_rng(1)
    unlike = {f"task{i}": [i % 2 == 0] * 50 for i in range(10)}
    alike = {f"task{i}": list(generator.random(50) < 0.5) for i in range(10)}
    pooled = success_rate(250, 500)
    assert cluster_bootstrap(unlike).rate == 0.5
    assert cluster_bootstrap(unlike).high - cluster_bootstrap(unlike).low > 4 * (pooled.high - pooled.low)
    assert cluster_bootstrap(alike).high - cluster_bootstrap(alike).low == pytest.approx(pooled.high - pooled.low, rel=0.6)


def bootstrap_coverage(n: int, times: int, rate: float, spread: float) -> float:
    """Of the mean of `n` tasks, five episodes each, whose chances are beta-distributed around `rate`, the wider the smaller
    `spread` is."""
    generator = np.random.default_rng(n)
    successes = generator.binomial(5, generator.beta(rate * spread, (1 - rate) * spread, size=(times, n)))
    hits = 0
    for trial, of_tasks in enumerate(successes):
        low, high = mean_interval({str(i): [c / 5] for i, c in enumerate(of_tasks)}, resamples=300, seed=trial)
        hits += low <= rate <= high
    return hits / times


@pytest.mark.parametrize(("n", "times"), [(20, 1500), (60, 1200), (200, 800), (500, 500)])
def test_cluster_bootstrap_covers_as_often_as_it_says(n: int, times: int) -> None:
    """Tasks of different difficulty, played several times."""
    assert 0.93 <= bootstrap_coverage(n, times, 0.4, 3) <= 0.97


@pytest.mark.parametrize("rate", [0.2, 0.8])
@pytest.mark.parametrize("n", [20, 60])
def test_cluster_bootstrap_covers_so_at_the_ends_of_the_range_of_the_page(n: int, rate: float) -> None:
    assert 0.93 <= bootstrap_coverage(n, 1000, rate, 3) <= 0.97


@pytest.mark.parametrize(("n", "spread"), [(20, 1), (60, 1), (20, 3), (60, 3)])
def test_cluster_bootstrap_covers_less_often_at_low_rates_as_the_page_says(n: int, spread: float) -> None:
    """A few tasks with a success or none: the mean is skewed, and so is what is resampled."""
    assert 0.88 <= bootstrap_coverage(n, 1000, 0.05, spread) <= 0.94


def test_the_bootstrap_agrees_with_scipy() -> None:
    generator = np.random.default_rng(3)
    scores = generator.random(40)
    tail, _ = expanded_tails(0.95, 40)
    expected = bootstrap(
        (scores,), np.mean, n_resamples=2000, confidence_level=1 - 2 * tail, method="percentile", rng=np.random.default_rng(7)
    ).confidence_interval
    found = mean_interval({str(i): [score] for i, score in enumerate(scores)}, resamples=2000, seed=7)
    assert found == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_the_bootstrap_agrees_with_a_plain_one() -> None:
    generator = np.random.default_rng(4)
    scores = {str(i): list(generator.random(generator.integers(1, 6))) for i in range(15)}
    groups, means = list(scores.values()), []
    for row in np.random.default_rng(11).integers(0, 15, size=(500, 15)):
        pooled = [score for task in row for score in groups[task]]
        means.append(sum(pooled) / len(pooled))
    expected = np.quantile(means, expanded_tails(0.9, 15))
    assert mean_interval(scores, 0.9, resamples=500, seed=11) == pytest.approx(tuple(expected), abs=1e-9)


def test_expanded_tails_give_a_normal_sample_its_student_interval() -> None:
    generator = np.random.default_rng(5)
    sample = generator.normal(size=8)
    drawn = generator.normal(sample.mean(), sample.std(ddof=0) / np.sqrt(8), size=500_000)
    low, high = np.quantile(drawn, expanded_tails(0.9, 8))
    reach = t.ppf(0.95, 7) * sample.std(ddof=1) / np.sqrt(8)
    assert (low, high) == pytest.approx((sample.mean() - reach, sample.mean() + reach), abs=0.01)


def test_cluster_bootstrap_is_repeatable_and_says_nothing_from_one_task() -> None:
    outcomes = {"a": [True, False], "b": [True, True, True], "empty": []}
    assert cluster_bootstrap(outcomes) == cluster_bootstrap(outcomes)
    assert cluster_bootstrap(outcomes).n == 5
    only = cluster_bootstrap({"a": [True, False]})
    assert (only.rate, only.low, only.high) == (0.5, 0.0, 1.0)
    assert cluster_bootstrap({}).rate is None
    with pytest.raises(ValueError, match="confidence"):
        cluster_bootstrap(outcomes, confidence=0)


def test_tasks_that_all_fail_or_all_succeed_leave_room_for_others() -> None:
    for success in (False, True):
        rate = cluster_bootstrap({str(i): [success] * 9 for i in range(12)})
        assert (rate.low, rate.high) == wilson_interval(12 * success, 12)


# ----------------------------------------------------------------------------------------------------------- corrections


@pytest.mark.parametrize("size", [1, 2, 15])
def test_corrections_agree_with_statsmodels(size: int) -> None:
    probabilities = [round(p, 2) for p in np.random.default_rng(size).beta(0.4, 1, size)]  # small ones, and ties among them
    for correct, method in ((holm, "holm"), (benjamini_hochberg, "fdr_bh")):
        assert correct(probabilities) == pytest.approx(multipletests(probabilities, method=method)[1], abs=1e-9)


def test_corrections_of_nothing_and_of_what_is_no_probability() -> None:
    for correct in (holm, benjamini_hochberg):
        assert correct([]) == []
        assert correct([0.04]) == [0.04]
        with pytest.raises(ValueError, match=r"1\.5 is no probability"):
            correct([0.1, 1.5])


# --------------------------------------------------------------------------------------------------------------- repeats


@pytest.mark.parametrize(("successes", "n"), [(0, 5), (2, 5), (3, 6), (5, 5), (1, 1)])
def test_repeats_agree_with_trying_every_choice(successes: int, n: int) -> None:
    outcomes = [True] * successes + [False] * (n - successes)
    for k in range(1, n + 1):
        chosen = list(combinations(outcomes, k))
        assert pass_at_k(successes, n, k) == pytest.approx(sum(map(any, chosen)) / len(chosen))
        assert pass_hat_k(successes, n, k) == pytest.approx(sum(map(all, chosen)) / len(chosen))
    if n > 1:
        pairs = list(combinations(outcomes, 2))
        assert flip_rate(successes, n) == pytest.approx(sum(a != b for a, b in pairs) / len(pairs))


def test_repeats_are_unbiased() -> None:
    chance, n, k = 0.3, 8, 3
    successes = np.random.default_rng(0).binomial(n, chance, size=40_000)
    for estimate, expected in ((pass_at_k, 1 - 0.7**3), (pass_hat_k, 0.3**3)):
        table = np.array([estimate(c, n, k) for c in range(n + 1)])
        assert table[successes].mean() == pytest.approx(expected, abs=0.005)
    assert np.array([flip_rate(c, n) for c in range(n + 1)])[successes].mean() == pytest.approx(2 * 0.3 * 0.7, abs=0.005)


def test_impossible_repeats_are_named() -> None:
    with pytest.raises(ValueError, match="k is 4 with 3 trials"):
        pass_at_k(1, 3, 4)
    with pytest.raises(ValueError, match="k is 0 with 3 trials"):
        pass_hat_k(1, 3, 0)
    with pytest.raises(ValueError, match="4 successes of 3"):
        pass_at_k(4, 3, 1)
    with pytest.raises(ValueError, match="k is 2 with 1 trials"):
        flip_rate(1, 1)


def test_repeats_are_means_over_starts_that_have_enough_of_them() -> None:
    found = summarise_repeats({"a": [[True, False], [True, True]], "b": [[False, False, True], [True]]})
    assert found is not None
    assert found.trials == 3
    assert found.pass_at["1"].mean == pytest.approx((1 / 2 + 1 + 1 / 3 + 1) / 4)
    assert found.pass_at["2"].mean == pytest.approx((1 + 1 + 2 / 3) / 3)
    assert found.pass_hat["2"].mean == pytest.approx((0 + 1 + 0) / 3)
    assert found.flips.mean == pytest.approx((1 + 0 + 2 / 3) / 3)
    assert [found.pass_at[k].n for k in "123"] == [4, 3, 1]
    assert (found.pass_at["3"].low, found.pass_at["3"].high) == (0.0, 1.0), "one task says nothing of others"
    assert summarise_repeats({"a": [[True], [False]]}) is None
    assert summarise_repeats({}) is None


def test_of_many_trials_powers_of_two_are_shown() -> None:
    found = summarise_repeats({"a": [[True] * 20], "b": [[False] * 20]})
    assert found is not None
    assert list(found.pass_at) == list(found.pass_hat) == ["1", "2", "4", "8", "16", "20"]
