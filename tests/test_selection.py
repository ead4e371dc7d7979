"""What the flywheel keeps: the task's own successes, each once, no task too many, and nothing that a broken environment says."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.rollout.selection import deeds, select
from stepladder.types import Action, ImageRef, Observation, Status, Step, Task, Trajectory


def episode(
    task: str = "t", seed: int = 0, index: int = 0, reward: float | None = 1.0, clicks: tuple[float, ...] = (1.0,), **fields: object
) -> Trajectory:
    """An episode on screens of its own start, with a click at each of `clicks`."""
    screen = ImageRef(f"{task}-{seed}".ljust(64, "0"), 10, 10)
    steps = tuple(Step(Observation(screen), Action("click", x=x, y=1.0)) for x in clicks)
    status: Status = "env_error" if reward is None else "done"
    made = Trajectory(f"{task}-{seed}-{index}", Task(task, "do it", "made up"), steps, None, status, reward, seed=seed, index=index)
    return replace(made, **fields)  # type: ignore[arg-type]


def ids(kept: list[Trajectory]) -> list[str]:
    return sorted(trajectory.id for trajectory in kept)


def test_the_task_reward_decides_and_no_shaped_reward() -> None:
    failure = episode(seed=1, reward=0.0, parts={"shaped": 0.9, "reward": 0.9, "partial": 1.0})
    success = episode(seed=2, reward=1.0, parts={"shaped": -0.4, "reward": -0.4})
    found = select([failure, success])
    assert ids(found.kept) == ["t-2-0"]
    assert found.left_out == {"no success": 1}


def test_a_broken_environment_is_no_failure_of_the_policy() -> None:
    """Task 1 was lost once and its environment broke three times, task 0 was lost three times: with room for one, the harder start
    is kept. Were breakdowns counted as failures, start 1 would seem the harder one."""
    hard = [episode(seed=0, index=0), *(episode(seed=0, index=i, reward=0.0, clicks=(9.0 + i,)) for i in (1, 2, 3))]
    broken = [episode(seed=1, index=0), episode(seed=1, index=1, reward=0.0, clicks=(9.0,))]
    broken += [episode(seed=1, index=i, reward=None) for i in (2, 3, 4, 5, 6)]
    found = select([*hard, *broken], per_task=1)
    assert ids(found.kept) == ["t-0-0"]
    assert found.left_out["environment failed"] == 5


def test_a_timeout_with_a_grade_is_left_out_too() -> None:
    assert select([episode(reward=1.0, status="timeout")]).kept == []


def test_of_one_start_the_shortest_successes_are_kept() -> None:
    attempts = [episode(index=0, clicks=(1.0, 2.0, 3.0)), episode(index=1, clicks=(4.0,)), episode(index=2, clicks=(5.0, 6.0))]
    assert ids(select(attempts).kept) == ["t-0-1"]
    found = select(attempts, per_start=2)
    assert ids(found.kept) == ["t-0-1", "t-0-2"]
    assert found.left_out == {"enough from this start": 1}


def test_the_same_deeds_are_kept_once_and_never_beside_a_known_demonstration() -> None:
    first, again, other = episode(index=0), episode(index=1), episode(index=2, clicks=(7.0,))
    found = select([first, again, other], per_start=5)
    assert ids(found.kept) == ["t-0-0", "t-0-2"]
    assert found.left_out == {"duplicate": 1}
    assert ids(select([first, again, other], per_start=5, known={deeds(first)}).kept) == ["t-0-2"]


def test_another_screen_or_instruction_makes_other_deeds() -> None:
    one = episode()
    assert deeds(one) == deeds(replace(one, id="another", policy="another", seed=3))
    assert deeds(one) != deeds(episode(seed=1))
    assert deeds(one) != deeds(replace(one, task=replace(one.task, instruction="do that")))


def test_a_task_with_many_successes_keeps_those_from_its_hardest_starts() -> None:
    easy = [episode(seed=0, index=i, clicks=(float(i),)) for i in range(4)]
    hard = [episode(seed=1, index=0), *(episode(seed=1, index=i, reward=0.0, clicks=(float(i),)) for i in (1, 2))]
    other = [episode("u", seed=5)]
    found = select([*easy, *hard, *other], per_task=1)
    assert ids(found.kept) == ["t-1-0", "u-5-0"]
    assert found.left_out["enough of this task"] == 1


@given(
    st.lists(
        st.tuples(st.sampled_from("tu"), st.integers(0, 2), st.sampled_from([None, 0.0, 1.0]), st.integers(1, 3)), max_size=25
    ),
    st.integers(1, 3),
    st.integers(1, 4),
)
def test_nothing_is_lost_or_made_up(played: list[tuple[str, int, float | None, int]], per_start: int, per_task: int) -> None:
    episodes = [
        episode(task, seed, index, reward, tuple(float(index + step) for step in range(steps)))
        for index, (task, seed, reward, steps) in enumerate(played)
    ]
    found = select(episodes, per_start=per_start, per_task=per_task)
    assert len(found.kept) + found.left_out.total() == len(episodes)
    assert all(one.success and not one.environment_failed for one in found.kept)
    assert len({deeds(one) for one in found.kept}) == len(found.kept)
    for task in "tu":
        of_task = [one for one in found.kept if one.task.id == task]
        assert len(of_task) <= per_task
        assert all(sum(one.seed == seed for one in of_task) <= per_start for seed in range(3))
    assert ids(found.kept) == ids(select(episodes[::-1], per_start=per_start, per_task=per_task).kept)


@pytest.mark.parametrize("limits", [{"per_start": 0}, {"per_task": 0}])
def test_limits_below_one_are_refused(limits: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        select([], **limits)
