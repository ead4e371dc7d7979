"""The report of a training: from the files of its run alone, whole for every kind, and never a reason for a training to fail."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_up import TASKS, episode
from test_report import Balanced
from test_rl import SIDES, checkpoint
from test_rl import clicks as clicks  # a fixture: any reply is a click
from typer.testing import CliRunner

from stepladder import cli
from stepladder.alarms import FILE, Alarm
from stepladder.config import to_dict
from stepladder.errors import UserError
from stepladder.images import ImageStore
from stepladder.run import Run
from stepladder.stages import training_report
from stepladder.stages.flywheel import FlywheelConfig
from stepladder.stages.rl import main as train
from stepladder.stages.rl_config import RlConfig
from stepladder.stages.sft import SftConfig
from stepladder.stats import wilson_interval
from stepladder.store import TrajectoryStore
from stepladder.viewer.run_view import RunView


def alarm(directory: Path, step: int, *episodes: tuple[str, str]) -> None:
    raised = Alarm(0.0, step, "rl", "length_drift", "an episode has <b>9</b> | steps", episodes)
    (directory / FILE).write_text(json.dumps(raised.to_json()) + "\n")


def rollouts(directory: Path, group: str) -> list[str]:
    images = ImageStore(directory / "images")
    with TrajectoryStore(directory / "rollouts-0.jsonl", "a") as store:
        made = [
            replace(episode(images, TASKS[number], seed, bool(seed % 2)), group=f"{group}/{number}")
            for number in (0, 1)
            for seed in (1, 2)
        ]
        made.append(replace(episode(images, TASKS[2], 3, None), group=f"{group}/2"))
        for one in made:
            store.append(one)
    return [one.id for one in made]


def rl_run(directory: Path) -> list[str]:
    """The files of a run of three updates."""
    config = replace(RlConfig(), checkpoint=Path("start"), groups=7)
    settings = {**to_dict(config), "algorithm": "grpo", "task_set": "3f2a9c01d4e7"}
    with Run(directory, settings, seeds={"rl": 5}, defaults=RlConfig()) as run, run.phase("rl, 9 updates"):
        run.log(0, "rl", validation=0.25, validation_episodes=40.0, seconds=0.0)
        for step in (1, 2, 3):
            figures = {"pg": 0.1 / step, "entropy": 2.0 - 0.1 * step, "kl": 0.01 * step, "grad_norm": 1.0, "reward": 0.2 * step}
            figures |= {
                "play_seconds": 3.0,
                "learn_seconds": 1.0,
                "kept": 4,
                "flat": 2,
                "equal": 1,
                "episodes": 48,
                "term/format": 0.5,
            }
            run.log(step, "rl", **figures, seconds=4.0 * step)
        run.log(3, "rl", validation=0.5, validation_episodes=40.0, ce=float("nan"))
    ids = rollouts(directory, "2.0")
    alarm(directory, 3, ("rollouts-0", ids[3]))
    return ids


def written(directory: Path) -> tuple[dict[str, Any], str, str]:
    """report.json, and both texts, which are well formed and need nothing from outside."""
    assert training_report.write(directory) == directory / "report.html"
    page, text = (directory / "report.html").read_text(), (directory / "report.md").read_text()
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    assert parser.addresses == []
    return json.loads((directory / "report.json").read_text()), page, text


def test_a_run_of_reinforcement_learning(tmp_path: Path) -> None:
    ids = rl_run(tmp_path)
    data, page, text = written(tmp_path)
    assert data["rungs"] == []
    low, high = wilson_interval(20, 40)
    assert [(one["at"], one["rate"], one["n"]) for one in data["validation"]] == [("update 0", 0.25, 40), ("update 3", 0.5, 40)]
    assert (data["validation"][1]["low"], data["validation"][1]["high"]) == pytest.approx((low, high))
    charts = {curve["title"]: curve["series"] for curve in data["curves"]}
    assert charts["Success"]["validation seeds, greedy"] == [[0, 0.25], [3, 0.5]]
    assert charts["Losses: policy gradient"] == {"policy gradient": [[1, 0.1], [2, 0.05], [3, pytest.approx(0.1 / 3)]]}, (
        "what is no number is not drawn"
    )
    assert charts["Entropy of a token, nats"] == {"entropy": [[1, 1.9], [2, 1.8], [3, 1.7]]}
    assert {
        "KL divergence from the reference",
        "Gradient norm",
        "Seconds of an update",
        "Terms of the reward: format",
    } <= charts.keys()
    assert data["settings"] == {
        "checkpoint": {"value": "start", "default": str(RlConfig().checkpoint)},
        "groups": {"value": "7", "default": str(RlConfig().groups)},
    }
    assert data["alarms"][0]["trajectories"] == [{"store": "rollouts-0", "id": ids[3]}]
    assert {"machine", "versions", "commit", "started"} <= data["about"].keys()
    assert (data["about"]["seeds"], data["about"]["task set"]) == ("rl 5", "3f2a9c01d4e7")
    for told in (page, text):
        assert "3 updates, 144 episodes" in told
        assert "Validation: 25.0 % at first, 50.0 % at last." in told
        assert f"rollouts-0: {ids[3]}" in told
        assert "Named by the alarm of update 3" in told
        assert "Intervals are Wilson" not in told, "there are no results to explain"
    assert "<b>9</b>" not in page
    assert "9&lt;/b&gt; \\| steps |" in text
    assert page.count('<article class="strip">') == 4, "the one that the alarm names, and the others with a grade"


def test_supervised_training(tmp_path: Path) -> None:
    with Run(tmp_path, replace(SftConfig(), demonstrations=Path("shown")), seeds={"training": 0}, defaults=SftConfig()) as run:
        for name, score, values in (("copying", "copied", (0.2, 0.9)), ("cloning", "exact", (0.4, 0.8))):
            with run.phase(name):
                for step, value in zip((10, 20), values, strict=True):
                    run.log(step, name, ce=1 - value, grad_norm=0.5, rate=1.0, **{score: value}, seconds=2.0 * step)
    data, _, text = written(tmp_path)
    assert [(one["name"], one["at"], one["rate"], one["n"]) for one in data["validation"]] == [
        ("copying: copied", "update 20", 0.9, None),
        ("cloning: exact", "update 20", 0.8, None),
    ]
    charts = {curve["title"]: curve["series"] for curve in data["curves"]}
    assert charts["Cloning: losses: cross-entropy of replies"] == {
        "cross-entropy of replies": [[10, 0.6], [20, pytest.approx(0.2)]]
    }
    assert charts["Cloning: held-out scores: exact"] == {"exact": [[10, 0.4], [20, 0.8]]}
    assert charts["Gradient norm"].keys() == {"copying", "cloning"}
    assert charts["Seconds of an update"]["cloning"] == [[10, 2.0], [20, 2.0]]
    assert data["settings"] == {"demonstrations": {"value": "shown", "default": "runs/collect"}}
    assert "not over" not in text


def test_the_flywheel(tmp_path: Path) -> None:
    with Run(tmp_path, FlywheelConfig(), seeds={"flywheel": 0}, defaults=FlywheelConfig()) as run:
        for turn, success in enumerate((0.3, 0.6)):
            run.log(turn, "flywheel", success=success, low=success - 0.1, high=success + 0.1, n=50, seconds=1.0)
        run.log(0, "rollouts", reward=0.5, steps=3.0, entropy=1.0)
        with run.phase("turn 0: train") as phase:
            phase.result["kept"] = 12
    rollouts(tmp_path / "turn-0", "turn-0")
    with Run(tmp_path / "turn-0" / "sft", SftConfig()) as training:
        training.log(80, "cloning", ce=0.4, exact=0.7, grad_norm=0.5, seconds=40.0)
    data, page, text = written(tmp_path)
    assert [(one["at"], one["rate"], one["low"], one["n"]) for one in data["validation"]] == [
        ("turn 0", 0.3, pytest.approx(0.2), 50),
        ("turn 1", 0.6, 0.5, 50),
    ]
    charts = {curve["title"]: curve["series"] for curve in data["curves"]}
    assert charts["Successes kept"] == {"kept": [[0, 12]]}
    assert charts["Training: exact, held-out demonstrations"] == {"turn 0": [[80, 0.7]]}
    assert "1 turn, 12 of the agent's own successes kept" in text
    assert page.count('<article class="strip">') == 4
    assert data["settings"] == {}


def test_the_viewer_finds_it_and_the_reports_of_parts(tmp_path: Path) -> None:
    rl_run(tmp_path / "demo" / "rl")
    written(tmp_path / "demo" / "rl")
    view = RunView("demo", tmp_path / "demo")
    view.refresh()
    assert view.reports() == {"rl": tmp_path / "demo" / "rl" / "report.html"}


def test_a_run_writes_its_report_and_the_command_writes_it_again(tmp_path: Path) -> None:
    start = checkpoint(tmp_path / "start")
    config = replace(SIDES, checkpoint=start, output=tmp_path / "run", groups=1, group_size=2, rounds=1, environments=1)
    train(config, show=False)
    data = json.loads((tmp_path / "run" / "report.json").read_text())
    assert [one["at"] for one in data["validation"]] == ["update 0", "update 1"]
    assert all(one["n"] > 0 and one["low"] <= one["rate"] <= one["high"] for one in data["validation"])
    assert data["settings"]["group_size"]["value"] == "2"
    assert {"Success", "Seconds of an update"} <= {curve["title"] for curve in data["curves"]}
    (tmp_path / "run" / "report.html").unlink()
    answer = CliRunner().invoke(cli.app, ["report", str(tmp_path / "run")], catch_exceptions=False)
    assert answer.exit_code == 0, answer.output
    assert (tmp_path / "run" / "report.html").is_file()


def test_a_report_that_fails_is_told_and_nothing_more(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rl_run(tmp_path)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write("no measurement\n")
    training_report.finish(tmp_path)
    assert "no report: RunError" in capsys.readouterr().err
    assert not (tmp_path / "report.html").exists()


def test_what_is_no_training_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"it has no config\.json"):
        training_report.write(tmp_path)
    (tmp_path / "config.json").write_text('{"policy": "random"}')
    with pytest.raises(UserError, match="holds no training"):
        training_report.write(tmp_path)
    assert not (tmp_path / "report.html").exists()
