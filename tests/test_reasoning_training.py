"""Training on questions: supervised on text alone and beside screens, then reinforcement learning with verified answers."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stepladder.algos.dapo import Dapo
from stepladder.config import ConfigError
from stepladder.data.regions import RegionStore
from stepladder.images import ImageStore
from stepladder.models.small import SmallModel
from stepladder.rollout.curricula import CurriculumSettings
from stepladder.rollout.group import policy_player
from stepladder.run import read_metrics
from stepladder.seeds import heldout_seeds
from stepladder.stages.agent_options import AgentOptions
from stepladder.stages.collect import CollectConfig
from stepladder.stages.collect import main as collect
from stepladder.stages.evaluate import EvaluateConfig, evaluate
from stepladder.stages.evaluate import main as run_evaluation
from stepladder.stages.local_policy import open_checkpoint
from stepladder.stages.rl import main as rl
from stepladder.stages.rl_config import RlConfig
from stepladder.stages.sft import PhaseConfig, SftConfig
from stepladder.stages.sft import main as sft
from stepladder.stages.sft_setup import build_learner, build_mixture
from stepladder.store import TrajectoryStore
from stepladder.tasks import load_tasks
from stepladder.train.mixtures import Share
from stepladder.train.optimizer import OptimizerConfig
from stepladder.types import Limits, Sampling

OFF = PhaseConfig(steps=0, batch=1, lr=1e-3)
TINY = SmallModel(hidden=48, layers=1, heads=2, key_value_heads=1, vision_hidden=32, vision_layers=1, vision_heads=2)
BOTH = "reasoning:add-1-digit,read-order"


def demonstrations(folder: Path, tasks: str, episodes: int) -> Path:
    config = CollectConfig(tasks=tasks, output=folder / "collect", episodes=episodes, workers=1)
    assert not collect(config, show=False).rejected
    return folder / "collect"


def lesson(directory: Path, output: Path, cloning: PhaseConfig, **changes: Any) -> SftConfig:
    config = SftConfig(
        demonstrations=directory,
        output=output,
        ranks=1,
        bf16=False,
        screens=8,
        ignore_above=0.0,
        questions=2,
        model=TINY,
        agent=AgentOptions(thought="full"),
        copying=OFF,
        perception=OFF,
        cloning_frozen=OFF,
        cloning=cloning,
    )
    return replace(config, **changes)


SHORT = PhaseConfig(steps=3, batch=8, lr=1e-3, score_every=3, word=0.3, centre=1.0)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return demonstrations(tmp_path_factory.mktemp("both"), BOTH, 60)


@pytest.fixture(scope="module")
def text(both: Path) -> Path:
    """Those of the demonstrations that have no screen."""
    directory = both.parent / "text"
    with TrajectoryStore(both / "trajectories.jsonl") as store, TrajectoryStore(directory / "trajectories.jsonl", "a") as kept:
        for one in store:
            if one.steps[0].observation.screenshot is None:
                kept.append(one)
    return directory


@pytest.fixture(scope="module")
def text_start(text: Path) -> Path:
    """A checkpoint that has seen a few questions without a screen."""
    return sft(lesson(text, text.parent / "sft", SHORT), show=False)


def test_demonstrations_without_a_screen_can_be_learned(text_start: Path) -> None:
    records = read_metrics(text_start.parent, "cloning")
    assert records[-1]["step"] == 3
    assert records[-1]["ce"] > 0
    assert AgentOptions.of_checkpoint(text_start).thought == "full"


def test_demonstrations_with_and_without_screens_and_with_unknown_ones(both: Path, tmp_path: Path) -> None:
    """A screen without regions is a picture like any other; only nothing is asked about it and nothing seen is learned from it."""
    directory = Path(shutil.copytree(both, tmp_path / "collect"))
    config = lesson(directory, tmp_path / "sft", SHORT)
    learner = build_learner(config, Share())
    batch = build_mixture("cloning", SHORT, learner, config).micro_batches(0)[0]
    assert batch.visual is not None
    assert int((batch.visual.label > 0).sum()) > 0
    (directory / "regions.jsonl").unlink()
    learner = build_learner(config, Share())
    unknown = build_mixture("cloning", SHORT, learner, config).micro_batches(0)[0]
    assert unknown.visual is not None
    assert set(unknown.visual.label.tolist()) == {-100}
    assert unknown.batch.images == batch.batch.images
    assert sft(config, show=False).is_dir()


def test_perception_without_known_screens_is_refused(text: Path, tmp_path: Path) -> None:
    config = lesson(text, tmp_path / "sft", OFF, perception=replace(SHORT, word=1.0))
    with pytest.raises(ConfigError, match=r"do without by perception\.steps=0"):
        build_mixture("perception", config.perception, build_learner(config, Share()), config)


def test_one_unknown_screen_spoils_no_perception(both: Path, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(both, tmp_path / "collect"))
    lines = (directory / "regions.jsonl").read_text().splitlines(keepends=True)
    (directory / "regions.jsonl").write_text("".join(lines[: len(lines) // 2]))
    config = lesson(directory, tmp_path / "sft", OFF, perception=replace(SHORT, word=1.0))
    learner = build_learner(config, Share())
    mixture = build_mixture("perception", config.perception, learner, config)
    known = RegionStore(directory / "regions.jsonl")
    shown = [image for number in range(5) for piece in mixture.micro_batches(number) for image in piece.batch.images]
    assert shown
    assert all(image in known for image in shown)


def training(start: Path, output: Path, tasks: str, **changes: Any) -> RlConfig:
    config = RlConfig(
        checkpoint=start,
        tasks=tasks,
        output=output,
        algo=Dapo(reward="verifiable"),
        rewards={"verifiable": 1.0},
        ranks=1,
        bf16=False,
        updates=2,
        groups=4,
        group_size=4,
        rounds=1,
        seeds=200,
        max_tokens=40,
        environments=16,
        validation=2,
        evaluate_every=2,
        save_every=1,
    )
    return replace(config, **changes)


def test_verified_answers_are_learned_from_by_domain_and_tier(text_start: Path, tmp_path: Path) -> None:
    """RLCS's tiers by an evaluation of the start, clip-higher, no KL, and figures of each domain; nothing of it needs a screen."""
    tasks = "reasoning:add-1-digit,expression"
    run_evaluation(
        EvaluateConfig(
            tasks=tasks,
            policy=str(text_start),
            baselines=(),
            episodes=2,
            output=tmp_path / "eval",
            environments=4,
            max_tokens=40,
            temperature=1.0,
        ),
        show=False,
    )
    curriculum = CurriculumSettings(name="tiers", offline=tmp_path / "eval" / "checkpoint.jsonl", balanced=True)
    config = training(text_start, tmp_path / "rl", tasks, curriculum=curriculum)
    assert (config.algo.kl, config.algo.clip_high > config.algo.clip_low) == (0.0, True)
    assert rl(config, show=False).is_dir()
    records = [record for record in read_metrics(tmp_path / "rl", "rl") if record["step"] > 0]
    assert len(records) == 2
    seen = {name for record in records for name in record if name.startswith("domain/")}
    assert {"domain/arithmetic/reward", "domain/programs/reward"} & seen
    assert all(record["term/verifiable"] <= record["reward"] + 0.1 for record in records)
    with TrajectoryStore(tmp_path / "rl" / "rollouts-0.jsonl") as store:
        played = list(store)
    assert {len(one.steps) for one in played} == {1}
    assert all(one.steps[0].observation.screenshot is None for one in played)


# --------------------------------------------------------------------------------------------------------------- learning

#: Sums of two numbers of two digits, in columns; a model that has seen them for too short a time, and what then teaches it.
SUMS = "reasoning:add-2-digits"
SIZES = SmallModel(hidden=128, layers=3, vision_hidden=64, vision_layers=2)
HALF = PhaseConfig(steps=105, batch=48, lr=3e-3, decay=0.3, score_every=105, goal=2.0)
REWARDS: Mapping[str, float] = {"verifiable": 1.0}


def accuracy(checkpoint: Path, output: Path, questions: int = 200) -> float:
    """The share of held-out questions that are answered rightly, greedily."""
    images = ImageStore()
    with open_checkpoint(checkpoint, images, checkpoint.parent.name) as (policy, agent), TrajectoryStore(output, "a") as store:
        play = policy_player(agent, policy, Sampling(0.0, 1.0, 80), Limits())
        result = asyncio.run(
            evaluate(
                load_tasks(SUMS, "heldout"),
                heldout_seeds(questions),
                play,
                store,
                images,
                policy=policy.name,
                environments=64,
                show=False,
            )
        )
    return result.rate or 0.0


@pytest.mark.learning
def test_verified_answers_teach_arithmetic(tmp_path: Path) -> None:
    """At least 20 points more on held-out sums than the start of supervised training, in less than ten minutes of one processor;
    form cannot be what was learned, since it is worth nothing by itself."""
    start = sft(lesson(demonstrations(tmp_path, SUMS, 400), tmp_path / "sft", HALF, model=SIZES, questions=0), show=False)
    before = accuracy(start, tmp_path / "before.jsonl")
    began = time.process_time()
    trained = rl(
        training(
            start,
            tmp_path / "rl",
            SUMS,
            algo=Dapo(reward="verifiable"),
            updates=100,
            groups=16,
            group_size=8,
            seeds=3000,
            max_tokens=60,
            environments=128,
            optimizer=OptimizerConfig(lr=3e-4, adam_lr=2e-4),
            warmup=3,
            decay=0.5,
            temperature=0.7,
            validation=0,
            save_every=1000,
        ),
        show=False,
    )
    seconds = time.process_time() - began
    after = accuracy(trained, tmp_path / "after.jsonl")
    assert 0.1 < before < 0.75, before
    assert after > before + 0.2, (before, after)
    assert seconds < 600, seconds
