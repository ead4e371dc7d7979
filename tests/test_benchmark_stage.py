"""Offline benchmarks from the command line to their results: gold answers, a policy, an interruption, what cannot be."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_benchmarks import CLICK, act, targets, trajectory
from typer.testing import CliRunner

from stepladder import cli
from stepladder.config import ConfigError
from stepladder.interfaces import Agent
from stepladder.stages import benchmark as stage
from stepladder.types import Action, Completion, Message, Observation, Prompt, Sampling

SHARED = Path(__file__).parent.parent.parent / "shared/data/agentnetbench"


class Clicker:
    """Answers every question with a click into the middle."""

    name = "clicker"
    version = 0
    asked = 0
    fails_at = 10**9

    def __init__(self, agent: Agent) -> None:
        self.agent = agent

    async def generate(self, messages: tuple[Message, ...], sampling: Sampling) -> tuple[Prompt, Completion]:
        type(self).asked += 1
        if type(self).asked >= self.fails_at:
            raise OSError("no more")
        picture = messages[-1].images[-1]
        middle = Action("click", picture.width / 2, picture.height / 2)
        return Prompt(messages), Completion(self.agent.format("", middle, Observation(picture)))


def config(folder: Path, **settings: Any) -> stage.BenchmarkConfig:
    return stage.BenchmarkConfig(folder=folder, output=folder / "run", **settings)


def test_the_recorded_answers_score_1(tmp_path: Path) -> None:
    trajectory(tmp_path)
    result = stage.main(config(tmp_path), show=False)
    assert (result["average_score"], result["total_steps"], result["agent"]) == (1.0, 2, "opencua")
    assert json.loads((tmp_path / "run/result.json").read_text()) == result


@pytest.mark.skipif(not SHARED.is_dir(), reason="the samples of AgentNetBench are not here")
@pytest.mark.parametrize("agent", ["opencua", "osworld_pyautogui"])
@pytest.mark.parametrize("compat", [False, True])
def test_the_published_samples(tmp_path: Path, agent: str, compat: bool) -> None:
    settings = stage.BenchmarkConfig(folder=SHARED, output=tmp_path, dialect=agent, compat=compat)
    result = stage.main(settings, show=False)
    assert (result["average_score"], result["total_steps"], result["total_trajectories"]) == (1.0, 28, 3)


def test_a_policy_is_asked_once_for_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = [{"step_num": n, "image": "a.png", "ground_truth_actions": [CLICK if n % 2 else act("wait")]} for n in range(6)]
    trajectory(tmp_path, steps=steps)
    settings = config(tmp_path, policy="test_benchmark_stage:Clicker", dialect="qwen_vl", concurrency=1)
    monkeypatch.setattr(Clicker, "asked", 0)
    monkeypatch.setattr(Clicker, "fails_at", 4)
    with pytest.raises(OSError, match="no more"):
        stage.main(settings, show=False)
    monkeypatch.setattr(Clicker, "fails_at", 10**9)
    with (tmp_path / "run/replies.jsonl").open("a") as file:
        file.write('{"id": "t-')  # cut off by a kill
    result = stage.main(settings, show=False)
    assert Clicker.asked == 7, "three answered, one failed, three asked anew"
    assert (result["average_score"], result["missing"], result["parse_errors"]) == (0.5, 0, 0)
    assert [json.loads(line)["id"] for line in (tmp_path / "run/replies.jsonl").read_text().splitlines()[4:]] == [
        "t-3",
        "t-4",
        "t-5",
    ]
    assert stage.main(replace(settings, limit=1), show=False)["total_steps"] == 1
    assert Clicker.asked == 7


class Thinker:
    """Thinks until it is cut off, in the words of Anthropic's tool."""

    name = "thinker"
    version = 0
    asked = 0

    def __init__(self, agent: Agent) -> None:
        pass

    async def generate(self, messages: tuple[Message, ...], sampling: Sampling) -> tuple[Prompt, Completion]:
        type(self).asked += 1
        return Prompt(messages), Completion('[{"type": "text", "text": "First I look"}]', finish="length")


def test_a_reply_that_was_cut_off_is_no_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    end = {"step_num": 0, "image": "a.png", "ground_truth_actions": [act("terminate", status="success")]}
    trajectory(tmp_path, steps=[end])
    monkeypatch.setattr(Thinker, "asked", 0)
    settings = config(tmp_path, policy="test_benchmark_stage:Thinker", dialect="anthropic")
    for _ in range(2):  # the second time it comes from the file
        result = stage.main(settings, show=False)
        assert (result["average_score"], result["parse_errors"], result["missing"]) == (0.0, 1, 0)
    assert Thinker.asked == 1
    assert json.loads((tmp_path / "run/replies.jsonl").read_text())["finish"] == "length"


def test_options_of_the_dialect(tmp_path: Path) -> None:
    trajectory(tmp_path)
    command = ["bench", "agentnet", str(tmp_path), "--agent", "kimi", "--output", str(tmp_path / "run")]
    run = CliRunner().invoke(cli.app, [*command, "--set", "agent.thinking=false", "--set", "history=2", "--json"])
    assert run.exit_code == 0, run.output
    assert json.loads(run.output)["average_score"] == 1.0
    recorded = json.loads((tmp_path / "run/config.json").read_text())
    assert (recorded["dialect"], recorded["agent"]) == ("kimi", {"thinking": False, "screenshots": 2, "password": ""})
    refused = CliRunner().invoke(cli.app, [*command, "--set", "agent.thinkin=false"]).exception
    assert isinstance(refused, ConfigError)
    assert "the agent 'kimi' has no option 'thinkin'; did you mean 'thinking'" in str(refused)


def test_screenspot_and_the_command(tmp_path: Path) -> None:
    one = {"img_filename": "a.png", "instruction": "ok", "data_type": "text", "data_source": "shop"}
    targets(tmp_path, [{**one, "bbox": [90, 40, 30, 30]}, {**one, "bbox": [0, 0, 5, 5], "data_type": "icon"}])
    run = CliRunner().invoke(
        cli.app,
        [
            *("bench", "screenspot", str(tmp_path), "--policy", "test_benchmark_stage:Clicker", "--agent", "qwen_vl"),
            *("--output", str(tmp_path / "run"), "--json"),
        ],
    )
    assert run.exit_code == 0, run.output
    result = json.loads(run.output)
    assert (result["accuracy"], result["n"], result["tables"]["ui_type"]["icon"]["accuracy"]) == (0.5, 2, 0.0)
    shown = CliRunner().invoke(cli.app, ["bench", "screenspot", str(tmp_path), "--output", str(tmp_path / "gold")])
    assert "accuracy 1.000" in shown.output, shown.output


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"benchmark": "agentnett"}, "agentnett"),
        ({"concurrency": 0}, "concurrency"),
        ({"limit": 0}, "limit"),
        ({"folder": Path("/nowhere")}, "no directory"),
        ({"policy": "idle"}, "baseline"),
    ],
)
def test_what_cannot_be_is_said(tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    trajectory(tmp_path)
    with pytest.raises(ConfigError, match=said):
        stage.main(stage.BenchmarkConfig(**{"folder": tmp_path, "output": tmp_path / "run", **settings}), show=False)
