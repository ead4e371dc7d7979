"""Reinforcement learning with weights that are divided among ranks: what it learns, what it saves, what is played with."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from test_asynchronous import ASYNCHRONOUS, check_run, clicks  # noqa: F401  # the fixture clicks anywhere here, too
from test_rl import FORMS, checkpoint
from torch import Tensor

from stepladder.algos.ppo import Ppo
from stepladder.algos.sdpo import Sdpo
from stepladder.config import ConfigError
from stepladder.images import ImageStore
from stepladder.models.lora import LoraSettings
from stepladder.run import read_metrics
from stepladder.stages.agent_options import AgentOptions
from stepladder.stages.rl import main
from stepladder.stages.rl_config import RlConfig
from stepladder.stages.rl_learner import Learner
from stepladder.stages.rl_states import RlStates
from stepladder.store import TrajectoryStore
from stepladder.train.parallel import run_ranks
from stepladder.train.shard import is_sharded
from stepladder.types import Group

UPDATES = 3


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> RlConfig:
    """A short run whose episodes are there to be learned from."""
    directory = tmp_path_factory.mktemp("divided")
    config = replace(FORMS, checkpoint=checkpoint(directory / "start"), output=directory / "run", updates=1, validation=0, replay=0)
    main(config, show=False)
    return config


def groups(config: RlConfig) -> list[Group]:
    """Those of the run, with rewards that tell the members apart."""
    found: dict[str, Group] = defaultdict(list)
    with TrajectoryStore(config.output / "rollouts-0.jsonl") as store:
        for one in store:
            found[one.group].append(replace(one, reward=float(len(found[one.group]) % 2)))
    return list(found.values())


def _learn(rank: int, world: int, config: RlConfig, directory: Path) -> None:
    images = ImageStore(config.output / "images")
    divided = replace(config, shard=world > 1, ranks=world, asynchronous=replace(config.asynchronous, on=True))
    learner = Learner(divided, AgentOptions().build(), images)
    assert any(map(is_sharded, learner.model.parameters())) == (world > 1)
    given = groups(config)
    mine = given if world == 1 else given[:-1] if rank == 0 else given[-1:]  # unequal shares
    states = RlStates(rank, learner, directory / str(world))
    states.save({"update": 0})  # which changes nothing, not even the optimizer's count of steps
    figures = [learner.learn(mine) for _ in range(UPDATES)]
    states.save({"update": UPDATES})
    weights = {name: value.clone() for name, value in states.learned().items()}
    figures.append(learner.learn(mine))
    after = {name: value.clone() for name, value in states.learned().items()}
    assert states.load() == {"update": UPDATES}
    assert learner.trainer.step_count == UPDATES * config.algo.updates
    again = states.learned()
    if rank == 0:
        assert all(torch.equal(again[name], weights[name]) for name in weights), "the saved state is not what was saved"
    figures.append(learner.learn(mine))
    repeated = states.learned()
    if rank == 0:
        assert all(torch.equal(repeated[name], after[name]) for name in after), "what follows is not what followed"
        torch.save({"figures": figures, "weights": weights}, directory / f"{world}.pt")


@pytest.mark.parametrize("lora", [0, pytest.param(2, marks=pytest.mark.learning)])
def test_two_ranks_with_half_of_the_weights_each_learn_what_one_learns(played: RlConfig, lora: int, tmp_path: Path) -> None:
    """Several steps from the same episodes, a reference policy, unequal shares; and a state goes on as if nothing had been."""
    config = replace(played, bf16=False, rewards={}, algo=replace(played.algo, reward="task"), micro_batch=2)
    config = replace(config, lora=LoraSettings(rank=lora))
    for world in (1, 2):
        (tmp_path / str(world)).mkdir()
        run_ranks(_learn, world, config, tmp_path)
    one, two = (torch.load(tmp_path / f"{world}.pt") for world in (1, 2))
    for first, second in zip(one["figures"], two["figures"], strict=True):
        assert first["grad_norm"] > 0
        assert second["grad_norm"] == pytest.approx(first["grad_norm"], rel=1e-3)
        assert second["pg"] == pytest.approx(first["pg"], abs=1e-5)
    assert one["weights"].keys() == two["weights"].keys()
    for name, value in one["weights"].items():
        assert torch.allclose(two["weights"][name], value, atol=1e-5), name


@pytest.mark.parametrize("lora", [0, pytest.param(2, marks=pytest.mark.learning)])
def test_a_run_whose_model_is_divided(lora: int, tmp_path: Path) -> None:
    """It plays with whole weights, goes on from its saved state, and writes a whole checkpoint."""
    config = replace(ASYNCHRONOUS, checkpoint=checkpoint(tmp_path / "start"), output=tmp_path / "run", ranks=2, shard=True)
    config = replace(config, updates=2, lora=LoraSettings(rank=lora), export="last" if lora else "best")
    main(config, show=False)
    check_run(config)
    with TrajectoryStore(config.output / "rollouts-0.jsonl") as store:
        episodes = len(store)
    assert not (config.output / "state.pt").exists()
    assert [path.name for path in sorted((config.output / "state").iterdir())] == ["update-00000000", "update-00000002"]
    first = exported(config)
    main(replace(config, updates=4), show=False)
    check_run(replace(config, updates=4))
    with TrajectoryStore(config.output / "rollouts-0.jsonl") as store:
        assert len(store) > episodes
    trained = [record for record in read_metrics(config.output, "rl") if record["step"] > 0]
    assert [record["step"] for record in trained] == [1, 2, 3, 4]
    start, last = load_file(tmp_path / "start" / "model.safetensors"), exported(config)
    assert start.keys() == first.keys() == last.keys()
    if lora and any(record.get("grad_norm", 0.0) for record in trained):
        assert any(not torch.equal(last[name], start[name]) for name in start)
    assert all(torch.isfinite(value).all() for value in last.values())


def exported(config: RlConfig) -> dict[str, Tensor]:
    return load_file(config.output / "checkpoint" / "model.safetensors")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ranks": 1}, "ranks is 1"),
        ({"asynchronous": FORMS.asynchronous}, "asynchronous.on=true"),
        ({"algo": Ppo()}, "has a critic"),
        ({"algo": Sdpo()}, "copies the model"),
        ({"replay_probability": (0.1, 0.9)}, "replay_probability"),
    ],
)
def test_what_cannot_be_divided(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    config = replace(ASYNCHRONOUS, checkpoint=checkpoint(tmp_path / "start"), output=tmp_path / "run", ranks=2, shard=True)
    config.check()
    with pytest.raises(ConfigError, match=message):
        replace(config, **settings).check()
