"""When a run is ready to be refined, and which of its successes are drawn."""

from __future__ import annotations

import math
from collections import Counter
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up import TASKS

from stepladder.config import ConfigError
from stepladder.rollout.plateau import PlateauSettings, PlayedUpdate, find_plateau, sampled_entropy, update_of
from stepladder.rollout.selection import deeds
from stepladder.rollout.success_pool import draw_successes
from stepladder.types import Action, Completion, Observation, Step, Trajectory

SETTINGS = PlateauSettings(window=2, rise=0.05, entropy_low=0.5)


def updates(*rows: tuple[int, float]) -> list[PlayedUpdate]:
    """(successes of 10, entropy) of each update."""
    return [PlayedUpdate(number, 10, successes, entropy) for number, (successes, entropy) in enumerate(rows)]


@pytest.mark.parametrize(
    ("rows", "still", "collapsed"),
    [
        ([(5, 1.0), (5, 1.0), (5, 0.4), (5, 0.4)], True, True),
        ([(5, 1.0), (5, 1.0), (6, 0.4), (6, 0.4)], False, True),
        ([(5, 1.0), (5, 1.0), (4, 0.4), (4, 0.4)], True, True),
        ([(5, 1.0), (5, 1.0), (5, 0.6), (5, 0.5)], True, False),
        ([(1, 1.0), (1, 1.0), (8, 0.5), (8, 0.4), (8, 0.1), (8, 0.1)], True, True),
        ([(5, math.nan), (5, math.nan), (5, math.nan), (5, math.nan)], True, False),
    ],
)
def test_a_plateau_is_success_that_stands_still_and_entropy_that_is_gone(
    rows: list[tuple[int, float]], still: bool, collapsed: bool
) -> None:
    found = find_plateau(updates(*rows), SETTINGS)
    assert found is not None
    assert (found.stands_still, found.collapsed, found.reached) == (still, collapsed, still and collapsed)
    assert ("stands still" in found.sentence, "has collapsed" in found.sentence) == (still, collapsed)


def test_two_windows_are_needed() -> None:
    assert find_plateau(updates((5, 1.0), (5, 1.0), (5, 0.1)), SETTINGS) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"window": 0}, "plateau.window is 0; it must be at least 1"),
        ({"rise": math.inf}, "plateau.rise is inf"),
        ({"entropy_low": 0.0}, "plateau.entropy_low is 0.0"),
    ],
)
def test_settings_that_cannot_be(change: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PlateauSettings(**change).check()  # type: ignore[arg-type]


def episode(update: int, x: float, reward: float | None = 1.0, seed: int = 0, number: int = 0) -> Trajectory:
    completion = Completion("click", np.zeros(2, np.int32), np.asarray([-0.5, -1.5], np.float32), version=update)
    steps = (Step(Observation(state_key=f"{seed}"), Action("click", x=x, y=1), completion=completion),)
    return Trajectory(f"{update}-{x}-{seed}-{number}", TASKS[0], steps, None, "done", reward, seed=seed)


def test_entropy_is_minus_the_mean_of_all_sampled_tokens() -> None:
    one = episode(0, 1)
    longer = Trajectory(
        "t",
        TASKS[0],
        (*one.steps, Step(Observation(), completion=Completion("", logprobs=np.asarray([-4.0], np.float32)))),
        None,
        "done",
        0.0,
    )
    assert sampled_entropy([one]) == 1.0
    assert sampled_entropy([one, longer]) == pytest.approx((0.5 + 1.5 + 0.5 + 1.5 + 4.0) / 5)
    assert math.isnan(sampled_entropy([]))


def test_an_episode_that_no_policy_played_has_no_version() -> None:
    with pytest.raises(ValueError, match="has no sampled reply"):
        update_of(Trajectory("t", TASKS[0], (Step(Observation(), Action("wait")),), None, "done", 1.0))
    assert update_of(episode(7, 1)) == 7


def test_a_draw_takes_turns_over_versions() -> None:
    """The last stretch of the run has most successes, and as many as others are drawn."""
    many = [episode(update, 10 * update + number, number=number) for update in range(8) for number in range(1 + 5 * (update == 7))]
    found = draw_successes(many, per_start=4, random=Random(0), versions=4)
    assert Counter(update_of(one) // 2 for one in found.kept) == dict.fromkeys(range(4), 1)
    found = draw_successes(many, per_start=8, random=Random(0), versions=4)
    assert Counter(update_of(one) // 2 for one in found.kept) == dict.fromkeys(range(4), 2)
    assert found.left_out["enough from this start"] == len(many) - 8


def test_what_was_done_again_is_drawn_only_where_there_are_too_few_ways() -> None:
    played = [episode(3, 1), episode(1, 1), episode(2, 5), episode(4, 1)]
    found = draw_successes(played, per_start=2, random=Random(0))
    assert sorted(one.id for one in found.kept) == ["1-1-0-0", "2-5-0-0"]
    assert (found.left_out["duplicate"], found.left_out["enough from this start"]) == (2, 0)
    found = draw_successes(played, per_start=3, random=Random(0))
    assert len(found.kept) == 3
    assert {"1-1-0-0", "2-5-0-0"} < {one.id for one in found.kept}
    assert len(draw_successes(played, per_start=9, random=Random(0)).kept) == 4


def test_failures_and_broken_environments_are_left_out() -> None:
    broken = Trajectory("broken", TASKS[0], (), None, "env_error", None)
    found = draw_successes([episode(0, 1, reward=0.0), broken, episode(0, 2, seed=1)], per_start=2, random=Random(0))
    assert [one.seed for one in found.kept] == [1]
    assert (found.left_out["no success"], found.left_out["environment failed"]) == (1, 1)


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5), st.integers(0, 2), st.booleans()), max_size=40),
    st.integers(1, 6),
    st.integers(1, 5),
    st.randoms(use_true_random=False),
)
def test_every_draw_is_balanced_distinct_and_as_large_as_can_be(
    rows: list[tuple[int, int, int, bool]], per_start: int, versions: int, random: Random
) -> None:
    episodes = [episode(update, x, float(won), seed, number) for number, (update, x, seed, won) in enumerate(rows)]
    found = draw_successes(episodes, per_start, random, versions)
    last = max((update for update, *_ in rows), default=0)
    for seed in range(3):
        kept = [one for one in found.kept if one.seed == seed]
        distinct: dict[object, int] = {}
        for one in sorted((one for one in episodes if one.success and one.seed == seed), key=lambda one: (update_of(one), one.id)):
            distinct.setdefault(deeds(one), update_of(one))
        won_there = sum(one.success and one.seed == seed for one in episodes)
        assert len(kept) == min(per_start, won_there)
        assert len({one.id for one in kept}) == len(kept)
        assert len({deeds(one) for one in kept}) == min(per_start, len(distinct)), "as many ways of doing it as can be"
        kept = kept[: len(distinct)]
        there = Counter(update * versions // (last + 1) for update in distinct.values())
        drawn = Counter(update_of(one) * versions // (last + 1) for one in kept)
        # No stretch that has some left has two fewer than another.
        assert all(drawn[stretch] + 1 >= max(drawn.values()) for stretch in there if drawn[stretch] < there[stretch])
    assert len(found.kept) + sum(found.left_out.values()) == len(episodes)


@pytest.mark.parametrize("given_numbers", [{"per_start": 0}, {"per_start": 1, "versions": 0}])
def test_numbers_below_one_are_refused(given_numbers: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="both must be at least 1"):
        draw_successes([], random=Random(0), **given_numbers)
