"""Agreement of a judge with the truth: closed forms, published tables, intervals that hold what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.stats import wilson_interval
from stepladder.stats.agreement import Confusion, Pair, agreement, confusion


def pairs(true_positive: int, false_positive: int, false_negative: int, true_negative: int) -> list[Pair]:
    return (
        [(True, True)] * true_positive
        + [(True, False)] * false_positive
        + [(False, True)] * false_negative
        + [(False, False)] * true_negative
    )


def test_counts_and_rates_of_a_table() -> None:
    table = pairs(20, 5, 10, 15)
    assert confusion(table) == Confusion(20, 5, 10, 15)
    found = agreement({"task": table})
    values = {name: one.value for name, one in found.items()}
    # the textbook example of kappa: observed 0.7, by chance 0.5
    assert values == {
        "accuracy": pytest.approx(0.7),
        "precision": pytest.approx(0.8),
        "recall": pytest.approx(2 / 3),
        "f1": pytest.approx(40 / 55),
        "kappa": pytest.approx(0.4),
    }
    assert (found["recall"].low, found["recall"].high) == wilson_interval(20, 30)
    assert [found[name].n for name in values] == [50, 25, 30, 50, 50]


def test_what_is_not_defined_is_not_a_number() -> None:
    nothing = agreement({})
    assert {one.value for one in nothing.values()} == {None}
    failures = agreement({"a": pairs(0, 0, 0, 9), "b": pairs(0, 0, 0, 9)})
    assert failures["accuracy"].value == 1.0
    assert [failures[name].value for name in ("precision", "recall", "f1", "kappa")] == [None] * 4
    perfect = agreement({"a": pairs(5, 0, 0, 5)})
    assert (perfect["kappa"].value, perfect["kappa"].low) == (1.0, None), "all resamples agree: no interval"


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40), st.integers(1, 4))
def test_values_do_not_depend_on_how_episodes_are_split_into_tasks(episodes: list[Pair], tasks: int) -> None:
    split = {str(number): episodes[number::tasks] for number in range(tasks)}
    whole, parts = agreement({"all": episodes}, resamples=50), agreement(split, resamples=50)
    assert {name: one.value for name, one in whole.items()} == {name: one.value for name, one in parts.items()}
    kappa = whole["kappa"].value
    assert kappa is None or -1 <= kappa <= 1
    accuracy = whole["accuracy"].value
    assert accuracy is not None
    assert kappa is None or kappa <= accuracy + 1e-12, "chance can only take away"


def test_intervals_of_f1_and_kappa_cover_the_truth_about_as_often_as_they_say() -> None:
    """A judge of known error rates on 24 tasks of different difficulty: true values from 400,000 episodes."""
    random = np.random.default_rng(0)

    def drawn(tasks: int, episodes: int) -> dict[str, list[Pair]]:
        rates = random.beta(2, 2, size=tasks)
        truth = random.random((tasks, episodes)) < rates[:, None]
        judged = random.random((tasks, episodes)) < np.where(truth, 0.85, 0.2)
        return {str(number): list(zip(map(bool, judged[number]), map(bool, truth[number]), strict=True)) for number in range(tasks)}

    true = {name: one.value for name, one in agreement(drawn(4000, 100), resamples=10).items()}
    covered = dict.fromkeys(("f1", "kappa"), 0)
    for repetition in range(200):
        found = agreement(drawn(24, 10), resamples=400, seed=repetition)
        for name in covered:
            one, value = found[name], true[name]
            covered[name] += (one.low or 0.0) <= (value or 0.0) <= (one.high or 0.0)
    for name, count in covered.items():
        assert 0.90 <= count / 200 <= 0.99, f"{name}: {count} of 200"
