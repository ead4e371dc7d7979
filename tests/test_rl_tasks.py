"""Which tasks a run plays, and how those of several domains are told apart."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_rl import FORMS, SIDES, Sides, checkpoint, episodes, figures
from test_rl import clicks as clicks  # a fixture: any reply is a click

from stepladder.config import ConfigError
from stepladder.run import Run
from stepladder.stages import training_report
from stepladder.stages.evaluate import EvaluateConfig
from stepladder.stages.evaluate import main as evaluate
from stepladder.stages.rl import main
from stepladder.stages.rl_config import RlConfig
from stepladder.stages.rl_domains import domain_figures
from stepladder.stages.rl_tasks import training_tasks
from stepladder.stages.training_curves import curves_of
from stepladder.stages.training_domains import domains_of
from stepladder.store import TrajectoryStore
from stepladder.tasks import load_tasks
from stepladder.types import Task, Trajectory

KINDS = "forms:click-button,dismiss-dialog,slider"


class Pages(Sides):
    """The same page as two tasks."""

    @classmethod
    def tasks(cls) -> list[Task]:
        return [Task(name, "left", "test_rl_tasks:Pages", max_steps=1, tags=(name,)) for name in ("web", "office")]


def evaluation(directory: Path, rewards: dict[str, tuple[float | None, ...]], policy: str = "random") -> Path:
    """The files of an evaluation in which each kind of form was played with these rewards."""
    directory.mkdir(exist_ok=True)
    (directory / "config.json").write_text(json.dumps({"policy": policy}))
    tasks = {task.id: task for task in load_tasks(KINDS)}
    with TrajectoryStore(directory / f"{policy}.jsonl", "a") as store:
        for name, graded in rewards.items():
            for number, reward in enumerate(graded):
                status = "env_error" if reward is None else "done"
                store.append(Trajectory(f"{name}-{number}", tasks[name], (), None, status, reward, seed=number, policy=policy))
    return directory


def names() -> list[str]:
    return [task.id for task in load_tasks(KINDS, split="train")]


def solved(directory: Path) -> list[str]:
    return [task.id for task in training_tasks(RlConfig(tasks=KINDS, solved_in=directory))]


# ---------------------------------------------------------------- tasks that were solved


def test_tasks_that_were_solved_at_least_once_are_played(tmp_path: Path) -> None:
    one, two, three = names()
    assert training_tasks(RlConfig(tasks=KINDS)) == load_tasks(KINDS, split="train")
    assert solved(evaluation(tmp_path, {one: (0.0, 1.0, 0.0), two: (0.0, 0.4, None), three: (1.0,)})) == [one, three]


def test_other_policies_of_the_same_run_do_not_count(tmp_path: Path) -> None:
    one, two, three = names()
    evaluation(tmp_path, {one: (1.0,), two: (1.0,), three: (1.0,)}, policy="oracle")
    assert solved(evaluation(tmp_path, {one: (0.0,), two: (1.0,), three: (0.0,)})) == [two]


def test_what_cannot_select_is_named(tmp_path: Path) -> None:
    one, two, three = names()
    none = evaluation(tmp_path / "none", {one: (0.0,), two: (0.2, 0.0), three: (0.0,)})
    with pytest.raises(ConfigError, match=r"solved_in: none of the 3 tasks was solved in .*none; evaluate with more episodes"):
        solved(none)
    part = evaluation(tmp_path / "part", {one: (1.0,), three: (None,)})
    with pytest.raises(ConfigError, match=rf"part has graded episodes of 1 of the 3 tasks, not of {two!r}; evaluate them all"):
        solved(part)
    with pytest.raises(ConfigError, match=r"other has graded episodes of none of the 3 tasks, not of .*`stepladder eval"):
        solved(evaluation(tmp_path / "other", {}))
    with pytest.raises(ConfigError, match="nowhere is no directory of `stepladder eval`"):
        solved(tmp_path / "nowhere")
    (tmp_path / "other" / "config.json").write_text('{"algo": {}}')
    with pytest.raises(ConfigError, match=r"other is no directory of `stepladder eval`: its config\.json names no policy"):
        solved(tmp_path / "other")
    (tmp_path / "other" / "config.json").write_text('{"policy": "idle"}')
    with pytest.raises(ConfigError, match=r"other has no episodes of idle yet; there is no .*idle\.jsonl"):
        solved(tmp_path / "other")


def test_a_run_plays_what_an_evaluation_has_solved(tmp_path: Path) -> None:
    """End to end, by the files that `stepladder eval` writes; another selection is another run."""
    start = checkpoint(tmp_path / "start")
    settings = EvaluateConfig(
        tasks=FORMS.tasks, policy="oracle", baselines=(), episodes=1, output=tmp_path / "eval", environments=2
    )
    evaluate(settings, show=False)
    path = tmp_path / "eval" / "oracle.jsonl"
    failed = [json.loads(line) for line in path.read_text().splitlines()]
    for record in failed:
        record["reward"] = 1.0 if "dismiss" in record["task"]["id"] else 0.0
    path.write_text("".join(json.dumps(record) + "\n" for record in failed))
    config = replace(FORMS, checkpoint=start, output=tmp_path / "rl", solved_in=tmp_path / "eval", updates=1, validation=0)
    main(config, show=False)
    assert {"dismiss" in one.task.id for one in episodes(tmp_path / "rl")} == {True}
    with pytest.raises(ConfigError, match=r"solved_in was .* and is now None|task_set was"):
        main(replace(config, solved_in=None), show=False)


# ---------------------------------------------------------------- several domains


def told(domain: str, reward: float, successes: int, episodes: int, failed: int = 0) -> dict[str, Any]:
    return {"task": f"a task of {domain}", "reward": reward, "successes": successes, "episodes": episodes, "failed": failed}


def test_figures_of_each_domain_are_means_over_its_graded_episodes() -> None:
    groups = [
        told("web", 3.0, 3, 4),
        told("office", 0.5, 0, 4, failed=2),
        told("web", 0.0, 0, 8),
        told("games", 0.0, 0, 2, failed=2),
    ]
    domains = {f"a task of {name}": name for name in ("web", "office", "games", "never drawn")}
    assert domain_figures(groups, domains) == {
        "domain/games/episodes": 0.0,
        "domain/office/reward": 0.25,
        "domain/office/success": 0.0,
        "domain/office/episodes": 2.0,
        "domain/web/reward": 0.25,
        "domain/web/success": 0.25,
        "domain/web/episodes": 12.0,
    }
    assert domain_figures(groups[:1], domains).keys() == {f"domain/web/{name}" for name in ("reward", "success", "episodes")}
    assert domain_figures(groups[:1], {"a task of web": "web"}) == {}, "one domain is the whole"
    assert domain_figures([], domains) == {}


def test_a_run_logs_the_reward_of_each_domain(tmp_path: Path) -> None:
    """Recomputed from the episodes. The environment gives its own tasks to the episodes, and knows no tags."""
    config = replace(SIDES, tasks="env:test_rl_tasks:Pages", checkpoint=checkpoint(tmp_path / "start"), output=tmp_path / "rl")
    main(replace(config, groups=4, rounds=1, updates=1, validation=0), show=False)
    (record,) = figures(tmp_path / "rl")
    played = episodes(tmp_path / "rl")
    for domain in ("web", "office"):
        rewards = [one.reward for one in played if one.task.id == domain]
        assert record[f"domain/{domain}/episodes"] == len(rewards) > 0
        assert record[f"domain/{domain}/reward"] == pytest.approx(sum(r or 0.0 for r in rewards) / len(rewards))
        assert record[f"domain/{domain}/success"] == pytest.approx(sum((r or 0.0) >= 0.5 for r in rewards) / len(rewards))
    data = json.loads((tmp_path / "rl" / "report.json").read_text())
    assert {one["domain"] for one in data["domains"]} == {"web", "office"}


def records(updates: int) -> list[dict[str, Any]]:
    """An office that learns, a web that falls back and is not always played."""
    found: list[dict[str, Any]] = [{"phase": "rl", "step": 0, "validation": 0.5}]
    for step in range(1, updates + 1):
        record: dict[str, Any] = {"phase": "rl", "step": step, "reward": 0.5}
        record |= {"domain/office/reward": step / updates, "domain/office/success": 0.5, "domain/office/episodes": 10.0}
        if step % 2:
            record |= {"domain/web/reward": 1 - step / 100, "domain/web/success": 0.25, "domain/web/episodes": float(step)}
        found.append(record)
    return found


def test_a_report_has_beginning_and_end_of_each_domain() -> None:
    web, office = domains_of(records(40))
    assert (web.domain, office.domain) == ("web", "office"), "what gained least stands first"
    assert (office.first, office.last, office.episodes) == ((1, 4), (37, 40), 400)
    assert (office.first_reward, office.last_reward) == pytest.approx((2.5 / 40, 38.5 / 40))
    assert (web.first, web.last, web.episodes) == ((1, 3), (37, 39), 400)
    assert web.first_reward == pytest.approx((1 * 0.99 + 3 * 0.97) / 4), "every episode weighs alike"
    assert (web.first_success, web.last_success) == pytest.approx((0.25, 0.25))
    assert domains_of([{"phase": "rl", "step": 1, "reward": 0.5}]) == ()


def test_the_table_and_the_charts_of_domains(tmp_path: Path) -> None:
    settings = {"algo": {"name": "grpo"}, "algorithm": "grpo", "tasks": "mine"}
    with Run(tmp_path, settings, seeds={"rl": 0}) as run, run.phase("rl, 40 updates"):
        for record in records(40):
            run.log(record["step"], "rl", **{name: value for name, value in record.items() if name not in ("phase", "step")})
    training_report.write(tmp_path)
    text, page = (tmp_path / "report.md").read_text(), (tmp_path / "report.html").read_text()
    assert "## Domains" in text
    assert "| web | 400 | 1-3 → 37-39 | 0.975 → 0.620 | 25.0 % → 25.0 % |" in text
    assert "<h2>Domains</h2>" in page
    charts = {curve.title: curve.series for curve in curves_of(tmp_path, "rl", records(40), {})}
    assert set(charts["Task reward by domain"]) == {"office", "web"}
    assert len(charts["Success by domain"]["web"]) == 20
