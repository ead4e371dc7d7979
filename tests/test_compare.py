"""Two evaluations side by side: what is compared, what the figures are, what the page and the command say."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up import TASKS
from scipy.stats import binomtest
from typer.testing import CliRunner

from stepladder import cli
from stepladder.compare.comparison import Flip, compare_runs, comparison_json, shown_flips
from stepladder.compare.html import html_page
from stepladder.compare.table import summary_lines
from stepladder.errors import UserError
from stepladder.images import ImageStore
from stepladder.report.words import percent
from stepladder.seeds import HELDOUT, heldout_seeds
from stepladder.stages import evaluate
from stepladder.stats import difference_interval, holm, paired_bootstrap, wilson_interval
from stepladder.store import TrajectoryStore
from stepladder.types import Action, Completion, Observation, Step, Task, Trajectory

runner = CliRunner()
SETTINGS = {"tasks": "made-up", "policy": "runs/sft/checkpoint", "baselines": ["random"], "task_set": "aaaa", "temperature": 0.0}
USAGE = {"input_tokens": 90.0, "output_tokens": 10.0, "dollars": 0.25}


def episode(
    images: ImageStore, task: Task, seed: int, success: bool | None, policy: str = "checkpoint", trial: int = 0
) -> Trajectory:
    """Two steps of a quarter of a second; what succeeds and what fails part at the second one."""
    shades = (0, 80, 160) if success else (0, 80, 240)
    screens = [
        Observation(images.put_pixels(np.full((40, 60, 3), shade, np.uint8)), state_key=f"{seed}-{shade}") for shade in shades
    ]
    actions = Action("click", x=5, y=5), Action("click", x=30, y=20) if success else Action("type", text="<script>")
    completion = Completion("reply", usage=USAGE)
    steps = tuple(
        Step(screen, action, "a thought", completion=completion, seconds={"policy": 0.15, "act": 0.1})
        for screen, action in zip(screens, actions, strict=False)
    )
    return Trajectory(
        id=f"{task.id}-{seed}-{policy}-{trial}",
        task=task,
        steps=steps,
        final=screens[2],
        status="env_error" if success is None else "done",
        reward=None if success is None else float(success),
        seed=seed,
        index=trial,
        policy=policy,
    )


def write(
    directory: Path,
    outcomes: Mapping[str, Sequence[Sequence[bool | None]]],
    settings: Mapping[str, Any] | None = SETTINGS,
    policy: str = "checkpoint",
    tasks: Sequence[Task] = TASKS,
    begin: int = 0,
) -> Path:
    """An evaluation's directory: `outcomes` maps a task to its seeds from `begin` on, each with its trials."""
    images = ImageStore(directory / "images")
    by_name = {task.id: task for task in tasks}
    with TrajectoryStore(directory / f"{policy}.jsonl", "a") as store:
        for name, seeds in outcomes.items():
            for seed, trials in enumerate(seeds):
                for trial, success in enumerate(trials):
                    store.append(episode(images, by_name[name], begin + seed, success, policy, trial))
    if settings is not None:
        (directory / "config.json").write_text(json.dumps(settings))
    return directory


def singles(text: str) -> list[list[bool | None]]:
    """ "+-?" is a success, a failure, an episode without a grade; "." is one that was not played."""
    return [[] if mark == "." else [{"+": True, "-": False, "?": None}[mark]] for mark in text]


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    first = write(tmp_path / "first", {"click-test": singles("--+-+"), "enter-text": singles("---")})
    second = write(tmp_path / "second", {"click-test": singles("++-++"), "enter-text": singles("+++")})
    return first, second


def test_single_trials_are_compared_by_mcnemars_test(two: tuple[Path, Path]) -> None:
    found = compare_runs(*two)
    paired = found.overall.paired
    assert (paired.n, paired.gained, paired.lost) == (8, 6, 1)
    assert paired.p == pytest.approx(binomtest(6, 7).pvalue)
    assert (paired.first, paired.second) == (2 / 8, 7 / 8)
    assert paired.difference == pytest.approx(5 / 8)
    assert found.overall.low < 5 / 8 < found.overall.high
    assert found.overall.task_p is not None
    assert not found.trials
    assert [(row.name, row.n, row.gained, row.lost) for row in found.tasks] == [("click-test", 5, 3, 1), ("enter-text", 3, 3, 0)]
    assert [row.adjusted for row in found.tasks] == holm([row.p for row in found.tasks])
    assert {(flip.task, flip.seed, flip.gained) for flip in found.flips} == {
        *(("click-test", seed, True) for seed in (0, 1, 3)),
        ("click-test", 2, False),
        *(("enter-text", seed, True) for seed in range(3)),
    }
    assert found.warnings == ()
    assert found.domains == ()


def test_flips_say_where_they_part_and_what_was_done_there(two: tuple[Path, Path]) -> None:
    gained = compare_runs(*two).flips[0]
    assert gained.divergence is not None
    assert (gained.divergence.decided, gained.divergence.reason, gained.divergence.basis) == (1, "actions", "state_key")
    assert (gained.first_did, gained.second_did) == ("type “<script>”", "click (30, 20)")
    assert (gained.first, gained.second) == ("click-test-0-checkpoint-0", "click-test-0-checkpoint-0")


def test_of_several_trials_the_mean_counts_and_not_the_last(tmp_path: Path) -> None:
    first = {"click-test": [[True, False], [False, False]], "enter-text": [[True, True]], "click-tab": [[False, False]]}
    second = {"click-test": [[True, True], [True, False]], "enter-text": [[False, True]], "click-tab": [[True]]}
    found = compare_runs(write(tmp_path / "first", first), write(tmp_path / "second", second))
    paired = found.overall.paired
    assert found.trials
    assert (paired.n, paired.first, paired.second) == (4, (0.5 + 0 + 1 + 0) / 4, (1 + 0.5 + 0.5 + 1) / 4)
    assert (paired.gained, paired.lost) == (3, 1)
    scores = {"click-tab": [0.0], "click-test": [0.5, 0.0], "enter-text": [1.0]}
    others = {"click-tab": [1.0], "click-test": [1.0, 0.5], "enter-text": [0.5]}
    wanted = paired_bootstrap(scores, others)
    assert paired.method == "exchange of tasks"
    assert (found.overall.low, found.overall.high, paired.p) == pytest.approx((wanted[1], wanted[2], wanted[3]))
    row = next(row for row in found.tasks if row.name == "click-test")
    assert row.method == "Mantel-Haenszel, exact"
    lost = next(flip for flip in found.flips if not flip.gained)
    assert (lost.before, lost.after) == (1.0, 0.5)
    assert (lost.first, lost.second) == ("enter-text-0-checkpoint-0", "enter-text-0-checkpoint-0")
    half = next(flip for flip in found.flips if flip.task == "click-test" and flip.seed == 0)
    assert half.first == "click-test-0-checkpoint-1", "the trial that failed"


def test_several_trials_of_one_start_are_compared_by_fishers_test(tmp_path: Path) -> None:
    """One start a task, as OSWorld has it: there is nothing to exchange but the trials."""
    names = ("click-test", "enter-text", "click-tab")
    first = write(tmp_path / "first", {name: [[False] * 8] for name in names})
    second = write(tmp_path / "second", {names[0]: [[True] * 8], names[1]: [[True] + [False] * 7], names[2]: [[False] * 8]})
    tasks = {row.name: row for row in compare_runs(first, second).tasks}
    assert {row.method for row in tasks.values()} == {"Fisher, exact"}
    assert [tasks[name].p for name in names] == pytest.approx([2 / comb(16, 8), 1, 1])
    assert tasks["click-test"].adjusted == pytest.approx(3 * 2 / comb(16, 8))

    alone = write(tmp_path / "alone", {"click-test": [[True] * 8]})
    found = compare_runs(first, alone).overall
    assert (found.paired.method, found.task_p) == ("Fisher, exact", None)
    assert found.paired.p == pytest.approx(2 / comb(16, 8))
    assert (found.low, found.high) == pytest.approx(difference_interval((0, 8, 8, 8)))
    assert 0.4 < found.low < found.high <= 1


def test_starts_of_one_side_alone_are_counted_by_reason(tmp_path: Path) -> None:
    first = write(tmp_path / "first", {"click-test": singles("++++?")})
    second = write(tmp_path / "second", {"click-test": singles("+-?.+")})
    found = compare_runs(first, second)
    assert found.overall.paired.n == 2
    assert found.only_first == {"not graded": 1, "not played": 1}
    assert found.only_second == {"not graded": 1}
    assert found.overall.task_p is None, "one task says nothing of others"


def asking(episodes: int, first: int = 0, trials: int = 1) -> dict[str, Any]:
    return {**SETTINGS, "episodes": episodes, "first": first, "trials": trials}


def test_starts_that_neither_has_a_grade_of_are_counted(tmp_path: Path) -> None:
    first = write(tmp_path / "first", {"click-test": singles("+?.?"), "enter-text": singles("+")}, asking(5), begin=HELDOUT)
    second = write(tmp_path / "second", {"click-test": singles("+??."), "enter-text": singles("+++++")}, asking(5), begin=HELDOUT)
    found = compare_runs(first, second)
    assert found.neither == {"not graded": 3, "not played": 1}
    assert found.only_second == {"not played": 4}
    assert comparison_json(found)["neither"] == found.neither
    line = "4 starts left out of which neither has a grade: 3 not graded, 1 not played"
    assert f"Neither: {line}" in summary_lines(found)
    assert line in html_page(found)


def test_the_episodes_count_that_the_evaluation_counts(tmp_path: Path) -> None:
    """Trials beyond those that were asked for, and seeds of an evaluation that was larger once."""
    first = write(tmp_path / "first", {"click-test": [[True, False, False], [True, True, None, False], [True]]}, asking(2, 1, 2))
    with TrajectoryStore(first / "checkpoint.jsonl", "a") as store:
        for seed, outcomes in ((1, [True, False, False]), (2, [True, True, None, False]), (3, [True])):
            for trial, success in enumerate(outcomes):
                store.append(episode(ImageStore(), TASKS[0], HELDOUT + seed, success, trial=trial))
    second = write(tmp_path / "second", {"click-test": [[True]] * 4}, None, begin=HELDOUT)
    found = compare_runs(first, second)
    assert (found.overall.paired.n, found.seeds, found.spending[0].episodes) == (2, (HELDOUT + 1, HELDOUT + 2), 4)
    assert found.overall.paired.first == (0 + 1 / 2) / 2
    assert found.only_second == {"not asked for": 2}
    lines = summary_lines(found)
    assert any("seeds 1000001, 1000002 were asked for, of each start the last 2 graded count" in line for line in lines)
    assert any("all graded episodes count" in line for line in lines)
    with TrajectoryStore(first / "checkpoint.jsonl") as store:
        seeds = heldout_seeds(2, 1)
        result = evaluate.result_of(store, [TASKS[0]], seeds, policy="checkpoint", seconds=0, trials=2)
    assert (result.n, result.successes) == (4, found.spending[0].successes)
    assert comparison_json(found)["first"]["asked"] == {"seeds": list(seeds), "trials": 2}
    assert comparison_json(found)["second"]["asked"] is None
    (second / "config.json").write_text(json.dumps(asking(3, 500)))
    with pytest.raises(UserError, match="no graded episode of the seeds that were asked for, 1000500 to 1000502"):
        compare_runs(first, second)


def test_what_it_was_measured_on_is_said(tmp_path: Path) -> None:
    tasks = [Task("a", "x", "osworld"), Task("b", "y", "osworld", tags=("infeasible",))]
    first = write(tmp_path / "first", {"a": singles("-+-"), "b": singles("+++")}, tasks=tasks)
    second = write(tmp_path / "second", {"a": singles("+++"), "b": singles("---")}, {**SETTINGS, "task_set": "bbbb"}, tasks=tasks)
    write(first, {"a": singles("-+--+"), "b": singles("+?")}, policy="give_up", tasks=tasks)
    found = compare_runs(first, second)
    lines = summary_lines(found)
    page = html_page(found)
    for words in (
        "task set aaaa",
        "task set bbbb",
        "2 tasks; seeds 0 to 2",
        "33.3 % and 100.0 %, n = 3, difference +66.7 points, p = 0.5 (McNemar, exact)",
        "on the infeasible alone 100.0 % and 0.0 %, n = 3",
        "giving up at once 50.0 % (n = 4); not measured: random clicks, idle, oracle",
        "not measured: random clicks, idle, giving up at once, oracle",
    ):
        assert any(words in line for line in lines), words
        assert words in page, words
    written = comparison_json(found)
    assert (written["seeds"], written["feasible"]["n"], written["infeasible"]["lost"]) == ([0, 1, 2], 3, 3)
    assert written["first"]["baselines"] == {"give_up": {"rate": 0.5, "n": 4}}
    assert written["second"]["baselines"] == {}


def test_without_infeasible_tasks_nothing_else_is_said(two: tuple[Path, Path]) -> None:
    found = compare_runs(*two)
    assert (found.feasible, found.infeasible) == (None, None)
    assert "Without infeasible tasks: the same: none of the tasks is marked as infeasible" in summary_lines(found)


def test_the_confidence_is_that_of_every_interval_of_the_page(two: tuple[Path, Path]) -> None:
    pages = [html_page(compare_runs(*two, confidence=confidence)) for confidence in (0.5, 0.99)]
    for page, confidence in zip(pages, (0.5, 0.99), strict=True):
        for successes in (2, 7):
            low, high = wilson_interval(successes, 8, confidence)
            assert f"{percent(low, 0)} to {percent(high, 0)}" in page


def test_episodes_of_a_broken_environment_do_not_count(tmp_path: Path) -> None:
    first, second = (write(tmp_path / name, {"click-test": singles("++")}) for name in ("first", "second"))
    with TrajectoryStore(second / "checkpoint.jsonl", "a") as store:
        broken = episode(ImageStore(), TASKS[0], 0, None, trial=1)
        store.append(replace(broken, reward=0.0))  # graded although it broke
    assert compare_runs(first, second).overall.paired.difference == 0


def test_nothing_in_common(tmp_path: Path) -> None:
    first = write(tmp_path / "first", {"click-test": singles("+")})
    second = write(tmp_path / "second", {"enter-text": singles("+")})
    with pytest.raises(UserError, match="no graded start"):
        compare_runs(first, second)
    with pytest.raises(UserError, match="name two to compare"):
        compare_runs(first, first / "checkpoint.jsonl")


# ------------------------------------------------------------------------------------------------------- whose episodes


def test_a_directory_means_what_was_evaluated_and_not_the_baselines(tmp_path: Path) -> None:
    run = write(tmp_path / "run", {"click-test": singles("++")})
    write(run, {"click-test": singles("--")}, policy="random")
    write(run, {"click-test": singles("--")}, policy="idle")  # of an earlier start with other baselines
    (run / "metrics.jsonl").write_text('{"step": 0, "phase": "x", "time": 1}\n')
    other = write(tmp_path / "other", {"click-test": singles("+-")}, {**SETTINGS, "policy": "random"}, policy="random")
    found = compare_runs(run, other)
    assert (found.first.policy, found.second.policy) == ("checkpoint", "random")
    found = compare_runs(run, run, ("idle", "checkpoint"))
    assert (found.first.policy, found.second.policy, found.overall.paired.difference) == ("idle", "checkpoint", 1.0)


def test_a_directory_that_leaves_the_choice_open_says_what_there_is(tmp_path: Path) -> None:
    run = write(tmp_path / "run", {"click-test": singles("+")}, policy="one")
    write(run, {"click-test": singles("-")}, policy="two")
    with pytest.raises(UserError, match="episodes of one, two; name one with --policy"):
        compare_runs(run, run)
    with pytest.raises(UserError, match="'three'; it holds those of one, two"):
        compare_runs(run, run, ("three", "one"))
    with pytest.raises(UserError, match=f"holds no trajectories; there are some in {re.escape(str(run))}"):
        compare_runs(tmp_path, run)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty holds no trajectories$"):
        compare_runs(tmp_path / "empty", run)
    with pytest.raises(UserError, match="there is no trajectory store"):
        compare_runs(tmp_path / "nothing.jsonl", run)


def test_a_store_of_several_policies_asks_for_one(tmp_path: Path) -> None:
    images, path = ImageStore(), tmp_path / "merged.jsonl"
    with TrajectoryStore(path, "a") as store:
        for policy, success in (("one", True), ("two", False)):
            store.append(episode(images, TASKS[0], 0, success, policy))
    with pytest.raises(UserError, match="one, two; give this file, and name one with --policy"):
        compare_runs(path, path)
    assert compare_runs(path, path, ("one", "two")).overall.paired.difference == -1
    with pytest.raises(UserError, match="'three'; it holds those of one, two"):
        compare_runs(path, path, ("three", "two"))


# ------------------------------------------------------------------------------------------------------------ warnings


def test_what_differs_is_warned_of(tmp_path: Path) -> None:
    other = {**SETTINGS, "task_set": "bbbb", "temperature": 0.7, "policy": "elsewhere", "agent": {"grid": 10}}
    changed = [replace(task, instruction="Do something else") if task.id == "enter-text" else task for task in TASKS]
    outcomes = {"click-test": singles("++"), "enter-text": singles("++")}
    first = write(tmp_path / "first", outcomes)
    second = write(tmp_path / "second", outcomes, other, tasks=changed)
    assert list(compare_runs(first, second).warnings) == [
        "the task sets differ: aaaa and bbbb",
        "not the same task in both, though their names are: enter-text",
        "the setting agent.grid differs: not there and 10",
        "the setting temperature differs: 0.0 and 0.7",
    ]
    third = write(tmp_path / "third", outcomes, None)
    assert compare_runs(first, third).warnings == (
        "there is no config.json beside the second's episodes: whether the settings agree is not known",
    )


def test_a_file_of_a_task_may_lie_elsewhere(tmp_path: Path) -> None:
    def at(place: str, digest: str) -> list[Task]:
        return [replace(TASKS[0], setup={"file": place, "sha256": digest})]

    outcomes = {TASKS[0].id: singles("+")}
    first = write(tmp_path / "first", outcomes, tasks=at("a.html", "d1"))
    assert compare_runs(first, write(tmp_path / "second", outcomes, tasks=at("b.html", "d1"))).warnings == ()
    assert "not the same task" in compare_runs(first, write(tmp_path / "third", outcomes, tasks=at("b.html", "d2"))).warnings[0]


# -------------------------------------------------------------------------------------------------------- domains, cost


def test_domains_have_a_table_of_their_own(tmp_path: Path) -> None:
    tasks = [Task("osworld/os/1", "x", "osworld", {"domain": "os"}), Task("osworld/vlc/2", "y", "osworld", {"domain": "vlc"})]
    first = write(tmp_path / "first", {tasks[0].id: singles("-"), tasks[1].id: singles("-")}, tasks=tasks)
    second = write(tmp_path / "second", {tasks[0].id: singles("+"), tasks[1].id: singles("-")}, tasks=tasks)
    assert [(row.name, row.gained, row.lost) for row in compare_runs(first, second).domains] == [("os", 1, 0), ("vlc", 0, 0)]


def test_what_a_success_takes_counts_failures_too(two: tuple[Path, Path]) -> None:
    first, second = compare_runs(*two).spending
    assert (first.episodes, first.successes, second.successes) == (8, 2, 7)
    assert (first.turns, first.actions, first.turns_of_successes) == (2, 2, 2)
    assert first.seconds == pytest.approx(8 * 0.5)
    assert first.seconds_per_success == pytest.approx(8 * 0.5 / 2)
    assert first.usage == {name: 16 * amount for name, amount in USAGE.items()}
    assert first.tokens_per_success == 16 * 100 / 2
    assert first.dollars_per_success == 16 * 0.25 / 2
    assert second.dollars_per_success == pytest.approx(16 * 0.25 / 7)


def test_without_a_success_nothing_is_said_of_it(tmp_path: Path) -> None:
    first, second = (write(tmp_path / name, {"click-test": singles("--")}) for name in ("first", "second"))
    spending = compare_runs(first, second).spending[0]
    assert (spending.seconds_per_success, spending.dollars_per_success, spending.turns_of_successes) == (None, None, None)


def test_shown_flips_take_turns() -> None:
    def flip(task: str, seed: int, gained: bool) -> Flip:
        return Flip(task, seed, gained, 0, 1, "a", "b", None, "", "")

    flips = [*(flip("a", seed, True) for seed in range(3)), flip("b", 0, True), flip("c", 0, False)]
    assert [(one.task, one.seed) for one in shown_flips(flips, 4)] == [("c", 0), ("a", 0), ("b", 0), ("a", 1)]
    assert shown_flips(flips, 0) == []
    assert shown_flips([], 4) == []


# ---------------------------------------------------------------------------------------------------- page and command


def test_the_page_is_one_file_with_the_screens_where_they_part(two: tuple[Path, Path]) -> None:
    page = html_page(compare_runs(*two), most_flips=2)
    assert not re.search(r"""(?:src|href)=["'](?!data:image/(?:png|jpeg);base64,)""", page)
    assert not re.search(r"@import|url\(", page)
    assert page.count("<img ") == 2 * 2 * 2, "of two starts and two sides the last common screen and the next"
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "prefers-color-scheme: dark" in page
    assert "p = 0.12 (McNemar, exact)" in page
    assert "2 of 7." in page
    for word in ("gained", "lost", "they part at step 2", "2. click (30, 20)", "dollars for each success"):
        assert word in page, word


def test_names_of_any_kind_are_escaped_in_the_page(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    tasks = [Task(f"t{evil}", evil, evil, tags=(evil,)), Task("u", evil, "e", tags=("other",))]
    sides = []
    for name, marks in (("first", "+-"), ("second", "-+")):
        outcomes = {task.id: singles(mark) for task, mark in zip(tasks, marks, strict=True)}
        settings = {**SETTINGS, "temperature": evil + name}
        sides.append(write(tmp_path / name, outcomes, settings, tasks=tasks))
    page = html_page(compare_runs(*sides))
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 4


def test_missing_pictures_are_said_to_be_missing(two: tuple[Path, Path]) -> None:
    for path in (two[0] / "images").rglob("*.png"):
        path.unlink()
    page = html_page(compare_runs(*two), most_flips=1)
    assert page.count("is missing)") == 2
    assert page.count("<img ") == 2


def test_a_page_without_flips(tmp_path: Path) -> None:
    first, second = (write(tmp_path / name, {"click-test": singles("+-")}) for name in ("first", "second"))
    page = html_page(compare_runs(first, second))
    assert "None: every start ended alike." in page
    assert "equally often" in page


def test_the_command(two: tuple[Path, Path], tmp_path: Path) -> None:
    page = tmp_path / "pages" / "compare.html"
    result = runner.invoke(cli.app, ["compare", *map(str, two), "--html", str(page)], env={"COLUMNS": "160"})
    assert result.exit_code == 0, result.output
    assert "8 starts in common: difference +62.5 points" in result.output
    assert "6 gained, 1 lost, p = 0.12 (McNemar, exact)" in result.output
    assert re.search(r"lost +click-test +2 +at step 2 +click \(30, 20\) +type “<script>”", result.output)
    assert page.read_text().startswith("<!doctype html>")
    result = runner.invoke(cli.app, ["compare", *map(str, two), "--json"])
    found = json.loads(result.output)
    assert found == json.loads(json.dumps(comparison_json(compare_runs(*two))))
    assert (found["overall"]["n"], found["overall"]["gained"], found["first"]["policy"]) == (8, 6, "checkpoint")
    assert found["flips"][0]["divergence"] == {"decided": 1, "row": 1, "reason": "actions", "basis": "state_key"}
    assert len(found["flips"]) == 7


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--policy", "a", "--policy", "b", "--policy", "c"], "--policy is given 3 times"),
        (["--policy", "a"], "'a'; it holds those of checkpoint"),
        (["--confidence", "95"], "must lie between 0 and 1"),
    ],
)
def test_mistakes_are_named(two: tuple[Path, Path], more: list[str], message: str) -> None:
    result = runner.invoke(cli.app, ["compare", *map(str, two), *more])
    assert isinstance(result.exception, UserError)
    assert message in str(result.exception)


def test_two_evaluations(tmp_path: Path) -> None:
    """From the evaluations to the comparison: the oracle against nothing done."""
    for policy in ("idle", "oracle"):
        config = evaluate.EvaluateConfig(
            tasks="forms:login,click-button", policy=policy, baselines=(), episodes=3, output=tmp_path / policy, environments=2
        )
        evaluate.main(config, show=False)
    result = runner.invoke(cli.app, ["compare", str(tmp_path / "idle"), str(tmp_path / "oracle"), "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.output)
    assert (found["overall"]["n"], found["overall"]["gained"], found["overall"]["lost"]) == (6, 6, 0)
    assert found["overall"]["p"] == pytest.approx(2 / 2**6)
    assert found["warnings"] == []
    assert all(flip["divergence"]["reason"] == "actions" for flip in found["flips"])
