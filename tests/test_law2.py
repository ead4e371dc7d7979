"""Law 2 from end to end: the trainer sees the ids that the engine sampled, and gives them the same log-probabilities."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from stepladder.agents.qwen_vl import QwenVLAgent
from stepladder.codec import from_json, to_json
from stepladder.envs.forms.environment import FormsEnvironment
from stepladder.images import ImageStore
from stepladder.models.forward import banned_ids
from stepladder.models.processor import ImageTextProcessor, image_processor
from stepladder.models.renderer import Renderer
from stepladder.models.small import SmallModel, build_model
from stepladder.models.tokenizer import build_tokenizer
from stepladder.models.vision import use_batched_vision
from stepladder.policies.engine import Engine
from stepladder.policies.local import LocalPolicy
from stepladder.rollout.group import group_jobs, run_many
from stepladder.rollout.pool import EnvironmentPool
from stepladder.train.batch import collate
from stepladder.train.optimizer import Schedule
from stepladder.train.sample import Sample, from_step
from stepladder.train.trainer import Trainer
from stepladder.types import Action, Limits, Observation, Sampling, Trajectory

SIZES = SmallModel(hidden=96, layers=2, vision_hidden=64, vision_layers=2, vision_heads=2, context=2048)


class ClickAnywhere(QwenVLAgent):
    """Takes any reply for a click somewhere, so that a model with random weights still changes the screen."""

    def parse(self, text: str, observation: Observation) -> tuple[str, Action]:
        place = zlib.crc32(text.encode("utf-8", "replace"))
        return "", Action("click", place % 160, place // 160 % 210)


class World:
    def __init__(self) -> None:
        self.images = ImageStore()
        tokenizer = build_tokenizer(["Click the button. Enter the text. Select the option."] * 5, 500)
        processor = ImageTextProcessor(image_processor(), tokenizer, tokenizer.chat_template)
        self.renderer = Renderer(processor, self.images)
        self.model = build_model(SIZES, tokenizer).eval()
        use_batched_vision(self.model)

    def play(self, agent: QwenVLAgent, episodes: int) -> list[Trajectory]:
        engine = Engine(self.model, self.renderer)

        async def main() -> list[Trajectory]:
            jobs = group_jobs([(task, 3) for task in FormsEnvironment.tasks()], 2)[:episodes]
            sampling = Sampling(max_tokens=12, seed=1)
            async with EnvironmentPool.of("forms", self.images, 6) as pool:
                return await run_many(jobs, pool, agent, LocalPolicy(engine), sampling=sampling, limits=Limits(max_steps=4))

        trajectories = asyncio.run(main())
        engine.close()
        return trajectories


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def samples_of(world: World, agent: QwenVLAgent, trajectories: Sequence[Trajectory]) -> list[Sample]:
    return [
        from_step(world.renderer, agent, trajectory.task, trajectory.steps, index)
        for trajectory in trajectories
        for index in range(len(trajectory.steps))
    ]


@pytest.mark.parametrize("screenshots", [1, 3])
def test_the_trainer_sees_what_was_sampled(world: World, screenshots: int) -> None:
    agent = ClickAnywhere(screenshots=screenshots)
    # through the codec, as a stored trajectory would be read
    trajectories = [from_json(Trajectory, to_json(t)) for t in world.play(agent, 12)]
    assert [t.error for t in trajectories] == [None] * 12
    assert sum(len(t.steps) for t in trajectories) > 24
    samples = samples_of(world, agent, trajectories)
    steps = [step for trajectory in trajectories for step in trajectory.steps]
    for step, sample in zip(steps, samples, strict=True):
        assert step.prompt is not None
        assert step.completion is not None
        np.testing.assert_array_equal(sample.tokens, np.concatenate([step.prompt.tokens, step.completion.tokens]))  # type: ignore[list-item]
        assert sample.spans == step.prompt.image_spans
    trainer = Trainer(world.model, None, Schedule(1), autocast=False)
    banned = banned_ids(world.model, world.renderer)
    for start in range(0, len(samples), 8):
        batch = collate(samples[start : start + 8], world.renderer, row_length=700)
        np.testing.assert_allclose(trainer.logprobs(batch, banned), batch.field("logprobs"), atol=1e-3)


def test_sampled_ids_stand_in_later_prompts(world: World) -> None:
    agent = ClickAnywhere(screenshots=3)
    trajectory = next(t for t in world.play(agent, 12) if len(t.steps) == 4)
    first, second, third, fourth = (step.prompt for step in trajectory.steps)
    reply = trajectory.steps[1].completion
    assert first is not None
    assert second is not None
    assert third is not None
    assert fourth is not None
    assert reply is not None
    grown = [*_ids(second.tokens), *_ids(reply.tokens)]
    assert _ids(third.tokens)[: len(grown)] == grown
    assert len(third.images) == len(fourth.images) == 3
    window = _ids(fourth.tokens)
    assert any(window[at : at + len(_ids(reply.tokens))] == _ids(reply.tokens) for at in range(len(window)))


def test_other_weights_are_noticed(world: World) -> None:
    agent = ClickAnywhere()
    trajectories = world.play(agent, 4)
    batch = collate(samples_of(world, agent, trajectories), world.renderer)
    changed = build_model(SIZES, world.renderer.processor.tokenizer, seed=7).eval()
    trainer = Trainer(changed, None, Schedule(1), autocast=False)
    assert float((trainer.logprobs(batch, banned_ids(changed, world.renderer)) - batch.field("logprobs")).abs().max()) > 0.05


def _ids(tokens: np.ndarray | torch.Tensor | None) -> list[int]:
    assert tokens is not None
    return [int(token) for token in tokens]
