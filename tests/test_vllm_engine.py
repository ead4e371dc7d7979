"""Training against a real vLLM server, on this machine's processor: `make test-vllm`.

It samples what the model in this process learns from, gets the weights after every update, and must compute what the model here
computes: adapters and full weights, replies that finish and replies that go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import httpx
import numpy as np
import pytest
import test_rl
import torch
from test_engine import SIZES, World
from test_rl import Clicks
from vllm_servers import Started, vllm_server

from stepladder.algos.reinforce import Reinforce
from stepladder.images import ImageStore
from stepladder.models.checkpoint import load_checkpoint, save_checkpoint
from stepladder.models.lora import LoraSettings
from stepladder.models.renderer import Renderer
from stepladder.policies.http import PolicyFailure
from stepladder.policies.local import LocalPolicy
from stepladder.policies.served_engine import ServedEngine
from stepladder.policies.served_settings import ServedEngineSettings, open_served_engine
from stepladder.rollout.asynchronous import AsynchronousSettings
from stepladder.rollout.group import group_jobs
from stepladder.run import read_metrics
from stepladder.stages.agent_options import AgentOptions
from stepladder.stages.episode_player import EpisodePlayer
from stepladder.stages.rl import main as train
from stepladder.stages.rl_config import RlConfig
from stepladder.stages.rl_learner import Learner
from stepladder.store import TrajectoryStore
from stepladder.tasks import load_tasks
from stepladder.train.optimizer import OptimizerConfig
from stepladder.types import Completion, Group, Limits, Message, Prompt, Sampling, Trajectory

pytestmark = pytest.mark.vllm

CONTEXT = 4096
#: Between what vLLM says of a token and what the model here does, in nats.
TOLERANCE = 5e-4
Update = Literal["weights", "lora"]
UPDATES: tuple[Update, ...] = ("weights", "lora")


@dataclass
class Served:
    """A started server, the checkpoint that it has, and pictures."""

    started: Started
    checkpoint: Path
    world: World


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    directory = tmp_path_factory.mktemp("engine")
    world = World(replace(SIZES, hidden=128, context=CONTEXT))  # heads of 32 numbers, which vLLM wants on processors
    save_checkpoint(directory / "checkpoint", world.model, world.renderer.processor)
    options = ["--enable-scale-out", "--enable-lora", "--max-lora-rank", "8"]
    variables = {"VLLM_SERVER_DEV_MODE": "1", "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True"}
    with vllm_server(directory / "checkpoint", directory / "log", CONTEXT, options, variables) as started:
        yield Served(started, directory / "checkpoint", world)


@pytest.fixture(autouse=True)
def key(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPLADDER_ENGINE_KEY", served.started.token)


@dataclass
class Trained:
    """The learning model, and the server that samples for it."""

    engine: ServedEngine
    learner: Learner
    world: World

    def error(self, prompt: Prompt, reply: Completion, temperature: float = 1.0) -> float:
        """The largest difference between a reply's log-probabilities and those of the model as it is now."""
        assert reply.logprobs is not None
        return float(np.abs(reply.logprobs - self.expected(prompt, reply, temperature)).max())

    def expected(self, prompt: Prompt, reply: Completion, temperature: float = 1.0) -> Any:
        self.world.model = self.learner.model.eval()
        return self.world.logprobs(prompt, reply, temperature).numpy()

    def change(self, seed: int) -> None:
        """Other weights, of what learns."""
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.learner.model.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.02)


@pytest.fixture
def opened(served: Served, tmp_path: Path) -> Iterator[Callable[[Update], Trained]]:
    """Opens an engine with the server's first weights, whatever was loaded before."""
    engines = []

    def open_one(update: Update) -> Trained:
        settings = ServedEngineSettings(url=served.started.url, update=update, directory=tmp_path / "served", deadline=120.0)
        first, processor = load_checkpoint(served.checkpoint)
        restore = replace(settings, update="weights", directory=tmp_path / "first")
        engines.append(open_served_engine(restore, first, Renderer(processor, ImageStore())))
        asyncio.run(engines[-1].update_weights(None, 0))
        learner = Learner(config(served.checkpoint, tmp_path, update), Clicks(), served.world.images)
        world = World(replace(SIZES, hidden=128, context=CONTEXT))
        world.images, world.renderer = served.world.images, learner.renderer
        engine = open_served_engine(settings, learner.model, learner.renderer)
        engines.append(engine)
        return Trained(engine, learner, world)

    yield open_one
    for engine in engines:
        engine.close()


def config(checkpoint: Path, output: Path, update: Update) -> RlConfig:
    return replace(
        test_rl.FORMS,
        checkpoint=checkpoint,
        output=output / "run",
        algo=Reinforce(),
        rewards={},
        group_size=4,
        lora=LoraSettings(rank=4) if update == "lora" else LoraSettings(),
        optimizer=OptimizerConfig(lr=2e-2, adam_lr=2e-3, kind="adamw")
        if update == "lora"
        else OptimizerConfig(lr=2e-3, adam_lr=2e-3),
        bf16=False,
    )


async def ask(engine: ServedEngine, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion]:
    return list(await asyncio.gather(*(engine.generate(one, replace(sampling, seed=i)) for i, one in enumerate(prompts))))


async def groups(trained: Trained, update: int) -> list[Group]:
    """Two groups of episodes of forms. The model has random weights: what it is rewarded for is the sum of its first ids."""
    tasks = load_tasks("forms:click-button,dismiss-dialog")
    player = EpisodePlayer(LocalPolicy(trained.engine, "student"), Clicks(), trained.world.images, Limits(max_steps=2), 4, {})
    jobs = group_jobs([(task, 100 + update) for task in tasks], 4, str(update))
    played: dict[str, Trajectory] = {}
    try:
        await player.episodes(jobs, Sampling(max_tokens=6, seed=update), True, lambda one: played.update({one.id: one}))
    finally:
        await player.close()
    found: dict[str, Group] = {}
    for job in jobs:
        member = played[job.identifier]
        found.setdefault(job.group, []).append(replace(member, reward=float(sum(first_ids(member)) % 7) / 7))
    return list(found.values())


def first_ids(trajectory: Trajectory) -> list[int]:
    return [int(step.completion.tokens[0]) for step in trajectory.steps if step.completion and step.completion.tokens is not None]


@pytest.mark.parametrize("update", UPDATES)
def test_training(update: Update, opened: Callable[[Update], Trained]) -> None:
    """After each of three updates the server computes what the model here has become, and no longer what it was."""
    trained = opened(update)
    prompts = [trained.world.prompt(number) for number in range(4)]

    async def train() -> None:
        await trained.engine.update_weights(None, 0)
        before = await ask(trained.engine, prompts, Sampling(max_tokens=12))
        for number in (1, 2, 3):
            played = await groups(trained, number)
            replies = [step.completion for group in played for one in group for step in one.steps if step.completion is not None]
            assert {reply.version for reply in replies} == {number - 1}
            for group in played:
                for member in group:
                    for step in member.steps:
                        assert step.prompt is not None
                        assert step.completion is not None
                        assert trained.error(step.prompt, step.completion) < TOLERANCE
            assert trained.learner.learn(played), "something was learned"
            changed = max(trained.error(prompt, reply) for prompt, reply in zip(prompts, before, strict=True))
            assert changed > 10 * TOLERANCE, "the update changed what is computed"
            await trained.engine.update_weights(None, number)
            after = await ask(trained.engine, prompts, Sampling(max_tokens=12))
            assert {reply.version for reply in after} == {trained.engine.version} == {number}
            assert max(trained.error(prompt, reply) for prompt, reply in zip(prompts, after, strict=True)) < TOLERANCE
            before = after

    asyncio.run(train())


@pytest.mark.parametrize("update", UPDATES)
def test_replies_go_on_with_new_weights(update: Update, opened: Callable[[Update], Trained]) -> None:
    """What was written before the update has the old log-probabilities to the last token, what comes after it the new ones."""
    trained = opened(update)
    prompts = [trained.world.prompt(number) for number in range(4)]

    async def play() -> None:
        await trained.engine.update_weights(None, 0)
        writing = [
            asyncio.create_task(trained.engine.generate(one, Sampling(max_tokens=600, seed=i))) for i, one in enumerate(prompts)
        ]
        await asyncio.sleep(1.5)
        old = {name: value.clone() for name, value in trained.learner.model.state_dict().items()}
        trained.change(1)
        await trained.engine.update_weights(None, 1, "continue")
        went_on = 0
        for prompt, task in zip(prompts, writing, strict=True):
            reply = await task
            assert reply.version == 0
            assert reply.logprobs is not None
            new = np.abs(reply.logprobs - trained.expected(prompt, reply)) < TOLERANCE
            now = trained.learner.model.state_dict()
            changed = {name: value.clone() for name, value in now.items()}
            trained.learner.model.load_state_dict(old)
            before = np.abs(reply.logprobs - trained.expected(prompt, reply)) < TOLERANCE
            trained.learner.model.load_state_dict(changed)
            written = int(np.argmin(before)) if not before.all() else len(before)
            assert written > 0
            assert before[:written].all()
            assert new[written:].all()
            went_on += written < len(before)
        assert went_on, "no reply was interrupted"

    asyncio.run(play())


def test_pictures_are_named_and_ids_are_read_as_they_are(served: Served, opened: Callable[[Update], Trained]) -> None:
    """Ids of which the text would be tokenized otherwise, and pictures that the server has; what it does not have it is sent."""
    trained = opened("weights")
    world = trained.world
    asked: list[list[bool]] = []
    answered = trained.engine._server.body

    def body(request: Any) -> dict[str, Any]:
        asked.append([url is None for url in request.pictures])
        return answered(request)

    trained.engine._server.body = body  # type: ignore[method-assign]
    render = world.renderer
    pieces = np.array([*render.reply("Cl")[:-1], *render.reply("ick")], dtype=np.int32)
    shown = world.images.put_pixels(np.random.default_rng(5).integers(0, 255, (64, 96, 3), dtype=np.uint8))
    history = (
        Message("user", (shown, "Click 1.")),
        Message("assistant", ("Click",), pieces),
        Message("user", (shown, world.pictures[2], "Go on.")),
    )
    prompt = render.render(history)

    async def play() -> None:
        await trained.engine.update_weights(None, 0)
        for temperature, top_p in ((0.0, 1.0), (0.7, 1.0), (1.0, 1.0)):
            reply = await trained.engine.generate(prompt, Sampling(temperature, top_p, max_tokens=16, seed=1))
            assert trained.error(prompt, reply, temperature or 1.0) < TOLERANCE
        assert asked == [[False, False, False], [True, True, True], [True, True, True]]
        await trained.engine.update_weights(None, 1)
        await trained.engine.generate(prompt, Sampling(max_tokens=4))
        assert asked[3:] == [[True, True, True]], "an update does not lose the pictures"
        httpx.post(f"{served.started.url}/reset_mm_cache", timeout=30).raise_for_status()
        await trained.engine.generate(prompt, Sampling(max_tokens=4))
        assert asked[4:] == [[True, True, True], [False, False, False]]

    asyncio.run(play())


def test_stop_strings_and_abort(opened: Callable[[Update], Trained]) -> None:
    trained = opened("weights")

    async def play() -> None:
        await trained.engine.update_weights(None, 0)
        prompts = [trained.world.prompt(number) for number in range(8)]
        greedy = await ask(trained.engine, prompts, Sampling(0.0, max_tokens=24))
        prompt, whole = next((p, one) for p, one in zip(prompts, greedy, strict=True) if one.text[3:6].isascii())
        stop = whole.text[3:6]
        reply = await trained.engine.generate(prompt, Sampling(0.0, max_tokens=24, stop=(stop,)))
        assert reply.finish == "stop"
        assert reply.tokens is not None
        assert whole.text.startswith(reply.text)
        assert stop in reply.text
        assert stop not in trained.world.renderer.decode(reply.tokens[:-1]), "the token that completes it is the last"
        task = asyncio.create_task(trained.engine.generate(prompt, Sampling(max_tokens=2000, seed=4)))
        await asyncio.sleep(1.0)
        await trained.engine.abort()
        aborted = await asyncio.wait_for(task, 1.0)
        assert aborted.finish == "abort"
        assert aborted.tokens is not None
        assert 0 < len(aborted.tokens) < 2000
        assert trained.error(prompt, aborted) < TOLERANCE

    asyncio.run(play())


def test_an_adapter_that_cannot_be_read_changes_nothing(
    opened: Callable[[Update], Trained], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = opened("lora")
    prompt = trained.world.prompt(1)

    async def play() -> None:
        trained.change(2)
        await trained.engine.update_weights(None, 1)
        with monkeypatch.context() as patched:
            patched.setattr(trained.engine._files, "write", lambda weights, version: Path("/nowhere/stepladder-2"))
            with pytest.raises(PolicyFailure, match="could not load the adapter"):
                await trained.engine.update_weights(None, 2)
        reply = await trained.engine.generate(prompt, Sampling(max_tokens=8))
        assert (reply.version, trained.engine.version) == (1, 1)
        assert trained.error(prompt, reply) < TOLERANCE

    asyncio.run(play())


def test_weights_that_cannot_be_read_end_the_server(opened: Callable[[Update], Trained], monkeypatch: pytest.MonkeyPatch) -> None:
    """The last test of this server: vLLM ends when weights that it was told to load are not there."""
    trained = opened("weights")
    prompt = trained.world.prompt(1)

    async def play() -> None:
        await trained.engine.update_weights(None, 0)
        await trained.engine.generate(prompt, Sampling(max_tokens=8))
        monkeypatch.setattr(trained.engine._files, "write", lambda weights, version: Path("/nowhere/stepladder-1"))
        with pytest.raises(PolicyFailure, match="could not load the weights"):
            await trained.engine.update_weights(None, 1)
        assert trained.engine.version == 0
        with pytest.raises(PolicyFailure, match="not known"):
            await trained.engine.generate(prompt, Sampling(max_tokens=8))

    asyncio.run(play())


def test_the_stage_plays_with_it(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`stepladder rl` with `served.url`: episodes of pages come from the server, which gets the weights of every update."""
    monkeypatch.setattr(AgentOptions, "build", lambda self: Clicks(self.screenshots))
    place = ServedEngineSettings(url=served.started.url, directory=tmp_path / "served", deadline=120.0)
    settings = replace(
        config(served.checkpoint, tmp_path, "weights"),
        served=place,
        asynchronous=AsynchronousSettings(on=True),
        replay=0,
        updates=3,
        environments=4,
    )
    train(settings, show=False)
    told = read_metrics(settings.output, "rollouts")
    assert [one["step"] for one in told] == [1, 2, 3]
    with TrajectoryStore(settings.output / "rollouts-0.jsonl") as store:
        versions = {step.completion.version for one in store for step in one.steps if step.completion is not None}
    assert {0, 1} <= versions
