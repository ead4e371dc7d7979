"""Which tasks get more of a turn of the flywheel."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up import TASKS, episode

from stepladder.images import ImageStore
from stepladder.rollout.focus import MOST, focus, outcomes

SEEN = st.dictionaries(st.text(min_size=1), st.lists(st.booleans(), max_size=12), min_size=1, max_size=9)


def test_more_goes_where_more_fails() -> None:
    share = focus({"solved": [True] * 10, "hard": [True] * 6 + [False] * 4}, 1.0)
    assert share["hard"] == pytest.approx(5 * share["solved"]), "(4 + 1) / 12 against (0 + 1) / 12"
    assert sum(share.values()) == pytest.approx(2)


@given(SEEN, st.floats(0, 3))
def test_every_task_gets_something_and_none_too_much(seen: dict[str, list[bool]], strength: float) -> None:
    share = focus(seen, strength)
    assert set(share) == set(seen)
    assert all(0 < factor <= MOST for factor in share.values())
    assert sum(share.values()) <= len(seen) * (1 + 1e-9)


@given(SEEN)
def test_without_strength_all_are_alike(seen: dict[str, list[bool]]) -> None:
    assert set(focus(seen, 0.0).values()) == {1.0}
    assert focus({}, 1.0) == {}


def test_a_broken_environment_is_no_failure() -> None:
    images, task = ImageStore(), TASKS[0]
    played = [episode(images, task, seed, success) for seed, success in enumerate((True, False, None))]
    assert outcomes(played) == {task.id: [True, False]}
