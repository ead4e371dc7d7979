"""Law 2 measured: the trainer's log-probabilities of sampled replies against those that the engine recorded (float32, CPU).

Run: OMP_NUM_THREADS=1 python bench/law2.py [--episodes 200] [--tasks forms | miniwob@demo] [--checkpoint DIRECTORY]
A checkpoint plays in its own dialect. Without one the weights are random, and every reply counts as a click somewhere so that
episodes have several steps. The temperature is 1: at others the engine records what it sampled from, which is another distribution
than the trainer's. Fails when a difference exceeds 1e-3.
"""

from __future__ import annotations

import argparse
import asyncio
import time
import zlib
from pathlib import Path

import numpy as np

from stepladder.agents.qwen_vl import QwenVLAgent
from stepladder.images import ImageStore
from stepladder.models.checkpoint import load_checkpoint
from stepladder.models.forward import banned_ids
from stepladder.models.processor import ImageTextProcessor, image_processor
from stepladder.models.renderer import Renderer
from stepladder.models.small import SmallModel, build_model
from stepladder.models.tokenizer import build_tokenizer
from stepladder.models.vision import use_batched_vision
from stepladder.policies.engine import Engine
from stepladder.policies.local import LocalPolicy
from stepladder.rollout.group import EpisodeJob, run_many
from stepladder.rollout.pool import EnvironmentPool
from stepladder.stages.agent_options import AgentOptions
from stepladder.tasks import load_tasks
from stepladder.train.batch import collate
from stepladder.train.optimizer import Schedule
from stepladder.train.sample import from_step
from stepladder.train.trainer import Trainer
from stepladder.types import Action, Limits, Observation, Sampling, Trajectory

#: The height that small models are trained on here.
OPTIONS = {"height": 224}


class ClickAnywhere(QwenVLAgent):
    def parse(self, text: str, observation: Observation) -> tuple[str, Action]:
        place = zlib.crc32(text.encode("utf-8", "replace"))
        return "", Action("click", place % 160, place // 160 % 210)


async def play(options: argparse.Namespace, images: ImageStore, agent: QwenVLAgent, engine: Engine) -> list[Trajectory]:
    tasks = load_tasks(options.tasks, split="train")
    jobs = [EpisodeJob(tasks[number % len(tasks)], number) for number in range(options.episodes)]
    sampling = Sampling(temperature=1.0, max_tokens=options.max_tokens, seed=0)
    limits = Limits(max_steps=5, max_parse_errors=5)
    async with EnvironmentPool.of(tasks[0].env, images, options.environments, OPTIONS) as pool:
        return await run_many(jobs, pool, agent, LocalPolicy(engine), sampling=sampling, limits=limits)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--environments", type=int, default=32)
    parser.add_argument("--tasks", default="forms", help="a task set of one environment")
    parser.add_argument("--checkpoint")
    parser.add_argument("--max-tokens", type=int, default=24)
    parser.add_argument("--screenshots", type=int, default=2)
    options = parser.parse_args()
    images = ImageStore()
    if options.checkpoint:
        model, processor = load_checkpoint(options.checkpoint)
        agent = AgentOptions.of_checkpoint(Path(options.checkpoint)).build()
    else:
        tokenizer = build_tokenizer(["Click the button. Enter the text. Select the option."] * 5, 600)
        processor = ImageTextProcessor(image_processor(), tokenizer, tokenizer.chat_template)
        model = build_model(SmallModel(), tokenizer).eval()
        use_batched_vision(model)
        agent = ClickAnywhere(screenshots=options.screenshots, system="none", grid=10)
    renderer = Renderer(processor, images)
    engine = Engine(model, renderer)
    begin = time.perf_counter()
    trajectories = asyncio.run(play(options, images, agent, engine))
    seconds = time.perf_counter() - begin
    engine.close()
    samples = [
        from_step(renderer, agent, trajectory.task, trajectory.steps, index)
        for trajectory in trajectories
        for index in range(len(trajectory.steps))
    ]
    tokens = sum(int(sample.trained.sum()) for sample in samples)
    print(f"{len(trajectories)} episodes, {len(samples)} steps, {tokens} sampled tokens in {seconds:.1f} s")
    trainer = Trainer(model, None, Schedule(1), autocast=False)
    banned = banned_ids(model, renderer)
    differences = []
    for start in range(0, len(samples), 32):
        batch = collate(samples[start : start + 32], renderer, row_length=1024)
        differences.append(np.abs(trainer.logprobs(batch, banned).numpy() - batch.field("logprobs").numpy()))
    difference = np.concatenate(differences)
    print(f"difference of log-probabilities: mean {difference.mean():.2e}, largest {difference.max():.2e}")
    if not difference.max() <= 1e-3:
        raise SystemExit("law 2 is broken: a log-probability differs by more than 1e-3")


if __name__ == "__main__":
    main()
