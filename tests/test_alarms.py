"""Alarms of a training run: each is raised by a history that shows what it is for, and by no other; a restart doubles none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_rl import SIDES, Sides, checkpoint, figures
from test_rl import clicks as clicks  # a fixture: any reply is a click

from stepladder.alarms import FILE, AlarmLog, AlarmSettings, described, find_alarms, longest_repeat, observe, read_alarms
from stepladder.config import ConfigError
from stepladder.interfaces import EnvironmentFailure
from stepladder.rewards.combine import WeightedReward
from stepladder.run import Run
from stepladder.stages import flywheel
from stepladder.stages.flywheel import FlywheelConfig
from stepladder.stages.rl import main as train
from stepladder.stages.rl_config import RlConfig
from stepladder.store import TrajectoryStore
from stepladder.types import Action, Completion, Group, Observation, Step, Task, Trajectory

SETTINGS = AlarmSettings(window=3)
CLICKS = [Action("click", x=5 * number, y=9) for number in range(4)]


class Hopeless(Sides):
    """A page on which nothing is right."""

    @classmethod
    def tasks(cls) -> list[Task]:
        return [Task("hopeless", "left", "test_alarms:Hopeless", max_steps=1)]

    async def evaluate(self) -> float:
        return 0.0


def steps(actions: Sequence[Action], keys: str = "abcdefgh", tokens: int = 4) -> tuple[Step, ...]:
    """One step for each action; the screens are told apart by a letter each."""
    sampled = np.arange(tokens, dtype=np.int32), np.full(tokens, -0.5, np.float32)
    return tuple(
        Step(Observation(state_key=key), action, completion=Completion("", *sampled))
        for action, key in zip(actions, keys, strict=False)
    )


def group(
    rewards: Sequence[float], terms: Sequence[dict[str, float]] = (), acted: tuple[Step, ...] = steps(CLICKS), name: str = "g"
) -> Group:
    task = Task("t", "", "fake")
    parts = terms or [{} for _ in rewards]
    return [
        Trajectory(f"{name}-{index}", task, acted, None, "done", reward, parts=parts[index], group=name, index=index)
        for index, reward in enumerate(rewards)
    ]


def history(**figures: Sequence[float]) -> list[dict[str, Any]]:
    length = len(next(iter(figures.values())))
    return [{"step": number + 1, **{name: values[number] for name, values in figures.items()}} for number in range(length)]


def kinds(records: list[dict[str, Any]], groups: Sequence[Group] = (), reward: str = "task", **weights: float) -> set[str]:
    members = [observe(one, "rollouts-0", reward, weights) for one in groups]
    return set(find_alarms(records, members, SETTINGS, reward))


@pytest.mark.parametrize(
    ("task", "trained", "alarm"),
    [
        ([0.6, 0.6, 0.6, 0.4, 0.4, 0.4], [0.5, 0.5, 0.5, 0.9, 0.9, 0.9], True),
        ([0.4, 0.4, 0.4, 0.6, 0.6, 0.6], [0.5, 0.5, 0.5, 0.9, 0.9, 0.9], False),  # both rise
        ([0.6, 0.6, 0.6, 0.4, 0.4, 0.4], [0.9, 0.9, 0.9, 0.5, 0.5, 0.5], False),  # both fall
        ([0.6, 0.6, 0.6, 0.58, 0.58, 0.58], [0.5, 0.5, 0.5, 0.9, 0.9, 0.9], False),  # by less than tells anything
        ([0.6, 0.6, 0.4, 0.4], [0.5, 0.5, 0.9, 0.9], False),  # not yet two windows
    ],
)
def test_reward_hacking(task: list[float], trained: list[float], alarm: bool) -> None:
    records = history(reward=task, **{"term/total": trained})
    assert kinds(records, reward="total") == ({"reward_hacking"} if alarm else set())
    assert kinds(records) == set(), "where the task's own reward is maximised there is nothing to hack"


def test_reward_hacking_names_the_episodes_that_were_paid_for_nothing() -> None:
    records = history(reward=[0.6] * 3 + [0.4] * 3, **{"term/total": [0.5] * 3 + [0.9] * 3})
    members = observe(group([1, 0, 0], [{"total": 1.0}, {"total": 0.2}, {"total": 0.9}]), "rollouts-1", "total")
    message, shown = find_alarms(records, [members], SETTINGS, "total")["reward_hacking"]
    assert "'total' rose by 0.400 in 3 updates while the task reward fell by 0.200" in message
    assert [(one.store, one.id) for one in shown] == [("rollouts-1", "g-2"), ("rollouts-1", "g-1"), ("rollouts-1", "g-0")]


def test_a_term_that_dominates() -> None:
    terms = [{"task": 1.0, "length": -1.0}, {"task": 0.0, "length": 0.0}]
    groups = [group([1, 0], terms)]
    assert kinds([], groups, "total", task=1.0, length=5.0) == {"dominating_term"}
    assert kinds([], groups, "total", task=1.0, length=3.9) == set(), "3.9 of 4.9 is less than 0.8"
    assert kinds([], groups, "total", task=9.0, length=0.5) == set(), "the task's own reward may dominate"
    assert kinds([], groups, "total", length=5.0) == set(), "one term alone dominates nothing"
    same = [group([1, 0], [{"task": 1.0, "length": -1.0}, {"task": 0.0, "length": -1.0}])]
    assert kinds([], same, "total", task=0.1, length=99.0) == set(), "what is equal for all members teaches nothing"


def test_weights_are_those_of_the_main_terms() -> None:
    assert WeightedReward({"outcome": 1.0, "format": 0.5}).weights == {"task": 1.0, "format": 0.5}


@pytest.mark.parametrize(("flat", "alarm"), [([8, 8, 7], True), ([8, 8, 4], False), ([8, 8], False)])
def test_groups_that_collapse(flat: list[float], alarm: bool) -> None:
    records = history(flat=flat, kept=[8 - count for count in flat])
    assert kinds(records, [group([1, 1])]) == ({"group_collapse"} if alarm else set())


def test_broken_environments_are_no_collapse() -> None:
    """Where an outage takes the grades of most groups, those that are left tell."""
    outage = history(flat=[8, 8, 8], equal=[0, 0, 0], kept=[0, 0, 0])
    assert kinds(outage, [group([1])]) == set()
    assert kinds(history(flat=[7, 7, 7], equal=[1, 1, 1], kept=[1, 1, 1]), [group([1, 1])]) == set(), "half of those with grades"
    records, members = history(flat=[8, 8, 8], equal=[2, 2, 1], kept=[0, 0, 0]), [observe(group([1, 1]), "s")]
    message, shown = find_alarms(records, members, SETTINGS)["group_collapse"]
    assert "in 100 % of the groups of 3 updates" in message
    assert [one.id for one in shown] == ["g-0"]
    assert kinds(history(flat=[8, 8, 8], equal=[8, 8, 0], kept=[0, 0, 0])) == set(), (
        "the latest update has no episode that shows it"
    )


def test_a_collapse_names_a_member_of_every_equal_group() -> None:
    records = history(flat=[8] * 3, kept=[0] * 3)
    members = [observe(group(rewards, name=name), "s") for rewards, name in (([1, 1], "a"), ([0, 1], "b"), ([0, 0], "c"))]
    assert [one.id for one in find_alarms(records, members, SETTINGS)["group_collapse"][1]] == ["a-0", "c-0"]


@pytest.mark.parametrize(
    ("entropy", "alarm"),
    [
        ([1, 1, 1, 0.5, 0.09, 0.09, 0.09], {"entropy_collapse"}),
        ([1, 1, 1, 2, 3.1, 3.1, 3.1], {"entropy_explosion"}),
        ([1, 1, 1, 0.11, 0.11, 0.11], set()),
        ([1, 1, 1, 2.9, 2.9, 2.9], set()),
        ([1, 1, 1, 0.01], set()),  # one update says little
    ],
)
def test_entropy(entropy: list[float], alarm: set[str]) -> None:
    assert kinds(history(entropy=entropy)) == alarm
    assert kinds(history(loss=entropy)) == set(), "what is not measured raises nothing"


def test_a_row_of_equal_actions_counts_where_nothing_changes() -> None:
    same = [CLICKS[0]] * 4
    assert longest_repeat(steps(same, "aaab")) == 3
    assert longest_repeat(steps(same, "abcd")) == 1, "a spinner is clicked again and again, and each time it turns"
    assert longest_repeat(steps(CLICKS, "aaaa")) == 1
    assert longest_repeat(()) == 0
    unreadable = tuple(replace(step, action=None) for step in steps(same, "aaaa"))
    assert longest_repeat(unreadable) == 1, "replies that are no action have an alarm of their own: the format reward"


def test_repeated_actions() -> None:
    stuck, well = steps([CLICKS[0]] * 4, "aaaa"), steps(CLICKS)
    assert kinds([], [group([0], acted=stuck, name="a"), group([0, 0], acted=well, name="b")]) == {"repeated_actions"}
    assert kinds([], [group([0], acted=stuck, name="a"), group([0, 0, 0], acted=well, name="b")]) == set()
    members = [observe(group([0], acted=acted, name=name), "s") for acted, name in ((well, "b"), (stuck, "a"))]
    assert [one.id for one in find_alarms([], members, SETTINGS)["repeated_actions"][1]] == ["a-0"]


@pytest.mark.parametrize(
    ("name", "values", "alarm"),
    [
        ("steps", [4, 4, 4, 8, 8, 8], True),
        ("steps", [8, 8, 8, 4, 4, 4], True),
        ("steps", [4, 4, 4, 7, 7, 7], False),
        ("reply_tokens", [20, 20, 20, 41, 41, 41], True),
        ("reply_tokens", [20, 20, 20, 20, 90], False),
        ("steps", [0, 0, 0, 8, 8, 8], False),
    ],
)
def test_length_drift(name: str, values: list[float], alarm: bool) -> None:
    assert kinds(history(**{name: values})) == ({"length_drift"} if alarm else set())


def test_length_drift_names_the_longest_or_the_shortest() -> None:
    members = [observe(group([0], acted=steps(CLICKS[:count]), name=str(count)), "s") for count in (1, 3, 2)]
    for values, order in (([2, 2, 2, 4, 4, 4], ["3-0", "2-0", "1-0"]), ([4, 4, 4, 2, 2, 2], ["1-0", "2-0", "3-0"])):
        assert [one.id for one in find_alarms(history(steps=values), members, SETTINGS)["length_drift"][1]] == order


def test_no_window_no_alarm() -> None:
    records = history(entropy=[1, 1, 1, 0.01, 0.01, 0.01])
    assert find_alarms(records, [], replace(SETTINGS, window=0)) == {}


def test_episodes_without_a_grade_show_nothing() -> None:
    broken = [replace(one, reward=None, status="env_error") for one in group([0], acted=steps([CLICKS[0]] * 4, "aaaa"))]
    assert observe(broken, "s") == []
    assert described([]) == {}


def test_a_record_of_groups_alone() -> None:
    found = described([observe(group([1, 0], acted=steps(CLICKS, tokens=6)), "s")])
    assert found == {"reward": 0.5, "steps": 4.0, "reply_tokens": 6.0, "entropy": pytest.approx(0.5)}


# ------------------------------------------------------------------------------------------------------------- what is written


def test_alarms_are_written_once_and_again_only_after_a_while(tmp_path: Path) -> None:
    settings = replace(SETTINGS, again=3)
    records = history(entropy=[1, 1, 1] + [0.01] * 9)
    log = AlarmLog(tmp_path, "rl", settings)
    raised = [step for step in range(1, 13) if log.update(step, records, [])]
    assert raised == [6, 9, 12]
    assert [(one.step, one.phase, one.kind) for one in read_alarms(tmp_path)] == [
        (step, "rl", "entropy_collapse") for step in (6, 9, 12)
    ]
    before = (tmp_path / FILE).read_bytes()
    again = AlarmLog(tmp_path, "rl", settings)  # killed after update 12, its last state was that of update 7
    assert [step for step in range(8, 13) if again.update(step, records, [])] == []
    assert (tmp_path / FILE).read_bytes() == before


def test_a_line_that_was_cut_off_is_left_out_and_the_next_one_is_whole(tmp_path: Path) -> None:
    records = history(entropy=[1, 1, 1, 0.01, 0.01, 0.01])
    members = observe(group([0]), "turn-0/rollouts-0")
    assert AlarmLog(tmp_path, "a", SETTINGS).update(6, records, [members])
    with (tmp_path / FILE).open("a") as file:
        file.write('{"time": 1.0, "st')
    assert AlarmLog(tmp_path, "b", SETTINGS).update(6, records, [])
    assert [one.phase for one in read_alarms(tmp_path)] == ["a", "b"]
    line = json.loads((tmp_path / FILE).read_text().splitlines()[0])
    assert set(line) == {"time", "step", "phase", "kind", "message", "trajectories"}
    assert line["trajectories"] == [{"store": "turn-0/rollouts-0", "id": "g-0"}]
    assert read_alarms(tmp_path / "nowhere") == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"window": -1}, "alarms.window is -1"),
        ({"dominance": 1.5}, "alarms.dominance is 1.5"),
        ({"rise": 0.0}, "alarms.rise is 0.0"),
        ({"entropy_low": 2.0}, "alarms.entropy_low is 2.0"),
        ({"drift": 1.0}, "alarms.drift is 1.0"),
    ],
)
def test_settings_that_cannot_be(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        AlarmSettings(**wrong).check()


# ------------------------------------------------------------------------------------------------------------------ a small run


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("alarms") / "start")


def test_a_run_raises_alarms_and_learns_the_same_without_them(start: Path, tmp_path: Path) -> None:
    """Its groups are all equal, for every click is wrong."""
    hopeless = replace(SIDES, checkpoint=start, tasks="env:test_alarms:Hopeless", groups=2, rounds=1, updates=3, environments=1)
    hopeless = replace(hopeless, output=tmp_path / "watched", alarms=AlarmSettings(window=2, again=9), validation=0)
    train(hopeless, show=False)
    found = read_alarms(tmp_path / "watched")
    assert [(one.step, one.phase, one.kind) for one in found] == [(2, "rl", "group_collapse")]
    assert found[0].trajectories
    for store, identifier in found[0].trajectories:
        with TrajectoryStore(tmp_path / "watched" / f"{store}.jsonl") as episodes:
            assert episodes.get(identifier).group.startswith("1."), "an episode of the second update"
    assert all(record["reply_tokens"] == 1 for record in figures(tmp_path / "watched")), "SIDES has replies of one token"
    train(replace(hopeless, output=tmp_path / "unwatched", alarms=AlarmSettings(window=0)), show=False)
    assert not (tmp_path / "unwatched" / FILE).exists()
    names = ("reward", "flat", "steps", "reply_tokens")
    told, untold = (
        [{name: record[name] for name in names} for record in figures(tmp_path / name)] for name in ("watched", "unwatched")
    )
    assert told == untold
    weights = [(tmp_path / name / "checkpoint" / "model.safetensors").read_bytes() for name in ("watched", "unwatched")]
    assert weights[0] == weights[1]


class Outage(Hopeless):
    """A machine that is gone before it can tell how an episode ended."""

    @classmethod
    def tasks(cls) -> list[Task]:
        return [Task("outage", "left", "test_alarms:Outage", max_steps=1)]

    async def evaluate(self) -> float:
        raise EnvironmentFailure("the machine is gone")


@pytest.mark.learning
def test_a_run_whose_environments_break_does_not_accuse_the_policy(start: Path, tmp_path: Path) -> None:
    outage = replace(
        SIDES, checkpoint=start, tasks="env:test_alarms:Outage", groups=1, group_size=2, rounds=1, updates=2, environments=1
    )
    outage = replace(outage, output=tmp_path, alarms=AlarmSettings(window=2), validation=0)
    train(outage, show=False)
    records = figures(tmp_path)
    assert [record["kept"] for record in records] == [0, 0]
    assert all(record["failed"] == record["episodes"] > 0 for record in records)
    assert all(record["flat"] > 0 for record in records)
    assert [record["equal"] for record in records] == [0, 0]
    assert read_alarms(tmp_path) == []


def test_a_run_that_was_killed_doubles_no_alarm(start: Path, tmp_path: Path) -> None:
    config = replace(SIDES, checkpoint=start, tasks="env:test_alarms:Hopeless", groups=2, rounds=1, updates=3, environments=1)
    config = replace(config, output=tmp_path / "run", alarms=AlarmSettings(window=2, again=1), validation=0, save_every=1)
    train(replace(config, updates=2), show=False)
    state = (tmp_path / "run" / "state.pt").read_bytes()
    train(config, show=False)
    before = read_alarms(tmp_path / "run")
    assert [one.step for one in before] == [2, 3]
    # As after a kill between the last measurement and the last state: update 3 is done again.
    (tmp_path / "run" / "state.pt").write_bytes(state)
    (tmp_path / "run" / "phases.json").unlink()
    shutil.rmtree(tmp_path / "run" / "checkpoint")
    train(config, show=False)
    assert read_alarms(tmp_path / "run") == before


def test_a_turn_of_the_flywheel_is_watched(tmp_path: Path) -> None:
    config = FlywheelConfig(output=tmp_path, ranks=1)

    def play(turn: int, acted: tuple[Step, ...]) -> Path:
        directory = tmp_path / f"turn-{turn}"
        with TrajectoryStore(directory / "rollouts-0.jsonl", "a") as store:
            for one in group([1, 0], acted=acted, name=f"turn-{turn}/t-0"):
                store.append(one)
        return directory

    with Run(tmp_path) as run:
        assert flywheel._watch(config, play(0, steps(CLICKS)), 0, run) == []
        longer = play(1, steps([CLICKS[0]] * 8, "aaaaaaaa"))
        raised = flywheel._watch(config, longer, 1, run)
        assert {(one.kind, one.step, one.phase) for one in raised} == {
            ("repeated_actions", 1, "flywheel"),
            ("length_drift", 1, "flywheel"),
        }
        shown = {"store": "turn-1/rollouts-0", "id": "turn-1/t-0-0"}
        assert all(shown in one.to_json()["trajectories"] for one in raised)
        assert flywheel._watch(config, longer, 1, run) == [], "the turn was watched before"
    assert read_alarms(tmp_path) == raised


def test_a_teacher_is_no_measure_of_the_student(tmp_path: Path) -> None:
    config = FlywheelConfig(output=tmp_path, ranks=1, teacher=tmp_path)
    with Run(tmp_path) as run:
        for turn, count in enumerate((1, 4, 4)):
            directory = tmp_path / f"turn-{turn}"
            with TrajectoryStore(directory / "rollouts-0.jsonl", "a") as store:
                store.append(group([1], acted=steps(CLICKS[:count]), name="g")[0])
            assert flywheel._watch(config, directory, turn, run) == []
        assert [record["step"] for record in run.metrics("rollouts")] == [1, 2]


def test_alarms_are_settings_of_a_run() -> None:
    with pytest.raises(ConfigError, match=r"alarms\.repeats is 1"):
        RlConfig(checkpoint=Path(), alarms=AlarmSettings(repeats=1)).check()
