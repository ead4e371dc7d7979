"""The planner against statsmodels, against simulation, and from the command line."""

from __future__ import annotations

import functools
import json
import re
from dataclasses import asdict, dataclass
from math import sqrt
from pathlib import Path

import numpy as np
import pytest
from made_up import TASKS, episode
from scipy.stats import beta, ttest_1samp, ttest_ind
from statsmodels.stats.power import TTestIndPower, TTestPower
from typer.testing import CliRunner

from stepladder import cli
from stepladder.cli_plan import app
from stepladder.errors import UserError
from stepladder.images import ImageStore
from stepladder.stats import (
    Assumptions,
    difficulty_correlation,
    exchange_test,
    intraclass_correlation,
    mcnemar,
    power_of,
    smallest_difference,
    tasks_needed,
)
from stepladder.store import TrajectoryStore

NUMBER = re.compile(r"\d+(?:\.\d+)?")
GRID = 20_001
WITHIN = 0.03


@dataclass
class Agents:
    """Two agents whose chances on a task are beta-distributed over tasks, and the same quantile for a share `same` of the tasks."""

    rate: float
    difference: float
    icc: float
    same: float

    def __post_init__(self) -> None:
        quantiles = (np.arange(GRID) + 0.5) / GRID
        scale = (1 - self.icc) / self.icc
        self.tables = [beta.ppf(quantiles, p * scale, (1 - p) * scale) for p in (self.rate, self.rate + self.difference)]

    @property
    def assumed(self) -> Assumptions:
        alike = np.corrcoef(*self.tables)[0, 1]
        return Assumptions(self.rate, self.difference, self.icc, self.same * alike)

    def play(self, generator: np.random.Generator, shape: tuple[int, int], trials: int) -> tuple[np.ndarray, np.ndarray]:
        """Successes of `trials` episodes of each agent, for every repetition and task of `shape`."""
        first = generator.integers(0, GRID, size=shape, dtype=np.int16 if GRID < 2**15 else np.int32)
        other = generator.integers(0, GRID, size=shape, dtype=first.dtype)
        second = np.where(generator.random(shape) < self.same, first, other)
        chances = self.tables[0][first], self.tables[1][second]
        return generator.binomial(trials, chances[0]), generator.binomial(trials, chances[1])


@pytest.mark.parametrize(
    "agents",
    [Agents(0.3, 0.05, 0.5, 0.6), Agents(0.5, 0.1, 0.3, 0.8), Agents(0.2, 0.15, 0.6, 0.0)],
)
def test_single_trials_of_the_same_tasks_have_the_power_that_was_planned(agents: Agents) -> None:
    plan = tasks_needed(agents.assumed, 1, "paired", 0.8)
    before, after = agents.play(np.random.default_rng(1), (2000, plan.tasks), 1)
    splits = zip((after > before).sum(1).tolist(), (after < before).sum(1).tolist(), strict=True)
    test = functools.cache(mcnemar)
    rejected = np.mean([test(gained, lost) < 0.05 for gained, lost in splits])
    assert plan.power == pytest.approx(0.8, abs=0.02)
    assert rejected == pytest.approx(plan.power, abs=WITHIN)


@pytest.mark.parametrize("trials", [2, 4])
@pytest.mark.parametrize("agents", [Agents(0.3, 0.05, 0.5, 0.6), Agents(0.2, 0.15, 0.6, 0.3)])
def test_several_trials_of_the_same_tasks_have_the_power_that_was_planned(agents: Agents, trials: int) -> None:
    plan = tasks_needed(agents.assumed, trials, "paired", 0.8)
    before, after = agents.play(np.random.default_rng(2), (2000, plan.tasks), trials)
    rejected = (ttest_1samp(after - before, 0, axis=1).pvalue < 0.05).mean()
    assert rejected == pytest.approx(plan.power, abs=WITHIN)
    assert plan.power >= 0.8


def test_the_test_of_paired_bootstrap_has_the_power_that_was_planned() -> None:
    agents = Agents(0.35, 0.06, 0.4, 0.7)
    plan = tasks_needed(agents.assumed, 4, "paired", 0.8)
    before, after = agents.play(np.random.default_rng(3), (1000, plan.tasks), 4)
    differences = (after - before) / 4
    rejected = np.mean([exchange_test(list(row), resamples=600, seed=number) < 0.05 for number, row in enumerate(differences)])
    assert rejected == pytest.approx(plan.power, abs=WITHIN)


@pytest.mark.parametrize("trials", [1, 4])
@pytest.mark.parametrize("agents", [Agents(0.3, 0.1, 0.5, 0.0), Agents(0.6, 0.15, 0.2, 0.0)])
def test_different_tasks_for_each_have_the_power_that_was_planned(agents: Agents, trials: int) -> None:
    plan = tasks_needed(agents.assumed, trials, "independent", 0.8)
    before, after = agents.play(np.random.default_rng(4), (2000, plan.tasks), trials)
    rejected = (ttest_ind(before, after, axis=1).pvalue < 0.05).mean()
    assert rejected == pytest.approx(plan.power, abs=WITHIN)


@pytest.mark.parametrize("tasks", [2, 10, 80, 600])
def test_power_agrees_with_statsmodels(tasks: int) -> None:
    assumed = Assumptions(0.3, 0.07, 0.4, 0.5)
    first, second = 0.3 * 0.7, 0.37 * 0.63
    of_mean = (first + second) * (0.4 + 0.6 / 4)
    paired = TTestPower().power(0.07 / sqrt(of_mean - 2 * 0.5 * 0.4 * sqrt(first * second)), tasks, 0.05)
    apart = TTestIndPower().power(0.07 / sqrt(of_mean / 2), tasks, 0.05)
    assert power_of(assumed, tasks, 4, "paired") == pytest.approx(paired, abs=1e-9)
    assert power_of(assumed, tasks, 4, "independent") == pytest.approx(apart, abs=1e-9)


def test_power_is_sure_in_the_end_and_the_level_without_a_difference() -> None:
    assumed = Assumptions(0.3, 0.1)
    for trials, design in ((1, "paired"), (4, "paired"), (4, "independent")):
        grown = [power_of(assumed, n, trials, design) for n in (20, 200, 2000, 20_000, 200_000)]  # type: ignore[arg-type]
        assert grown == sorted(grown)
        assert grown[-1] == pytest.approx(1)
    nearly = Assumptions(0.3, 1e-9)
    assert power_of(nearly, 500, 4) == pytest.approx(0.05, abs=1e-6)
    assert 0.03 < power_of(nearly, 500, 1) <= 0.05, "the exact test is on the safe side"


def test_more_trials_help_less_the_more_tasks_differ() -> None:
    def tasks(icc: float, trials: int) -> int:
        return tasks_needed(Assumptions(0.4, 0.05, icc, 0.0), trials).tasks

    assert tasks(0.0, 8) < tasks(0.0, 1) / 7, "without differences between tasks a trial is as good as a task"
    assert tasks(0.9, 8) > tasks(0.9, 1) * 0.85
    assert tasks_needed(Assumptions(0.4, 0.05, 0.6, 0.9)).tasks < tasks_needed(Assumptions(0.4, 0.05, 0.6, 0.1)).tasks
    assert tasks_needed(Assumptions(0.4, 0.05), power=0.9).tasks > tasks_needed(Assumptions(0.4, 0.05)).tasks
    assert tasks_needed(Assumptions(0.4, -0.05)).tasks == pytest.approx(tasks_needed(Assumptions(0.35, 0.05)).tasks, abs=2)


@pytest.mark.parametrize(("rate", "difference"), [(0.5, 0.05), (0.5, -0.05), (0.1, 0.1), (0.8, 0.03), (0.3, 0.2)])
@pytest.mark.parametrize(("icc", "correlation"), [(1.0, 1.0), (0.98, 1.0), (1.0, 0.97), (0.9, 0.9), (0.5, 0.5), (0.0, 0.0)])
def test_four_trials_are_worth_no_more_than_four_tasks(rate: float, difference: float, icc: float, correlation: float) -> None:
    assumed = Assumptions(rate, difference, icc, correlation)
    single = tasks_needed(assumed, 1).tasks
    several = tasks_needed(assumed, 4).tasks
    assert several >= 0.85 * single / 4, "McNemar's exact test for single trials is on the safe side, by up to so much"
    if icc == 1:
        assert several >= 0.85 * single, "further trials of a task that always ends alike tell nothing"


@pytest.mark.parametrize(("trials", "design"), [(1, "paired"), (4, "paired"), (4, "independent")])
def test_the_smallest_difference_is_the_one_that_so_many_tasks_are_needed_for(trials: int, design: str) -> None:
    needed = tasks_needed(Assumptions(0.3, 0.08), trials, design)  # type: ignore[arg-type]
    found = smallest_difference(0.3, needed.tasks, trials, design)  # type: ignore[arg-type]
    assert found == pytest.approx(0.08, abs=1e-3)
    assert smallest_difference(0.9, 5, 1) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1.2, 0.1), "rate is 1.2; it must lie between 0 and 1"),
        ((0.5, 0.0), "difference is 0.0; it must not be 0"),
        ((0.5, 0.6), "difference is 0.6; .* not at 1.1"),
        ((0.5, 0.1, 1.1), "icc is 1.1"),
        ((0.5, 0.1, 0.5, -2), "correlation is -2"),
    ],
)
def test_impossible_assumptions_are_named(arguments: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Assumptions(*arguments)


def test_impossible_plans_are_named() -> None:
    assumed = Assumptions(0.5, 0.1)
    with pytest.raises(ValueError, match="power is 80"):
        tasks_needed(assumed, power=80)
    with pytest.raises(ValueError, match="1 tasks of 3 trials"):
        power_of(assumed, 1, 3)
    with pytest.raises(ValueError, match="significance is 5"):
        power_of(assumed, 10, significance=5)
    with pytest.raises(ValueError, match="no design 'crossed'; there are paired, independent"):
        power_of(assumed, 10, 1, "crossed")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="takes more than 10,000,000 tasks"):
        tasks_needed(Assumptions(0.5, 1e-5), 2)
    with pytest.raises(ValueError, match="rate is 1"):
        smallest_difference(1, 10)


# ---------------------------------------------------------------------------------------------------------- from a pilot


def test_the_intraclass_correlation_of_a_worked_example() -> None:
    # Three tasks of two: means 1, 0.5, 0; between 2 * (0.25 + 0 + 0.25) / 2 = 0.5, within 0.5 / 3.
    expected = (0.5 - 1 / 6) / 2 / ((0.5 - 1 / 6) / 2 + 1 / 6)
    assert intraclass_correlation({"a": [1, 1], "b": [1, 0], "c": [0, 0]}) == pytest.approx(expected)
    assert intraclass_correlation({"a": [1, 0], "b": [0, 1]}) == 0.0
    assert intraclass_correlation({"a": [1, 1], "b": [0, 0]}) == 1.0
    for nothing in ({}, {"a": [1, 0]}, {"a": [1], "b": [0]}, {"a": [1, 1], "b": [1, 1]}):
        assert intraclass_correlation(nothing) is None


def test_a_pilot_tells_what_it_was_made_with() -> None:
    agents = Agents(0.4, 0.1, 0.5, 0.7)
    first, second = agents.play(np.random.default_rng(6), (1, 4000), 4)
    scores = [{str(i): [1.0] * int(c) + [0.0] * int(4 - c) for i, c in enumerate(successes[0])} for successes in (first, second)]
    assert intraclass_correlation(scores[0]) == pytest.approx(0.5, abs=0.03)
    assert intraclass_correlation(scores[1]) == pytest.approx(0.5, abs=0.03)
    assert difficulty_correlation(*scores) == pytest.approx(agents.assumed.correlation, abs=0.04)
    assert difficulty_correlation(scores[0], {"x": [1.0, 0.0]}) is None


# ---------------------------------------------------------------------------------------------------- the command line

runner = CliRunner()


def test_the_command_says_what_is_needed() -> None:
    result = runner.invoke(app, ["--rate", "30", "--tasks", "369", "--trials", "1,4"], env={"COLUMNS": "120"})
    assert result.exit_code == 0, result.output
    needed = tasks_needed(Assumptions(0.3, 0.05)).tasks
    assert f"To see a difference of 5 points at 80 % power you need {needed:,} tasks x 1 trial" in result.output
    assert "intra-class correlation 0.50 (assumed)" in result.output
    found = smallest_difference(0.3, 369, 4)
    assert found is not None
    assert f"{100 * found:.1f}" in result.output.splitlines()[-1]


def test_the_command_as_json_is_passed_on_by_stepladder() -> None:
    result = runner.invoke(cli.app, ["plan", "--json", "--difference", "10", "--power", "90", "--trials", "2", "--tasks", "50"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.output)
    plan = tasks_needed(Assumptions(0.5, 0.1), 2, power=0.9)
    assert found["plans"][0] == {**asdict(plan), "episodes": 2 * plan.tasks}
    assert found["assumed"]["sources"] == {"rate": "assumed", "icc": "assumed", "correlation": "assumed"}
    assert [row["design"] for row in found["with_tasks"]] == ["paired", "independent"]
    assert found["with_tasks"][0]["power"] == pytest.approx(power_of(Assumptions(0.5, 0.1), 50, 2))


def test_a_pilot_takes_the_place_of_guesses(tmp_path: Path) -> None:
    images = ImageStore()
    for name, chance in (("a", 4), ("b", 5)):
        with TrajectoryStore(tmp_path / f"{name}.jsonl", "a") as store:
            for place, task in enumerate(TASKS):
                for seed in range(6):
                    success = None if place == seed == 0 else (7 * seed + 5 * place) % 9 < chance * (place % 3) / 2
                    store.append(episode(images, task, seed, success, steps=0, policy=name))
    pilots = ["--pilot", str(tmp_path / "a.jsonl"), "--pilot", str(tmp_path / "b.jsonl"), "--trials", "2", "--json"]
    found = json.loads(runner.invoke(app, pilots).output)["assumed"]
    assert found["sources"] == {"rate": "pilot", "icc": "pilot", "correlation": "pilot"}
    with TrajectoryStore(tmp_path / "a.jsonl") as store:
        graded = [one.success for one in store.summaries() if one.reward is not None]
    assert len(graded) == 6 * len(TASKS) - 1
    assert found["rate"] == pytest.approx(sum(graded) / len(graded))
    given = json.loads(runner.invoke(app, [*pilots, "--icc", "0.2"]).output)["assumed"]
    assert (given["icc"], given["sources"]["icc"]) == (0.2, "given")


def test_the_examples_of_the_page_print_what_they_say(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parent.parent / "docs/statistics.md").read_text()
    checked = 0
    for block in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        exec(block, {})
        said = [line.partition("  # ")[2] for line in block.splitlines() if line.startswith("print(")]
        for line, expected in zip(capsys.readouterr().out.splitlines(), said, strict=True):
            printed = [float(number) for number in NUMBER.findall(line)]
            for number in NUMBER.findall(expected.partition(":")[0]):
                checked += 1
                assert any(round(one, len(number.partition(".")[2])) == float(number) for one in printed), f"{expected}, not {line}"
    assert checked == 12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--difference", "60"], "--difference is 60; it must not be 0, and from 50 % it may lead to 0 to 100 %, not to 110 %"),
        (["--difference", "0"], "--difference is 0"),
        (["--trials", "two"], "--trials is 'two'; write whole numbers"),
        (["--trials", "0"], "--trials is '0'; write whole numbers of at least 1"),
        (["--icc", "3"], "icc is 3"),
        (["--power", "0"], "power is 0"),
        (["--tasks", "1"], "1 tasks of 1 trials"),
        (["--pilot", "a", "--pilot", "b", "--pilot", "c"], "--pilot is given 3 times"),
        (["--pilot", "nowhere.jsonl"], "there is no trajectory store nowhere.jsonl"),
    ],
)
def test_mistakes_are_named(arguments: list[str], message: str) -> None:
    result = runner.invoke(app, arguments)
    assert isinstance(result.exception, UserError)
    assert message in str(result.exception)
