"""Which of twelve actions decided? PPO, GiGPO and SDPO need at most half of the environment steps that GRPO needs.

Everybody starts from the same policy and plays the same houses (`rooms.py`), with as many episodes an update. GRPO is as it is
published, with one optimizer step on each batch, learns at the rate of the other, and plays twice as many steps as it has needed.
An algorithm is there when five updates in a row have succeeded in nine episodes of ten on average. Run by `make test-learning`; the
log has GRPO with other settings, too.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from rooms import policy_that_reads, use_rooms

from stepladder.algos.algorithm import Algorithm
from stepladder.algos.gigpo import Gigpo
from stepladder.algos.grpo import Grpo
from stepladder.algos.ppo import Ppo
from stepladder.algos.sdpo import Sdpo
from stepladder.rollout.curricula import CurriculumSettings
from stepladder.run import read_metrics
from stepladder.stages.agent_options import AgentOptions
from stepladder.stages.rl import main
from stepladder.stages.rl_config import RlConfig
from stepladder.train.optimizer import OptimizerConfig

GOAL, WINDOW = 0.9, 5
#: Environment steps of an update: four groups of eight episodes of twelve rooms.
STEPS = 4 * 8 * 12


@dataclass(frozen=True)
class Runner:
    """An algorithm, the updates in which it must be there, and the learning rate of it and of GRPO beside it."""

    algorithm: Algorithm
    updates: int
    rate: float = 3e-3


RUNNERS = {
    "ppo": Runner(Ppo(updates=4, level="step", lam=0.8, critic="separate", critic_warmup=5, kl=0.02), 40),
    # Without the divergence a house stays where its whole group goes through a wrong door: nobody is credited there.
    "gigpo": Runner(Gigpo(updates=4, weight=4.0, std=True, kl=0.05), 32, 5e-3),
    "sdpo": Runner(Sdpo(updates=4, feedback=("dialog",), teacher="trust-region", alpha=1.0), 18),
}


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    build = AgentOptions.build
    use_rooms()
    yield policy_that_reads(tmp_path_factory.mktemp("rooms") / "start")
    AgentOptions.build = build  # type: ignore[method-assign]


def success(start: Path, output: Path, algorithm: Algorithm, updates: int, seed: int, rate: float) -> list[float]:
    """Of the sampled episodes of each update."""
    config = RlConfig(
        checkpoint=start,
        tasks="env:rooms:RoomsEnvironment",
        output=output,
        algo=algorithm,
        seed=seed,
        ranks=1,
        bf16=False,
        updates=updates,
        groups=4,
        group_size=8,
        rounds=1,
        expand=False,
        curriculum=CurriculumSettings(strength=0.0),
        first=0,
        seeds=1,
        max_tokens=2,
        environments=32,
        optimizer=OptimizerConfig(lr=rate, adam_lr=rate),
        warmup=1,
        validation=0,
        save_every=10_000,
    )
    main(config, show=False)
    return [record["reward"] for record in read_metrics(output, "rl")]


def there_after(found: list[float]) -> int | None:
    """The update that ends the first WINDOW updates whose mean success is GOAL; None when there is none."""
    for end in range(WINDOW, len(found) + 1):
        if statistics.mean(found[end - WINDOW : end]) >= GOAL:
            return end
    return None


@pytest.mark.learning
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", RUNNERS)
def test_it_needs_half_of_what_grpo_needs(name: str, seed: int, start: Path, tmp_path: Path) -> None:
    runner = RUNNERS[name]
    found = success(start, tmp_path / name, runner.algorithm, runner.updates, seed, runner.rate)
    needed = there_after(found)
    assert found[0] < 0.3, "it begins with a wrong habit"
    assert needed is not None, found
    print(f"{name}, seed {seed}: {needed * STEPS} environment steps")
    other = success(start, tmp_path / "grpo", Grpo(), 2 * needed - 1, seed, runner.rate)
    assert there_after(other) is None, f"GRPO needs less than twice as many: {other}"
