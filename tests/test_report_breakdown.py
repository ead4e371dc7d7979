"""What a report says beyond a rate: domains against trivial baselines, infeasible tasks, repeats, turns and actions."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from made_up import episode
from test_report import Balanced

from stepladder.domains import domain_of, is_infeasible
from stepladder.images import ImageStore
from stepladder.report import Report, Rung, write_report
from stepladder.report.breakdown import domain_rows, feasible_rates, overall_row, repeats_of
from stepladder.report.words import facts, probability, seed_words
from stepladder.results import Result, rate_of, summarise
from stepladder.stats import holm, mcnemar, pass_at_k, success_rate
from stepladder.types import Action, Task, Trajectory

SIZES = {"chrome": 6, "gimp": 4, "os": 3, "multi_apps": 8}
TASKS = tuple(
    Task(
        f"osworld/{domain}/{number}",
        "",
        "osworld",
        setup={"domain": domain},
        check={"func": "infeasible" if domain == "gimp" and number < 2 else "exact_match"},
        tags=(domain, *(("infeasible",) if domain == "gimp" and number < 2 else ())),
    )
    for domain, size in SIZES.items()
    for number in range(size)
)
SEEDS = range(1_000_000, 1_000_004)
Success = Callable[[int, Task, int, int], bool | None]


def played(policy: str, success: Success, trials: int = 1, seeds: range = SEEDS) -> Result:
    images, made = ImageStore(), list[Trajectory]()
    shown = episode(images, TASKS[0], 0, steps=2)
    steps = tuple(replace(step, more=(Action("wait", seconds=1),)) for step in shown.steps)
    for place, task in enumerate(TASKS):
        for seed in seeds:
            for trial in range(trials):
                one = episode(images, task, seed, success(place, task, seed - seeds[0], trial), steps=0, policy=policy)
                made.append(replace(one, id=f"{one.id}-{trial}", index=trial, steps=steps, final=shown.final))
    return summarise(made, TASKS, seeds, policy=policy, task_set="3f2a9c01d4e7", seconds=1.0, trials=trials)


def skilled(place: int, task: Task, seed: int, trial: int) -> bool | None:
    if place == 0 and seed == 0 and trial == 0:
        return None
    return not is_infeasible(task) and (place * 7 + seed * 5 + trial * 3) % 10 < 6


def report(trials: int = 1) -> Report:
    return Report(
        title="An agent on four applications",
        summary="Success rates on seeds that training never uses.",
        rungs=(Rung("agent", played("agent", skilled, trials)),),
        baselines={
            "random": played("random", lambda place, *_: place == 1),
            "idle": played("idle", lambda *_: False),
            "give_up": played("give_up", lambda _, task, *__: is_infeasible(task)),
            "oracle": played("oracle", lambda *_: True),
        },
        seconds=100.0,
    )


def test_what_kind_of_task_it_is() -> None:
    assert [is_infeasible(task) for task in TASKS if domain_of(task) == "gimp"] == [True, True, False, False]
    assert is_infeasible(Task("a", "", "desk", tags=("infeasible", "mousepad")))
    assert is_infeasible(Task("a", "", "osworld", check={"func": "infeasible"}))
    assert not is_infeasible(Task("a", "", "osworld", check={"func": ["infeasible", "exact_match"]}))
    assert domain_of(Task("a", "", "desk", tags=("infeasible", "mousepad"))) == "mousepad"
    assert domain_of(Task("shop:buy", "", "env")) == "shop"
    assert domain_of(Task("forms-login", "", "forms")) == "forms"


def test_a_result_counts_turns_and_actions_and_keeps_every_outcome() -> None:
    found = played("agent", skilled, trials=2)
    assert (found.turns, found.actions) == (2.0, 4.0)
    assert found.n == len(TASKS) * 4 * 2 - 1
    assert found.reward == pytest.approx(found.rate)
    first = found.tasks[0]
    assert (first.domain, first.infeasible, first.actions, len(first.outcomes[0])) == ("chrome", False, 4.0, 1)
    assert [len(trials) for trials in first.outcomes[1:]] == [2, 2, 2]
    starts = found.starts()
    assert len(starts) == len(TASKS) * 4
    assert starts[TASKS[0].id, SEEDS[1]] == first.outcomes[1]
    assert sum(map(sum, starts.values())) == found.successes


def test_rates_with_and_without_infeasible_tasks() -> None:
    found = played("agent", skilled)
    rates = feasible_rates(found)
    assert rates is not None
    feasible, infeasible = rates
    assert (infeasible.n, infeasible.successes) == (8, 0)
    assert feasible == success_rate(found.successes, found.n - 8)
    gave_up = feasible_rates(played("give_up", lambda _, task, *__: is_infeasible(task)))
    assert gave_up is not None
    assert (gave_up[0].rate, gave_up[1].rate) == (0.0, 1.0)
    only = replace(found, tasks=tuple(part for part in found.tasks if not part.infeasible))
    assert feasible_rates(only) is None


def test_domains_are_compared_with_the_trivial_baseline_that_does_best_there() -> None:
    data = report()
    result = data.rungs[0].result
    rows = {row.domain: row for row in domain_rows(result, data.baselines)}
    assert [(row.domain, row.tasks) for row in rows.values()] == [("multi_apps", 8), ("chrome", 6), ("gimp", 4), ("os", 3)]
    assert rows["chrome"].baseline == "random"
    assert rows["chrome"].baseline_rate == pytest.approx(1 / 6)
    assert (rows["gimp"].baseline, rows["gimp"].baseline_rate) == ("give_up", 0.5)
    assert rows["chrome"].compared == 23, "one start has no grade"
    mine, theirs = result.starts(), data.baselines["random"].starts()
    chrome = [start for start in mine if start[0].startswith("osworld/chrome")]
    gained = sum(mine[start][0] and not theirs[start][0] for start in chrome)
    lost = sum(theirs[start][0] and not mine[start][0] for start in chrome)
    assert rows["chrome"].p == pytest.approx(mcnemar(gained, lost))
    assert rows["chrome"].difference == pytest.approx((gained - lost) / 23)
    probabilities = [row.p for row in rows.values()]
    assert [row.adjusted for row in rows.values()] == pytest.approx(holm([p for p in probabilities if p is not None]))
    total = overall_row(result, data.baselines)
    assert (total.tasks, total.rate.successes, total.baseline) == (len(TASKS), result.successes, "give_up")
    assert total.adjusted is None


def test_nothing_is_compared_where_nothing_was_measured() -> None:
    result = played("agent", skilled)
    for row in (*domain_rows(result, {}), overall_row(result, {"oracle": result})):
        assert (row.baseline, row.difference, row.p, row.adjusted) == (None, None, None, None)
    broken = played("idle", lambda *_: None)
    assert overall_row(result, {"idle": broken}).baseline is None
    elsewhere = played("idle", lambda *_: False, seeds=range(7, 9))
    row = overall_row(result, {"idle": elsewhere})
    assert (row.baseline, row.compared, row.p) == ("idle", 0, None)


def test_repeats_of_a_result() -> None:
    assert repeats_of(played("agent", skilled)) is None
    found = repeats_of(played("agent", skilled, trials=3))
    assert found is not None
    starts = played("agent", skilled, trials=3).starts().values()
    whole = [sum(trials) for trials in starts if len(trials) == 3]
    assert found.pass_at["2"].mean == pytest.approx(
        (sum(pass_at_k(c, 3, 2) for c in whole) + sum(any(trials) for trials in starts if len(trials) == 2)) / len(starts)
    )
    assert found.pass_at["3"].n == len(whole) == len(starts) - 1


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("breakdown")
    write_report(directory, report(trials=3))
    return directory


def test_json_has_all_of_it(written: Path) -> None:
    data = json.loads((written / "report.json").read_text())
    rung = data["rungs"][0]
    assert rung["n"] == len(TASKS) * 12 - 1
    assert rung["missing"] == {"env_error": 1}
    assert (rung["turns"], rung["actions"]) == (2.0, 4.0)
    assert rung["infeasible"] == {"success": 0.0, "low": 0.0, "high": rung["infeasible"]["high"], "n": 24, "successes": 0}
    assert rung["feasible"]["n"] == rung["n"] - 24
    assert rung["feasible"]["success"] > rung["success"]
    assert list(rung["domains"]) == ["multi_apps", "chrome", "gimp", "os"]
    gimp = rung["domains"]["gimp"]
    assert (gimp["tasks"], gimp["n"], gimp["baseline"], gimp["baseline_success"], gimp["compared"]) == (4, 48, "give_up", 0.5, 16)
    assert gimp["p"] <= gimp["p_holm"] <= 1
    assert rung["against_baseline"]["p_holm"] is None
    assert set(rung["repeats"]) == {"pass_at_k", "pass_hat_k", "flip_rate"}
    assert rung["repeats"]["pass_at_k"]["1"]["mean"] == pytest.approx(rung["repeats"]["pass_hat_k"]["1"]["mean"])
    assert 0 < rung["repeats"]["flip_rate"]["mean"] < 1
    assert data["baselines"]["give_up"]["infeasible"]["success"] == 1.0
    assert data["baselines"]["give_up"]["repeats"] is None
    assert rung["per_task"]["osworld/gimp/0"]["infeasible"] is True


def rows_of(markdown: str) -> dict[str, list[str]]:
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown.splitlines() if line.startswith("|")]
    return {row[0]: row[1:] for row in cells}


def test_pages_say_all_of_it(written: Path) -> None:
    result = report(trials=3).rungs[0].result
    html, markdown = ((written / name).read_text() for name in ("report.html", "report.md"))
    parser = Balanced()
    parser.feed(html)
    assert parser.open == []
    for text in (re.sub(r"<[^>]+>", " ", html[html.index("</style>") :]), markdown):
        for wanted in (
            *("n = 251 of 252 asked for: 21 tasks x 4 seeds x 3 trials", "1 env_error", "3f2a9c01d4e7", "1000000 to 1000003"),
            *("2.0 turns an episode, in which 4.0 actions", "on the 2 infeasible tasks alone 0.0 %, n = 24"),
            *("giving up at once", "random clicks", "idle", "oracle", "pass@k", "pass^k", "Flip rate"),
        ):
            assert wanted in text
        for name, value in facts(report(trials=3)):
            assert name in text
            assert value in text.replace("&lt;", "<").replace("&#x27;", "'")
    rows = rows_of(markdown)
    assert rows["gimp"][0] == "4"
    assert rows["gimp"][4] == "giving up at once 50.0 %"
    assert rows["chrome"][1] == f"{100 * (rate_of(result, lambda part: part.domain == 'chrome').rate or 0):.1f} %"
    assert (written / "report_files" / "repeats.svg").exists()
    assert "report_files/repeats.svg" in markdown


def test_what_was_not_measured_is_named() -> None:
    data = replace(report(), baselines={"idle": played("idle", lambda *_: False)})
    told: Mapping[str, str] = dict(facts(data))
    assert told["Baselines"] == "idle 0.0 %; not measured: random clicks, giving up at once, oracle"
    of_random = replace(data, rungs=(Rung("random", played("random", lambda *_: False)),))
    assert "not measured: giving up at once, oracle" in dict(facts(of_random))["Baselines"]


def test_numbers_in_words() -> None:
    assert [probability(p) for p in (None, 0.0001, 0.0341, 0.5)] == ["–", "< 0.001", "0.034", "0.50"]
    assert [seed_words(seeds) for seeds in ((), (5,), (1, 2), (3, 4, 5), (1, 3, 4))] == ["none", "5", "1, 2", "3 to 5", "1, 3, 4"]
