"""Imitating episodes that were chosen from those of a policy: their data in the form that `stepladder collect` writes, and the
training."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from stepladder.data.demonstrations import held_back
from stepladder.data.regions import RegionStore
from stepladder.images import ImageStore
from stepladder.stages import sft
from stepladder.stages.agent_options import AgentOptions
from stepladder.stages.sft_setup import COLLECTED_FILE, HEAD_FILE
from stepladder.store import TrajectoryStore
from stepladder.types import Trajectory


def training() -> sft.SftConfig:
    """How chosen episodes are imitated: the language model alone, which is also what reinforcement learning trains."""
    off = sft.PhaseConfig(steps=0, batch=1, lr=1e-3)
    imitation = sft.PhaseConfig(steps=120, batch=16, lr=3e-4, goal=2.0, score_every=40, warmup=5, decay=0.3)
    return sft.SftConfig(
        questions=0, screens=1, ignore_above=0.0, copying=off, perception=off, cloning_frozen=imitation, cloning=off
    )


def write_chosen(chosen: Sequence[Trajectory], images: ImageStore, data: Path) -> None:
    """Write the episodes with their screens, of which `images` holds the pictures, into the directory `data`, whole or not at
    all."""
    partial = data.with_name(f"{data.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    target, regions = ImageStore(partial / "images", cache=0), RegionStore(partial / "regions.jsonl")
    with TrajectoryStore(partial / COLLECTED_FILE, "a") as store:
        for trajectory in _with_validation(chosen):
            store.append(trajectory)
            for step in trajectory.steps:
                screen = step.observation.screenshot
                if screen is not None and screen not in target:
                    target.put(images.get(screen))
                    regions.append(screen, ())  # nobody has asked the environment what is where
    shutil.rmtree(data, ignore_errors=True)
    partial.replace(data)


def imitate_chosen(train: sft.SftConfig, start: Path, output: Path, show: bool) -> None:
    """Train on `output`/data in `output`/sft from the checkpoint `start`, and make `output`/checkpoint of what comes of it."""
    settings = replace(
        train,
        demonstrations=output / "data",
        output=output / "sft",
        checkpoint=start,
        agent=AgentOptions.of_checkpoint(start),
    )
    trained = sft.main(settings, show)
    partial, final = output / "checkpoint.partial", output / "checkpoint"
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(trained, partial, copy_function=link)
    if not (start / HEAD_FILE).exists():
        (partial / HEAD_FILE).unlink(missing_ok=True)  # it was made for this training and has learned nothing in it
    shutil.rmtree(final, ignore_errors=True)
    partial.replace(final)


def link(source: str, target: str) -> None:
    """One file under two names, or on another file system a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _with_validation(chosen: Sequence[Trajectory]) -> list[Trajectory]:
    """What was chosen. Supervised training scores itself on those that the hash of their id holds back; where that is none of so
    few, the first stands there once more under an id that is."""
    if any(held_back(one.id) for one in chosen):
        return list(chosen)
    first, number = chosen[0], 0
    while not held_back(f"{first.id}-again-{number}"):
        number += 1
    return [*chosen, replace(first, id=f"{first.id}-again-{number}")]
