"""Evaluations of whatever can be asked: APIs, servers, several trials of a start, a budget that ends before the episodes do."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from api_servers import Replaying, Reply, serving
from test_api_policies import CALL, CLICK, chat, message, response
from typer.testing import CliRunner

from stepladder import cli
from stepladder.codec import from_json
from stepladder.config import ConfigError, override
from stepladder.errors import UserError
from stepladder.images import ImageStore
from stepladder.plugins import PluginError
from stepladder.policies.budget import BudgetSpent
from stepladder.results import Result, summarise
from stepladder.stages.evaluate import EvaluateConfig, main
from stepladder.stages.policies import ApiOptions, build_agent, check_policy, open_policy, policy_name, read_policy
from stepladder.stats import wilson_interval
from stepladder.store import TrajectoryStore
from stepladder.types import Task, Trajectory

PRICES = {"input_tokens": 3.0, "output_tokens": 15.0}
LOGIN = EvaluateConfig(tasks="forms:login", episodes=2, environments=2, baselines=())
DONE = message({"type": "text", "text": "It is done."}, stop_reason="end_turn")
SAID = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed"}


def stored(path: Path) -> list[Trajectory]:
    with TrajectoryStore(path) as store:
        return list(store)


@pytest.mark.parametrize(
    ("policy", "dialect", "base", "replies"),
    [
        ("anthropic:claude", "anthropic", "ANTHROPIC_BASE_URL", [message(CLICK), DONE]),
        (
            "openai-responses:gpt",
            "openai_computer",
            "OPENAI_BASE_URL",
            [response(CALL), response({**SAID, "content": [{"type": "output_text", "text": "Done.", "annotations": []}]})],
        ),
    ],
)
def test_an_api_is_evaluated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str, dialect: str, base: str, replies: list[dict[str, Any]]
) -> None:
    monkeypatch.setenv(base.replace("BASE_URL", "API_KEY"), "sk-secret")
    server = Replaying([Reply(one) for one in replies])
    with serving(server) as url:
        monkeypatch.setenv(base, url)
        config = replace(LOGIN, policy=policy, episodes=1, output=tmp_path, api=ApiOptions(prices=PRICES))
        found = main(config, show=False)
    assert (found.n, found.policy) == (1, policy_name(policy))
    (episode,) = stored(tmp_path / f"{policy_name(policy)}.jsonl")
    assert (episode.status, episode.agent, len(episode.steps)) == ("done", dialect, 2)
    assert [step.action.kind for step in episode.steps if step.action] == ["click", "done"]
    assert all(step.completion is not None and step.completion.usage["dollars"] > 0 for step in episode.steps)
    first = episode.steps[0]
    assert first.action is not None
    assert first.observation.screenshot is not None
    assert first.action.x == pytest.approx(3 * first.observation.screenshot.width / 1280), "from the display to the screenshot"
    recorded = json.loads((tmp_path / "config.json").read_text())
    assert (recorded["dialect"], recorded["max_tokens"]) == (dialect, 4096)
    calls = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [one["calls"] for one in calls if one["phase"].startswith("calls of")] == [2]
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or b"sk-secret" not in path.read_bytes(), f"the key is in {path}"


def test_a_budget_ends_a_run_and_a_larger_one_goes_on(tmp_path: Path) -> None:
    server = Replaying([Reply(chat('<tool_call>{"name": "computer_use", "arguments": {"action": "wait", "time": 0}}</tool_call>'))])
    with serving(server) as url:
        policy = f"openai:{url}#m"
        config = replace(LOGIN, policy=policy, environments=1, max_steps=2, output=tmp_path, api=ApiOptions(calls=3))
        with pytest.raises(BudgetSpent, match=r"the budget of 3 calls is spent \(3\)"):
            main(config, show=False)
        data = json.loads((tmp_path / "report.json").read_text())["rungs"][0]
        assert (data["n"], data["missing"]) == (1, {"not run": 1})
        assert len(server.asked) == 3
        found = main(replace(config, api=ApiOptions(calls=2)), show=False)
    assert (found.n, found.missing) == (2, {})
    assert {item.status for item in stored(next(tmp_path.glob("openai-*.jsonl")))} == {"max_steps"}
    with pytest.raises(ConfigError, match=r"api\.extra\.top_k was 'not there' and is now 3"):
        main(replace(config, api=ApiOptions(extra={"top_k": 3})), show=False)


def test_several_trials_of_each_start(tmp_path: Path) -> None:
    config = replace(LOGIN, policy="random", trials=3, output=tmp_path)
    found = main(config, show=False)
    assert (found.n, found.trials, found.missing) == (6, 3, {})
    items = stored(tmp_path / "random.jsonl")
    seeds = sorted({item.seed for item in items})
    assert sorted((item.seed, item.index) for item in items) == [(seed, index) for seed in seeds for index in range(3)]
    places = {tuple((step.action.x, step.action.y) for step in item.steps if step.action) for item in items}
    assert len(places) == 6, "every trial samples with a seed of its own"
    assert main(replace(config, trials=1), show=False).n == 2
    assert main(replace(config, trials=4), show=False).n == 8
    assert len(stored(tmp_path / "random.jsonl")) == 8
    assert from_json(Result, json.loads((tmp_path / "random.json").read_text())).trials == 4
    assert "x 4 trials" in (tmp_path / "report.md").read_text()


def test_trials_of_one_start_are_not_so_many_starts() -> None:
    task = Task("one", "", "forms")

    def played(seed: int, index: int, reward: float | None) -> Trajectory:
        status = "done" if reward is not None else "env_error"
        return Trajectory(f"{seed}-{index}", task, (), None, status, reward, seed=seed, index=index)  # type: ignore[arg-type]

    items = [played(seed, index, float(seed % 2)) for seed in range(4) for index in range(5)]
    found = summarise(items, [task], range(4), policy="p", task_set="x", seconds=1.0, trials=5)
    assert (found.n, found.successes, found.rate) == (20, 10, 0.5)
    assert (found.low, found.high) == wilson_interval(2, 4)
    assert (found.tasks[0].low, found.tasks[0].high) == wilson_interval(2, 4)
    broken = [*items[:-2], played(3, 5, None)]
    found = summarise(broken, [task], range(5), policy="p", task_set="x", seconds=1.0, trials=5)
    assert (found.n, found.missing) == (18, {"env_error": 1, "not run": 6})


def test_what_policies_are_called() -> None:
    assert policy_name("openai:http://127.0.0.1:8000/v1#Qwen/Qwen3-VL") == "openai-127.0.0.1-8000-Qwen-Qwen3-VL"
    assert policy_name("openai:https://example.org/") == "openai-example.org"
    assert policy_name("anthropic:claude-sonnet-4-5") == "anthropic-claude-sonnet-4-5"
    assert policy_name("local:runs/demo/sft/checkpoint") == policy_name("runs/demo/sft/checkpoint") == "checkpoint"
    assert policy_name("mine.policies:Best") == "mine.policies.Best"
    spec = read_policy("openai:http://127.0.0.1:8000#m")
    assert (spec.kind, spec.target, spec.model) == ("openai", "http://127.0.0.1:8000", "m")


@pytest.mark.parametrize(
    ("policy", "kind", "match"),
    [
        ("openai:", ConfigError, "write openai:URL, not 'openai:'"),
        ("anthropic:", ConfigError, "write anthropic:MODEL"),
        ("openai_responses:gpt", ConfigError, "'openai_responses' is no kind of policy; did you mean 'openai-responses'"),
        ("local:nowhere", ConfigError, "'nowhere' is neither a checkpoint directory nor"),
        ("nowhere", ConfigError, "'nowhere' is neither a checkpoint directory nor one of random"),
        ("nowhere.at.all:Class", PluginError, "there is no module 'nowhere'"),
    ],
)
def test_policies_that_are_not_there(policy: str, kind: type[Exception], match: str) -> None:
    with pytest.raises(kind, match=match):
        check_policy(policy)


def test_policies_that_cannot_be_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "x")
    for policy, agent, api, match in (
        ("random", None, ApiOptions(), "is a baseline"),
        ("openai:ftp://host", build_agent("random"), ApiOptions(), "must begin with http:// or https://"),
        ("openai:http://me:secret@host", build_agent("random"), ApiOptions(), "holds a password"),
        ("openai:http://127.0.0.1:9", None, ApiOptions(), "http://127.0.0.1:9/v1/models does not answer"),
        ("anthropic:claude", build_agent("random"), ApiOptions(), "'qwen_vl' has none; leave it out"),
        ("anthropic:claude", None, ApiOptions(dollars=1.0), "a budget of dollars needs prices"),
        ("anthropic:claude", None, ApiOptions(deadline=0), "deadline is 0; it must be above 0"),
    ):
        with pytest.raises(UserError, match=match), open_policy(policy, ImageStore(), agent, api):
            pass


def test_how_many_screenshots_an_agent_shows() -> None:
    assert build_agent("random", history=3).screenshots == 3  # type: ignore[attr-defined]
    assert build_agent("anthropic:claude", history=3).screenshots == 3  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="history: the agent 'fakes:WordAgent' has no option for how many screenshots"):
        build_agent("random", "fakes:WordAgent", history=2)
    for name in ("trials", "history", "max_steps", "max_tokens"):
        with pytest.raises(ConfigError, match=f"{name} is 0; it must be at least 1"):
            main(override(LOGIN, [f"{name}=0"]))


def test_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OSWORLD_SERVER_URL", "")  # --env sets it; this puts it back afterwards
    runner = CliRunner()
    plain = ["eval", "--policy", "random", "--env", "forms:login", "--episodes", "1", "--set", "baselines=()", "-o", "out"]
    found = runner.invoke(cli.app, [*plain, "--trials", "2", "--max-steps", "1", "--resume"])
    assert isinstance(found.exception, UserError)
    assert "--resume: there is no run in out" in str(found.exception)
    found = runner.invoke(cli.app, [*plain, "--trials", "2", "--max-steps", "1"])
    assert found.exit_code == 0, found.output
    assert "n = 2" in found.output
    assert all(len(item.steps) == 1 for item in stored(tmp_path / "out/random.jsonl"))
    assert runner.invoke(cli.app, [*plain, "--trials", "2", "--max-steps", "1", "--resume"]).exit_code == 0
    assert "say the same thing" in str(runner.invoke(cli.app, [*plain, "random"]).exception)
    assert "say the same thing" in str(runner.invoke(cli.app, [*plain, "--tasks", "forms"]).exception)
    asked = ["eval", "random", "--env", "http://127.0.0.1:9", "--agent", "evocua_s2", "--history", "2", "--settings"]
    told = runner.invoke(cli.app, asked).output
    assert all(line in told for line in ("tasks=bridge", "dialect=evocua_s2", "history=2", "policy=random"))
    refused = runner.invoke(cli.app, ["serve", str(tmp_path), "--tasks", "desk"]).exception
    assert "give one of them" in str(refused)
