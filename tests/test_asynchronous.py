"""Asynchronous reinforcement learning: what is begun, what is taken, and that nothing is lost or learned twice."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_rl import FORMS, checkpoint, click_anywhere

from stepladder.agents.qwen_vl import QwenVLAgent
from stepladder.run import read_metrics
from stepladder.stages.agent_options import AgentOptions
from stepladder.stages.rl import main
from stepladder.store import TrajectoryStore

ASYNCHRONOUS = replace(FORMS, asynchronous=replace(FORMS.asynchronous, on=True), environments=4, replay=0)


@pytest.fixture(autouse=True, scope="module")
def clicks() -> Any:
    build = AgentOptions.build
    click_anywhere()
    yield
    AgentOptions.build = build  # type: ignore[method-assign]


def test_a_run_learns_while_it_plays(tmp_path: Path) -> None:
    config = replace(ASYNCHRONOUS, checkpoint=checkpoint(tmp_path / "start"), output=tmp_path / "run")
    main(config, show=False)
    with TrajectoryStore(config.output / "rollouts-0.jsonl") as store:
        groups = Counter(one.group for one in store.summaries())
    begun = [json.loads(line) for line in (config.output / "groups.jsonl").read_text().splitlines()]
    assert set(groups) <= {one["group"] for one in begun}
    told = read_metrics(config.output, "rollouts")
    assert [one["step"] for one in told] == [1, 2, 3, 4]
    assert all(one["staleness_max"] <= config.asynchronous.staleness for one in told)
    print(told)


def test_ray(tmp_path: Path) -> None:
    config = replace(ASYNCHRONOUS, checkpoint=checkpoint(tmp_path / "start"), output=tmp_path / "run")
    config = replace(config, ray=replace(config.ray, address="local"))
    main(config, show=False)
    told = read_metrics(config.output, "rollouts")
    print(told)
