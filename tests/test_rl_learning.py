"""Every algorithm turns a careless policy, which clicks on any button, into one that clicks on the right one.

Four starts are played again and again, so that minutes suffice: it may learn them by heart. Chance alone gives about a quarter.
Success is that of the sampled episodes; the first update's were played before any weight had changed. Run by `make test-learning`.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import pytest
from careless import KINDS, SEEDS, imitate

from stepladder.algos import ALGORITHMS, algorithm_class
from stepladder.rollout.curricula import CurriculumSettings
from stepladder.run import read_metrics
from stepladder.stages.rl import main
from stepladder.stages.rl_config import RlConfig
from stepladder.train.optimizer import OptimizerConfig

#: Checked after so many updates; more only for those that are not there yet.
UPDATES = (35, 45, 60, 80)
LAST = 3
#: So small a model cannot read feedback: what self-distillation alone can teach is tried in `test_credit_learning.py`.
OWN: dict[str, dict[str, Any]] = {"sdpo": {"policy_gradient": 1.0, "distillation": 0.1}}


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return imitate(tmp_path_factory.mktemp("careless"), careless=True)


@pytest.fixture(scope="module")
def teacher(start: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return imitate(tmp_path_factory.mktemp("teacher"), careless=False, checkpoint=start, updates=80)


@pytest.mark.learning
@pytest.mark.parametrize("name", ALGORITHMS)
def test_it_learns_to_choose(name: str, start: Path, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    success: list[float] = []
    for updates in UPDATES:
        settings = RlConfig(
            checkpoint=start,
            tasks="forms:" + ",".join(KINDS),
            output=tmp_path / "rl",
            algo=algorithm_class(name)(**OWN.get(name, {})),
            teacher=request.getfixturevalue("teacher") if name == "opd" else None,
            ranks=1,
            bf16=False,
            updates=updates,
            groups=len(KINDS) * len(SEEDS),
            group_size=16,
            rounds=1,
            expand=False,
            curriculum=CurriculumSettings(strength=0.0),
            first=SEEDS.start,
            seeds=len(SEEDS),
            max_tokens=40,
            environments=64,
            options={"height": 224},
            optimizer=OptimizerConfig(lr=1e-3, adam_lr=5e-4),
            warmup=3,
            validation=0,
            save_every=1000,
        )
        main(settings, show=False)
        success = [record["reward"] for record in read_metrics(tmp_path / "rl", "rl")]
        if statistics.mean(success[-LAST:]) > 0.9:
            break
    assert 0.1 < success[0] < 0.4, success
    assert statistics.mean(success[-LAST:]) > 0.9, success
