"""DART: learning from the steps at which the policy was least certain, and from nothing else."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.algos.credit import NOTHING
from stepladder.algos.dart import Dart
from stepladder.algos.grpo import Grpo
from stepladder.algos.high_entropy import highest_entropy_steps
from stepladder.types import Completion, Group, Observation, Step, Task, Trajectory

TASK = Task("t", "", "test")


def step(*entropies: float) -> Step:
    values = np.asarray(entropies, dtype=np.float32)
    return Step(Observation(), completion=Completion("x", np.arange(len(values), dtype=np.int32), -values, entropies=values))


def episode(reward: float | None, *steps: Step, name: str = "") -> Trajectory:
    status = "env_error" if reward is None else "done"
    return Trajectory(name or f"{reward}", TASK, steps, None, status, reward, group="g")


def learned(algorithm: Dart, *groups: Group) -> list[list[list[bool]]]:
    return [[[credit is not NOTHING for credit in steps] for steps in group] for group in algorithm.credit(groups, {})]


# ---------------------------------------------------------------- the arithmetic


def test_the_highest_of_each_group_by_hand() -> None:
    nan = math.nan
    entropies = torch.tensor([[1.0, 3.0, nan], [1.9, nan, nan], [0.0, 0.0, 6.3], [9.0, nan, nan], [8.0, 8.5, nan], [7.0, 7.0, 7.0]])
    mask = torch.tensor([[1, 1, 0], [1, 0, 0], [1, 1, 1], [1, 0, 0], [1, 1, 0], [1, 1, 1]])
    groups = torch.tensor([4, 4, 4, 2, 2, 2])
    # means 2, 1.9, 2.1 and 9, 8.25, 7: padding in the mean would put the third of the first group last
    assert highest_entropy_steps(entropies, mask, groups, 0.5).tolist() == [True, False, True, True, True, False]
    assert highest_entropy_steps(entropies, mask, groups, 0.3).tolist() == [False, False, True, True, False, False]
    assert highest_entropy_steps(entropies, mask, groups, 1.0).tolist() == [True] * 6


def test_of_equal_steps_the_earlier_and_without_a_token_none() -> None:
    same = torch.full((4, 2), 0.5)
    mask = torch.tensor([[1, 1], [0, 0], [1, 0], [1, 1]])
    assert highest_entropy_steps(same, mask, torch.zeros(4, dtype=torch.int64), 0.6).tolist() == [True, False, True, False]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.lists(st.floats(0, 5), max_size=5)), max_size=24),
    st.sampled_from([0.1, 0.25, 0.5, 0.8, 1.0]),
)
def test_it_is_the_share_of_each_group_whatever_the_others_are(rows: list[tuple[int, list[float]]], share: float) -> None:
    width = max((len(values) for _, values in rows), default=0) + 1
    entropies, mask = torch.full((len(rows), width), torch.nan, dtype=torch.float64), torch.zeros(len(rows), width)
    for place, (_, values) in enumerate(rows):
        entropies[place, : len(values)], mask[place, : len(values)] = torch.tensor(values, dtype=torch.float64), 1
    groups = torch.tensor([group for group, _ in rows], dtype=torch.int64)
    chosen = highest_entropy_steps(entropies, mask, groups, share).tolist()
    for number in {group for group, _ in rows}:
        means = {i: sum(v) / len(v) for i, (group, v) in enumerate(rows) if group == number and v}
        inside, outside = [means[i] for i in means if chosen[i]], [means[i] for i in means if not chosen[i]]
        assert len(inside) == math.ceil(round(share * len(means), 6))
        assert min(inside, default=math.inf) >= max(outside, default=-math.inf) - 1e-12
        alone = [i for i, (group, _) in enumerate(rows) if group == number]
        assert highest_entropy_steps(entropies[alone], mask[alone], groups[alone], share).tolist() == [chosen[i] for i in alone]
    assert not any(chosen[i] for i, (_, values) in enumerate(rows) if not values)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.ones(2), torch.ones(2), torch.ones(2), 0.5), r"entropies has shape \(2,\); it must have 2 dimensions"),
        ((torch.ones(2, 3), torch.ones(2, 2), torch.ones(2), 0.5), r"mask has shape \(2, 2\); entropies has \(2, 3\)"),
        ((torch.ones(2, 3), torch.ones(2, 3), torch.ones(3), 0.5), "groups has 3 entries; entropies has 2 rows"),
        ((torch.ones(2, 3), torch.ones(2, 3), torch.ones(2), 0.0), r"share is 0\.0; it must be above 0 and at most 1"),
        (
            (torch.tensor([[torch.nan]]), torch.ones(1, 1), torch.ones(1), 1.0),
            "entropies has entries that count and are not finite",
        ),
    ],
)
def test_what_cannot_be_is_named(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        highest_entropy_steps(*arguments)


# ---------------------------------------------------------------- the algorithm


def test_the_advantages_of_grpo_on_the_uncertain_steps_of_all_members() -> None:
    group = [
        episode(1.0, step(0.1, 0.3), step(2.0), step(0.9, 1.1, 1.0)),
        episode(0.0, step(0.05), step(1.5, 1.7)),
        episode(None, step(9.0), step(9.0)),
    ]
    # Of five steps four: that of mean 0.05 is left out. What broke is not among the five.
    assert learned(Dart(), group) == [[[True, True, True], [False, True], [False, False]]]
    assert learned(Dart(entropy_share=0.4), group) == [[[False, True, False], [False, True], [False, False]]]
    everything, found = Grpo().credit([group], {})[0], Dart().credit([group], {})[0]
    assert found[0][1].advantage == everything[0][1].advantage > 0
    assert found[1][1].advantage == everything[1][1].advantage < 0
    assert (found[0][1].pg, found[1][1].kl) == (1.0, 0.0)


def test_each_group_has_its_own_share() -> None:
    """The steps of an uncertain task do not push out those of a certain one."""
    certain = [episode(1.0, step(0.01), step(0.02)), episode(0.0, step(0.03), step(0.04), step(0.05))]
    uncertain = [episode(1.0, step(5.0), step(4.0)), episode(0.0, step(3.0))]
    assert learned(Dart(entropy_share=0.4), certain, uncertain) == [
        [[False, False], [False, True, True]],
        [[True, True], [False]],
    ]


def test_without_entropies_it_says_what_to_do() -> None:
    whole, told = step(0.5, 0.5), episode(0.0, step(0.5))
    assert whole.completion is not None
    for wrong, has in (
        (replace(whole.completion, entropies=None), "no entropies"),
        (replace(whole.completion, entropies=np.ones(1, dtype=np.float32)), "1 entropies for 2 tokens"),
    ):
        group = [episode(1.0, step(0.5), replace(whole, completion=wrong), name="first"), told]
        with pytest.raises(ValueError, match=rf"step 1 of trajectory 'first' has {has}.*set algo\.entropy_share=1"):
            Dart().credit([group], {})
        assert Dart(entropy_share=1.0).credit([group], {})[0][0][1].pg == 1.0, "nobody asks for them there"
    broken = replace(episode(None, replace(whole, completion=None)), steps=(replace(whole, completion=None),))
    assert learned(Dart(), [episode(1.0, step(0.5)), told, broken])[0][2] == [False], "who is not learned from needs none"


def test_a_share_that_cannot_be_is_refused() -> None:
    for share in (0.0, 1.5):
        with pytest.raises(ValueError, match=rf"algo\.entropy_share is {share}; it must be above 0 and at most 1"):
            Dart(entropy_share=share).check()
    Dart().check()
