"""Refinement gives a policy that has lost its entropy the means to learn again, and the learning after it passes its plateau.

Reinforcement learning begins with a careless policy on eight starts. The policy is then trained on the one thing that it would do
at every start, right or wrong, until hardly anything else is left of it: its groups all end alike, and learning stands still. The
successes of the run, over all versions of the policy, know better for the starts that it now always fails.
"""

from __future__ import annotations

import shutil
import statistics
from dataclasses import replace
from pathlib import Path

import careless
import pytest
from careless import KINDS, OFF, imitate

from stepladder.data.regions import RegionStore
from stepladder.run import read_metrics
from stepladder.seeds import train_seeds
from stepladder.stages import rl
from stepladder.stages.measure import Playing, measure
from stepladder.stages.refine import RefineConfig, in_words, training
from stepladder.stages.refine import main as refine
from stepladder.stages.rl_config import RlConfig
from stepladder.stages.sft import PhaseConfig, SftConfig
from stepladder.stages.sft import main as sft
from stepladder.store import TrajectoryStore
from stepladder.tasks import load_tasks
from stepladder.train.optimizer import OptimizerConfig

FIRST, STARTS = 32, 8
TASKS = "forms:" + ",".join(KINDS)
LAST = 5
RL = RlConfig(
    tasks=TASKS,
    ranks=1,
    bf16=False,
    groups=STARTS,
    group_size=8,
    rounds=1,
    expand=False,
    first=FIRST,
    seeds=STARTS,
    max_tokens=40,
    environments=64,
    options={"height": 224},
    warmup=1,
    validation=0,
    save_every=1000,
)
PLAYING = Playing(trials=16, max_tokens=40, ranks=1, environments=64, options=RL.options)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(careless, "SEEDS", range(FIRST, FIRST + STARTS))
        return imitate(tmp_path_factory.mktemp("careless"), careless=True)


def collapse(run: Path) -> None:
    """Train the run's checkpoint on the one thing that it does at every start, and put the result in its place."""
    directory = run.parent / "collapse"
    starts = [(task, seed) for task in load_tasks(TASKS, split="train") for seed in train_seeds(STARTS, FIRST)]
    measure(directory / "data", run / "checkpoint", starts, replace(PLAYING, trials=1))
    regions = RegionStore(directory / "data" / "regions.jsonl")
    with (
        TrajectoryStore(directory / "data" / "greedy-0.jsonl") as played,
        TrajectoryStore(directory / "data" / "trajectories.jsonl", "a") as store,
    ):
        for trajectory in played:
            for number in range(8):  # copies, of which supervised training holds some back
                store.append(replace(trajectory, id=f"{trajectory.id}-{number}", reward=1.0))
            for step in trajectory.steps:
                assert step.observation.screenshot is not None
                regions.append(step.observation.screenshot, ())
    settings = SftConfig(
        demonstrations=directory / "data",
        output=directory / "sft",
        checkpoint=run / "checkpoint",
        ranks=1,
        bf16=False,
        questions=0,
        screens=1,
        ignore_above=0.0,
        copying=OFF,
        perception=OFF,
        cloning_frozen=PhaseConfig(steps=250, batch=16, lr=1e-3, goal=2.0, score_every=250, warmup=5),
        cloning=OFF,
    )
    trained = sft(settings, show=False)
    shutil.rmtree(run / "checkpoint")
    shutil.copytree(trained, run / "checkpoint")
    (run / "checkpoint" / "perception_head.pt").unlink()


@pytest.mark.learning
@pytest.mark.parametrize("seed", range(3))
def test_refinement_restores_entropy_and_the_next_phase_passes_the_plateau(seed: int, start: Path, tmp_path: Path) -> None:
    first = replace(RL, checkpoint=start, output=tmp_path / "rl", seed=seed, updates=12)
    rl.main(replace(first, optimizer=OptimizerConfig(lr=1e-3, adam_lr=5e-4)), show=False)
    collapse(tmp_path / "rl")
    refined = refine(
        RefineConfig(
            run=tmp_path / "rl",
            output=tmp_path / "refine",
            seed=seed,
            anyway=True,
            measured_on="training",
            seeds=STARTS,
            trials=PLAYING.trials,
            ranks=1,
            environments=PLAYING.environments,
            train=replace(training(), bf16=False),
        ),
        show=False,
    )
    before, after = refined.before, refined.after
    print(f"\nseed {seed}: before {in_words(before)}; after {in_words(after)}")
    assert before.sampled.rate is not None
    assert before.sampled.rate < 0.9
    assert before.entropy < 0.02
    assert after.entropy > 2 * before.entropy
    assert after.sampled.rate is not None
    assert after.sampled.high >= before.sampled.rate, "as good as before, within the interval"
    assert after.sampled.rate > before.sampled.rate - 0.05
    success = {}
    for name, checkpoint in (("alone", tmp_path / "rl" / "checkpoint"), ("refined", refined.checkpoint)):
        second = replace(RL, checkpoint=checkpoint, output=tmp_path / name, seed=100 + seed, updates=30)
        rl.main(replace(second, optimizer=OptimizerConfig(lr=5e-4, adam_lr=25e-5)), show=False)
        success[name] = [record["reward"] for record in read_metrics(tmp_path / name, "rl") if record["step"] > 0]
        print(f"  {name}: {' '.join(f'{rate:.2f}' for rate in success[name])}")
    alone, passed = (statistics.mean(success[name][-LAST:]) for name in ("alone", "refined"))
    assert alone < before.sampled.rate + 0.05, success
    assert passed > max(before.sampled.rate, alone) + 0.1, success
