"""What thoughts before actions are worth: the same demonstrations and updates with and without, where an action needs a deduction.

The environment is `sums.py`. Both agents learn the same steps in the same order; one writes the oracle's thoughts before its
actions. Run by `make test-learning`.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from sums import SumsEnvironment

from stepladder.data.regions import RegionStore
from stepladder.images import ImageStore
from stepladder.models.small import SmallModel
from stepladder.rollout.demonstrate import run_demonstration
from stepladder.rollout.group import group_jobs, run_many
from stepladder.rollout.pool import EnvironmentPool, PoolSettings
from stepladder.seeds import heldout_seeds, train_seeds
from stepladder.stages import reason
from stepladder.stages.agent_options import AgentOptions
from stepladder.stages.local_policy import open_checkpoint
from stepladder.stages.reason_config import ReasonConfig
from stepladder.stages.sft import PhaseConfig, SftConfig
from stepladder.stages.sft import main as train
from stepladder.stats import Rate, success_rate
from stepladder.store import TrajectoryStore
from stepladder.thoughts.plan import PlanSettings
from stepladder.types import Limits, Sampling

EPISODES, HELD_OUT, UPDATES = 600, 200, 400
SIZES = SmallModel(hidden=64, layers=2, heads=4, key_value_heads=2, vision_hidden=32, vision_layers=1, vision_heads=2, context=512)
#: What comes in the next room cannot be known in this one.
PLAN = PlanSettings(later=0)
NONE = PhaseConfig(steps=0, batch=2, lr=1e-3)
THINKING = AgentOptions(thought="full")
ACTING = AgentOptions()


def collected(directory: Path) -> Path:
    """Demonstrations on training seeds."""
    (task,) = SumsEnvironment.tasks()

    async def play() -> None:
        with TrajectoryStore(directory / "trajectories.jsonl", "a") as store:
            for seed in train_seeds(EPISODES):
                store.append((await run_demonstration(SumsEnvironment(), task, seed, limits=Limits()))[0])

    asyncio.run(play())
    ImageStore(directory / "images")
    RegionStore(directory / "regions.jsonl")
    return directory


def trained(demonstrations: Path, output: Path, agent: AgentOptions) -> Path:
    phase = PhaseConfig(steps=UPDATES, batch=64, lr=3e-3, decay=0.3, score_every=UPDATES)
    config = SftConfig(
        demonstrations=demonstrations,
        output=output,
        ranks=1,
        bf16=False,
        agent=agent,
        model=SIZES,
        copying=NONE,
        perception=NONE,
        cloning_frozen=phase,
        cloning=NONE,
    )
    return train(config, show=False)


def success(checkpoint: Path, agent: AgentOptions) -> list[float]:
    """Rewards on held-out seeds, greedy."""
    images, sampling = ImageStore(), Sampling(temperature=0.0, max_tokens=160)
    jobs = group_jobs([(task, seed) for task in SumsEnvironment.tasks() for seed in heldout_seeds(HELD_OUT)], 1)

    async def play() -> list[float]:
        pool = EnvironmentPool.of("sums:SumsEnvironment", images, 32, None, PoolSettings(memory=0, load=0))
        with open_checkpoint(checkpoint, images, "student", agent.build()) as (policy, built):
            async with pool:
                found = await run_many(jobs, pool, built, policy, sampling=sampling, limits=Limits())
        return [one.reward or 0.0 for one in found]

    return asyncio.run(play())


def rate(rewards: list[float]) -> Rate:
    return success_rate(round(sum(rewards)), len(rewards))


@pytest.mark.learning
def test_thoughts_help_where_an_action_needs_a_deduction(tmp_path: Path) -> None:
    demonstrations = collected(tmp_path / "collect")
    found = reason.main(ReasonConfig(demonstrations=demonstrations, output=tmp_path / "reason", plan=PLAN), show=False)
    assert (found.episodes, found.thoughts) == (EPISODES, 2 * EPISODES)
    rewards = {}
    for name, agent in (("without", ACTING), ("with", THINKING)):
        started = time.process_time(), time.monotonic()
        checkpoint = trained(tmp_path / "reason", tmp_path / name, agent)
        rewards[name] = success(checkpoint, agent)
        spent = time.process_time() - started[0], time.monotonic() - started[1]
        print(f"{name} thoughts: {rate(rewards[name])}, {spent[0]:.0f} processor seconds, {spent[1]:.0f} s")
    assert rate(rewards["with"]).low > rate(rewards["without"]).high + 0.3
