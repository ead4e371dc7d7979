"""Groups and episodes that are no larger than the history of their task asks for."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_rl import SIDES, Sides, assert_equal, checkpoint, episodes, figures, run_disturbed
from test_rl import clicks as clicks  # a fixture: any reply is a click

from stepladder.algos.dart import Dart
from stepladder.config import ConfigError
from stepladder.rollout.dynamic import Dynamic, DynamicSettings, Outcome
from stepladder.stages.rl import main
from stepladder.types import Group, Observation, Task, Trajectory

TASK = Task("t", "", "test", max_steps=20)
BOTH = DynamicSettings(rollouts=True, steps=True)


class Until(Sides):
    """Over with the first click on the left half."""

    @classmethod
    def tasks(cls) -> list[Task]:
        return [Task("until", "left", "test_dynamic:Until", max_steps=6)]

    def _observe(self) -> Observation:
        return Observation(self.page, done=bool(self.actions) and (self.actions[-1].x or 0) < 80)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("dynamic") / "start")


# ---------------------------------------------------------------- sizes


def test_groups_shrink_above_the_threshold_alone() -> None:
    sizes = {
        success: Dynamic(BOTH, 8, success={"t": success}).size("t") for success in (0.0, 0.3, 0.6, 0.61, 0.7, 0.8, 0.9, 0.99, 1.0)
    }
    assert sizes == {0.0: 8, 0.3: 8, 0.6: 8, 0.61: 8, 0.7: 7, 0.8: 5, 0.9: 4, 0.99: 3, 1.0: 2}
    assert Dynamic(BOTH, 8).size("t") == 8, "a task never played"
    assert Dynamic(DynamicSettings(), 8, success={"t": 1.0}).size("t") == 8, "off unless it is asked for"


@given(st.integers(1, 16), st.integers(1, 16), st.floats(0, 0.99), st.floats(0, 1), st.floats(0, 1))
def test_a_size_is_within_its_bounds_and_never_grows_with_success(
    size: int, least: int, above: float, one: float, other: float
) -> None:
    least = min(least, size)
    settings = DynamicSettings(rollouts=True, above=above, least=least)
    low, high = (Dynamic(settings, size, success={"t": p}).size("t") for p in sorted((one, other)))
    assert least <= high <= low <= size
    assert Dynamic(settings, size, success={"t": 1.0}).size("t") == least


# ---------------------------------------------------------------- lengths


def test_the_longest_of_the_last_successes_bounds_an_episode() -> None:
    dynamic = Dynamic(DynamicSettings(steps=True, memory=4, known=2), 8)
    assert dynamic.limit(TASK) is None
    dynamic.update([Outcome("t", 4, (8,))])
    assert dynamic.limit(TASK) is None, "one success is no history"
    dynamic.update([Outcome("t", 4, (3, 4)), Outcome("t", 4, ())])
    assert dynamic.limit(TASK) == 12
    assert dynamic.limit(TASK, max_steps=9) == 9, "never more than the run says"
    assert dynamic.limit(replace(TASK, max_steps=5)) == 5, "nor than the task says"
    dynamic.update([Outcome("t", 4, (5, 5, 5))])
    assert dynamic.limit(TASK) == 8, "the success of 8 steps is forgotten"
    assert dynamic.limit(replace(TASK, id="other")) is None
    assert Dynamic(DynamicSettings(), 8, lengths={"t": [1] * 9}).limit(TASK) is None, "off unless it is asked for"


def test_jobs_have_the_size_and_the_length_of_their_task() -> None:
    dynamic = Dynamic(BOTH, 4, success={"t": 1.0, "u": 0.1}, lengths={"t": [2, 3, 2, 1]})
    other = replace(TASK, id="u")
    jobs = dynamic.jobs([(TASK, 1), (other, 2), (TASK, 3)], "5.0")
    assert [(job.group, job.index, job.max_steps) for job in jobs] == [
        *[("5.0/t-1", index, 5) for index in range(2)],
        *[("5.0/u-2", index, None) for index in range(4)],
        *[("5.0/t-3", index, 5) for index in range(2)],
    ]


def test_history_is_a_moving_mean_of_graded_episodes() -> None:
    dynamic = Dynamic(replace(BOTH, rate=0.5), 8)
    dynamic.update([Outcome("t", 4, (1, 1)), Outcome("t", 4, (1,) * 4), Outcome("u", 0, ())])
    assert dynamic.success == {"t": 0.75}
    again = Dynamic(replace(BOTH, rate=0.5), 8)
    again.load_state(dynamic.state())
    assert again == dynamic
    again.update([Outcome("t", 2, ())])
    assert (again.success["t"], dynamic.success["t"]) == (0.375, 0.75), "the state is a copy"
    assert dynamic.lengths == {"t": [1] * 6}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"above": 1.0}, r"dynamic\.above is 1\.0; it is a share of episodes"),
        ({"rate": 0.0}, r"dynamic\.rate is 0\.0; it must be above 0 and at most 1"),
        ({"rollouts": True, "least": 9}, r"dynamic\.least is 9; it must be at least 1 and at most group_size, 8"),
        ({"slack": 0.5}, r"dynamic\.slack is 0\.5; below 1 the successes themselves would be cut off"),
        ({"known": 17}, r"dynamic\.known is 17; it must be at least 1 and at most dynamic\.memory, 16"),
    ],
)
def test_settings_that_cannot_be_are_named(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(DynamicSettings(), **wrong).check(8)


# ---------------------------------------------------------------- in a run


def test_a_run_plays_groups_of_the_sizes_that_its_history_gives(start: Path, tmp_path: Path) -> None:
    """Recomputed from the episodes alone; every figure counts what was played, whatever the sizes."""
    dynamic = DynamicSettings(rollouts=True, above=0.2, least=2, rate=0.5)
    config = replace(SIDES, checkpoint=start, output=tmp_path, updates=4, groups=4, rounds=1, expand=False, dynamic=dynamic)
    main(replace(config, validation=0, save_every=1), show=False)
    updates: dict[int, dict[str, Group]] = defaultdict(lambda: defaultdict(list))
    for episode in episodes(tmp_path):
        updates[int(episode.group.partition(".")[0])][episode.group].append(episode)
    expected = Dynamic(dynamic, config.group_size)
    seen = set()
    for record, number in zip(figures(tmp_path), range(4), strict=True):
        groups = updates[number]
        sizes = {len(group) for group in groups.values()}
        assert sizes == {expected.size("left")}
        seen |= sizes
        assert record["episodes"] == sum(map(len, groups.values()))
        assert record["kept"] + record["flat"] == len(groups)
        for name in sorted(groups):
            lengths = tuple(len(one.steps) for one in groups[name] if one.success)
            expected.update([Outcome("left", len(groups[name]), lengths)])
    assert len(seen) > 1, "otherwise this says nothing"
    assert torch.load(tmp_path / "state.pt", weights_only=True)["standing"]["dynamic"] == expected.state()


def test_episodes_are_no_longer_than_the_history_allows(start: Path, tmp_path: Path) -> None:
    dynamic = DynamicSettings(steps=True, slack=1.0, memory=4, known=2)
    config = replace(SIDES, checkpoint=start, tasks="env:test_dynamic:Until", output=tmp_path, dynamic=dynamic, updates=5)
    main(replace(config, groups=2, validation=0), show=False)
    history, rounds = Dynamic(dynamic, config.group_size), defaultdict[str, list[Trajectory]](list)
    for episode in episodes(tmp_path):
        rounds[episode.group.partition("/")[0]].append(episode)
    bounded = 0
    for number in sorted(rounds):
        for one in rounds[number]:
            limit = history.limit(one.task)
            assert len(one.steps) <= (limit or one.task.max_steps)
            bounded += limit is not None and limit < one.task.max_steps and one.status == "max_steps" and len(one.steps) == limit
        groups: dict[tuple[str, str], Group] = defaultdict(list)
        for one in rounds[number]:
            groups[one.task.id, one.group].append(one)
        for (task, _), group in sorted(groups.items()):
            group.sort(key=lambda one: one.index)
            history.update([Outcome(task, len(group), tuple(len(one.steps) for one in group if one.success))])
    assert bounded, "some episodes were ended by it"


def test_a_run_that_fails_in_between_ends_with_the_same_weights(
    start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With everything on that has a memory: sizes, lengths, the entropy's coefficient, a reference that moves."""
    algorithm = Dart(
        kl=0.05, reference_refresh=2, updates=2, entropy=0.01, entropy_target=100.0, entropy_step=0.01, off_policy_delta=0.01
    )
    dynamic = DynamicSettings(rollouts=True, above=0.0, rate=1.0, steps=True, slack=1.0, known=1)
    config = replace(SIDES, checkpoint=start, algo=algorithm, dynamic=dynamic, updates=4, groups=3, environments=1, validation=0)
    config = replace(config, output=tmp_path / "whole")
    main(config, show=False)
    run_disturbed(replace(config, output=tmp_path / "disturbed"), (5, 26), monkeypatch)
    assert_equal(tmp_path / "disturbed", tmp_path / "whole")
    one, other = (torch.load(tmp_path / name / "state.pt", weights_only=True) for name in ("disturbed", "whole"))
    assert one["entropy_control"] == other["entropy_control"] != {"coefficient": 0.01, "last": None}
    assert one["standing"]["dynamic"] == other["standing"]["dynamic"]
    assert all(torch.equal(value, one["reference"][name]) for name, value in other["reference"].items())
    assert len({len(group) for group in _groups(tmp_path / "whole").values()}) > 1, "groups of several sizes were among them"


def _groups(directory: Path) -> dict[str, Group]:
    found: dict[str, Group] = defaultdict(list)
    for episode in episodes(directory):
        found[episode.group].append(episode)
    return found
