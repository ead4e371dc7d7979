"""Two trajectories side by side: which steps belong together, and where they part."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up import TASKS

from stepladder.compare.divergence import Divergence, align, basis_of, divergence
from stepladder.types import Action, ImageRef, Observation, Step, Trajectory

LEFT, RIGHT = Action("click", x=1, y=1), Action("click", x=9, y=9)


def steps(states: str, actions: Sequence[Action] = ()) -> tuple[Step, ...]:
    """One step a letter; the letter is its state. Where no action is given it is LEFT."""
    given_actions = [*actions, *[LEFT] * len(states)]
    return tuple(Step(Observation(state_key=state), action) for state, action in zip(states, given_actions, strict=False))


def trajectory(states: str, actions: Sequence[Action] = (), final: str = "") -> Trajectory:
    last = Observation(state_key=final) if final else None
    return Trajectory("t", TASKS[0], steps(states, actions), last, "done", 1.0)


def longest_common(first: str, second: str) -> int:
    """The length of the longest common subsequence, by its definition."""

    @cache
    def rest(i: int, j: int) -> int:
        if i == len(first) or j == len(second):
            return 0
        return 1 + rest(i + 1, j + 1) if first[i] == second[j] else max(rest(i + 1, j), rest(i, j + 1))

    return rest(0, 0)


@given(st.text("abc", max_size=9), st.text("abc", max_size=9))
def test_an_alignment_is_whole_in_order_and_as_long_as_can_be(first: str, second: str) -> None:
    rows = align(steps(first), steps(second))
    assert [i for i, _ in rows if i is not None] == list(range(len(first)))
    assert [j for _, j in rows if j is not None] == list(range(len(second)))
    together = [(i, j) for i, j in rows if i is not None and j is not None]
    assert all(first[i] == second[j] for i, j in together)
    assert len(together) == longest_common(first, second)
    common = next((k for k, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second)))
    assert rows[:common] == [(k, k) for k in range(common)]


def test_an_alignment_by_hand() -> None:
    assert align(steps("abcf"), steps("abxyf")) == [(0, 0), (1, 1), (2, None), (None, 2), (None, 3), (3, 4)]
    assert align((), steps("ab")) == [(None, 0), (None, 1)]
    assert align((), ()) == []


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        # In the same state they did different things.
        (trajectory("abc", [LEFT, LEFT]), trajectory("abd", [LEFT, RIGHT]), Divergence(1, 2, "actions", "state_key")),
        # They did the same, and it led elsewhere.
        (trajectory("abc"), trajectory("abd"), Divergence(1, 2, "environment", "state_key")),
        (trajectory("ab"), trajectory("cb"), Divergence(None, 0, "start", "state_key")),
        # One of them said that it was done.
        (trajectory("ab", [LEFT, Action("done")]), trajectory("abc"), Divergence(1, 2, "actions", "state_key")),
        # One of them was at its limit of steps.
        (trajectory("ab"), trajectory("abc"), Divergence(1, 2, "environment", "state_key")),
        # Two answers on the same screen.
        (
            trajectory("ab", [LEFT, Action("done", text="4")]),
            trajectory("ab", [LEFT, Action("done", text="5")]),
            Divergence(1, 1, "actions", "state_key"),
        ),
        (trajectory("ab", final="c"), trajectory("ab", final="d"), Divergence(1, 1, "environment", "state_key")),
        (trajectory("ab", final="c"), trajectory("ab", final="c"), None),
        (trajectory("ab", final="c"), trajectory("ab"), None),
        (trajectory(""), trajectory(""), None),
        (trajectory(""), trajectory("a"), Divergence(None, 0, "start", "state_key")),
    ],
)
def test_where_two_part(first: Trajectory, second: Trajectory, found: Divergence | None) -> None:
    assert divergence(first, second) == found
    assert divergence(second, first) == found
    if found is not None:
        rows = align(first.steps, second.steps)
        assert found.row < len(rows)
        assert all(i == j for i, j in rows[: found.row])


def test_what_a_state_does_not_tell_comes_out_later() -> None:
    """As what is typed into an open list, which shows when the list closes."""
    first, second = trajectory("abcd", [LEFT, LEFT, LEFT]), trajectory("abce", [RIGHT, RIGHT, LEFT])
    assert divergence(first, second) == Divergence(1, 3, "actions", "state_key")


def seen(digests: str, actions: Sequence[Action], keys: str = "") -> tuple[Step, ...]:
    return tuple(
        Step(Observation(ImageRef(digest * 64, 8, 8), state_key=keys[k : k + 1]), actions[k]) for k, digest in enumerate(digests)
    )


def played(made: tuple[Step, ...]) -> Trajectory:
    return Trajectory("t", TASKS[0], made, None, "done", 1.0)


def test_screenshots_tell_states_where_a_key_is_missing() -> None:
    first, second = seen("aab", [LEFT] * 3, "xy"), seen("aac", [LEFT] * 3, "xyz")
    assert basis_of(first, second) == "screenshot"
    assert divergence(played(first), played(second)) == Divergence(1, 2, "environment", "screenshot")
    assert align(first, second) == [(0, 0), (1, 1), (2, None), (None, 2)]


def test_actions_tell_states_where_there_is_nothing_to_see() -> None:
    call = Action("call", name="open", args={"file": ["a", "b"]})
    first = tuple(Step(Observation(), action) for action in (call, LEFT, LEFT))
    second = tuple(Step(Observation(), action) for action in (call, RIGHT, LEFT))
    assert basis_of(first, second) == "actions"
    assert divergence(played(first), played(second)) == Divergence(1, 1, "actions", "actions")
    assert divergence(played(first), played(first[:2])) == Divergence(1, 2, "environment", "actions")
    assert divergence(played(first), played(first)) is None
    assert align(first, second)[0] == (0, 0)
    assert len(align(first, second)) == 4


def test_long_trajectories_are_aligned() -> None:
    states = "".join(chr(0x4E00 + k) for k in range(1500))
    rows = align(steps(states), steps(states[:700] + "xyz" + states[700:]))
    assert sum(i is not None and j is not None for i, j in rows) == 1500
    assert rows[700:703] == [(None, 700), (None, 701), (None, 702)]
