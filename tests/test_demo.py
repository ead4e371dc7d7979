"""The whole line in small, on forms: what the report says, and that a second start does nothing again."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from test_sft import TINY

from stepladder.config import ConfigError
from stepladder.run import read_phases
from stepladder.stages.demo import DemoConfig, main
from stepladder.stages.flywheel import FlywheelConfig, training
from stepladder.stages.rl_config import RlConfig


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> DemoConfig:
    config = DemoConfig(
        output=tmp_path_factory.mktemp("demo") / "run",
        tasks="forms:login,click-button",
        demonstrations=60,
        visits=6,
        episodes=3,
        baseline_episodes=2,
        untrained_episodes=1,
        last="rl",
        max_tokens=16,
        screens=4,
        sft=replace(TINY, weights={"forms-login": 2.0}),
        flywheel=replace(
            FlywheelConfig(),
            turns=1,
            starts=2,
            attempts=1,
            validation=1,
            environments=4,
            train=replace(training(), cloning=replace(TINY.cloning, steps=2), ranks=1),
        ),
        rl=replace(RlConfig(), updates=2, groups=2, group_size=2, validation=1, evaluate_every=1, environments=4),
    )
    assert main(config, show=False) == config.output / "report.html"
    return config


def test_the_report_holds_rungs_baselines_and_perception(demo: DemoConfig) -> None:
    report = json.loads((demo.output / "report.json").read_text())
    assert report["tasks"] == ["forms-login", "forms-click-button"]
    untrained, cloned, flywheel, rl = report["rungs"]
    assert (untrained["rung"], untrained["n"]) == ("untrained", 2)
    assert [(rung["rung"], rung["n"]) for rung in (cloned, flywheel, rl)] == [("behaviour_cloning", 6), ("flywheel", 6), ("rl", 6)]
    for rung in report["rungs"]:
        assert 0 <= rung["low"] <= rung["success"] <= rung["high"] <= 1
        assert set(rung["per_task"]) == {"forms-login", "forms-click-button"}
    assert all(rung["seconds"] > 0 for rung in (cloned, flywheel, rl))
    assert {name: (row["success"], row["n"]) for name, row in report["baselines"].items() if name != "random"} == {
        "idle": (0.0, 4),
        "give_up": (0.0, 4),
        "oracle": (1.0, 4),
    }
    assert report["baselines"]["random"]["n"] == 4
    assert set(report["perception"]) == {"grounding", "labels", "reading", "state", "letters"}
    assert report["seconds"] >= cloned["seconds"]


def test_a_second_start_does_nothing_again(demo: DemoConfig) -> None:
    before = read_phases(demo.output)
    report = json.loads((demo.output / "report.json").read_text())
    main(demo, show=False)
    assert read_phases(demo.output) == before
    assert json.loads((demo.output / "report.json").read_text())["rungs"] == report["rungs"]


def test_another_set_of_tasks_is_refused_in_an_old_directory(demo: DemoConfig) -> None:
    with pytest.raises(ConfigError, match="tasks was"):
        main(replace(demo, tasks="forms:login"), show=False)
