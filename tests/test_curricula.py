"""Curricula: what each draws after what it was told, and that a run goes on with what it knew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import test_rl
import torch
from hypothesis import given
from hypothesis import strategies as st
from made_up import episode

from stepladder.config import ConfigError, override
from stepladder.domains import domain_of
from stepladder.images import ImageStore
from stepladder.plugins import PluginError
from stepladder.rollout.bandit import CategoryBandit
from stepladder.rollout.curricula import CurriculumSettings
from stepladder.rollout.curriculum import Curriculum, Played, mean_advantage
from stepladder.rollout.expansion import balanced
from stepladder.rollout.tiers import DifficultyTiers, measured_rates, tier_of
from stepladder.rollout.uncertain import UncertainTasks
from stepladder.run import read_metrics
from stepladder.stages.agent_options import AgentOptions
from stepladder.stages.rl import main
from stepladder.stages.rl_config import RlConfig
from stepladder.store import TrajectoryStore
from stepladder.types import Task

TASKS = [
    *(Task(f"web:{name}", "", "test") for name in ("a", "b", "c")),
    Task("office:d", "", "test"),
]


FORM = Task("forms-click-button", "", "forms")
IMAGES = ImageStore()


class Reversed:
    """A curriculum of one's own: the tasks in turn, from the last one on."""

    def __init__(self, tasks: Sequence[Task], settings: CurriculumSettings) -> None:
        self.tasks, self.next = list(reversed(tasks)), 0

    def draw(self, random: Random, count: int) -> list[Task]:
        return [self.tasks[(self.next + number) % len(self.tasks)] for number in range(count)]

    def update(self, played: Sequence[Played]) -> None:
        self.next += len(played)

    def state(self) -> dict[str, Any]:
        return {"next": self.next}

    def load_state(self, state: dict[str, Any]) -> None:
        self.next = state["next"]


# ---------------------------------------------------------------- what a group says


@given(st.lists(st.booleans(), min_size=2, max_size=16))
def test_the_mean_advantage_is_that_of_grpo(outcomes: list[bool]) -> None:
    p, n = sum(outcomes) / len(outcomes), len(outcomes)
    # |A| of n draws with deviation sqrt(p (1 - p) n / (n - 1)): 2 p (1 - p) over that
    expected = 2 * np.sqrt(p * (1 - p) * (n - 1) / n)
    assert mean_advantage([float(outcome) for outcome in outcomes]) == pytest.approx(expected, abs=1e-9)


def test_members_without_a_grade_and_flat_groups_have_no_advantage() -> None:
    assert mean_advantage([float("nan"), 1.0]) == 0.0
    assert mean_advantage([0.3, 0.3, 0.3]) == 0.0
    assert mean_advantage([]) == 0.0
    assert mean_advantage([0.0, float("nan"), 1.0]) == mean_advantage([0.0, 1.0]) > 0


# ---------------------------------------------------------------- bandit


def test_the_bandit_prefers_the_category_with_the_larger_advantages() -> None:
    bandit = CategoryBandit(TASKS, domain_of, temperature=0.25, rate=0.5)
    assert bandit.probabilities() == {"web": 0.5, "office": 0.5}
    bandit.update([Played("web:a", 0.5, 0.8), Played("web:b", 1.0, 0.0), Played("office:d", 1.0, 0.0)])
    assert bandit.values == {"web": pytest.approx(0.2), "office": 0.0}, "half of the mean over the category's groups"
    shares = bandit.probabilities()
    assert shares["web"] == pytest.approx(np.exp(0.8) / (np.exp(0.8) + 1))
    bandit.update([Played("office:d", 0.5, 1.0)])
    assert bandit.values == {"web": pytest.approx(0.2), "office": 0.5}, "a category that was not played keeps its value"
    bandit.update([Played("office:d", 1.0)])
    assert bandit.values["office"] == 0.5, "a validation says nothing of advantages"


def test_a_category_is_drawn_as_often_as_its_probability_however_many_tasks_it_has() -> None:
    bandit = CategoryBandit(TASKS, domain_of, values={"web": 0.0, "office": 0.0})
    drawn = Counter(task.id for seed in range(400) for task in bandit.draw(Random(seed), 6))
    assert drawn["office:d"] / drawn.total() == pytest.approx(0.5, abs=0.01)
    assert drawn["web:a"] / drawn.total() == pytest.approx(1 / 6, abs=0.02)


def test_the_bandit_finds_the_only_category_from_which_something_is_learned() -> None:
    """A world in which office tasks succeed half of the time and web tasks never."""
    bandit = CategoryBandit(TASKS, domain_of, temperature=0.1)
    random, office = Random(0), list[float]()
    for _ in range(30):
        drawn = bandit.draw(random, 8)
        office.append(sum(task.id == "office:d" for task in drawn) / 8)
        groups = [[float(random.random() < 0.5) if task.id == "office:d" else 0.0 for _ in range(8)] for task in drawn]
        bandit.update(
            [Played(task.id, float(np.mean(group)), mean_advantage(group)) for task, group in zip(drawn, groups, strict=True)]
        )
    assert office[0] == 0.5
    assert np.mean(office[-10:]) > 0.95


# ---------------------------------------------------------------- tiers


def test_tiers_are_equal_parts_between_never_and_always() -> None:
    rates = (0.0, 0.01, 0.25, 0.5, 0.99, 1.0)
    assert [tier_of(rate, 4) for rate in rates] == ["never", "to 25 %", "to 50 %", "to 75 %", "to 100 %", "always"]


def test_tiers_begin_as_the_evaluation_predicts_and_follow_what_is_played() -> None:
    rates = {"web:a": 0.0, "web:b": 0.5, "web:c": 1.0}
    tiers = DifficultyTiers(TASKS, rates, group_size=4, rate=0.5, floor=0.1)
    assert tiers.telling == {"always": 0.0, "never": 0.0, "to 75 %": 1 - 2 / 16, "unknown": 1 - 2 / 16}
    drawn = Counter(task.id for seed in range(300) for task in tiers.draw(Random(seed), 4))
    assert drawn["web:a"] / drawn["web:b"] == pytest.approx(0.1 / 0.875, abs=0.05)
    tiers.update([Played("web:a", 0.25, 0.7), Played("web:b", 1.0, 0.0), Played("web:c", 1.0), Played("gone", 0.5, 0.5)])
    assert tiers.telling == {"always": 0.0, "never": 0.5, "to 75 %": 0.4375, "unknown": 0.875}


def test_offline_rates_are_those_of_graded_episodes(tmp_path: Path) -> None:
    path = tmp_path / "student.jsonl"
    with TrajectoryStore(path, "a") as store:
        for number, outcome in enumerate((True, False, True, None)):
            store.append(episode(IMAGES, TASKS[0], number, outcome, steps=1))
    assert measured_rates(path) == {"web:a": pytest.approx(2 / 3)}
    settings = CurriculumSettings("tiers", offline=path)
    settings.check(4)
    built = settings.build(TASKS, 4)
    assert isinstance(built, DifficultyTiers)
    assert built.tier("web:a") == "to 75 %"
    with pytest.raises(ConfigError, match="no episode of any task"):
        settings.build(TASKS[1:], 4)
    arms = replace(settings, name="bandit", categories="tier").build(TASKS, 4)
    assert isinstance(arms, CategoryBandit)
    assert set(arms.probabilities()) == {"to 75 %", "unknown"}


# ---------------------------------------------------------------- a balanced subset


@given(st.lists(st.floats(0, 1), max_size=20), st.integers(0, 12), st.integers(0, 99))
def test_a_subset_has_of_no_level_two_more_than_of_one_that_has_some_left(means: list[float], wanted: int, seed: int) -> None:
    groups = {str(number): mean for number, mean in enumerate(means)}
    kept = balanced(groups, wanted, Random(seed))
    assert len(kept) == min(wanted, len(groups))
    assert kept == balanced(dict(reversed(groups.items())), wanted, Random(seed)), "whatever order ranks tell them in"
    level = {group: min(3, int(mean * 4)) for group, mean in groups.items()}
    counts, left = Counter(level[group] for group in kept), Counter(level[group] for group in groups.keys() - kept)
    for one in range(4):
        for other in range(4):
            assert not left[other] or counts[one] <= counts[other] + 1


# ---------------------------------------------------------------- settings and states


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (CurriculumSettings(strength=-1.0), "curriculum.strength is -1.0; it must be at least 0"),
        (CurriculumSettings(floor=0.0), "curriculum.floor is 0.0; it must be above 0"),
        (CurriculumSettings(rate=1.5), "curriculum.rate is 1.5"),
        (CurriculumSettings("bandit", temperature=0.0), "curriculum.temperature is 0.0; it must be above 0"),
        (CurriculumSettings("tiers", tiers=0), "curriculum.tiers is 0"),
        (CurriculumSettings("tiers"), "curriculum.offline is missing"),
        (CurriculumSettings("bandit", categories="tier"), "curriculum.offline is missing"),
        (CurriculumSettings("tiers", offline=Path("nowhere.jsonl")), "nowhere.jsonl is no store of episodes"),
    ],
)
def test_settings_that_cannot_be_are_named(settings: CurriculumSettings, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings.check(8)


def test_names_are_checked_and_groups_of_one_have_no_advantage() -> None:
    with pytest.raises(PluginError, match="did you mean 'bandit'"):
        CurriculumSettings("bandid").check(8)
    with pytest.raises(ConfigError, match="group_size is 1"):
        CurriculumSettings("bandit").check(1)
    config = override(RlConfig(), ["curriculum.name=bandit", "curriculum.categories=task", "curriculum.strength=2"])
    assert (config.curriculum.name, config.curriculum.categories, config.curriculum.strength) == ("bandit", "task", 2.0)


def _built(tmp_path: Path) -> list[Curriculum]:
    return [
        UncertainTasks(TASKS),
        CategoryBandit(TASKS, domain_of),
        DifficultyTiers(TASKS, {"web:a": 0.5}, group_size=4),
        CurriculumSettings("test_curricula:Reversed").build(TASKS, 4),
    ]


def test_a_state_is_all_that_a_curriculum_needs_to_draw_the_same(tmp_path: Path) -> None:
    played = [Played("web:a", 0.5, 1.0), Played("office:d", 0.0, 0.0), Played("web:b", 1.0)]
    for one, other in zip(_built(tmp_path), _built(tmp_path), strict=True):
        assert isinstance(one, Curriculum)
        one.update(played)
        other.load_state(one.state())
        for seed in range(20):
            assert one.draw(Random(seed), 3) == other.draw(Random(seed), 3)
    for one in _built(tmp_path)[:3]:
        with pytest.raises(ValueError, match="the state of another curriculum: it holds nothing"):
            one.load_state({})


# ---------------------------------------------------------------- in a run


@pytest.fixture(autouse=True, scope="module")
def clicks() -> Any:
    build = AgentOptions.build
    test_rl.click_anywhere()
    yield
    AgentOptions.build = build  # type: ignore[method-assign]


@pytest.mark.learning
@pytest.mark.parametrize("name", ["bandit", "tiers", "test_curricula:Reversed"])
def test_a_run_that_fails_in_between_ends_as_one_that_did_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    start, offline = test_rl.checkpoint(tmp_path / "start"), tmp_path / "offline.jsonl"
    with TrajectoryStore(offline, "a") as known:
        for number in range(4):
            known.append(episode(IMAGES, FORM, number, number == 0, steps=1))
    settings = CurriculumSettings(name, temperature=0.2, categories="task", offline=offline, balanced=True)
    config = replace(
        test_rl.FORMS, checkpoint=start, curriculum=settings, rounds=3, updates=2, save_every=1, validation=1, replay=0
    )
    main(replace(config, output=tmp_path / "whole"), show=False)
    test_rl.run_disturbed(replace(config, output=tmp_path / "disturbed"), (5, 20), monkeypatch)
    test_rl.assert_equal(tmp_path / "disturbed", tmp_path / "whole")
    states = [
        torch.load(tmp_path / run / "state.pt", weights_only=True)["standing"]["curriculum"] for run in ("whole", "disturbed")
    ]
    assert states[0] == states[1]
    assert list(states[0].values()) != [{}], "it has learned something"
    for record in read_metrics(tmp_path / "whole", "rl")[1:]:
        assert record["spare"] == max(0, record["kept"] - config.groups)
