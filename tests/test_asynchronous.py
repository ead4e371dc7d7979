"""Asynchronous reinforcement learning end to end, in one process and on a Ray cluster of this machine."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from api_servers import serving
from engine_servers import FakeVllm
from test_rl import FORMS, checkpoint, click_anywhere

from stepladder.agents.qwen_vl import QwenVLAgent
from stepladder.algos.grpo import Grpo
from stepladder.config import ConfigError
from stepladder.errors import UserError
from stepladder.images import ImageStore
from stepladder.models.lora import LoraSettings
from stepladder.policies.http import PolicyFailure
from stepladder.policies.served_settings import ServedEngineSettings
from stepladder.run import read_metrics
from stepladder.stages.agent_options import AgentOptions
from stepladder.stages.rl import main
from stepladder.stages.rl_config import RlConfig
from stepladder.stages.rollout_process import _REPLICA, ReplicaPolicy, turn_of
from stepladder.store import TrajectoryStore
from stepladder.types import Completion, Prompt, Sampling

ASYNCHRONOUS = replace(FORMS, asynchronous=replace(FORMS.asynchronous, on=True), environments=4, replay=0)


@pytest.fixture(autouse=True, scope="module")
def clicks() -> Any:
    build = AgentOptions.build
    click_anywhere()
    yield
    AgentOptions.build = build  # type: ignore[method-assign]


def begun(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "groups.jsonl").read_text().splitlines()]


def check_run(config: RlConfig) -> list[dict[str, Any]]:
    """What every finished run must show; its measurements of the rollouts."""
    with TrajectoryStore(config.output / "rollouts-0.jsonl") as store:
        groups = Counter(one.group for one in store.summaries())
        assert len(store) == sum(groups.values())
    sizes = {one["group"]: one["jobs"] for one in begun(config.output)}
    assert all(groups[group] <= sizes[group] for group in groups)
    told = read_metrics(config.output, "rollouts")
    assert [one["step"] for one in told] == list(range(1, config.updates + 1))
    assert all(one["staleness_max"] <= config.asynchronous.staleness for one in told)
    assert sum(one["kept"] for one in told) <= sum(groups.values())
    assert (config.output / "checkpoint" / "model.safetensors").exists()
    assert not (config.output / "directory.mark").exists()
    return told


def test_a_run_learns_while_it_plays(tmp_path: Path) -> None:
    config = replace(ASYNCHRONOUS, checkpoint=checkpoint(tmp_path / "start"), output=tmp_path / "run")
    main(config, show=False)
    told = check_run(config)
    assert max(one["staleness_max"] for one in told) > 0, "nothing was played while it learned"
    assert all(0 < one["engine_use"] <= 1 for one in told)
    assert all(0 < one["environment_use"] <= 1 for one in told)
    trained = read_metrics(config.output, "rl")
    assert trained[-1]["grad_norm"] > 0
    assert trained[-1]["validation_episodes"] == 4


def test_without_staleness_it_plays_then_learns(tmp_path: Path) -> None:
    asynchronous = replace(ASYNCHRONOUS.asynchronous, staleness=0)
    config = replace(ASYNCHRONOUS, checkpoint=checkpoint(tmp_path / "start"), output=tmp_path / "run", asynchronous=asynchronous)
    main(config, show=False)
    check_run(config)


@pytest.mark.learning
def test_two_ranks_learn_from_the_rollouts_of_the_first(tmp_path: Path) -> None:
    config = replace(ASYNCHRONOUS, checkpoint=checkpoint(tmp_path / "start"), output=tmp_path / "run", ranks=2)
    main(config, show=False)
    check_run(config)
    assert not len(TrajectoryStore(config.output / "rollouts-1.jsonl"))


@pytest.mark.parametrize("shared", [pytest.param(True, marks=pytest.mark.learning), False])
def test_processes_of_a_ray_cluster_play(tmp_path: Path, shared: bool) -> None:
    """With a directory that all see, and with pictures that travel; of adapters these alone travel."""
    config = replace(ASYNCHRONOUS, checkpoint=checkpoint(tmp_path / "start"), output=tmp_path / "run")
    config = replace(config, ray=replace(config.ray, address="local", workers=1, share_files=shared), updates=2, max_steps=1)
    config = config if shared else replace(config, lora=LoraSettings(rank=2))
    main(config, show=False)
    told = check_run(config)
    assert told[-1]["processes_lost"] == 0
    assert told[-1]["engine_tokens"] > 0
    with TrajectoryStore(config.output / "rollouts-0.jsonl") as store:
        versions = {step.completion.version for one in store for step in one.steps if step.completion is not None}
    assert 0 in versions
    assert len(versions) > 1, "new weights never arrived"


def test_replicas_without_gpus_of_this_machine_are_refused(tmp_path: Path) -> None:
    config = replace(ASYNCHRONOUS, checkpoint=checkpoint(tmp_path / "start"), output=tmp_path / "run")
    config = replace(config, ray=replace(config.ray, address="local", replica_gpus=0.5, replicas=5))
    with pytest.raises(UserError, match=r"the replicas need 2.5 GPUs, and the trainer leaves 0 of this machine's"):
        main(config, show=False)


@pytest.mark.faults
def test_a_run_whose_replicas_do_not_start_ends_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are told of a GPU, and there is none."""
    monkeypatch.setattr("stepladder.stages.rl_ray.gpus_left", lambda *_: ["0"])
    config = replace(ASYNCHRONOUS, checkpoint=checkpoint(tmp_path / "start"), output=tmp_path / "run")
    config = replace(config, ray=replace(config.ray, address="local", workers=1, replica_gpus=1.0))
    with pytest.raises(UserError, match=r"replica 0 does not start: .*PyTorch finds no GPU where this replica is"):
        main(config, show=False)


class Away(Exception):
    pass


class Asked:
    """A replica elsewhere that answers, does so from the call number `back` on, or never."""

    def __init__(self, back: int | None = 0) -> None:
        self.back, self.calls = back, 0

    async def call(self, method: str, *arguments: object) -> object:
        self.calls += 1
        if self.back is None or self.calls <= self.back:
            raise Away("it is gone")
        return Prompt(()), Completion("", version=7)


def test_groups_take_turns_among_replicas() -> None:
    asked = [turn_of(f"{number}.0") % 4 for number in range(8)]
    assert asked == [0, 1, 2, 3, 0, 1, 2, 3]
    assert turn_of("validation click-button 7") == turn_of("validation click-button 7")


@pytest.mark.parametrize(("replicas", "last"), [([Asked(None), Asked()], 1), ([Asked(1), Asked(1)], 0)])
def test_an_episode_asks_the_next_replica_when_its_own_is_lost(replicas: list[Asked], last: int) -> None:
    policy = ReplicaPolicy(ImageStore(), Away, patience=5.0)
    policy.connect(replicas)

    async def ask() -> None:
        for _ in range(2):
            _, completion = await policy.generate((), Sampling())
            assert completion.version == policy.version == 7

    with episode_on(0):
        asyncio.run(ask())
    assert replicas[last].calls >= 2


def test_an_episode_gives_up_when_no_replica_comes_back() -> None:
    policy = ReplicaPolicy(ImageStore(), Away, patience=0.5)
    policy.connect([Asked(None), Asked(None)])
    with episode_on(1), pytest.raises(PolicyFailure, match="no replica of the model answers any more: it is gone"):
        asyncio.run(policy.generate((), Sampling()))


@contextmanager
def episode_on(replica: int) -> Iterator[None]:
    token = _REPLICA.set(replica)
    yield
    _REPLICA.reset(token)


def test_a_server_samples_and_gets_the_weights_of_every_update(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM's wire format; the real one has `test_vllm_engine`."""
    monkeypatch.setattr(AgentOptions, "build", lambda self: QwenVLAgent(self.screenshots))
    fake = FakeVllm({})
    served = ServedEngineSettings(directory=tmp_path / "weights", lost_contact=1.0, deadline=20.0)
    config = replace(
        ASYNCHRONOUS, checkpoint=checkpoint(tmp_path / "start"), output=tmp_path / "run", tasks="reasoning:add-1-digit"
    )
    with serving(fake.app()) as url:
        main(replace(config, served=replace(served, url=url), updates=2, algo=Grpo(), rewards={}), show=False)
    told = check_run(replace(config, updates=2))
    assert all(one["engine_tokens"] > 0 for one in told)
    assert fake.called.count("/collective_rpc") >= 3, "before the first episode and after each update"
    with TrajectoryStore(config.output / "rollouts-0.jsonl") as store:
        versions = {step.completion.version for one in store for step in one.steps if step.completion is not None}
    assert {0, 1} <= versions


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"probe": 1}, "probe is 1; asynchronous rollouts play groups whole"),
        ({"replay": 1, "ranks": 2}, "replay: past successes are with rank 0"),
        ({"asynchronous.on": False, "ray.address": "local"}, "set asynchronous.on=true too"),
        ({"ray.address": "nowhere"}, "ray.address is 'nowhere'; it must be off, local, auto or HOST:PORT"),
        ({"ray.workers": 0}, "ray.workers is 0; it must be at least 1"),
        ({"served.url": "nowhere"}, "served.url is 'nowhere'; it must be the server's address"),
        (
            {"served.url": "http://127.0.0.1:1", "served.directory": Path("x"), "asynchronous.on": False},
            "set asynchronous.on=true too",
        ),
        ({"served.url": "http://127.0.0.1:1", "served.directory": Path("x"), "served.update": "lora"}, "lora.rank 0"),
        ({"served.url": "http://127.0.0.1:1", "served.directory": Path("x"), "ray.address": "local"}, "set ray.address=off"),
    ],
)
def test_settings_that_cannot_be(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    config = replace(ASYNCHRONOUS, checkpoint=tmp_path)
    for name, value in settings.items():
        config = changed(config, name.split("."), value)
    with pytest.raises(ConfigError, match=message):
        config.check()


def changed(config: Any, path: Sequence[str], value: Any) -> Any:
    first, *rest = path
    return replace(config, **{first: changed(getattr(config, first), rest, value) if rest else value})
