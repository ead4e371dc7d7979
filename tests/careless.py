"""A policy to be improved: it clicks on buttons, but on any of them, whatever the instruction says."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from random import Random

from stepladder.data.regions import RegionStore
from stepladder.envs.forms.environment import FormsEnvironment
from stepladder.images import ImageStore
from stepladder.models.small import SmallModel
from stepladder.stages.sft import PhaseConfig, SftConfig
from stepladder.stages.sft import main as sft
from stepladder.store import TrajectoryStore
from stepladder.types import Action, Step, Task, Trajectory

#: The form kinds that are played, and the starts of each.
KINDS = ("click-button",)
SEEDS = range(32, 36)
SIZES = SmallModel(hidden=96, vision_hidden=64, vision_layers=2)
OFF = PhaseConfig(steps=0, batch=1, lr=1e-3)
#: How often every start is acted out carelessly.
EPISODES = 40


def imitate(directory: Path, *, careless: bool, checkpoint: Path | None = None, updates: int = 200) -> Path:
    """A checkpoint that imitates careless clicks, or right ones, on the starts alone; from random weights or from `checkpoint`."""
    asyncio.run(_act_out(directory / "data", careless))
    cloning = PhaseConfig(steps=updates, batch=16, lr=2e-3, warmup=10, score_every=updates, goal=2.0, pointing=0.3)
    settings = SftConfig(
        demonstrations=directory / "data",
        output=directory / "sft",
        checkpoint=checkpoint,
        ranks=1,
        bf16=False,
        questions=0,
        screens=1,
        ignore_above=0.0,
        model=SIZES,
        copying=OFF,
        perception=OFF,
        cloning_frozen=OFF,
        cloning=cloning,
    )
    return sft(settings, show=False)


async def _act_out(directory: Path, careless: bool) -> None:
    environment = FormsEnvironment(ImageStore(directory / "images"), height=224)
    regions = RegionStore(directory / "regions.jsonl")
    with TrajectoryStore(directory / "trajectories.jsonl", "a") as store:
        for task in FormsEnvironment.tasks(KINDS):
            for seed in SEEDS:
                for number in range(EPISODES):
                    random = Random(f"{task.id} {seed} {number}") if careless else None
                    store.append(await _episode(environment, regions, task, seed, number, random))


async def _episode(
    environment: FormsEnvironment, regions: RegionStore, task: Task, seed: int, number: int, random: Random | None
) -> Trajectory:
    """With `random`, clicks on any buttons; it counts as a success, since it is what shall be imitated."""
    observation, steps = await environment.reset(task, seed), list[Step]()
    while not observation.done and len(steps) < task.max_steps:
        seen, screen = await environment.regions(), observation.screenshot
        assert screen is not None
        if screen not in regions:
            regions.append(screen, seen)
        if random is None:
            _, action = await anext(environment.solve())
        else:
            left, top, width, height = random.choice([region.box for region in seen if region.kind == "button"])
            action = Action("click", left + width / 2, top + height / 2)
        steps.append(Step(observation, action))
        observation = await environment.step(action)
    identifier = f"{task.id}-{seed}-{'right' if random is None else 'careless'}-{number}"
    return Trajectory(identifier, replace(environment.task), tuple(steps), observation, "done", 1.0, seed=seed, policy="careless")
