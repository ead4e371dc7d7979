"""Several trials of the same starts: the exact test and the interval against scipy, statsmodels and trying every choice."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import fisher_exact
from statsmodels.stats.proportion import confint_proportions_2indep

from stepladder.stats import difference_interval, mcnemar, stratified_test


@pytest.mark.parametrize("table", [(0, 8, 8, 8), (1, 4, 3, 5), (2, 7, 6, 9), (0, 3, 0, 5), (4, 4, 1, 4), (30, 60, 45, 70)])
def test_of_one_start_it_is_fishers_test(table: tuple[int, int, int, int]) -> None:
    first, of_first, second, of_second = table
    expected = fisher_exact([[first, of_first - first], [second, of_second - second]]).pvalue
    assert stratified_test([table]) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("gained", "lost", "alike"), [(6, 1, 3), (0, 0, 4), (5, 5, 0), (0, 9, 2)])
def test_of_single_trials_it_is_mcnemars_test(gained: int, lost: int, alike: int) -> None:
    tables = [(0, 1, 1, 1)] * gained + [(1, 1, 0, 1)] * lost + [(1, 1, 1, 1)] * alike + [(0, 1, 0, 1)] * alike
    assert stratified_test(tables) == pytest.approx(mcnemar(gained, lost), abs=1e-9)


def test_it_agrees_with_trying_every_choice() -> None:
    outcomes = [([1, 0, 0], [1, 1]), ([0, 0], [1, 1, 0])]
    sums = [0]
    for first, second in outcomes:
        drawn = [sum(choice) for choice in combinations(first + second, len(second))]
        sums = [total + more for total in sums for more in drawn]
    seen = sum(sum(second) for _, second in outcomes)
    chances = {value: sums.count(value) / len(sums) for value in set(sums)}
    expected = sum(chance for chance in chances.values() if chance <= chances[seen] + 1e-12)
    assert stratified_test([(sum(a), len(a), sum(b), len(b)) for a, b in outcomes]) == pytest.approx(expected)


def test_it_never_rejects_more_often_than_it_says() -> None:
    generator = np.random.default_rng(3)
    chances = generator.random((1500, 4))
    first, second = generator.binomial(5, chances), generator.binomial(5, chances)
    rejected = [
        stratified_test([(a, 5, b, 5) for a, b in zip(*starts, strict=True)]) < 0.05
        for starts in zip(first.tolist(), second.tolist(), strict=True)
    ]
    assert 0.01 <= np.mean(rejected) <= 0.055


@pytest.mark.parametrize("table", [(0, 8, 8, 8), (1, 4, 3, 5), (20, 50, 31, 60), (0, 6, 0, 6)])
def test_the_interval_agrees_with_statsmodels(table: tuple[int, int, int, int]) -> None:
    first, of_first, second, of_second = table
    expected = confint_proportions_2indep(second, of_second, first, of_first, method="newcomb", compare="diff", alpha=0.1)
    assert difference_interval(table, 0.9) == pytest.approx(expected, abs=1e-9)


def test_nothing_and_impossible_counts() -> None:
    assert stratified_test([]) == stratified_test([(0, 0, 3, 4)]) == 1.0
    assert difference_interval((0, 0, 3, 4)) == (-1.0, 1.0)
    for table in ((5, 4, 0, 1), (0, 1, -1, 3)):
        with pytest.raises(ValueError, match="cannot be"):
            stratified_test([table])
        with pytest.raises(ValueError, match="cannot be"):
            difference_interval(table)
